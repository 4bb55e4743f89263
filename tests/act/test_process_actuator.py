"""The process actuator with real processes on this host."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from controller.errors import ActError, StaleActError
from controller.facts.decisions import OutcomeKind
from controller.facts.readings import Phase

REPOSITORY = Path(__file__).parents[2]


def test_it_grows_publishes_and_reports_ready(engines):
    assert engines.look() == ()
    outcome = engines.scale(0, 2)
    states = engines.phases(Phase.READY, Phase.READY)
    assert outcome.kind is OutcomeKind.DONE
    assert engines.targets() == {one.replica: "ready" for one in states}
    assert all(one.replica in outcome.detail for one in states)


def test_a_starting_replica_is_not_in_the_targets(engines):
    engines.tell(healthy=False)
    engines.scale(0, 1)
    assert [one.phase for one in engines.look()] == [Phase.STARTING]
    assert engines.targets() == {}


def test_acting_twice_is_acting_once(engines):
    engines.scale(0, 2)
    assert engines.scale(0, 2).kind is OutcomeKind.ALREADY
    assert len(engines.leaders()) == 2


def test_a_count_that_is_neither_current_nor_desired_is_stale(engines):
    engines.scale(0, 1)
    with pytest.raises(StaleActError, match="decided on 2 replicas, found 1"):
        engines.scale(2, 3)
    assert len(engines.leaders()) == 1


def test_a_new_daemon_adopts_what_runs(engines):
    before = engines.grown(2)
    engines.restart()
    assert engines.look() == before
    assert engines.scale(0, 2).kind is OutcomeKind.ALREADY


def test_an_intent_without_a_process_is_told_once_as_a_failed_start_and_its_port_used_again(engines):
    (before,) = engines.grown(1)
    (path,) = (engines.folder / "run").glob("*.replica.json")
    os.kill(engines.leaders()[0], signal.SIGKILL)
    engines.until(lambda _: not engines.leaders())
    path.write_text(json.dumps({**json.loads(path.read_text()), "run": "", "stage": "starting"}))
    engines.restart()
    assert [one.phase for one in engines.look()] == [Phase.STARTING], "it may still appear"
    (failed,) = engines.look(after_s=31.0)
    assert (failed.replica, failed.phase) == (before.replica, Phase.FAILED)
    assert "never started" in failed.detail
    assert engines.look() == ()
    (after,) = engines.grown(1)
    assert (after.url, after.replica == before.replica) == (before.url, False)


@pytest.mark.parametrize("crash", ["before", "after"])
def test_a_daemon_killed_while_starting_leaves_nothing_unknown(engines, crash):
    """It dies by SIGKILL right before or right after the engine is spawned, its intent written, the rest not."""
    daemon = subprocess.run([sys.executable, "-c", dying(engines, crash)], cwd=REPOSITORY, check=False, timeout=15)
    assert daemon.returncode == -signal.SIGKILL
    (path,) = (engines.folder / "run").glob("*.replica.json")
    intended = json.loads(path.read_text())
    assert intended["run"] == ""
    assert [one.replica for one in engines.look()] == [intended["replica"]]
    engines.until(lambda _: len(engines.leaders()) == (crash == "after"))
    (later,) = engines.look(after_s=31.0)
    assert (later.replica, later.phase is Phase.FAILED) == (intended["replica"], crash == "before")
    running = len(engines.look())
    assert len(engines.leaders()) == running == (crash == "after")
    engines.scale(running, 2)
    engines.phases(Phase.READY, Phase.READY)
    assert len(engines.leaders()) == 2


def dying(engines, crash):
    """A daemon that kills itself at ``crash`` of its first spawn."""
    die = "os.kill(os.getpid(), signal.SIGKILL)"
    options = engines.variant.actuator_options
    return textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import conftest
        from pathlib import Path
        real = os.posix_spawnp
        def spawn(*arguments, **named):
            {die if crash == "before" else "real(*arguments, **named)"}
            {die}
        os.posix_spawnp = spawn
        hand = conftest.Engines(Path({str(engines.folder)!r}), {engines.variant.service!r}, {options.ports!r})
        hand.look()
        hand.scale(0, 1)
    """)


def test_an_engine_without_its_state_file_is_adopted(engines):
    (before,) = engines.grown(1)
    (path,) = (engines.folder / "run").glob("*.replica.json")
    path.unlink()
    engines.restart()
    (after,) = engines.phases(Phase.READY)
    assert after.replica == before.replica
    assert path.exists()
    assert (before.unused_until, after.unused_until) == (before.since, None), "whom did it serve meanwhile?"


def test_a_crash_is_told_once_with_its_last_words(engines):
    engines.tell(exit=3)
    engines.scale(0, 1)
    (failed,) = engines.phases(Phase.FAILED)
    assert "exited with code 3" in failed.detail
    assert "CUDA out of memory" in failed.detail
    assert engines.look() == ()
    assert list((engines.folder / "run").glob("*.replica.json")) == []
    assert len(list((engines.folder / "run").glob("*.log"))) == 1


def test_each_crash_of_a_crash_loop_has_its_own_name(engines):
    engines.tell(exit=1)
    names = set()
    for _ in range(3):
        engines.scale(0, 1)
        names.add(engines.phases(Phase.FAILED)[0].replica)
        engines.phases()
    assert len(names) == 3


def test_a_ready_engine_that_is_killed_is_told_once(engines):
    engines.tell(worker=True)
    engines.grown(2)
    os.kill(engines.leaders()[0], signal.SIGKILL)
    states = engines.phases(Phase.READY, Phase.FAILED)
    assert "code -9" in next(one.detail for one in states if one.phase is Phase.FAILED)
    engines.phases(Phase.READY)
    engines.until(lambda _: len(engines.processes()) == 2)  # the other leader and its worker: no orphaned worker


def test_a_crash_is_told_again_by_the_next_daemon_which_cannot_know_whether_it_was_noted(engines):
    engines.grown(1)
    os.kill(engines.leaders()[0], signal.SIGKILL)
    (told,) = engines.phases(Phase.FAILED)
    engines.restart()
    assert engines.look() == (told,)
    assert engines.look() == ()
    engines.restart()
    assert engines.look() == ()


def test_an_engine_that_never_gets_healthy_is_killed(engines):
    engines.tell(healthy=False)
    engines.scale(0, 1)
    (state,) = engines.look(after_s=599)
    assert state.phase is Phase.STARTING
    (state,) = engines.look(after_s=2)
    assert (state.phase, "not healthy within 600 s" in state.detail) == (Phase.FAILED, True)
    engines.phases()
    engines.until(lambda _: not engines.processes())


def test_a_port_of_somebody_else_is_skipped_and_said(engines):
    first, _ = engines.variant.actuator_options.ports
    with socket.create_server(("127.0.0.1", first)):
        outcome = engines.scale(0, 1)
        (state,) = engines.phases(Phase.READY)
    assert f"port {first} is in use by somebody else" in outcome.detail
    assert state.url.endswith(f":{first + 1}")


def test_running_out_of_ports_is_an_error_that_says_how_many_started(engines):
    with pytest.raises(ActError, match="started 4 of 5"):
        engines.scale(0, 5)
    assert len(engines.look()) == 4


def test_a_command_that_does_not_exist_leaves_nothing_behind(engines):
    engines.with_options(command=("no-such-engine-here", "{port}"))
    with pytest.raises(ActError, match="could not start no-such-engine-here"):
        engines.scale(0, 1)
    assert engines.look() == ()


def test_draining_waits_for_running_requests_then_stays_for_one_more_pass(engines):
    first, second = engines.grown(2)
    engines.tell(running=1)
    engines.scale(2, 1, first.replica)
    for _ in range(3):
        engines.look(after_s=1)
        assert engines.targets() == {first.replica: "draining", second.replica: "ready"}
    engines.tell(running=0, waiting=0)
    engines.look()
    assert engines.targets()[first.replica] == "draining"
    assert len(engines.leaders()) == 2
    engines.look()
    assert engines.targets() == {second.replica: "ready"}
    engines.phases(Phase.READY)
    engines.until(lambda _: len(engines.leaders()) == 1)


def test_draining_survives_a_restart_of_the_daemon(engines):
    (only,) = engines.grown(1)
    engines.tell(waiting=1)
    engines.scale(1, 0)
    engines.restart()
    (state,) = engines.look()
    assert (state.replica, state.phase) == (only.replica, Phase.DRAINING)


def test_draining_ends_after_its_timeout(engines):
    engines.grown(1)
    engines.tell(running=7)
    engines.scale(1, 0)
    engines.look(after_s=61)
    engines.look()
    engines.phases()
    assert engines.processes() == []


def test_who_drains_has_its_whole_time_where_the_clock_is_set_ahead(engines):
    engines.grown(1)
    engines.tell(running=7)
    engines.scale(1, 0)
    before = engines.now
    engines.actuator.carry(lambda at: at + timedelta(hours=1) if at <= before else at)
    assert [one.phase for one in engines.look(after_s=3600)] == [Phase.DRAINING]
    assert [one.phase for one in engines.look(after_s=59)] == [Phase.DRAINING]
    engines.look(after_s=2)
    engines.phases()
    assert engines.processes() == []


def test_a_stubborn_engine_and_its_workers_are_killed(engines):
    engines.tell(stubborn=True, worker=True)
    engines.grown(1)
    engines.scale(1, 0)
    engines.look()
    engines.look()  # SIGTERM: the worker obeys, the engine does not
    assert [one.phase for one in engines.look(after_s=4)] == [Phase.DRAINING]
    assert engines.leaders()
    engines.look(after_s=2)
    engines.phases()
    assert engines.processes() == []


def test_shrinking_without_victims_takes_the_newest_starting_then_the_highest_port(engines):
    low, high = sorted(engines.grown(2), key=lambda one: one.url)
    engines.tell(healthy=False)
    engines.scale(2, 3)
    (starting,) = [one for one in engines.look() if one.phase is Phase.STARTING]
    assert starting.replica in engines.scale(3, 2).detail
    assert high.replica in engines.scale(2, 1).detail
    assert engines.targets() == {low.replica: "ready", high.replica: "draining"}


def test_a_recycled_pid_is_not_taken_for_the_engine(engines):
    """The recorded pid now belongs to a stranger: the engine counts as ended, the stranger is left alone."""
    engines.grown(1)
    (path,) = (engines.folder / "run").glob("*.replica.json")
    stranger = psutil.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "run": f"{stranger.pid}/1.00"}))
        engines.phases(Phase.FAILED)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_damaged_state_file_stops_acting_and_says_which(engines):
    engines.grown(1)
    (path,) = (engines.folder / "run").glob("*.replica.json")
    path.write_text("{")
    with pytest.raises(ActError, match=r"could not read the state file .*replica\.json"):
        engines.scale(1, 2)
    assert len(engines.leaders()) == 1


def test_while_nothing_may_be_touched_nobody_is_ended_and_what_starts_comes_up(engines):
    engines.grown(2)
    asked, may = [], [False]
    engines.actuator.heed(lambda service: asked.append(service) or may[0])
    engines.look()
    assert asked == [], "nobody is asked while there is nothing to end"
    may[0] = True
    engines.scale(2, 1)
    may[0] = False
    engines.phases(Phase.DRAINING, Phase.READY)
    for _ in range(3):
        engines.look(after_s=3600)
    engines.phases(Phase.DRAINING, Phase.READY)
    assert len(engines.leaders()) == 2
    assert set(asked) == {engines.variant.service}
    may[0] = True
    engines.scale(1, 2)
    may[0] = False
    engines.phases(Phase.DRAINING, Phase.READY, Phase.READY)
    may[0] = True
    engines.phases(Phase.READY, Phase.READY)


def allowed(times):
    """So often yes, then no."""
    answers = iter([True] * times)
    return lambda service: next(answers, False)


@pytest.mark.parametrize(("current", "desired"), [(0, 2), (2, 0)])
def test_before_anybody_is_begun_a_stop_refuses_and_touches_nothing(engines, current, desired):
    engines.grown(current)
    before = engines.leaders()
    engines.actuator.heed(allowed(0))
    outcome = engines.scale(current, desired)
    assert outcome.kind is OutcomeKind.REFUSED
    assert "nothing was touched" in outcome.detail
    assert engines.leaders() == before
    assert {one.phase for one in engines.look()} <= {Phase.READY}


@pytest.mark.parametrize(
    ("current", "desired", "times", "told"),
    [
        (0, 3, 2, "started 1 of 3, no more"),  # before its room is cleared, and before it starts
        (0, 3, 3, "started 1 of 3, no more"),
        (3, 0, 1, "sent away 1 of 3, no more"),
    ],
)
def test_a_lead_lost_in_the_midst_begins_nobody_more_and_says_how_many(engines, current, desired, times, told):
    engines.grown(current)
    engines.actuator.heed(allowed(times))
    with pytest.raises(ActError, match=told):
        engines.scale(current, desired)
    going = [one for one in engines.look() if one.phase is Phase.DRAINING]
    assert (len(engines.leaders()), len(going)) == ((1, 0) if desired else (3, 1))


def test_a_process_that_ends_by_itself_is_told_even_where_nothing_may_be_touched(engines):
    engines.grown(1)
    engines.actuator.heed(lambda service: False)
    (leader,) = engines.leaders()
    os.kill(leader, signal.SIGKILL)
    assert [one.phase for one in engines.until(lambda states: states[0].phase is Phase.FAILED)] == [Phase.FAILED]
    engines.until(lambda states: states == ())
