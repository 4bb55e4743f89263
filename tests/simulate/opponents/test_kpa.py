"""Knative's arithmetic: https://knative.dev/docs/serving/autoscaling/kpa-specific/ and, for the example of a container
concurrency of 10, the comments of its config-autoscaler ConfigMap."""

from __future__ import annotations

from collections.abc import Callable

from controller.simulate.opponents.kpa import Kpa, KpaSettings
from controller.simulate.sight import Sight

MakeSight = Callable[..., Sight]


def run(kpa: Kpa, looks: list[Sight]) -> list[int]:
    return [kpa.desired(one) for one in looks]


def test_100_requests_on_containers_of_10_at_70_percent_need_15(sight: MakeSight) -> None:
    kpa = Kpa(KpaSettings(container_concurrency=10))
    assert run(kpa, [sight(at_s=2.0 * tick, ready=10, running=10) for tick in range(60)])[-1] == 15


def test_the_stable_window_averages_a_minute(sight: MakeSight) -> None:
    kpa = Kpa(KpaSettings(container_concurrency=10, utilization_ratio=1.0, min_replicas=1))
    scales = run(kpa, [sight(at_s=2.0 * tick, ready=8, running=5 if tick < 60 else 15) for tick in range(75)])
    assert scales[59] == 4  # 40 / 10
    assert scales[74] == 8  # half of the minute 40, half 120


def test_twice_what_is_ready_in_six_seconds_is_panic_and_nothing_shrinks_for_a_minute(sight: MakeSight) -> None:
    kpa = Kpa(KpaSettings(container_concurrency=10, utilization_ratio=1.0))
    calm = [sight(at_s=2.0 * tick, ready=1, running=5) for tick in range(40)]
    burst = [sight(at_s=80.0 + 2.0 * tick, ready=1, running=5, waiting_at_router=95) for tick in range(3)]
    after = [sight(at_s=86.0 + 2.0 * tick, ready=10, running=1) for tick in range(60)]
    assert set(run(kpa, calm)) == {1}
    assert run(kpa, burst) == [4, 7, 10]
    scales = run(kpa, after)
    panic_looks = scales.index(5)  # at most halved at a time
    assert set(scales[:panic_looks]) == {10}
    assert 29 <= panic_looks <= 34  # 60 s after the last look that asked for twice as much


def test_a_restart_keeps_what_it_finds_until_it_has_a_minute_of_data(sight: MakeSight) -> None:
    kpa = Kpa(KpaSettings(container_concurrency=10))
    scales = run(kpa, [sight(at_s=2.0 * tick, ready=8) for tick in range(40)])
    assert scales[:31] == [8] * 31
    assert scales[31] == 4


def test_zero_only_after_a_quiet_minute_and_the_grace_of_half_a_minute(sight: MakeSight) -> None:
    kpa = Kpa(KpaSettings(container_concurrency=10))
    scales = run(kpa, [sight(at_s=2.0 * tick, ready=1, running=1 if tick == 0 else 0) for tick in range(60)])
    assert scales.index(0) * 2 == 60 + 30


def test_a_scale_down_delay_keeps_the_highest(sight: MakeSight) -> None:
    kpa = Kpa(KpaSettings(container_concurrency=10, utilization_ratio=1.0, min_replicas=1, scale_down_delay_s=300))
    looks = [sight(at_s=2.0 * tick, ready=4, running=10 if tick == 0 else 0) for tick in range(240)]
    scales = run(kpa, looks)
    assert scales[150] == 4
    assert scales[-1] == 2  # at most halved
