"""Minutes that had no price when they were measured get the one that is known of them now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, func, select, update

from controller.facts.fleet import CapacityType
from controller.facts.money import MICROSECONDS_PER_HOUR
from controller.facts.prices import Price, Prices
from controller.ledger.accounts import bulk
from controller.ledger.accounts.hours import HOUR, hour_of, time_of
from controller.ledger.tables import ReplicaMinuteRow, table

PricesAt = Callable[[datetime], Prices]
"""What capacity cost at an hour's start."""

THEN = "the hours that were done stay so; run it again for the others"
KEY = ("minute", "service", "variant", "replica", "capacity_type")
RATES = {
    "cost_nanousd": "effective",
    "list_nanousd": "list_",
    "contracted_nanousd": "contracted",
    "billed_nanousd": "billed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """Seconds of replicas that got a price, and those that still have none."""

    priced_s: float = 0.0
    unpriced_s: float = 0.0

    def __add__(self, other: Filled) -> Filled:
        return Filled(priced_s=self.priced_s + other.priced_s, unpriced_s=self.unpriced_s + other.unpriced_s)


def hours_without_price(engine: Engine, start: datetime, end: datetime) -> list[int]:
    """Those from ``start`` to ``end`` of which some minute has no price."""
    minutes = table(ReplicaMinuteRow).c
    there = (minutes.minute >= start, minutes.minute < end, minutes.unpriced_s > 0)
    with bulk.writing(engine, "look for minutes without a price", THEN) as connection:
        found = connection.scalars(select(minutes.minute).where(*there).distinct())
        return sorted({hour_of(minute) for minute in found})


def fill(engine: Engine, hour: int, prices: Prices) -> Filled:
    """Add to the minutes of ``hour`` what their time without a price costs by ``prices``, in one transaction."""
    minutes, start = table(ReplicaMinuteRow).c, time_of(hour)
    there = (minutes.minute >= start, minutes.minute < start + HOUR, minutes.unpriced_s > 0)
    with bulk.writing(engine, "price an hour", THEN) as connection:
        rows = connection.execute(select(*(minutes[name] for name in (*KEY, "gpus", "unpriced_s"))).where(*there))
        done = [_filled(connection, row, prices) for row in rows.mappings().all()]
    return sum(done, Filled())


def _filled(connection: Connection, row: RowMapping, prices: Prices) -> Filled:
    price = prices.get((row["service"], row["variant"], CapacityType(row["capacity_type"])))
    if not isinstance(price, Price):
        return Filled(unpriced_s=row["unpriced_s"])
    minutes = table(ReplicaMinuteRow)
    mine = [minutes.c[name] == row[name] for name in KEY]
    # Added to what is there: a pass may add to the newest minute at the same time.
    values: dict[str, Any] = {
        name: func.coalesce(minutes.c[name], 0) + cost for name, cost in _costs(price, row["gpus"], row["unpriced_s"])
    }
    connection.execute(
        update(minutes).where(*mine).values(**values, unpriced_s=minutes.c.unpriced_s - row["unpriced_s"])
    )
    return Filled(priced_s=row["unpriced_s"])


def _costs(price: Price, gpus: int, seconds: float) -> Iterator[tuple[str, int]]:
    """Those that are known."""
    rates, length_us = price.rates(gpus), round(seconds * 1e6)
    for column, name in RATES.items():
        rate = getattr(rates, name)
        if rate is not None:
            yield column, rate * length_us // MICROSECONDS_PER_HOUR
