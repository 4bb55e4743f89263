"""Sums over days and weeks, so that questions about months are answered from few rows. Made of hours, once, when the
last of them is settled; corrections are added to them as they are to the hours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from sqlalchemy import Connection, Engine, text

from controller.attribute.apportion import summed
from controller.attribute.tables import HourLines
from controller.ledger.accounts import bulk
from controller.ledger.accounts.hours import DAY, WEEK, begin
from controller.ledger.accounts.tables import ALL_POOLS, CAPACITY_COLUMNS, LINE_COLUMNS

HOUR = 1
POOLED, BY_POOL, PER_POOL = 0, 1, 2
"""Scopes of ``spend``: by identity over all pools, by both, by pool over all identities. The hour itself by both is in
``allocation_hour``."""

EVERYBODY = 0
"""In the place of an identity: summed over all of them."""

SPEND_KEY = ("grain", "scope", "start", "pool", "identity")
CAPACITY_KEY = ("grain", "start", "seat")
NAMES = ", ".join(LINE_COLUMNS)
SUMS = ", ".join(f"SUM({name})" for name in LINE_COLUMNS)


def replace_hour(connection: Connection, hour: int, lines: HourLines) -> None:
    """The hour's own sums."""
    for scope in (POOLED, PER_POOL):
        connection.execute(
            text("DELETE FROM spend WHERE grain = 1 AND scope = :scope AND start = :hour"),
            {"scope": scope, "hour": hour},
        )
    bulk.insert(connection, "spend", (*SPEND_KEY, *LINE_COLUMNS), list(_summed(HOUR, hour, lines)))


def close(connection: Connection, settled: int) -> None:
    """After hour ``settled`` was: its day, when that was the last of it, and its week."""
    following = settled + 1
    for grain, finer in ((DAY, HOUR), (WEEK, DAY)):
        if begin(following, grain) == following:
            build(connection, grain, finer, following - grain)


def build(connection: Connection, grain: int, finer: int, start: int) -> None:
    """One day from its hours, or one week from its days. What was there of it is replaced."""
    span = {"grain": grain, "finer": finer, "start": start, "end": start + grain}
    for sql in (*_spend_statements(finer), *_capacity_statements(finer)):
        connection.execute(text(sql), span)


def rebuild(engine: Engine, through: int) -> int:
    """Makes the sums of every day whose hours are kept anew, and of every week, as far as hour ``through``, the last
    settled one; how many days. Each day is a transaction: readers see the old sums of it or the new ones."""
    with bulk.writing(engine, "rebuild the sums", REBUILD_LATER) as connection:
        first = connection.scalar(text("SELECT MIN(hour) FROM allocation_hour"))
        oldest = connection.scalar(text("SELECT MIN(start) FROM spend WHERE grain = 24"))
    if first is None:
        return 0
    days = range(begin(first, DAY), through + 2 - DAY, DAY)
    for day in days:
        with bulk.writing(engine, "rebuild the sums", REBUILD_LATER) as connection:
            _rebuild_hours(connection, day)
            build(connection, DAY, HOUR, day)
    begun = begin(first if oldest is None else min(first, oldest), WEEK)
    for week in range(begun, through + 2 - WEEK, WEEK):
        with bulk.writing(engine, "rebuild the sums", REBUILD_LATER) as connection:
            build(connection, WEEK, DAY, week)
    return len(days)


REBUILD_LATER = "the sums stay as they are; run it again"


def _rebuild_hours(connection: Connection, day: int) -> None:
    """The hours' own sums, over pools and over identities."""
    span = {"start": day, "end": day + DAY}
    inside = "start >= :start AND start < :end"
    connection.execute(text(f"DELETE FROM spend WHERE grain = 1 AND scope IN (0, 2) AND {inside}"), span)
    into = f"INSERT INTO spend ({', '.join(SPEND_KEY)}, {NAMES})"
    lines = "FROM allocation_hour WHERE hour >= :start AND hour < :end GROUP BY hour"
    connection.execute(text(f"{into} SELECT 1, 0, hour, 0, identity, {SUMS} {lines}, identity"), span)
    connection.execute(text(f"{into} SELECT 1, 2, hour, pool, 0, {SUMS} {lines}, pool"), span)


def correct(
    connection: Connection, hour: int, lines: HourLines, seats: Sequence[Sequence[object]], through: int
) -> None:
    """Adds a correction of ``hour`` to what was made of it. ``seats``: rows of the seat and CAPACITY_COLUMNS.
    ``through``: the last settled hour."""
    for grain in (HOUR, DAY, WEEK):
        start = begin(hour, grain)
        if start + grain > through + 1:
            return
        rows = list(_summed(grain, start, lines))
        if grain != HOUR:
            rows += _by_pool(grain, start, lines)
            _add_capacity(connection, [(grain, start, *row) for row in seats])
        bulk.add(connection, "spend", SPEND_KEY, LINE_COLUMNS, rows)


def _add_capacity(connection: Connection, rows: Sequence[Sequence[object]]) -> None:
    """A cost that is NULL is unknown: adding an amount to it makes it known, adding NULL changes nothing."""
    for row in rows:
        values = dict(zip((*CAPACITY_KEY, *CAPACITY_COLUMNS), row, strict=True))
        merged = ", ".join(
            f"{name} = COALESCE(capacity_spend.{name} + excluded.{name}, capacity_spend.{name}, excluded.{name})"
            for name in CAPACITY_COLUMNS
        )
        connection.execute(
            text(
                f"INSERT INTO capacity_spend ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)}) "
                f"ON CONFLICT (grain, start, seat) DO UPDATE SET {merged}"
            ),
            values,
        )


def _summed(grain: int, start: int, lines: HourLines) -> Iterable[tuple[int, ...]]:
    """Rows of the scopes that sum over something."""
    values = np.hstack((lines.parts, lines.tokens))
    for scope, keys in ((POOLED, lines.identity), (PER_POOL, lines.pool)):
        found, sums = summed(keys, values)
        for key, row in zip(found.tolist(), sums.tolist(), strict=True):
            yield (grain, scope, start, *((ALL_POOLS, key) if scope == POOLED else (key, EVERYBODY)), *row)


def _by_pool(grain: int, start: int, lines: HourLines) -> list[tuple[int, ...]]:
    columns = (lines.pool.tolist(), lines.identity.tolist(), lines.parts.tolist(), lines.tokens.tolist())
    return [
        (grain, BY_POOL, start, pool, identity, *parts, *tokens)
        for pool, identity, parts, tokens in zip(*columns, strict=True)
    ]


def _spend_statements(finer: int) -> tuple[str, ...]:
    into = f"INSERT INTO spend ({', '.join(SPEND_KEY)}, {NAMES})"
    source = (
        "allocation_hour WHERE hour >= :start AND hour < :end"
        if finer == HOUR
        else "spend WHERE grain = :finer AND scope = 1 AND start >= :start AND start < :end"
    )
    here = "spend WHERE grain = :grain AND scope = 1 AND start = :start"
    return (
        "DELETE FROM spend WHERE grain = :grain AND scope IN (0, 1, 2) AND start = :start",
        f"{into} SELECT :grain, 1, :start, pool, identity, {SUMS} FROM {source} GROUP BY pool, identity",
        f"{into} SELECT grain, 0, start, 0, identity, {SUMS} FROM {here} GROUP BY grain, start, identity",
        f"{into} SELECT grain, 2, start, pool, 0, {SUMS} FROM {here} GROUP BY grain, start, pool",
    )


def _capacity_statements(finer: int) -> tuple[str, ...]:
    key = ", ".join(CAPACITY_KEY)
    names = ", ".join(CAPACITY_COLUMNS)
    sums = ", ".join(f"SUM({name})" for name in CAPACITY_COLUMNS)
    source = (
        "cost_hour WHERE hour >= :start AND hour < :end"
        if finer == HOUR
        else "capacity_spend WHERE grain = :finer AND start >= :start AND start < :end"
    )
    return (
        "DELETE FROM capacity_spend WHERE grain = :grain AND start = :start",
        f"INSERT INTO capacity_spend ({key}, {names}) SELECT :grain, :start, seat, {sums} FROM {source} GROUP BY seat",
    )
