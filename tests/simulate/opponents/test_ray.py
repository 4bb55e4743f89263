"""Ray Serve's rule, by https://docs.ray.io/en/latest/serve/advanced-guides/advanced-autoscaling.html"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.simulate.opponents.ray import Ray, RaySettings
from controller.simulate.sight import Sight

MakeSight = Callable[..., Sight]


def run(ray: Ray, looks: list[Sight]) -> list[int]:
    return [ray.desired(one) for one in looks]


def test_ongoing_requests_over_the_target_after_thirty_seconds(sight: MakeSight) -> None:
    ray = Ray(RaySettings(max_replicas=10))
    scales = run(ray, [sight(at_s=10.0 * look, ready=2, running=3, waiting=2) for look in range(5)])
    assert scales == [2, 2, 2, 5, 5]  # 10 / 2


def test_a_look_back_of_thirty_seconds_averages_three_metrics(sight: MakeSight) -> None:
    ray = Ray(RaySettings(max_replicas=100, up_delay_s=0, target_ongoing_requests=1))
    looks = [sight(at_s=10.0 * look, ready=1, running=running) for look, running in enumerate((3, 6, 9, 9))]
    assert run(ray, looks) == [3, 5, 6, 8]


def test_the_way_down_takes_ten_minutes_in_a_row(sight: MakeSight) -> None:
    ray = Ray(RaySettings(max_replicas=10))
    scales = run(ray, [sight(at_s=10.0 * look, ready=5, running=1) for look in range(62)])
    assert scales.index(3) * 10 == 600
    assert set(scales[:60]) == {5}


@pytest.mark.parametrize(
    ("factor", "running", "expected"),
    [(1.0, 10, 10), (0.5, 10, 6), (2.0, 10, 18)],
)
def test_the_factor_scales_the_change(sight: MakeSight, factor: float, running: int, expected: int) -> None:
    ray = Ray(RaySettings(max_replicas=40, up_delay_s=0, up_factor=factor))
    assert ray.desired(sight(ready=2, running=running)) == expected  # 20 / 2 = 10, from 2


def test_a_damped_shrink_takes_one_at_least(sight: MakeSight) -> None:
    ray = Ray(RaySettings(max_replicas=40, down_delay_s=0, down_factor=0.1))
    assert ray.desired(sight(ready=5, running=1)) == 4  # 5 - 0.1 x 2.5 rounds up to 5


def test_zero_comes_only_from_one(sight: MakeSight) -> None:
    ray = Ray(RaySettings(min_replicas=0, max_replicas=10, down_delay_s=0))
    assert ray.desired(sight(at_s=0.0, ready=3)) == 1
    assert ray.desired(sight(at_s=10.0, ready=1)) == 0


def test_from_zero_a_request_starts_one_at_once(sight: MakeSight) -> None:
    ray = Ray(RaySettings(min_replicas=0, max_replicas=10))
    assert ray.desired(sight(ready=0)) == 0
    assert ray.desired(sight(at_s=10.0, ready=0, waiting_at_router=9)) == 1
