"""The HPA's arithmetic, by https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#algorithm-details"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.simulate.opponents.hpa import (
    Hpa,
    HpaSettings,
    PodMetric,
    Target,
    reference_policy,
    replicas_for_pods,
    replicas_for_total,
)
from controller.simulate.sight import Sight

MakeSight = Callable[..., Sight]


@pytest.mark.parametrize(
    ("case", "values", "starting", "expected"),
    [
        ("the documented example: 200m against 100m doubles", [0.2] * 3, 0, 6),
        ("and 50m halves", [0.05] * 4, 0, 2),
        ("within 10 % nothing changes", [0.109] * 4, 0, 4),
        ("nor below", [0.091] * 4, 0, 4),
        ("an exact multiple is not rounded up", [0.11, 0.22, 0.27], 0, 6),
        ("growth: what starts counts as idle", [0.3] * 2, 2, 6),
        ("growth that those who start will cover is none", [0.2] * 2, 2, 4),
        ("a direction that they reverse is none", [0.12] * 2, 2, 4),
        ("shrinking: what starts counts as at the target", [0.02] * 3, 1, 2),
        ("so that a little too much is kept", [0.08] * 2, 2, 4),
    ],
)
def test_pods_metric(case: str, values: list[float], starting: int, expected: int) -> None:
    current = len(values) + starting
    assert replicas_for_pods(values, target=0.1, starting=starting, current=current, tolerance_ratio=0.1) == expected


@pytest.mark.parametrize(
    ("total", "current", "expected"),
    [(30.0, 2, 6), (31.0, 2, 7), (10.5, 2, 2), (0.0, 3, 0), (4.0, 0, 1)],
)
def test_external_metric_with_an_average_value(total: float, current: int, expected: int) -> None:
    assert replicas_for_total(total, target=5.0, current=current, tolerance_ratio=0.1) == expected


def hpa(*targets: Target) -> Hpa:
    return Hpa(HpaSettings(targets=targets, min_replicas=1, max_replicas=20))


def test_the_highest_answer_of_several_metrics_counts(sight: MakeSight) -> None:
    both = hpa(Target(metric=PodMetric.QUEUE, value=10), Target(metric=PodMetric.KV_CACHE, value=0.5))
    assert both.desired(sight(ready=2, waiting=15, kv_cache_ratio=0.9)) == 4
    assert both.desired(sight(at_s=300.0, ready=4, waiting=30, kv_cache_ratio=0.4)) == 8  # 12, but at most double


@pytest.mark.parametrize(
    ("metric", "target"),
    [(PodMetric.LOAD, 15.0), (PodMetric.QUEUE, 5.0), (PodMetric.KV_CACHE, 0.2), (PodMetric.GPU, 0.3)],
)
def test_each_metric_reads_its_own_signal(sight: MakeSight, metric: PodMetric, target: float) -> None:
    seen = sight(ready=2, running=20, waiting=10, kv_cache_ratio=0.4, gpu_utilization_ratio=0.6)
    assert hpa(Target(metric=metric, value=target)).desired(seen) == 4


def test_without_a_pod_that_reports_the_scale_stays(sight: MakeSight) -> None:
    assert hpa(Target(metric=PodMetric.QUEUE, value=5)).desired(sight(ready=0, starting=3, waiting_at_router=500)) == 3


def test_the_reference_policy_adds_two_in_two_minutes_after_one_and_keeps_them_five(sight: MakeSight) -> None:
    policy = Hpa(reference_policy(min_replicas=2, max_replicas=8))
    current, scales = 2, []
    for look in range(60):
        busy = look < 20
        current = policy.desired(
            sight(at_s=15.0 * look, ready=current, waiting=200 if busy else 0, gpu_utilization_ratio=0.7 * busy)
        )
        scales.append(current)
    assert scales == [2] * 4 + [4] * 8 + [6] * 27 + [2] * 21  # 60, 180 and, 300 s after the last busy look, 585 s
