"""The proof that all adds up, on a live ledger: every sum that must be another one, to the nanodollar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import Connection, func, select, text

from controller.facts.accounts import Pool
from controller.ledger.accounts import bulk, cubes, dictionaries
from controller.ledger.accounts.checks import (
    ADJUSTED,
    CLOSED,
    CUBE_CHECKS,
    DAY_CHECKS,
    HOUR_CHECKS,
    MEASURED,
    MINUTES_CHECK,
    SHIFT_CHECKS,
    WEEK_CHECKS,
    Check,
)
from controller.ledger.accounts.dictionaries import SeatNamed
from controller.ledger.accounts.hours import DAY, SHIFT, WEEK, begin, hour_of, shown, time_of
from controller.ledger.accounts.states import settled_through
from controller.ledger.accounts.tables import PART_COLUMNS, HourStateRow
from controller.ledger.engine import reader_engine
from controller.ledger.tables import ReplicaMinuteRow, table

SHOWN = 100
"""Differences that are told one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two sums that must be one. ``where``: hour or day, pool, identity …; ``part``: which column, "cost" all parts."""

    where: str
    part: str
    unit: str
    one: str
    other: str
    one_sum: int
    other_sum: int

    def __str__(self) -> str:
        return (
            f"{self.where}, {self.part}: {self.one} {self.one_sum:,}, {self.other} {self.other_sum:,}, "
            f"difference {self.one_sum - self.other_sum:+,} {self.unit}".rstrip()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was compared. ``differences``: none when everything balances; ``more`` of them are not listed."""

    hours: int
    sums: int
    cost_nanousd: int
    differences: tuple[Difference, ...]
    more: int

    @property
    def balances(self) -> bool:
        return not self.differences


Sums = Mapping[tuple[Any, ...], tuple[int, ...]]
"""Sums of some columns by key."""


def verify(url: str, start: datetime | None = None, end: datetime | None = None) -> Proof:
    """Compares everything that the ledger keeps of the hours from ``start`` to ``end``; all without them."""
    engine = reader_engine(url)
    try:
        with bulk.writing(engine, "verify the ledger", "nothing was changed") as connection:
            return _Verifier(connection).proof(start, end)
    finally:
        engine.dispose()


class _Verifier:
    """Over one moment of the ledger, day by day."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pools = dictionaries.pools_by_id(connection)
        self._who = dictionaries.identities_by_id(connection)
        self._seats = dictionaries.seats_by_id(connection)

    def proof(self, start: datetime | None, end: datetime | None) -> Proof:
        first, last, through = self._range(start, end)
        found: list[Difference] = []
        sums = more = 0
        for compared, wrong in chain(self._days(first, last, through), [self._compared(ADJUSTED, {})]):
            sums += compared
            more += max(0, len(found) + len(wrong) - SHOWN)
            found += wrong[: SHOWN - len(found)]
        return Proof(
            hours=self._number("SELECT COUNT(*) FROM hour_state WHERE hour >= :first AND hour < :last", first, last),
            sums=sums,
            cost_nanousd=self._number(
                f"SELECT SUM({' + '.join(PART_COLUMNS)}) FROM allocation_hour WHERE hour >= :first AND hour < :last",
                first,
                last,
            ),
            differences=tuple(found),
            more=more,
        )

    def _days(self, first: int, last: int, through: int) -> Iterator[tuple[int, list[Difference]]]:
        for at in range(begin(first, DAY), last, DAY):
            start, end = max(at, first), min(at + DAY, last)
            yield self._measured(start, end)
            for check, span in self._checks(start, end, through):
                yield self._compared(check, span)

    def _range(self, start: datetime | None, end: datetime | None) -> tuple[int, int, int]:
        row = self._connection.execute(text("SELECT MIN(hour), MAX(hour) FROM hour_state")).one()
        lowest, highest = (row[0], row[1] + 1) if row[0] is not None else (0, 0)
        through = settled_through(self._connection)
        first = lowest if start is None else max(lowest, hour_of(start))
        last = highest if end is None else min(highest, hour_of(end))
        return first, last, -1 if through is None else through

    def _number(self, sql: str, first: int, last: int) -> int:
        return int(self._connection.scalar(text(sql), {"first": first, "last": last}) or 0)

    def _checks(self, first: int, last: int, through: int) -> Iterator[tuple[Check, dict[str, int]]]:
        """Those of the hours of one day, of its shifts, and of the day and the week that end with it."""
        kept = self._connection.scalar(text("SELECT MIN(hour) FROM allocation_hour"))
        span = {"first": first, "last": last}
        if kept is not None and first >= begin(kept, DAY):
            yield from ((check, span) for check in HOUR_CHECKS)
            yield from self._minute_checks(first, last)
            yield from self._shift_checks(first, min(last, through + 1))
        day = begin(first, DAY)
        if day + DAY == last and last <= through + 1:
            if kept is not None and day >= begin(kept, DAY):
                yield from ((check, {"first": day, "last": last}) for check in DAY_CHECKS)
            yield from ((check, {"grain": DAY, "first": day}) for check in CUBE_CHECKS)
            week = begin(day, WEEK)
            if week + WEEK == last:
                yield from ((check, {"first": week, "last": last}) for check in WEEK_CHECKS)
                yield from ((check, {"grain": WEEK, "first": week}) for check in CUBE_CHECKS)

    def _shift_checks(self, first: int, last: int) -> Iterator[tuple[Check, dict[str, int]]]:
        """Those that lie in ``first`` to ``last`` whole."""
        there = cubes.shifts_from(self._connection)
        if there is None:
            return
        for start in range(-(-max(first, there) // SHIFT) * SHIFT, last + 1 - SHIFT, SHIFT):
            yield from ((check, {"first": start, "last": start + SHIFT}) for check in SHIFT_CHECKS)
            yield from ((check, {"grain": SHIFT, "first": start}) for check in CUBE_CHECKS)

    def _minute_checks(self, first: int, last: int) -> Iterator[tuple[Check, dict[str, Any]]]:
        """Only of days whose minutes are all kept still."""
        minute = self._connection.scalar(text("SELECT MIN(minute) FROM cost_minute"))
        if minute is not None and first >= begin(minute // 60, DAY):
            yield MINUTES_CHECK, {"first": first, "last": last}

    def _measured(self, first: int, last: int) -> tuple[int, list[Difference]]:
        """The replicas' minutes against what the hour found of them."""
        minutes, states = table(ReplicaMinuteRow).c, table(HourStateRow).c
        kept = self._connection.scalar(select(func.min(minutes.minute)))
        wrong, hours = [], range(first, last) if kept is not None and first >= hour_of(kept) else range(0)
        for hour in hours:
            inside = (minutes.minute >= time_of(hour)) & (minutes.minute < time_of(hour + 1))
            paid = int(self._connection.scalar(select(func.sum(minutes.cost_nanousd)).where(inside)) or 0)
            said = self._connection.scalar(select(states.measured_nanousd).where(states.hour == hour, CLOSED))
            if said is not None and paid != said:
                check = MEASURED
                wrong.append(self._difference(check, (hour,), "cost", paid, said))
        return len(hours), wrong

    def _compared(self, check: Check, span: Mapping[str, Any]) -> tuple[int, list[Difference]]:
        one, other = (self._sums(query, len(check.keys), span) for query in (check.one_query, check.other_query))
        nothing = (0,) * len(check.columns)
        wrong = []
        for key in sorted(one.keys() | other.keys()):
            pairs = zip(check.columns, one.get(key, nothing), other.get(key, nothing), strict=True)
            wrong += [self._difference(check, key, part, *sums) for part, *sums in pairs if sums[0] != sums[1]]
        return len(one) * len(check.columns), wrong

    def _sums(self, query: str, width: int, span: Mapping[str, Any]) -> Sums:
        rows = self._connection.execute(text(query), dict(span))
        return {tuple(row[:width]): tuple(int(value or 0) for value in row[width:]) for row in rows}

    def _difference(self, check: Check, key: Sequence[Any], part: str, one: int, other: int) -> Difference:
        return Difference(
            where=", ".join(self._named(kind, value) for kind, value in zip(check.keys, key, strict=True)),
            part=part.removesuffix("_nanousd"),
            unit="nanodollars" if part.endswith(("nanousd", "cost", "used")) else "",
            one=check.one,
            other=check.other,
            one_sum=one,
            other_sum=other,
        )

    def _named(self, kind: str, value: Any) -> str:
        if kind == "pool":
            return f"pool {_pool(self._pools.get(value))}" if value else "all pools"
        if kind == "identity":
            who = self._who.get(value)
            names = (who.team, who.tenant, who.feature, who.environment, who.api_key) if who else (str(value),)
            return f"identity {'/'.join(name or '-' for name in names)}"
        if kind == "seat":
            return _seat(value, self._seats.get(value))
        if kind in ("hour", "start"):
            return f"hour {shown(value)}"
        return f"{kind} {value}"


def _pool(pool: Pool | None) -> str:
    return f"{pool.service}/{pool.variant}/{pool.capacity_type}" if pool else "unknown"


def _seat(number: int, seat: SeatNamed | None) -> str:
    if seat is None:
        return f"seat {number}"
    on = f" on {seat.node}" if seat.node else ""
    under = f" under {seat.commitment}" if seat.commitment else ""
    return f"seat {_pool(seat.pool)}/{seat.replica or '(unused)'}{on}{under}"
