from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.catalog.load import load_models
from controller.errors import PriceError
from controller.facts.fleet import Capacity, CapacityType, Fleet, Service
from controller.facts.missing import Missing
from controller.facts.prices import Price, Quote
from controller.prices.book import PriceBook
from controller.prices.listed import listed
from controller.prices.overrides import Overrides
from controller.prices.quotes import Quotes, QuoteStore
from controller.prices.resolve import resolve
from tests.prices.variants import variant

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
P5 = "aws/us-east-1/p5.48xlarge"
BOOK = PriceBook.shipped()
SPOT = CapacityType.SPOT


class Market:
    """Somebody to ask: a list of quotes, or what is wrong."""

    name = "market"

    def __init__(self, kind: CapacityType = SPOT) -> None:
        self.capacity_type = kind
        self.answers: list[Quote] = []
        self.broken = ""
        self.asked: list[tuple[str, datetime, datetime]] = []

    def says(self, usd: float, at: datetime, zone: str = "", **more: Any) -> None:
        base: dict[str, Any] = {"offer": P5, "currency": "USD", "gpus": 8}
        self.answers.append(
            Quote(
                capacity_type=self.capacity_type,
                zone=zone,
                effective_at=at,
                nano_per_hour=round(usd * 1e9),
                fetched_at=at,
                source=self.name,
                **(base | more),
            )
        )

    def fetch(self, offer: str, since: datetime, now: datetime) -> Sequence[Quote]:
        from dataclasses import replace

        self.asked.append((offer, since, now))
        if self.broken:
            raise PriceError(self.broken)
        return [replace(one, fetched_at=now) for one in self.answers if one.offer == offer]


def priced(quotes: Quotes, now: datetime, offer: str | None = P5, kind: CapacityType = SPOT) -> Price | Missing:
    return quotes.price(Capacity(type=kind, offer=offer), variant(), now)


@pytest.fixture
def market() -> Market:
    return Market()


@pytest.fixture
def quotes(market: Market, shelf: QuoteStore) -> Quotes:
    return Quotes(quoter=market, store=shelf, offers=BOOK.offers)


def test_a_pass_asks_nobody(market: Market, quotes: Quotes) -> None:
    missing = priced(quotes, NOW)
    assert isinstance(missing, Missing)
    assert missing.why == f"no quote of {P5} yet; it is asked for outside the passes"
    assert market.asked == []


def test_an_instance_price_is_shared_by_its_gpus_and_says_since_when(market: Market, quotes: Quotes) -> None:
    market.says(20.0, NOW - timedelta(hours=3))
    assert quotes.refresh([P5], NOW) == {}
    price = priced(quotes, NOW)
    assert isinstance(price, Price)
    assert price.usd_per_gpu_hour == pytest.approx(2.5)
    assert price.valid_from == NOW - timedelta(hours=3)
    assert price.fetched_at == NOW
    assert price.source == f"market: {P5}, since 2026-11-21 09:00"
    assert quotes.age_s(P5, NOW + timedelta(minutes=1)) == 60


def test_an_answer_is_asked_for_again_only_when_it_is_old(market: Market, quotes: Quotes) -> None:
    market.says(20.0, NOW - timedelta(hours=3))
    for minutes in (0, 5, 9, 10, 12):
        quotes.refresh([P5, P5], NOW + timedelta(minutes=minutes))
    assert [now - NOW for _, _, now in market.asked] == [timedelta(0), timedelta(minutes=10)]
    assert market.asked[1][1] == NOW  # from the last answer on


def test_a_price_that_has_not_changed_for_weeks_is_as_fresh_as_its_last_answer(market: Market, quotes: Quotes) -> None:
    market.says(20.0, NOW - timedelta(days=40))
    quotes.refresh([P5], NOW)
    assert isinstance(priced(quotes, NOW + timedelta(minutes=59)), Price)


def test_a_stale_price_is_unknown_and_says_what_went_wrong(market: Market, quotes: Quotes) -> None:
    market.says(20.0, NOW)
    quotes.refresh([P5], NOW)
    market.broken = "AWS answered: RequestLimitExceeded"
    assert quotes.refresh([P5], NOW + timedelta(hours=3)) == {P5: market.broken}
    missing = priced(quotes, NOW + timedelta(hours=3))
    assert isinstance(missing, Missing)
    assert missing.why == (
        f"the last quote of {P5} is 3 h old, more than the 60 min it is good for; AWS answered: RequestLimitExceeded"
    )
    market.broken = ""
    assert quotes.refresh([P5], NOW + timedelta(hours=3)) == {}
    assert isinstance(priced(quotes, NOW + timedelta(hours=3)), Price)


def test_quotes_outlive_the_process(market: Market, quotes: Quotes, shelf: QuoteStore) -> None:
    market.says(20.0, NOW - timedelta(days=9))
    market.says(24.0, NOW - timedelta(hours=1))
    quotes.refresh([P5], NOW)
    anew = Quotes(quoter=Market(), store=shelf, offers=BOOK.offers)
    price = priced(anew, NOW + timedelta(minutes=5))
    assert isinstance(price, Price)
    assert price.usd_per_gpu_hour == pytest.approx(3.0)
    assert len(shelf.kept(P5, SPOT, NOW - timedelta(days=8))) == 2


def test_a_known_zone_has_its_own_price(market: Market, shelf: QuoteStore) -> None:
    for zone, usd in (("us-east-1a", 16.0), ("us-east-1b", 48.0)):
        market.says(usd, NOW - timedelta(hours=5), zone)
    market.says(24.0, NOW + timedelta(minutes=5), "us-east-1a")
    quotes = Quotes(quoter=market, store=shelf, offers=BOOK.offers, zone_of=lambda one: "us-east-1a")
    quotes.refresh([P5], NOW)
    before, after = (priced(quotes, NOW + timedelta(minutes=minutes)) for minutes in (0, 6))
    assert isinstance(before, Price)
    assert isinstance(after, Price)
    assert (before.usd_per_gpu_hour, after.usd_per_gpu_hour) == (2.0, 3.0)
    assert "us-east-1a" in before.source


def test_without_a_zone_the_median_over_zones_and_time_counts(market: Market, quotes: Quotes) -> None:
    for zone, usd in (("a", 16.0), ("b", 24.0), ("c", 80.0)):
        market.says(usd, NOW - timedelta(hours=5), zone)
    market.says(800.0, NOW - timedelta(minutes=5), "b")
    quotes.refresh([P5], NOW)
    price = priced(quotes, NOW)
    assert isinstance(price, Price)
    assert price.usd_per_gpu_hour == pytest.approx(3.0)
    assert "median of 3 zones" in price.source


def test_a_zone_that_is_named_no_more_has_no_price(market: Market, quotes: Quotes) -> None:
    market.says(16.0, NOW - timedelta(hours=5), "a")
    quotes.refresh([P5], NOW)
    market.answers.clear()
    market.says(80.0, NOW, "b")
    for hours in (1, 2):
        quotes.refresh([P5], NOW + timedelta(hours=hours))
    price = priced(quotes, NOW + timedelta(hours=2))
    assert isinstance(price, Price)
    assert price.usd_per_gpu_hour == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("capacity", "gpu", "why"),
    [
        (Capacity(type=CapacityType.ON_DEMAND, offer=P5), "H100-SXM", "sells spot capacity only"),
        (Capacity(type=SPOT), "H100-SXM", "names no offer"),
        (Capacity(type=SPOT, offer=P5), "L4", "has H100 GPUs, the variant runs on L4"),
    ],
)
def test_it_says_why_it_has_no_price(market: Market, quotes: Quotes, capacity: Capacity, gpu: str, why: str) -> None:
    market.says(20.0, NOW)
    quotes.refresh([P5], NOW)
    missing = quotes.price(capacity, variant(gpu=gpu), NOW)
    assert isinstance(missing, Missing)
    assert why in missing.why


def test_the_gpus_of_an_instance_come_from_the_answer_or_from_the_book(market: Market, shelf: QuoteStore) -> None:
    market.says(20.0, NOW, gpus=None)
    market.says(20.0, NOW, gpus=None, offer="aws/us-east-1/p9.huge")
    quotes = Quotes(quoter=market, store=shelf, offers=BOOK.offers)
    quotes.refresh([P5, "aws/us-east-1/p9.huge"], NOW)
    known, unknown = priced(quotes, NOW), priced(quotes, NOW, "aws/us-east-1/p9.huge")
    assert isinstance(known, Price)
    assert known.usd_per_gpu_hour == pytest.approx(2.5)
    assert isinstance(unknown, Missing)
    assert "how many GPUs" in unknown.why


def test_a_quote_in_another_currency_needs_its_rate(market: Market, shelf: QuoteStore) -> None:
    market.says(160.0, NOW, currency="CNY")
    poor, rich = (
        Quotes(quoter=market, store=shelf, offers=BOOK.offers, exchange=rates)
        for rates in ({}, {"CNY": [(NOW.date(), 0.14)]})
    )
    poor.refresh([P5], NOW)
    missing, price = priced(poor, NOW), priced(rich, NOW)
    assert isinstance(missing, Missing)
    assert "no rate of CNY" in missing.why
    assert isinstance(price, Price)
    assert price.usd_per_gpu_hour == pytest.approx(2.8)
    assert price.currency == "CNY"


def test_spot_and_reserved_capacity_have_the_list_price_of_their_offer() -> None:
    capacity = (Capacity(type=SPOT, offer=P5), Capacity(type=CapacityType.RESERVED, offer=P5, usd_per_gpu_hour=4.0))
    chat = Service(name="chat", model=load_models()["llama-3.1-8b"], variants={"h100": variant(*capacity)})
    fleet = Fleet(services={"chat": chat})
    sources = [Overrides(), BOOK]
    prices = listed(fleet, resolve(fleet, sources, NOW), sources, NOW)
    for kind in (SPOT, CapacityType.RESERVED):
        price = prices["chat", "h100", kind]
        assert isinstance(price, Price)
        assert price.rates(8).list_ == 55_040_000_000


def test_the_variants_own_on_demand_price_is_the_list_price_and_no_offer_means_none() -> None:
    with_own = variant(
        Capacity(type=SPOT, usd_per_gpu_hour=1.0), Capacity(type=CapacityType.ON_DEMAND, usd_per_gpu_hour=3.0)
    )
    without = variant(Capacity(type=SPOT, usd_per_gpu_hour=1.0))
    found = []
    for one in (with_own, without):
        chat = Service(name="chat", model=load_models()["llama-3.1-8b"], variants={"h100": one})
        fleet = Fleet(services={"chat": chat})
        price = listed(fleet, resolve(fleet, [Overrides()], NOW), [Overrides(), BOOK], NOW)["chat", "h100", SPOT]
        assert isinstance(price, Price)
        found.append(price.list_usd_per_gpu_hour)
    assert found == [3.0, None]
