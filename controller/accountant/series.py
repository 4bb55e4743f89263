"""What each scope spent by the hour, read once and then kept up: settled hours change only by corrections."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from controller.accountant.protocols import Known
from controller.attribute.spending import Spending, spending
from controller.facts.account_reader import HOUR, AccountReader, Dimension, Window

HISTORY = timedelta(days=57)
"""Eight weeks and a day: what anomalies are held against, and more than any budget's period and forecasts need."""

Scope = Mapping[Dimension, str]
Key = tuple[tuple[Dimension, str], ...]


class Series:
    """Spending by scope. One thread asks."""

    def __init__(self, reader: AccountReader) -> None:
        self._reader = reader
        self._hours: dict[Key, dict[datetime, int]] = {}
        self._final: dict[Key, datetime] = {}
        self._asked: dict[Key, tuple[datetime, Spending]] = {}

    def forget(self) -> None:
        """Settled hours were corrected: all is read anew when it is asked for."""
        for kept in (self._hours, self._final, self._asked):
            kept.clear()

    def of(self, scope: Scope, known: Known, now: datetime) -> Spending | None:
        """Of the last HISTORY, read once for each ``now``; None where there are no accounts yet. LedgerError when they
        cannot be read."""
        if known.first is None or known.until is None:
            return None
        key = tuple(sorted(scope.items()))
        if key not in self._asked or self._asked[key][0] != now:
            begin = max(known.first, _floor(now) - HISTORY)
            until = min(known.until, now)
            if until <= begin:
                return None
            self._asked[key] = now, self._read(key, scope, Window(start=begin, end=until), known.settled_until)
        return self._asked[key][1]

    def _read(self, key: Key, scope: Scope, span: Window, settled_until: datetime | None) -> Spending:
        hours = self._hours.setdefault(key, {})
        self._read_on(hours, max(self._final.get(key, span.start), span.start), span.end, scope)
        self._final[key] = max(settled_until or span.start, span.start)
        for old in [hour for hour in hours if hour < span.start]:
            del hours[old]
        return Spending(hours=dict(hours), known_from=span.start, known_until=span.end)

    def _read_on(self, hours: dict[datetime, int], start: datetime, until: datetime, scope: Scope) -> None:
        end = _floor(until) + (HOUR if until > _floor(until) else timedelta())
        if end <= start:
            return
        rows = self._reader.lines(Window(start=start, end=end), (), scope, HOUR)
        for stale in [hour for hour in hours if hour >= start]:
            del hours[stale]
        hours.update(spending(rows, start, until).hours)


def _floor(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
