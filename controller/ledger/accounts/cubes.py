"""Sums over shifts, days and weeks, so that questions about months are answered from few rows. Made of hours, once,
when the last of them is settled; corrections are added to them as they are to the hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from sqlalchemy import Connection, Engine, text

from controller.attribute.apportion import summed
from controller.attribute.tables import HourLines
from controller.ledger.accounts import bulk
from controller.ledger.accounts.hours import DAY, SHIFT, WEEK, begin
from controller.ledger.accounts.tables import ALL_POOLS, CAPACITY_COLUMNS, LINE_COLUMNS

HOUR = 1
POOLED, BY_POOL, PER_POOL, BY_TEAM = 0, 1, 2, 3
"""Scopes of ``spend``: by identity over all pools, by both, by pool over all identities, by pool and team. The hour
itself by both is in ``allocation_hour``, and by team it is summed by nobody: that would be as many rows again where a
team is one identity."""

EVERYBODY = 0
"""In the place of an identity: summed over all of them."""

SPEND_KEY = ("grain", "scope", "start", "pool", "identity")
CAPACITY_KEY = ("grain", "start", "seat")
NAMES = ", ".join(LINE_COLUMNS)
SUMS = ", ".join(f"SUM({name})" for name in LINE_COLUMNS)

FIRST = "(SELECT team, MIN(id) AS id FROM identity GROUP BY team) AS of_team"
"""A team goes by the number of the first of its identities. Should another one come before it later (two writers may
number theirs in any order), the team has two rows of one sum: who reads adds them up by name."""


def replace_hour(connection: Connection, hour: int, lines: HourLines) -> None:
    """The hour's own sums."""
    for scope in (POOLED, PER_POOL):
        connection.execute(
            text("DELETE FROM spend WHERE grain = 1 AND scope = :scope AND start = :hour"),
            {"scope": scope, "hour": hour},
        )
    bulk.insert(connection, "spend", (*SPEND_KEY, *LINE_COLUMNS), list(_summed(HOUR, hour, lines)))


def close(connection: Connection, settled: int) -> None:
    """After hour ``settled`` was: its shift, when that was the last of it, its day, and its week."""
    following = settled + 1
    for grain, finer in ((SHIFT, HOUR), (DAY, HOUR), (WEEK, DAY)):
        if begin(following, grain) == following:
            build(connection, grain, finer, following - grain)


def build(connection: Connection, grain: int, finer: int, start: int) -> None:
    """One shift or day from its hours, or one week from its days. What was there of it is replaced."""
    span = {"grain": grain, "finer": finer, "start": start, "end": start + grain}
    for sql in (*_spend_statements(finer), *_capacity_statements(finer)):
        connection.execute(text(sql), span)
    roll_up(connection, grain, start)


def roll_up(connection: Connection, grain: int, start: int) -> None:
    """What is by pool and identity, once more over all pools, over all identities, and by team."""
    for sql in _ROLLED_UP:
        connection.execute(text(sql), {"grain": grain, "start": start})


def rebuild(engine: Engine, through: int) -> int:
    """Makes the sums of every shift and day whose hours are kept anew, and of every week, as far as hour ``through``,
    the last settled one; how many days. Each is a transaction: readers see the old sums of it or the new ones."""
    with bulk.writing(engine, "rebuild the sums", REBUILD_LATER) as connection:
        first = connection.scalar(text("SELECT MIN(hour) FROM allocation_hour"))
        oldest = connection.scalar(text("SELECT MIN(start) FROM spend WHERE grain = 24"))
    if first is None:
        return 0
    days = range(begin(first, DAY), through + 2 - DAY, DAY)
    shifts = range(begin(first, SHIFT), through + 2 - SHIFT, SHIFT)
    for shift in reversed(shifts):  # readers take them from the oldest one on: stopped halfway, there is no hole
        with bulk.writing(engine, "rebuild the sums", REBUILD_LATER) as connection:
            build(connection, SHIFT, HOUR, shift)
    for day in days:
        with bulk.writing(engine, "rebuild the sums", REBUILD_LATER) as connection:
            _rebuild_hours(connection, day)
            build(connection, DAY, HOUR, day)
    begun = begin(first if oldest is None else min(first, oldest), WEEK)
    for week in range(begun, through + 2 - WEEK, WEEK):
        with bulk.writing(engine, "rebuild the sums", REBUILD_LATER) as connection:
            build(connection, WEEK, DAY, week)
    return len(days)


def shifts_from(connection: Connection) -> int | None:
    """The first hour from which every settled shift is there: a schema before them made none. None: there are none.

    Not the oldest one itself: half of it may be forgotten.
    """
    oldest: int | None = connection.scalar(text("SELECT MIN(start) FROM spend WHERE grain = 6 AND scope = 2"))
    return None if oldest is None else oldest + SHIFT


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
    first = _first_of_team(connection)
    for grain in (HOUR, SHIFT, DAY, WEEK):
        start = begin(hour, grain)
        if start + grain > through + 1:
            return
        rows = list(_summed(grain, start, lines))
        if grain != HOUR:
            rows += _by_pool(grain, start, BY_POOL, lines)
            rows += _by_pool(grain, start, BY_TEAM, _by_team(lines, first))
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


def _by_pool(grain: int, start: int, scope: int, lines: HourLines) -> list[tuple[int, ...]]:
    columns = (lines.pool.tolist(), lines.identity.tolist(), lines.parts.tolist(), lines.tokens.tolist())
    return [
        (grain, scope, start, pool, identity, *parts, *tokens)
        for pool, identity, parts, tokens in zip(*columns, strict=True)
    ]


def _by_team(lines: HourLines, first: Mapping[int, int]) -> HourLines:
    """``lines`` with the sums of a team in the place of its identities."""
    teams = np.array([first[one] for one in lines.identity.tolist()], dtype=np.int64)
    keys, sums = summed(lines.pool << 32 | teams, np.hstack((lines.parts, lines.tokens)))
    parts, tokens = np.split(sums, [lines.parts.shape[1]], axis=1)
    return HourLines(pool=keys >> 32, identity=keys & 0xFFFFFFFF, parts=parts, tokens=tokens)


def _first_of_team(connection: Connection) -> dict[int, int]:
    """Of every identity the first of its team."""
    named = connection.execute(text(f"SELECT identity.id, of_team.id FROM identity JOIN {FIRST} USING (team)"))
    return {row[0]: row[1] for row in named}


def _spend_statements(finer: int) -> tuple[str, ...]:
    into = f"INSERT INTO spend ({', '.join(SPEND_KEY)}, {NAMES})"
    source = (
        "allocation_hour WHERE hour >= :start AND hour < :end"
        if finer == HOUR
        else "spend WHERE grain = :finer AND scope = 1 AND start >= :start AND start < :end"
    )
    return (
        "DELETE FROM spend WHERE grain = :grain AND scope IN (0, 1, 2, 3) AND start = :start",
        f"{into} SELECT :grain, 1, :start, pool, identity, {SUMS} FROM {source} GROUP BY pool, identity",
    )


def _rolled_up() -> tuple[str, ...]:
    into = f"INSERT INTO spend ({', '.join(SPEND_KEY)}, {NAMES})"
    here = "WHERE grain = :grain AND scope = 1 AND start = :start GROUP BY grain, start"
    teams = f"spend JOIN identity ON identity.id = spend.identity JOIN {FIRST} ON of_team.team = identity.team"
    return (
        f"{into} SELECT grain, 0, start, 0, identity, {SUMS} FROM spend {here}, identity",
        f"{into} SELECT grain, 2, start, pool, 0, {SUMS} FROM spend {here}, pool",
        f"{into} SELECT grain, 3, start, pool, of_team.id, {SUMS} FROM {teams} {here}, pool, of_team.id",
    )


_ROLLED_UP = _rolled_up()


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
