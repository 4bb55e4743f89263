from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from controller.catalog.load import load_models
from controller.errors import PriceError
from controller.facts.fleet import Capacity, CapacityType, Fleet, Service, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price
from controller.prices.book import PriceBook
from controller.prices.overrides import Overrides
from controller.prices.resolve import resolve
from tests.prices.variants import variant

NOW = datetime(2026, 8, 1, tzinfo=UTC)
HEADER = "provider,region,instance_type,gpu_model,gpu_count,on_demand_usd_per_hour,spot_usd_per_hour,as_of"
P5 = "aws/us-east-1/p5.48xlarge"
BOOK = PriceBook.shipped()


def offer(kind: CapacityType, name: str | None = P5, usd: float | None = None) -> Capacity:
    return Capacity(type=kind, offer=name, usd_per_gpu_hour=usd)


def resolved(*capacity: Capacity) -> dict[CapacityType, Price | Missing]:
    chat = Service(name="chat", model=load_models()["llama-3.1-8b"], variants={"h100": variant(*capacity)})
    prices = resolve(Fleet(services={"chat": chat}), [Overrides(), BOOK], NOW)
    return {key[2]: price for key, price in prices.items()}


@pytest.mark.parametrize(("kind", "usd"), [(CapacityType.ON_DEMAND, 55.04 / 8), (CapacityType.SPOT, 21.1543 / 8)])
def test_an_instance_price_is_shared_by_its_gpus(kind: CapacityType, usd: float) -> None:
    price = BOOK.price(offer(kind), variant(), NOW)
    assert isinstance(price, Price)
    assert price.usd_per_gpu_hour == pytest.approx(usd)
    assert P5 in price.source
    assert "unknown date" in price.source


def test_the_book_has_every_row_once_and_no_price_of_zero() -> None:
    assert len(BOOK.offers) == 418
    assert all(usd > 0 for one in BOOK.offers.values() for usd in one.usd_per_gpu_hour.values())


@pytest.mark.parametrize("cell", ["", "0", "0.00"])
def test_an_empty_or_zero_price_is_unknown(cell: str) -> None:
    book = PriceBook.from_lines([HEADER, f"x,y,z,H100,8,{cell},,2026-07-20"])
    price = book.price(offer(CapacityType.ON_DEMAND, "x/y/z"), variant(), NOW)
    assert isinstance(price, Missing)
    assert "no on_demand list price" in price.why


@pytest.mark.parametrize(
    ("now", "said"),
    [(datetime(2026, 8, 1, tzinfo=UTC), "as of 2026-07-20"), (datetime(2026, 12, 1, tzinfo=UTC), "134 days old")],
)
def test_an_old_price_still_serves_and_says_its_age(now: datetime, said: str) -> None:
    price = BOOK.price(offer(CapacityType.ON_DEMAND, "aws/us-east-1/p5.4xlarge"), variant(), now)
    assert isinstance(price, Price)
    assert price.source.endswith(said)
    assert price.as_of == date(2026, 7, 20)


@pytest.mark.parametrize(
    ("capacity", "why"),
    [
        (offer(CapacityType.ON_DEMAND, "aws/us-east-1/p5.48xlrge"), f"did you mean {P5}"),
        (offer(CapacityType.ON_DEMAND, "#"), "no offer '#'"),
        (offer(CapacityType.ON_DEMAND, None), "names no offer"),
        (offer(CapacityType.RESERVED), "no reserved list price; set usd_per_gpu_hour"),
        (offer(CapacityType.ON_DEMAND, "aws/us-east-1/g6.16xlarge"), "has L4 GPUs, the variant runs on H100-SXM"),
    ],
)
def test_the_book_says_why_it_does_not_know(capacity: Capacity, why: str) -> None:
    price = BOOK.price(capacity, variant(), NOW)
    assert isinstance(price, Missing)
    assert why in price.why


def test_the_users_own_price_wins_and_says_so() -> None:
    price = resolved(offer(CapacityType.ON_DEMAND, usd=1.5))[CapacityType.ON_DEMAND]
    assert isinstance(price, Price)
    assert price.usd_per_gpu_hour == 1.5
    assert price.source.startswith("fleet file")


def test_a_missing_price_lists_what_every_source_said() -> None:
    price = resolved(offer(CapacityType.RESERVED))[CapacityType.RESERVED]
    assert isinstance(price, Missing)
    assert "fleet file: no usd_per_gpu_hour" in price.why
    assert "price book: " in price.why


def test_of_two_entries_of_a_type_the_first_with_a_price_counts() -> None:
    kind = CapacityType.ON_DEMAND
    price = resolved(offer(kind, None), offer(kind, usd=2.0), offer(kind, usd=9.0))[kind]
    assert isinstance(price, Price)
    assert price.usd_per_gpu_hour == 2.0


def test_a_source_that_fails_is_one_that_does_not_know() -> None:
    class Broken:
        name = "broken"

        def price(self, capacity: Capacity, variant: Variant, now: datetime) -> Price | Missing:
            raise PriceError("it answered 503")

    chat = Service(
        name="chat", model=load_models()["llama-3.1-8b"], variants={"h100": variant(offer(CapacityType.SPOT))}
    )
    fleet = Fleet(services={"chat": chat})
    (alone,) = resolve(fleet, [Broken()], NOW).values()
    (backed,) = resolve(fleet, [Broken(), BOOK], NOW).values()
    assert isinstance(alone, Missing)
    assert "broken: it answered 503" in alone.why
    assert isinstance(backed, Price)
    (nobody,) = resolve(fleet, [], NOW).values()
    assert isinstance(nobody, Missing)
