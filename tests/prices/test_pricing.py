"""Contracts: a discount on a provider's list prices, from its day on."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from controller.facts.fleet import Capacity, CapacityType
from controller.facts.missing import Missing
from controller.facts.prices import Price
from controller.prices.overrides import Overrides
from controller.prices.pricing import Pricing

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
OFFER = "aws/us-east-1/p5.48xlarge"
AGREED = {"aws": ((None, 0.05), (date(2026, 1, 1), 0.12), (date(2027, 1, 1), 0.20))}


class Book:
    """Ten dollars for everything that has an offer."""

    name = "book"

    def price(self, capacity, variant, now):
        if capacity.offer is None or capacity.type is CapacityType.RESERVED:
            return Missing("price", "no offer")
        return Price(usd_per_gpu_hour=10.0, capacity_type=capacity.type, source="book")


@pytest.fixture
def priced(plan):
    """The price of one way of buying the small fleet's variant."""

    def price(capacity: Capacity, contracts=AGREED, now=NOON):
        service = plan.fleet.services["chat"]
        variant = replace(service.variants["h100"], capacity=(capacity,))
        fleet = replace(plan.fleet, services={"chat": replace(service, variants={"h100": variant})})
        found = Pricing(sources=[Overrides(), Book()], contracts=contracts).prices(fleet, now)
        return found["chat", "h100", capacity.type]

    return price


@pytest.mark.parametrize(
    ("day", "usd"), [(date(2025, 6, 1), 9.5), (date(2026, 1, 1), 8.8), (date(2026, 12, 31), 8.8), (date(2027, 2, 1), 8)]
)
def test_the_discount_of_the_day_is_taken_off_and_the_list_price_stays(priced, day, usd):
    now = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    price = priced(Capacity(type=CapacityType.ON_DEMAND, offer=OFFER), now=now)
    rates = price.rates(2)
    assert rates.list_ == 20_000_000_000
    assert (rates.contracted, rates.effective, rates.billed) == (int(usd * 2e9),) * 3
    assert "by contract" in price.source


@pytest.mark.parametrize(
    ("capacity", "usd"),
    [
        (Capacity(type=CapacityType.ON_DEMAND, offer=OFFER, usd_per_gpu_hour=7.0), 7.0),
        (Capacity(type=CapacityType.SPOT, offer=OFFER), 10.0),
        (Capacity(type=CapacityType.ON_DEMAND, offer="gcp/us-east1/a3"), 10.0),
    ],
    ids=["a price of one's own", "spot", "another provider"],
)
def test_no_other_price_changes(priced, capacity, usd):
    assert priced(capacity).usd_per_gpu_hour == usd


def test_a_price_of_ones_own_may_have_days(priced):
    own = Capacity(type=CapacityType.ON_DEMAND, dated_usd=((date(2026, 1, 1), 2.1), (date(2026, 11, 21), 1.9)))
    assert (priced(own).usd_per_gpu_hour, priced(own).as_of) == (1.9, date(2026, 11, 21))
    earlier = priced(own, now=datetime(2026, 3, 1, tzinfo=UTC))
    assert earlier.usd_per_gpu_hour == 2.1
    before = priced(own, now=datetime(2025, 3, 1, tzinfo=UTC))
    assert isinstance(before, Missing)
    assert "before 2026-01-01" in before.why
