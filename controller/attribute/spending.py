"""What one scope spent, hour by hour: the series that budgets, forecasts and anomalies are worked out from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.facts.account_reader import HOUR, AllocationRow
from controller.facts.missing import Missing

RATE_HOURS = 3
"""Beyond what is known, spending is taken to go on as in the last three hours. A guess: long enough for a scale-up to
weigh, short enough to follow one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Nanodollars by the start of their hour (UTC, whole hours). An hour that is not there cost nothing.

    known_from    the hour in which accounts begin; nothing is known of what was before
    known_until   to where they tell; the last hour may have begun only
    """

    hours: Mapping[datetime, int]
    known_from: datetime
    known_until: datetime

    def between(self, start: datetime, end: datetime) -> int | Missing:
        """Spent in [start, end); Missing when it begins before the accounts do."""
        if start < self.known_from:
            return Missing("spend", f"the accounts begin at {self.known_from:%Y-%m-%d %H:%M} UTC")
        return self.since(start, end)

    def since(self, start: datetime, end: datetime) -> int:
        """Spent in [start, end); before the accounts: nothing. After them it goes on at ``rate``.

        Whole hours are exact; of a cut hour it is the share of its time.
        """
        start = max(start, self.known_from)
        beyond = max(end - max(start, self.known_until), timedelta())
        return self._told(start, min(end, self.known_until)) + self.rate * _us(beyond) // _us(HOUR)

    @property
    def rate(self) -> int:
        """Nanodollars an hour, over the last hours that are known."""
        start = max(self.known_until - RATE_HOURS * HOUR, self.known_from)
        length = _us(self.known_until - start)
        return self._told(start, self.known_until) * _us(HOUR) // length if length > 0 else 0

    def _told(self, start: datetime, until: datetime) -> int:
        spent, hour = 0, _floor(start)
        while hour < until:
            told = min(hour + HOUR, self.known_until) - hour
            part = min(hour + HOUR, until) - max(hour, start)
            spent += self.hours.get(hour, 0) * _us(part) // _us(told)
            hour += HOUR
        return spent

    def whole_hours(self, most: int) -> list[tuple[datetime, int]]:
        """The last hours that are known from end to end, oldest first, at most so many."""
        end = _floor(self.known_until)
        first = -(-_us(self.known_from - end) // _us(HOUR))  # hours from ``end`` to the first whole one: negative
        count = min(most, -first)
        return [(at, self.hours.get(at, 0)) for at in (end - back * HOUR for back in range(count, 0, -1))]


def spending(rows: Iterable[AllocationRow], known_from: datetime, known_until: datetime) -> Spending:
    """Rows of a reader asked with ``step=HOUR``, whatever their identities and pools, summed by hour."""
    hours: dict[datetime, int] = {}
    for row in rows:
        hour = _floor(row.start)
        hours[hour] = hours.get(hour, 0) + sum(row.parts)
    return Spending(hours=hours, known_from=known_from, known_until=known_until)


def _floor(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _us(length: timedelta) -> int:
    return length // timedelta(microseconds=1)
