"""When the machine ends, all that lies on it drains in time, and nothing more is started there."""

from datetime import timedelta

import pytest

from controller.errors import ActError
from controller.facts.interruptions import LOCAL, Notice, NoticeKind
from controller.facts.readings import Phase


def notice(hand, kind=NoticeKind.SPOT, in_s=120.0):
    deadline = None if in_s is None else hand.now + timedelta(seconds=in_s)
    return {LOCAL: Notice(node=LOCAL, kind=kind, at=hand.now, deadline=deadline, source="imds")}


def test_all_replicas_drain_at_once_and_are_stopped_before_the_machine_is(engines):
    engines.grown(2)
    engines.tell(running=3)
    engines.actuator.warn(notice(engines))
    states = engines.look()
    assert [one.phase for one in states] == [Phase.DRAINING] * 2
    assert {one.notice.kind for one in states} == {NoticeKind.SPOT}
    assert "spot: the machine ends at" in states[0].detail
    assert set(engines.targets().values()) == {"draining"}
    engines.look(after_s=58.0)
    assert len(engines.leaders()) == 2, "requests still run"
    engines.look(after_s=32.0)
    engines.until(lambda states: not states)
    assert engines.leaders() == []


def test_what_only_starts_is_stopped_and_nothing_is_started(engines):
    engines.tell(healthy=False)
    engines.scale(0, 1)
    engines.actuator.warn(notice(engines, NoticeKind.STOPPED, in_s=None))
    assert [one.phase for one in engines.look()] == [Phase.DRAINING]
    with pytest.raises(ActError, match=r"nothing is started here, this machine ends \(stopped notice of imds\)"):
        engines.scale(0, 1)
    engines.until(lambda states: not states)
    engines.actuator.warn({})
    engines.tell()
    assert len(engines.grown(1)) == 1


def test_a_hint_ends_nothing(engines):
    engines.grown(1)
    engines.actuator.warn(notice(engines, NoticeKind.REBALANCE, in_s=None))
    (state,) = engines.look()
    assert (state.phase, state.notice.ends, state.node) == (Phase.READY, False, LOCAL)
