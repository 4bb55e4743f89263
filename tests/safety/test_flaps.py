"""Going back and forth: how it is measured, and how it ends."""

import pytest

from controller.facts.safety import Move, SafetyMemory
from controller.safety.flaps import flaps, turned, with_damping
from controller.safety.rules import FlapRule

RULE = FlapRule(window_s=3600, limit=2.0, hold_s=600, hold_most_s=1500)


def moves(make, *replicas, start=0, unwound=False):
    return tuple(
        Move(
            id=f"{start}/{index}",
            at=make.at(start + 15 * index),
            service="chat",
            variant="h100",
            replicas=each,
            usd=None,
            unwound=unwound and each < 0,
        )
        for index, each in enumerate(replicas)
    )


@pytest.mark.parametrize(
    ("replicas", "size", "turns"),
    [
        ((), 4, 0.0),
        ((3, 2, 4), 4, 0.0),
        ((3, -3), 3, 1.0),
        ((3, -3), 6, 0.5),
        ((1, 1, 1, -3), 3, 1.0),
        ((9, -1, 1, -1), 9, 3 / 9),
        ((1, -1, 1, -1), 1, 3.0),
    ],
)
def test_turns_are_weighed_by_the_share_of_the_service_that_turned(make, replicas, size, turns):
    assert turned(moves(make, *replicas), size) == pytest.approx(turns)


def test_starts_that_were_given_up_are_no_turns(make):
    assert turned(moves(make, 3, -3, 3, -3, unwound=True), 3) == 0


def test_only_the_window_counts(make):
    memory = SafetyMemory(moves=moves(make, 3, -3))
    assert flaps(memory, RULE, {"chat": 3, "code": 2}, make.at(60)) == {"chat": 1.0, "code": 0.0}
    assert flaps(memory, RULE, {"chat": 3}, make.at(3700)) == {"chat": 0.0}


def test_flapping_is_damped_longer_each_time_it_goes_on_and_forgotten_when_it_ends(make):
    memory, now, holds = SafetyMemory(), 0.0, []
    for _ in range(4):
        memory = SafetyMemory(moves=(*memory.moves, *moves(make, 3, -3, 3, start=now)), damped=memory.damped)
        now += 60
        memory = with_damping(memory, RULE, {"chat": 3}, make.at(now))
        holds.append(memory.damped["chat"].hold_s)
        now = (memory.damped["chat"].until - make.noon).total_seconds() + 1
        assert with_damping(memory, RULE, {"chat": 3}, make.at(now)).damped == memory.damped, "old turns do not prolong"
    assert holds == [600, 1200, 1500, 1500]
    assert with_damping(memory, RULE, {"chat": 3}, make.at(now + 3600)).damped == {}
