"""Stabilization windows and step limits."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.memory import recommended
from controller.decide.rules import Behaviour, ReplicaRule, Step, Targets
from controller.decide.windows import stabilized, step_limited
from controller.facts.decisions import Recommendation, ScaleEvent, ServiceMemory

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
UP = Behaviour(stabilization_s=60)
DOWN = Behaviour(stabilization_s=300)


def past(*wanted: tuple[float, int]) -> list[Recommendation]:
    return [Recommendation(at=NOON - timedelta(seconds=ago), wanted=count) for ago, count in wanted]


def events(*moves: tuple[float, int, int]) -> list[ScaleEvent]:
    return [
        ScaleEvent(at=NOON - timedelta(seconds=ago), variant="v", before=before, after=after)
        for ago, before, after in moves
    ]


@pytest.mark.parametrize(
    ("case", "wanted", "current", "history", "expected"),
    [
        ("more, for the whole minute", 6, 4, [(60, 6), (45, 6), (30, 7), (15, 6)], 6),
        ("more, but only for 45 s", 6, 4, [(60, 4), (45, 6), (30, 6), (15, 6)], 4),
        ("more, the least of the minute decides", 8, 4, [(60, 5), (30, 7)], 5),
        ("more, but less was wanted in between", 6, 4, [(60, 6), (30, 2), (15, 6)], 4),
        ("more, right after a restart without memory", 6, 4, [], 4),
        ("more, memory does not cover the window", 6, 4, [(15, 6)], 4),
        ("less, for the whole five minutes", 2, 4, [(300, 2), (150, 2), (15, 2)], 2),
        ("less, the most of five minutes decides", 1, 4, [(300, 3), (150, 2), (15, 1)], 3),
        ("less, but not for five minutes", 2, 4, [(300, 4), (150, 2)], 4),
        ("less, but more was wanted in between", 2, 4, [(300, 2), (150, 6), (15, 2)], 4),
        ("less, no pass ran for longer than the window", 2, 4, [(400, 3)], 3),
        ("as many", 4, 4, [(60, 8), (15, 1)], 4),
    ],
)
def test_a_count_moves_only_when_it_was_wanted_for_the_whole_window(case, wanted, current, history, expected):
    assert stabilized(wanted, current, past(*history), UP, DOWN, NOON) == expected, case


@pytest.mark.parametrize(
    ("case", "wanted", "current", "history", "expected"),
    [
        ("one fewer, not for the whole of the spare's window", 3, 4, [(600, 4), (300, 3), (15, 3)], 4),
        ("one fewer, for all of it", 3, 4, [(600, 3), (300, 3), (15, 3)], 3),
        ("many fewer: all go but one", 2, 9, [(600, 9), (300, 2), (15, 2)], 3),
        ("many fewer, one more wanted lately: it is counted from that", 2, 9, [(600, 9), (120, 3), (15, 2)], 4),
        ("the spare is never more than was wanted", 2, 9, [(600, 2), (300, 2), (15, 2)], 2),
        ("none at all: one stays", 0, 2, [(600, 2), (300, 0), (15, 0)], 1),
        ("right after a restart without memory", 2, 4, [], 4),
    ],
)
def test_one_replica_more_than_wanted_stays_for_the_window_of_the_spare(case, wanted, current, history, expected):
    down = Behaviour(stabilization_s=300, spare_s=600)
    assert stabilized(wanted, current, past(*history), UP, down, NOON) == expected, case


def test_without_a_window_a_move_is_immediate():
    now = Behaviour(stabilization_s=0)
    assert stabilized(6, 4, [], now, now, NOON) == 6
    assert stabilized(1, 4, [], now, now, NOON) == 1


@given(
    wanted=st.integers(0, 20),
    current=st.integers(0, 20),
    history=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 20))),
)
def test_never_below_the_most_nor_above_the_least_wanted_in_the_window(wanted, current, history):
    desired = stabilized(wanted, current, past(*history), UP, DOWN, NOON)
    assert min(wanted, current) <= desired <= max(wanted, current)
    if desired < current:
        assert desired >= max([count for ago, count in history if ago <= 300], default=0)
    if desired > current:
        assert desired <= min([count for ago, count in history if ago <= 60], default=20)


@pytest.mark.parametrize(
    ("case", "desired", "current", "step", "moves", "expected"),
    [
        ("no limit", 9, 4, None, [], 9),
        ("two in 120 s", 8, 4, Step(replicas=2, per_s=120), [], 6),
        ("one of two is used up", 8, 5, Step(replicas=2, per_s=120), [(60, 4, 5)], 6),
        ("both are used up", 8, 6, Step(replicas=2, per_s=120), [(60, 4, 6)], 6),
        ("they are free again", 8, 6, Step(replicas=2, per_s=120), [(120, 4, 6)], 8),
        ("a shrink does not count against growing", 8, 4, Step(replicas=2, per_s=120), [(60, 6, 4)], 6),
        ("half of ten", 20, 10, Step(ratio=0.5, per_s=60), [], 15),
        ("half of one rounds up", 4, 1, Step(ratio=0.5, per_s=60), [], 2),
        ("one down in 60 s", 1, 4, Step(replicas=1, per_s=60), [], 3),
        ("one down is used up", 1, 3, Step(replicas=1, per_s=60), [(30, 4, 3)], 3),
        ("a tenth of four still lets one go", 1, 4, Step(ratio=0.1, per_s=60), [], 3),
    ],
)
def test_a_period_never_sees_a_larger_change_than_its_step(case, desired, current, step, moves, expected):
    behaviour = Behaviour(stabilization_s=0, at_most=step)
    assert step_limited(desired, current, events(*moves), behaviour, NOON) == expected, case


@given(
    start=st.integers(0, 30),
    wishes=st.lists(st.integers(0, 30), min_size=1, max_size=40),
    most=st.integers(0, 5),
    per_s=st.integers(15, 300),
)
def test_over_any_period_the_moves_sum_to_no_more_than_the_step(start, wishes, most, per_s):
    behaviour = Behaviour(stabilization_s=0, at_most=Step(replicas=most, per_s=per_s))
    current, done = start, []
    for index, wish in enumerate(wishes):
        now = NOON + timedelta(seconds=15 * index)
        desired = step_limited(wish, current, done, behaviour, now)
        if desired != current:
            done.append(ScaleEvent(at=now, variant="v", before=current, after=desired))
        current = desired
    for event in done:
        same_way = [
            other
            for other in done
            if event.at <= other.at < event.at + timedelta(seconds=per_s)
            and (other.after > other.before) == (event.after > event.before)
        ]
        assert sum(abs(other.after - other.before) for other in same_way) <= most


@given(
    passes=st.lists(st.tuples(st.integers(1, 300), st.integers(0, 3)), min_size=1, max_size=30),
    wanted=st.integers(0, 5),
    current=st.integers(0, 5),
)
def test_what_is_remembered_decides_as_everything_that_was_ever_wanted_would(passes, wanted, current):
    down = Behaviour(stabilization_s=120, spare_s=600)
    rule = ReplicaRule(min_replicas=0, max_replicas=5, targets=Targets(), scale_up=UP, scale_down=down)
    memory, everything, at = ServiceMemory(), [], NOON
    for seconds, was_wanted in passes:
        at += timedelta(seconds=seconds)
        memory = recommended(memory, was_wanted, rule, at)
        everything.append(Recommendation(at=at, wanted=was_wanted))
    remembered = stabilized(wanted, current, memory.recommendations, UP, down, at)
    assert remembered == stabilized(wanted, current, everything, UP, down, at)


def test_of_an_hour_in_which_the_same_was_wanted_two_passes_are_remembered():
    rule = ReplicaRule(min_replicas=0, max_replicas=5, targets=Targets(), scale_up=UP, scale_down=DOWN)
    memory = ServiceMemory()
    for number in range(240):
        memory = recommended(memory, 3, rule, NOON + timedelta(seconds=15 * number))
    assert len(memory.recommendations) == 2
