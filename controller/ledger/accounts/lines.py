"""Rows of a settled hour: from arrays to tables and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Connection, delete, func, select

from controller.attribute.apportion import Floats, Ints
from controller.attribute.tables import COSTS, MINUTES_PER_HOUR, HourLines, PoolMinutes, SeatHours
from controller.facts.accounts import PARTS
from controller.ledger.accounts import bulk
from controller.ledger.accounts.tables import (
    CAPACITY_COLUMNS,
    COST_COLUMNS,
    LINE_COLUMNS,
    PART_COLUMNS,
    AllocationHourRow,
    CostHourRow,
    CostMinuteRow,
)
from controller.ledger.tables import table

BESIDE = tuple(COSTS.index(name.removesuffix("_nanousd")) for name in COST_COLUMNS)
"""The places of the list, contracted and billed cost among COSTS."""


def forget_open(connection: Connection, hour: int) -> None:
    """The rows of an hour that is not settled yet."""
    minutes, seats, lines = table(CostMinuteRow), table(CostHourRow), table(AllocationHourRow)
    first = hour * MINUTES_PER_HOUR
    connection.execute(delete(minutes).where(minutes.c.minute >= first, minutes.c.minute < first + MINUTES_PER_HOUR))
    connection.execute(delete(seats).where(seats.c.hour == hour))
    connection.execute(delete(lines).where(lines.c.hour == hour))


def insert_minutes(connection: Connection, minutes: PoolMinutes) -> None:
    priced = minutes.covered_us - minutes.unpriced_us
    rows = np.column_stack((minutes.minute, minutes.pool, minutes.parts, priced, minutes.unpriced_us)).tolist()
    columns = ("minute", "pool", *PART_COLUMNS, "priced_us", "unpriced_us")
    bulk.insert(connection, "cost_minute", columns, sorted(rows))


def insert_seats(connection: Connection, hour: int, revision: int, rows: Sequence[Sequence[Any]]) -> None:
    """``rows``: the seat and CAPACITY_COLUMNS."""
    columns = ("hour", "seat", "revision", *CAPACITY_COLUMNS)
    bulk.insert(connection, "cost_hour", columns, [(hour, row[0], revision, *row[1:]) for row in rows])


def insert_lines(connection: Connection, hour: int, revision: int, lines: HourLines) -> None:
    columns = ("hour", "pool", "identity", "revision", *LINE_COLUMNS)
    count = len(lines.pool)
    rows = np.column_stack(
        (np.full(count, hour), lines.pool, lines.identity, np.full(count, revision), lines.parts, lines.tokens)
    )
    bulk.insert(connection, "allocation_hour", columns, rows.tolist())


def seat_rows(seats: SeatHours) -> list[tuple[Any, ...]]:
    """By seat: CAPACITY_COLUMNS, None for what is not known."""
    costs = _nullable(seats.costs, seats.known)
    times = np.column_stack((seats.gpu_us, seats.covered_us, seats.unpriced_us)).tolist()
    energy = [None if np.isnan(joules) else joules for joules in seats.energy_j.tolist()]
    columns = (seats.seat.tolist(), seats.parts.tolist(), costs, times, energy, seats.tokens.tolist())
    return [
        (seat, *parts, *cost, *time, joules, *tokens)
        for seat, parts, cost, time, joules, tokens in zip(*columns, strict=True)
    ]


def _nullable(costs: Ints, known: Any) -> list[list[int | None]]:
    return [
        [amounts[place] if there[place] else None for place in BESIDE]
        for amounts, there in zip(costs.tolist(), known.tolist(), strict=True)
    ]


def lines_of(connection: Connection, hour: int) -> HourLines:
    """The hour's lines with all of its corrections."""
    columns = table(AllocationHourRow).c
    sums = [func.sum(columns[name]) for name in LINE_COLUMNS]
    query = select(columns.pool, columns.identity, *sums).where(columns.hour == hour)
    rows = connection.execute(query.group_by(columns.pool, columns.identity)).all()
    whole = whole_numbers(rows, 2 + len(LINE_COLUMNS))
    parts, tokens = np.split(whole[:, 2:], [len(PARTS)], axis=1)
    return HourLines(pool=whole[:, 0], identity=whole[:, 1], parts=parts, tokens=tokens)


def seat_rows_of(connection: Connection, hour: int) -> dict[int, tuple[Any, ...]]:
    """CAPACITY_COLUMNS by seat, with all corrections."""
    columns = table(CostHourRow).c
    sums = [func.sum(columns[name]) for name in CAPACITY_COLUMNS]
    rows = connection.execute(select(columns.seat, *sums).where(columns.hour == hour).group_by(columns.seat))
    return {
        row[0]: tuple(_plain(name, value) for name, value in zip(CAPACITY_COLUMNS, row[1:], strict=True))
        for row in rows
    }


def seat_changes(before: dict[int, tuple[Any, ...]], after: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """What to append to ``before`` so that it becomes ``after``: rows of the seat and CAPACITY_COLUMNS."""
    now = {row[0]: tuple(row[1:]) for row in after}
    return [(seat, *row) for seat, row in changes(before, now, CAPACITY_COLUMNS, NULLABLE).items()]


NULLABLE = (*COST_COLUMNS, "energy_j")
Key = TypeVar("Key", int, str)


def changes(
    before: Mapping[Key, Sequence[Any]],
    after: Mapping[Key, Sequence[Any]],
    columns: Sequence[str],
    nullable: Sequence[str],
) -> dict[Key, tuple[Any, ...]]:
    """By key, ascending, what to add to the values before so that they become those after; a key whose values stay is
    not there."""
    nothing = (None,) * len(columns)
    found = {}
    for key in sorted(before.keys() | after.keys()):
        pairs = zip(columns, before.get(key, nothing), after.get(key, nothing), strict=True)
        row = tuple(_change(name, old, new, name in nullable) for name, old, new in pairs)
        if any(row):
            found[key] = row
    return found


def _change(name: str, old: Any, new: Any, nullable: bool) -> Any:
    if nullable and (old is None or new is None):
        return None if new == old else (new or 0) - (old or 0)
    change = (new or 0) - (old or 0)
    # energy is measured, not accounted: a sum of floats in another order is no correction
    return 0.0 if name == "energy_j" and abs(change) < 1e-6 * abs(old or 1) else change


def _plain(name: str, value: Any) -> Any:
    """PostgreSQL sums BIGINT as an exact decimal; it is whole."""
    if value is None:
        return None
    return float(value) if name == "energy_j" else int(value)


def whole_numbers(rows: Sequence[Sequence[Any]], width: int) -> Ints:
    """n x width; decimals of PostgreSQL's sums are whole."""
    return np.array([[int(value) for value in row] for row in rows], dtype=np.int64).reshape(-1, width)


def floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
