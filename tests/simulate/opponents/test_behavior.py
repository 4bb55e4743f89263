"""The behavior block, by the examples of Kubernetes' documentation:
https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#configurable-scaling-behavior"""

from __future__ import annotations

from itertools import pairwise

import pytest

from controller.simulate.opponents.behavior import Behavior, ScalingRules, Stabilizer, StepKind, StepPolicy

MINUTE = 60.0


def rules(*policies: tuple[StepKind, float, float], stabilization_s: float = 0.0) -> ScalingRules:
    return ScalingRules(
        stabilization_s=stabilization_s,
        policies=tuple(StepPolicy(kind=kind, value=value, period_s=period) for kind, value, period in policies),
    )


def run(stabilizer: Stabilizer, start: int, wanted: list[int], every_s: float) -> list[int]:
    """The scale after each look."""
    scale, seen = start, []
    for index, replicas in enumerate(wanted):
        scale = stabilizer.settle(index * every_s, scale, replicas)
        seen.append(scale)
    return seen


def test_ten_percent_a_minute_takes_8_of_80_then_8_of_72_until_4_pods_are_more() -> None:
    down = rules((StepKind.PODS, 4, MINUTE), (StepKind.PERCENT, 10, MINUTE))
    steps = run(Stabilizer(Behavior(down=down), 1, 100), 80, [10] * 16, MINUTE)
    assert steps[:3] == [72, 64, 57]
    assert all(before - after >= 4 for before, after in pairwise(steps) if after > 10)
    assert steps[-1] == 10


def test_growth_at_most_doubles_or_adds_four_in_15_seconds() -> None:
    assert run(Stabilizer(Behavior(), 1, 100), 1, [100] * 5, 15.0) == [5, 10, 20, 40, 80]


def test_a_period_counts_every_change_within_it() -> None:
    up = rules((StepKind.PODS, 2, 120.0))
    assert run(Stabilizer(Behavior(up=up), 1, 100), 2, [9] * 10, 15.0) == [4] * 8 + [6, 6]


def test_shrinking_waits_for_the_highest_of_five_minutes_and_starts_with_the_scale_found() -> None:
    steps = run(Stabilizer(Behavior(), 1, 100), 8, [8, 2, 5] + [2] * 40, 15.0)
    assert steps[:20] == [8] * 20  # until the look at 300 s, when the first is 300 s old
    assert steps[20] == 5  # the highest of the window now, at 30 s
    assert steps[21] == 5
    assert steps[22] == 2


def test_growing_waits_for_the_lowest_of_its_window() -> None:
    up = ScalingRules(stabilization_s=60.0, policies=Behavior().up.policies)
    assert run(Stabilizer(Behavior(up=up), 1, 100), 2, [4] * 5, 15.0) == [2, 2, 2, 2, 4]


@pytest.mark.parametrize(("current", "expected"), [(0, 2), (1, 2), (99, 8)])
def test_a_scale_outside_the_limits_goes_to_them_at_once(current: int, expected: int) -> None:
    assert Stabilizer(Behavior(), 2, 8).settle(0.0, current, current) == expected
