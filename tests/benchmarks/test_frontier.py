"""What a controller costs at equal attainment, and which values of its knob are run to know it."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.contest.frontier import Cost, Point, cost_at, frontier
from benchmarks.contest.sweep import sweep
from controller.facts.missing import Missing

# --- the frontier ----------------------------------------------------------------------------------------------------


def test_the_frontier_leaves_out_what_another_run_beats_in_both() -> None:
    cheap, beaten, dear = (
        Point(attainment=0.95, usd=80),
        Point(attainment=0.96, usd=120),
        Point(attainment=0.99, usd=100),
    )
    assert frontier([dear, beaten, cheap]) == (cheap, dear)


def test_a_cost_is_interpolated_over_the_logarithm_of_what_is_missed() -> None:
    points = [Point(attainment=0.9, usd=100), Point(attainment=0.999, usd=200)]
    found = cost_at(points, 0.99)
    assert isinstance(found, Cost)
    assert found.usd == pytest.approx(150)  # 0.01 is half way from 0.1 to 0.001


def test_a_controller_that_never_reaches_it_says_how_far_it_came() -> None:
    found = cost_at([Point(attainment=0.9, usd=10), Point(attainment=0.97, usd=20)], 0.99)
    assert isinstance(found, Missing)
    assert "97.00 % for $20.00" in found.why


def test_when_even_the_cheapest_run_is_better_its_bill_is_the_cost() -> None:
    found = cost_at([Point(attainment=0.995, usd=10), Point(attainment=0.999, usd=20)], 0.99)
    assert found == Cost(usd=10, below=None, above=Point(attainment=0.995, usd=10))


@given(
    st.lists(st.tuples(st.floats(0.5, 1.0), st.floats(1, 1000)), min_size=1, max_size=12),
    st.floats(0.5, 0.999),
    st.floats(0.5, 0.999),
)
def test_more_attainment_never_costs_less(runs: list[tuple[float, float]], one: float, other: float) -> None:
    points = [Point(attainment=attainment, usd=usd) for attainment, usd in runs]
    low, high = cost_at(points, min(one, other)), cost_at(points, max(one, other))
    if isinstance(low, Missing):
        assert isinstance(high, Missing)
    elif not isinstance(high, Missing):
        assert low.usd <= high.usd * (1 + 1e-9)


# --- the sweep -------------------------------------------------------------------------------------------------------


def swept(answer: Callable[[float], Point], budget: int, first: float = 0.5) -> list[Point]:
    points: list[Point] = []
    asking = sweep(budget, first)
    share = next(asking, None)
    while share is not None:
        assert 0 <= share <= 1
        points.append(answer(share))
        try:
            share = asking.send(points[-1])
        except StopIteration:
            break
    return points


@pytest.mark.parametrize("first", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("reach", [0.25, 0.5, 0.8])
def test_six_runs_price_99_percent_within_two_percent(first: float, reach: float) -> None:
    """A smooth knob: the share missed falls tenfold per fifth of the range, the bill doubles over it."""

    def answer(share: float) -> Point:
        return Point(attainment=1 - min(1.0, 0.01 * 10 ** ((reach - share) / 0.2)), usd=100 * exp(share * log(2)))

    points = swept(answer, 6, first)
    found = cost_at(points, 0.99)
    assert len(points) <= 6
    assert isinstance(found, Cost)
    assert found.usd == pytest.approx(answer(reach).usd, rel=0.02)


@pytest.mark.parametrize(("known", "next_is"), [(0.98, "dearer"), (0.995, "cheaper")])
def test_a_sweep_goes_on_from_a_run_that_is_known(known: float, next_is: str) -> None:
    share = next(sweep(3, 0.5, known=[(0.47, Point(attainment=known, usd=100))]))
    assert (share > 0.47) == (next_is == "dearer")


def test_a_knob_that_never_reaches_it_is_tried_to_its_end() -> None:
    points = swept(lambda share: Point(attainment=0.5 + 0.3 * share, usd=100 + share), 8)
    assert max(point.attainment for point in points) == pytest.approx(0.8)


def test_a_fleet_that_thrashes_on_the_cheap_side_is_still_searched() -> None:
    points = swept(
        lambda share: Point(attainment=0.7, usd=290) if share < 0.6 else Point(attainment=0.9999, usd=100 * share), 6
    )
    assert min(point.usd for point in points if point.attainment > 0.99) < 66
