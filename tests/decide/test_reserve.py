"""What of the demand is worth being ready for."""

from __future__ import annotations

from math import ceil, inf, isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.reserve import SHARES, at_quantile, share_of, worth_carrying

EACH = 5.0
SPREAD = {0.5: 1.0, 0.7: 1.1, 0.8: 1.2, 0.9: 1.35, 0.95: 1.5, 0.99: 2.0}
"""The middle's multiples: as uncertain at any time of the day."""

spreads = st.lists(st.floats(1.0, 4.0), min_size=5, max_size=5).map(
    lambda found: dict(zip(SPREAD, [1.0, *sorted(found)], strict=True))
)


def may_come(middle: float, spread: dict[float, float] = SPREAD) -> dict[float, float]:
    return {probability: middle * times for probability, times in spread.items()}


def replicas(quantiles: dict[float, float], usual: float = 20.0, quantile: float = 0.95, each: float = EACH) -> int:
    return ceil(round(worth_carrying(quantiles, each, usual, quantile) / each, 9))


@pytest.mark.parametrize(("demand", "count"), [(0.1, 1), (5.0, 1), (5.1, 2), (20.0, 4), (21.0, 5)])
def test_what_is_certain_is_carried_by_as_many_as_it_takes(demand: float, count: int) -> None:
    assert replicas(dict.fromkeys(SPREAD, demand)) == count


def test_the_more_uncertain_demand_is_the_smaller_a_share_of_it_is_prepared_for() -> None:
    calm, wild = may_come(60.0, {0.5: 1.0, 0.9: 1.1, 0.99: 1.2}), may_come(60.0, {0.5: 1.0, 0.9: 2.0, 0.99: 4.0})
    prepared = [share_of(one, worth_carrying(one, EACH, 60.0, 0.95)) for one in (calm, wild)]
    assert prepared[0] > prepared[1]
    assert prepared[0] >= 0.95


def test_a_peak_that_too_few_replicas_would_carry_is_not_half_prepared_for() -> None:
    # One chance in ten of 60 requests/s: two replicas more would serve nobody better, eight would.
    rare = {0.5: 20.0, 0.89: 20.0, 0.91: 60.0, 0.99: 60.0}
    assert replicas(rare) in (4, 12)
    assert replicas(rare, quantile=0.6) == 4
    assert replicas(rare, quantile=0.99) == 12


def test_a_night_with_hardly_any_request_is_still_served_by_more_than_its_middle() -> None:
    quiet = may_come(0.45 * EACH, {**SPREAD, 0.7: 1.5, 0.8: 3.0})
    assert replicas(quiet, usual=2000.0) >= 1
    assert replicas(may_come(6 * EACH), usual=1e6) >= 6


@given(spread=spreads, middle=st.floats(0.1, 200.0), usual=st.floats(0.1, 200.0), quantile=st.floats(0.5, 0.99))
def test_it_is_the_cheapest_of_all_counts(
    spread: dict[float, float], middle: float, usual: float, quantile: float
) -> None:
    quantiles = may_come(middle, spread)
    stake = (1 - quantile) * min(usual, 4 * middle)

    def cost(count: int) -> float:
        demands = [at_quantile(quantiles, share) for share in SHARES]
        return count * stake + sum(one for one in demands if one > count * EACH * (1 + 1e-9)) / 100

    chosen = replicas(quantiles, usual, quantile)
    enough = range(max(1, ceil(round(middle / EACH, 9))), ceil(4 * middle / EACH) + 3)
    assert cost(chosen) <= min(map(cost, enough)) + 1e-6


@given(spread=spreads, middle=st.floats(0.1, 200.0), pair=st.tuples(st.floats(0.5, 0.999), st.floats(0.5, 0.999)))
def test_a_higher_quantile_never_asks_for_fewer(
    spread: dict[float, float], middle: float, pair: tuple[float, float]
) -> None:
    low, high = sorted(pair)
    quantiles = may_come(middle, spread)
    assert replicas(quantiles, quantile=low) <= replicas(quantiles, quantile=high)


def test_the_surest_quantiles_prepare_for_more_than_is_known_as_far_as_the_tail_falls() -> None:
    rare = {0.5: 100.0, 0.95: 100.0, 0.99: 200.0}  # a fifth of the chance, 100 requests/s more: 343 at P99.9
    found = [worth_carrying(rare, 10.0, 100.0, quantile) for quantile in (0.99, 0.995, 0.999)]
    assert found == pytest.approx([100.0, 200.0, 320.0], abs=1.0)


@given(spread=spreads, middle=st.floats(0.0, 200.0), usual=st.floats(0.0, 200.0))
def test_never_less_than_the_middle_nor_more_than_what_may_come(
    spread: dict[float, float], middle: float, usual: float
) -> None:
    quantiles = may_come(middle, spread)
    needed = worth_carrying(quantiles, EACH, usual, 0.95)
    assert middle <= needed <= max(middle, quantiles[0.99] + EACH)


@pytest.mark.parametrize("value", [nan, inf])
def test_what_is_no_number_stays_none(value: float) -> None:
    found = worth_carrying({0.5: 1.0, 0.99: value}, EACH, 20.0, 0.95)
    assert isnan(found) or found == inf


@pytest.mark.parametrize(("demand", "share"), [(0.0, 0.5), (10.0, 0.5), (15.0, 0.95), (30.0, 1.0)])
def test_the_share_of_what_may_come_that_is_carried(demand: float, share: float) -> None:
    assert share_of(may_come(10.0), demand) == pytest.approx(share, abs=0.015)
