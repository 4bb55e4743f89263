from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.attribute.commitments import applied
from controller.attribute.kpis import Uncovered, break_even, expiring, kpis, uncovered, worth_committing
from controller.facts.commitments import CommitmentHour
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from tests.attribute.held import G6, GPU_HOUR, P5, RI, START, USD, YEAR, instances, line, plan


def one_hour(commitment: str = "c", cost: int = 100, used: int = 60, on_demand: int | None = 150) -> CommitmentHour:
    return CommitmentHour(
        hour=START,
        commitment=commitment,
        kind=RI,
        amortised_nanousd=cost,
        used_nanousd=used,
        billed_nanousd=0,
        covered_on_demand_nanousd=on_demand,
        units=cost,
        used_units=used,
        used_gpu_us=used,
    )


def test_the_measures_of_commitments_are_those_of_finops() -> None:
    told = kpis([one_hour(), one_hour("d", 100, 100, 250)], Uncovered(list_nanousd=100, effective_nanousd=90))
    assert told.utilisation == pytest.approx(0.8)
    assert told.coverage == pytest.approx(400 / 500)
    assert told.effective_savings_rate == pytest.approx((500 - 200 - 90) / 500)
    assert (told.unused_nanousd, told.net_savings_nanousd) == (40, 200)


def test_a_measure_without_its_numbers_is_missing() -> None:
    told = kpis([one_hour(on_demand=None)], Uncovered())
    assert isinstance(told.coverage, Missing)
    assert isinstance(told.effective_savings_rate, Missing)
    assert isinstance(kpis([], Uncovered()).utilisation, Missing)
    assert isinstance(kpis([one_hour()], Uncovered(list_nanousd=None)).coverage, Missing)


def test_uncovered_is_what_is_on_demand_and_left_over() -> None:
    usage = [line(24 * GPU_HOUR), line(GPU_HOUR, capacity_type=CapacityType.SPOT)]
    left = uncovered(applied(START, usage, [instances()]).lines)
    assert left == Uncovered(list_nanousd=56 * USD, effective_nanousd=56 * USD)


def test_break_even_is_the_price_over_the_price_of_the_alternative() -> None:
    one = instances(upfront_nanousd=0, recurring_nanousd_per_hour=64 * USD)
    assert break_even(one, 8 * USD) == pytest.approx(0.5)
    assert break_even(plan(10, {P5: 4 * USD}), 8 * USD) == pytest.approx(0.5)
    assert isinstance(break_even(plan(10, {P5: 4 * USD, G6: USD}), 8 * USD), Missing)
    assert isinstance(break_even(one, 0), Missing)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.sampled_from([0.3, 0.55, 0.7, 0.95]))
def test_the_best_commitment_is_what_trying_every_size_finds(demand: list[int], ratio: float) -> None:
    def cost(size: int) -> float:
        return sum(size * ratio + max(0, used - size) for used in demand)

    assert cost(worth_committing(demand, ratio)) == pytest.approx(min(cost(size) for size in range(14)))


def test_commitments_that_end_soon_are_told_with_the_tightest_of_60_30_and_7_days() -> None:
    now = YEAR - timedelta(days=10)
    soon = instances(id="soon", end=now + timedelta(days=3))
    over = instances(id="over", end=now - timedelta(days=1))
    far = instances(id="far", end=now + timedelta(days=90))
    assert [(one.id, days) for one, days in expiring([instances(), soon, over, far], now)] == [
        ("soon", 7),
        ("two-p5", 30),
    ]
