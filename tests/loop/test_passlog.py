"""What a pass writes to the log, of what is refused again and again, and of what goes on being wrong."""

import logging

from controller.errors import ActError, StaleActError
from controller.loop import Running, one_pass

OWNED = "HorizontalPodAutoscaler chat scales deployment/chat; a target has one writer"


def logged(world, plan, caplog, after, breaks):
    """The lines of each pass, in which the actuator refuses with ``breaks``, or works where that is None."""
    caplog.set_level(logging.INFO, "pennyweight")
    running, lines = Running(), []
    for index, error in enumerate(breaks):
        world.actuator_breaks = error
        caplog.clear()
        _, running = one_pass(world, plan, running, after(15 * index))
        lines.append([one.getMessage() for one in caplog.records])
    return lines


def stale(found, why=OWNED):
    return StaleActError(where="chat/h100", expected=2, found=found, why=why)


def test_a_refusal_is_told_when_it_begins_and_when_it_ends(world, plan, caplog, after):
    world.queue = 30.0
    lines = logged(world, plan, caplog, after, [stale(2), stale(2), stale(3), None])
    assert [len(one) for one in lines[:3]] == [1, 0, 0]
    assert OWNED in lines[0][0]
    assert lines[3][0] == "chat/h100: what is decided is refused no longer"
    assert "[done: done]" in lines[3][1]


def test_another_reason_to_refuse_is_told(world, plan, caplog, after):
    world.queue = 30.0
    lines = logged(world, plan, caplog, after, [stale(2), stale(2, "ann changed it")])
    assert [len(one) for one in lines] == [1, 1]
    assert "ann changed it" in lines[1][0]


def in_passes(world, plan, caplog, after, sick):
    """The lines of each pass, with a ledger that cannot be written in those that are in ``sick``."""
    world.queue = 10.0  # enough for the two that are there
    caplog.set_level(logging.INFO, "pennyweight")
    running, lines = Running(), []
    for index, is_sick in enumerate(sick):
        world.ledger_down = world.outcomes_down = is_sick
        caplog.clear()
        _, running = one_pass(world, plan, running, after(15 * index))
        lines.append([one.getMessage() for one in caplog.records])
    return lines


def test_a_ledger_that_cannot_be_written_is_told_once_a_pass_with_how_long_by_now_and_its_end(
    world, plan, caplog, after
):
    lines = in_passes(world, plan, caplog, after, [True] * 5 + [False, False, True])
    full = "nothing was acted on: the ledger cannot be written: disk full"
    assert lines[:3] == [[full], [f"{full} (for 0:00:15 by now, 2 passes)"], [f"{full} (for 0:00:30 by now, 3 passes)"]]
    assert lines[5:] == [[f"over after 0:01:15, 5 passes: {full}"], [], [full]]


def test_two_problems_at_once_are_each_counted_and_numbers_in_them_make_no_other(world, plan, caplog, after):
    world.queue = 30.0
    caplog.set_level(logging.ERROR, "pennyweight")
    world.actuator_breaks, world.outcomes_down = OSError("port 8001 is taken"), True
    _, running = one_pass(world, plan, Running(), after(0))
    caplog.clear()
    world.actuator_breaks = OSError("port 8002 is taken")
    one_pass(world, plan, running, after(15))
    told = [one.getMessage() for one in caplog.records if "(for 0:00:15 by now, 2 passes)" in one.getMessage()]
    assert len(told) == 2
    assert "port 8002" in told[0]


def test_what_fails_is_told_each_time(world, plan, caplog, after):
    world.queue = 30.0
    lines = logged(world, plan, caplog, after, [OSError("no route"), OSError("no route")])
    assert all(any("no route" in line for line in one) for one in lines)


def test_a_traceback_is_for_what_nobody_foresaw_alone(world, plan, caplog, after):
    world.queue = 30.0
    traces = []
    for index, error in enumerate([ActError("started 1 of 2, no other port is free"), OSError("no route")]):
        logged(world, plan, caplog, after, [error])
        traces.append([one.exc_info is not None for one in caplog.records if index or "1 of 2" in one.getMessage()])
    assert traces[0], "it is told"
    assert [any(one) for one in traces] == [False, True]
