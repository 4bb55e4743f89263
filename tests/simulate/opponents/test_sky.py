"""SkyServe's rule, by https://docs.skypilot.co/en/latest/serving/autoscaling.html: 2 to 10 replicas, 2.5 requests/s each."""

from __future__ import annotations

from collections.abc import Callable

from controller.simulate.opponents.sky import Sky, SkySettings
from controller.simulate.sight import Sight

MakeSight = Callable[..., Sight]
EXAMPLE = SkySettings(min_replicas=2, max_replicas=10, target_qps_per_replica=2.5)


def run(sky: Sky, sight: MakeSight, rates: list[float]) -> list[int]:
    return [
        sky.desired(sight(at_s=sky.sync_s * round_, ready=2, arrivals_per_s=rate)) for round_, rate in enumerate(rates)
    ]


def test_twelve_a_second_need_five_after_fifteen_rounds_above(sight: MakeSight) -> None:
    scales = run(Sky(EXAMPLE), sight, [12.0] * 20)
    assert scales[:14] == [2] * 14  # 300 s / 20 s
    assert scales[14:] == [5] * 6


def test_one_round_below_starts_the_delay_again(sight: MakeSight) -> None:
    scales = run(Sky(EXAMPLE), sight, [12.0] * 10 + [0.0] * 3 + [12.0] * 14)
    assert scales == [2] * 27


def test_the_way_down_takes_twenty_minutes_and_ends_at_the_minimum(sight: MakeSight) -> None:
    sky = Sky(EXAMPLE)
    run(sky, sight, [24.0] * 20)
    rounds = [sky.desired(sight(at_s=400.0 + 20.0 * index, ready=10)) for index in range(70)]
    assert rounds[0] == 10
    assert 59 <= rounds.index(2) <= 62


def test_a_minute_is_averaged_and_the_maximum_holds(sight: MakeSight) -> None:
    assert run(Sky(EXAMPLE), sight, [0.0, 0.0, 15.0] * 20)[-1] == 2  # a mean of 5/s
    assert run(Sky(EXAMPLE), sight, [1000.0] * 16)[-1] == 10


def test_from_zero_it_follows_at_once(sight: MakeSight) -> None:
    sky = Sky(SkySettings(min_replicas=0, max_replicas=10))
    assert sky.sync_s == 5
    assert sky.desired(sight(ready=0)) == 0
    assert sky.desired(sight(at_s=5.0, ready=0, arrivals_per_s=4.0)) == 1
