from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.prices import FourCosts, FourRates, Price, Quote, usd_for_one

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
USD = 1_000_000_000


def price(kind: CapacityType, **more: float) -> Price:
    return Price(usd_per_gpu_hour=2.5, capacity_type=kind, source="test", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "rates"),
    [
        (price(CapacityType.ON_DEMAND), (5, 5, 5, 5)),
        (price(CapacityType.SPOT), (None, 5, 5, 5)),
        (price(CapacityType.SPOT, list_usd_per_gpu_hour=6.0), (12, 5, 5, 5)),
        (price(CapacityType.RESERVED), (None, 5, 5, 5)),
        (
            price(CapacityType.RESERVED, contracted_usd_per_gpu_hour=3.0, billed_usd_per_gpu_hour=0.0),
            (None, 6, 5, 0),
        ),
    ],
)
def test_four_rates_of_a_price_and_what_is_not_known_is_not_zero(
    known: Price, rates: tuple[int | None, int, int, int]
) -> None:
    found = known.rates(2)
    told = (found.list_, found.contracted, found.effective, found.billed)
    assert told == tuple(None if rate is None else rate * USD for rate in rates)


def test_four_rates_accrue_additively_and_unknown_stays_unknown() -> None:
    rates = FourRates(list_=None, contracted=7, effective=1_234_567_891, billed=0)
    middle = NOW + timedelta(seconds=17)
    halves = rates.accrued(NOW, middle) + rates.accrued(middle, NOW + timedelta(minutes=1))
    assert halves == rates.accrued(NOW, NOW + timedelta(minutes=1))
    assert halves.list_ is None


def test_a_sum_with_something_unknown_is_unknown() -> None:
    known = FourCosts(list_=1, contracted=2, effective=3, billed=4)
    assert known + FourCosts(list_=None, contracted=1, effective=1, billed=1) == FourCosts(
        list_=None, contracted=3, effective=4, billed=5
    )


@pytest.mark.parametrize("name", ["list_usd_per_gpu_hour", "contracted_usd_per_gpu_hour", "billed_usd_per_gpu_hour"])
def test_no_price_is_below_zero(name: str) -> None:
    with pytest.raises(ValueError, match=r"above zero|less than nothing"):
        price(CapacityType.SPOT, **{name: -1.0})


def test_a_quote_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 is unknown"):
        Quote(
            offer="aws/x/y",
            capacity_type=CapacityType.SPOT,
            zone="",
            effective_at=NOW,
            currency="USD",
            nano_per_hour=0,
            fetched_at=NOW,
            source="test",
        )


def test_a_currency_counts_at_the_last_rate_that_was_written_down() -> None:
    rates = {"EUR": [(date(2026, 1, 1), 1.09), (date(2026, 11, 1), 1.15), (date(2027, 1, 1), 2.0)]}
    assert usd_for_one("EUR", NOW, rates) == 1.15
    assert usd_for_one("USD", NOW, {}) == 1.0
    assert isinstance(usd_for_one("EUR", datetime(2025, 1, 1, tzinfo=UTC), rates), Missing)
    assert isinstance(usd_for_one("CNY", NOW, rates), Missing)
