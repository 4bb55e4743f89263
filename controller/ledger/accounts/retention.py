"""What is forgotten, and when: usage and minutes after weeks, hours and shifts after a year, days and weeks never."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, text

from controller.ledger.accounts import bulk, partitions
from controller.ledger.accounts.hours import DAY, WEEK, begin, hour_of
from controller.ledger.accounts.partitions import MINUTES, SEEN, Ranged
from controller.ledger.accounts.quotes import forget_quotes
from controller.ledger.accounts.rates import forget_rates
from controller.ledger.accounts.states import settled_through

AT_ONCE = 5_000
"""Rows deleted in one transaction, so that SQLite's one writer waits for less than about 0.1 s."""

FORGET = "forget old rows"
THEN = "the ledger grows until it can; nothing else is affected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """For how long.

    seen    digests of usage records: longer than a record may come late, or it could count twice
    usage   usage and costs by minute: as long as an hour can be worked out again, and minutes can be shown
    hours   lines by the hour and shift, what a token took, and prices that were asked for; older questions are answered
            by days and weeks, which are kept for ever
    money   hours of commitments, forecasts of spend, anomalies. Bills, what they changed, and closed months: for ever
    """

    seen: timedelta = timedelta(days=4)
    usage: timedelta = timedelta(days=35)
    hours: timedelta = timedelta(days=400)
    money: timedelta = timedelta(days=1100)


@dataclass(frozen=True, slots=True)
class _Old:
    """Rows of ``table`` whose ``column`` is below ``than``; ``key`` names one row. ``also`` narrows them."""

    table: str
    column: str
    than: int
    key: tuple[str, ...]
    also: str = ""


def prune(engine: Engine, now: datetime, keep: Keep = Keep()) -> int:
    """Forgets what is too old, in short transactions; how many rows went (of dropped partitions none are counted).

    Nothing goes that is not summed up: usage only of settled hours, hours only of whole weeks that are settled.
    """
    with bulk.writing(engine, FORGET, THEN) as connection:
        through = settled_through(connection)
    settled = -1 if through is None else through + 1
    seen, used = hour_of(now - keep.seen), min(hour_of(now - keep.usage), settled)
    hours = min(begin(hour_of(now - keep.hours), WEEK), begin(max(settled, 0), WEEK))
    with bulk.writing(engine, FORGET, THEN) as connection:
        gone = forget_rates(connection, now - keep.hours) + forget_quotes(connection, now - keep.hours)
    if engine.dialect.name == "postgresql":
        _drop(engine, MINUTES, used * 60)
        _drop(engine, SEEN, seen)
    else:
        gone += _delete(engine, _Old("usage_minute", "minute", used * 60, ("minute", "service", "variant", "identity")))
        gone += _delete(engine, _Old("usage_seen", "hour", seen, ("hour", "a", "b")))
    return gone + sum(_delete(engine, old) for old in _rows(used, hours, hour_of(now - keep.money)))


def _rows(used: int, hours: int, money: int) -> Iterator[_Old]:
    yield _Old("usage_hour", "hour", used, ("hour", "source"))
    yield _Old("usage_refused", "day", hours // 24, ("source", "day", "reason"))
    yield _Old("cost_minute", "minute", used * 60, ("minute", "pool"))
    yield _Old("allocation_hour", "hour", hours, ("hour", "pool", "identity", "revision"))
    yield _Old("cost_hour", "hour", hours, ("hour", "seat", "revision"))
    yield _Old("spend", "start", hours, ("grain", "scope", "start", "pool", "identity"), "grain = 1 AND ")
    yield _Old("spend", "start", hours, ("grain", "scope", "start", "pool", "identity"), "grain = 6 AND ")
    yield _Old("capacity_spend", "start", hours, ("grain", "start", "seat"), "grain = 6 AND ")
    yield _Old("commitment_hour", "hour", min(money, hours), ("hour", "commitment", "revision"))
    yield _Old("spend_forecast", "due_day", money // DAY, ("budget", "made_day", "horizon_days"))
    yield _Old("anomaly", "ended_hour", money, ("scope", "began_hour"))


def _drop(engine: Engine, ranged: Ranged, than: int) -> None:
    """Whole partitions, each in a transaction of its own."""
    with bulk.writing(engine, FORGET, THEN) as connection:
        names = partitions.older(connection, ranged, than)
    for name in names:
        with bulk.writing(engine, FORGET, THEN) as connection:
            connection.execute(text(f"DROP TABLE IF EXISTS {name}"))


def _delete(engine: Engine, old: _Old) -> int:
    key = ", ".join(old.key)
    some = f"SELECT {key} FROM {old.table} WHERE {old.also}{old.column} < :than ORDER BY {old.column} LIMIT :most"
    sql = text(f"DELETE FROM {old.table} WHERE ({key}) IN ({some})")
    gone = 0
    while True:
        with bulk.writing(engine, FORGET, THEN) as connection:
            count = connection.execute(sql, {"than": old.than, "most": AT_ONCE}).rowcount
        gone += count
        if count < AT_ONCE:
            return gone
