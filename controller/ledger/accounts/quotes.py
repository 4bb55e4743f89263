"""Prices that were asked for, and what capacity was accounted at: both with their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, func, select

from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.prices import Price, PriceKey, Prices, Quote
from controller.ledger.accounts.billed_tables import PriceAppliedRow, PriceQuoteRow
from controller.ledger.accounts.hours import date_of, day_of
from controller.ledger.accounts.store import Store
from controller.ledger.tables import table
from controller.ledger.upsert import replaced, upsert


class QuoteBooks(Store):
    """``prices.quotes.QuoteStore`` on a ledger, so that a restart knows what was answered before it."""

    def keep(self, quotes: Sequence[Quote]) -> None:
        """A quote that is there already is as fresh as its last answer."""
        rows = [asdict(quote) | {"capacity_type": quote.capacity_type.value} for quote in quotes]
        merge = dict.fromkeys(("currency", "nano_per_hour", "gpus", "fetched_at", "source"), replaced)
        newest = {_key(row): row for row in sorted(rows, key=lambda row: row["fetched_at"])}
        with self._writing("keep prices", "they are asked for again") as connection:
            upsert(connection, PriceQuoteRow, [newest[key] for key in sorted(newest)], merge)

    def kept(self, offer: str, capacity_type: CapacityType, since: datetime) -> Sequence[Quote]:
        """Those that held after ``since``, by zone and time: of each zone the last one before it is among them."""
        quotes = table(PriceQuoteRow)
        mine = (quotes.c.offer == offer) & (quotes.c.capacity_type == capacity_type.value)
        last = (
            select(quotes.c.zone, func.max(quotes.c.effective_at).label("at"))
            .where(mine, quotes.c.effective_at <= since)
            .group_by(quotes.c.zone)
            .subquery()
        )
        query = (
            select(quotes)
            .outerjoin(last, quotes.c.zone == last.c.zone)
            .where(mine, (last.c.at.is_(None)) | (quotes.c.effective_at >= last.c.at))
            .order_by(quotes.c.zone, quotes.c.effective_at)
        )
        with self._reading("read prices") as connection:
            rows = connection.execute(query).mappings().all()
        return [Quote(**{**row, "capacity_type": CapacityType(row["capacity_type"])}) for row in rows]

    def applied(self, prices: Prices, now: datetime) -> int:
        """Appends the prices that are not what they were, per GPU-hour; how many."""
        with self._writing("keep prices", "the next pass keeps them") as connection:
            known = _latest(connection)
            rows = [
                {**_names(key), "since": now, **values}
                for key, price in sorted(prices.items())
                if known.get(key) != (values := _values(price))
            ]
            upsert(connection, PriceAppliedRow, rows, dict.fromkeys(VALUES, replaced))
        return len(rows)


VALUES = (
    *("list_nanousd", "contracted_nanousd", "effective_nanousd", "billed_nanousd"),
    *("currency", "source", "as_of_day", "why_missing"),
)
"""Of ``PriceAppliedRow``; per GPU-hour."""


def price_dates(connection: Connection, end: datetime) -> dict[PriceKey, date]:
    """By (service, variant, capacity type) the date of the price that held last before ``end``, where it has one."""
    found = {}
    for key, values in _latest(connection, end).items():
        if values["as_of_day"] is not None:
            found[key] = date_of(values["as_of_day"])
    return found


def forget_quotes(connection: Connection, before: datetime) -> int:
    """Of each offer and zone, the last before then is kept: it held on. How many went."""
    quotes = table(PriceQuoteRow)
    later = quotes.alias()
    same = and_(*(quotes.c[name] == later.c[name] for name in ("offer", "capacity_type", "zone")))
    replaced = exists().where(same, later.c.effective_at > quotes.c.effective_at, later.c.effective_at < before)
    return connection.execute(delete(quotes).where(quotes.c.effective_at < before, replaced)).rowcount


def _latest(connection: Connection, before: datetime | None = None) -> dict[PriceKey, Mapping[str, Any]]:
    prices = table(PriceAppliedRow)
    key = (prices.c.service, prices.c.variant, prices.c.capacity_type)
    newest = select(*key, func.max(prices.c.since).label("since")).group_by(*key)
    last = (newest if before is None else newest.where(prices.c.since < before)).subquery()
    same = and_(*(prices.c[name] == last.c[name] for name in ("service", "variant", "capacity_type", "since")))
    rows = connection.execute(select(prices).join(last, same)).mappings()
    return {
        (row["service"], row["variant"], CapacityType(row["capacity_type"])): {name: row[name] for name in VALUES}
        for row in rows
    }


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["offer"], row["capacity_type"], row["zone"], row["effective_at"]


def _names(key: PriceKey) -> dict[str, str]:
    return dict(zip(("service", "variant", "capacity_type"), map(str, key), strict=True))


def _values(price: Price | Missing) -> dict[str, Any]:
    if isinstance(price, Missing):
        unknown = {**dict.fromkeys(VALUES[:4]), "currency": "", "source": "", "as_of_day": None}
        return {**unknown, "why_missing": price.why}
    rates = price.rates(1)
    return {
        "list_nanousd": rates.list_,
        "contracted_nanousd": rates.contracted,
        "effective_nanousd": rates.effective,
        "billed_nanousd": rates.billed,
        "currency": price.currency,
        "source": price.source,
        "as_of_day": None if price.as_of is None else day_of(price.as_of),
        "why_missing": "",
    }
