"""Spot markets drawn from figures."""

import numpy as np
import pytest

from controller.simulate.spot import AWS_ZONES, NOTICE_S, SpotMarket, SpotZone, correlation


def twins(count: int, region: str = "r") -> tuple[SpotZone, ...]:
    return tuple(
        SpotZone(name=f"{region}{number}", region=region, mean_up_s=7200, mean_down_s=3600) for number in range(count)
    )


def states(market: SpotMarket, zone: str, step_s: float) -> np.ndarray:
    """1 where the zone is up: an odd number of edges lies before."""
    at_s = np.arange(market.start_s, market.end_s, step_s)
    return np.searchsorted(market.up[zone].ravel(), at_s, side="right") % 2


def test_each_zone_has_its_own_availability_and_runs():
    market = SpotMarket.drawn(seed=1, hours=24 * 2000)
    for zone in AWS_ZONES:
        runs = market.up[zone.name]
        assert market.availability_ratio(zone.name) == pytest.approx(zone.availability_ratio, abs=0.02)
        assert np.diff(runs, axis=1).mean() == pytest.approx(zone.mean_up_s, rel=0.08)


def test_up_runs_are_in_order_apart_and_inside_the_market():
    market = SpotMarket.drawn(seed=3, hours=500, start_s=1000.0)
    for runs in market.up.values():
        flat = runs.ravel()
        assert np.all(np.diff(flat) > 0)
        assert flat[0] >= 1000.0
        assert flat[-1] <= market.end_s


def found_correlation(market: SpotMarket) -> np.ndarray:
    return np.corrcoef([states(market, zone, 1800.0) for zone in market.zones])


@pytest.mark.parametrize(("same", "other"), [(0.75, 0.41), (1.0, 0.0), (0.0, 0.0), (0.5, 0.5)])
def test_zones_go_together_as_the_formula_says(same, other):
    slow = SpotZone(name="slow", region="east", mean_up_s=14_400, mean_down_s=1800)
    zones = (*twins(1, "east"), slow, *twins(1, "west"))
    market = SpotMarket.drawn(seed=2, hours=24 * 1500, zones=zones, same_region_shared=same, other_region_shared=other)
    found = found_correlation(market)
    assert found[0, 1] == pytest.approx(correlation(zones[0], zones[1], same), abs=0.03)
    assert found[0, 2] == pytest.approx(correlation(zones[0], zones[2], other), abs=0.03)
    assert found[1, 2] == pytest.approx(correlation(zones[1], zones[2], other), abs=0.03)


def test_twins_that_share_everything_are_one():
    one, other = twins(2)
    assert correlation(one, other, 1.0) == pytest.approx(1)
    assert correlation(one, other, 0.0) == 0


def test_the_usual_market_is_as_correlated_and_as_safe_as_the_one_it_was_fitted_to():
    market = SpotMarket.drawn(seed=1, hours=24 * 600)
    found = found_correlation(market)
    regions = [zone.region for zone in AWS_ZONES]
    pairs = [(a, b) for a in range(len(regions)) for b in range(a)]
    assert np.mean([found[a, b] for a, b in pairs if regions[a] == regions[b]]) == pytest.approx(0.43, abs=0.03)
    assert np.mean([found[a, b] for a, b in pairs if regions[a] != regions[b]]) == pytest.approx(0.14, abs=0.03)
    up = np.array([states(market, zone, 1800.0) for zone in market.zones])
    assert np.mean(up.any(axis=0)) == pytest.approx(0.992, abs=0.012)


def test_the_same_seed_gives_the_same_market_and_another_another():
    one, same, other = (SpotMarket.drawn(seed=seed, hours=100) for seed in (1, 1, 2))
    assert all(np.array_equal(one.up[zone], same.up[zone]) for zone in one.zones)
    assert any(not np.array_equal(one.up[zone], other.up[zone]) for zone in one.zones)


def test_a_zone_does_not_change_when_a_slower_one_joins():
    alone = SpotMarket.drawn(seed=1, hours=200, zones=twins(2))
    slow = SpotZone(name="slow", region="r", mean_up_s=90_000, mean_down_s=90_000)
    joined = SpotMarket.drawn(seed=1, hours=200, zones=(*twins(2), slow))
    assert all(np.array_equal(alone.up[zone], joined.up[zone]) for zone in alone.zones)


def test_interruptions_are_the_ends_of_up_runs():
    market = SpotMarket(start_s=0, end_s=100, up={"a": np.array([[0.0, 10.0], [30.0, 100.0]])}, notice_s=30)
    assert market.available("a", 0)
    assert market.available("a", 9.9)
    assert not market.available("a", 10)
    assert not market.available("a", 29)
    assert market.interruptions("a").tolist() == [10]
    assert market.interruption_after("a", 5) == 10
    assert market.interruption_after("a", 10) is None
    assert market.availability_ratio("a") == 0.8


def test_a_market_without_any_up_run_is_never_available():
    market = SpotMarket(start_s=0, end_s=100, up={"a": np.empty((0, 2))}, notice_s=30)
    assert not market.available("a", 50)
    assert market.interruption_after("a", 0) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"same_region_shared": 0.1, "other_region_shared": 0.2},
        {"same_region_shared": 1.1},
        {"zones": (*twins(1), *twins(1))},
    ],
)
def test_a_market_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"shocks|name"):
        SpotMarket.drawn(seed=1, hours=1, **wrong)


def test_every_provider_says_how_long_its_notice_is():
    assert NOTICE_S == {"aws": 120, "gcp": 30, "azure": 30}
