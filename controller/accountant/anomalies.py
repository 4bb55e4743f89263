"""Anomalies of each service's cost, hour by hour: noticed, explained by their driver, kept and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from controller.accountant.alarms import Alarm
from controller.accountant.protocols import Duties, Kept, Known
from controller.accountant.series import Series
from controller.attribute.anomalies import Usage, Watch, explained, like_hours, watched
from controller.facts.account_reader import HOUR, OF_POOL, AccountReader, Dimension, Window
from controller.facts.budgets import Anomaly
from controller.facts.money import usd

TOLD_WITHIN = 24 * HOUR
"""What went on longer ago is kept, and not told: after a restart the hours of weeks are looked at anew. A guess."""

DO = "`pennyweight report --by team,feature` of these hours says whose it is."


class AnomalyWatch:
    """Remembers where each service's watch is. Open hours count: their cost is complete, only their records are not."""

    def __init__(self, reader: AccountReader, store: Kept) -> None:
        self._reader = reader
        self._store = store
        self._watches: dict[str, Watch] | None = None
        self._found_open: dict[str, datetime] = {}

    @property
    def open(self) -> tuple[Anomaly, ...]:
        """Those that go on."""
        return tuple(watch.open for watch in (self._watches or {}).values() if watch.open is not None)

    def look(self, duties: Duties, series: Series, known: Known, now: datetime) -> tuple[Alarm, ...]:
        """Every hour that is new. LedgerError when the accounts cannot be read; then it is looked at again."""
        watches = dict(self._begun(duties.services) if self._watches is None else self._watches)
        changed: list[Anomaly] = []
        for service in duties.services:
            spent = series.of({Dimension.SERVICE: service}, known, now)
            if spent is None:
                continue
            watch = watches.get(service) or Watch(scope=_scope(service))
            watch, news = watched(watch, spent, now, duties.anomaly_nanousd)
            news = tuple(self._explained(one, like_hours(spent, one), service) for one in news)
            mine = [one for one in news if one.began == getattr(watch.open, "began", None)]
            watches[service] = replace(watch, open=mine[0]) if mine else watch
            changed += news
        self._store.keep_anomalies(changed)
        self._watches = watches
        return tuple(
            replace(_alarm(service, watches[service], now), told_since=self._found_open.get(service))
            for service in duties.services
            if service in watches
        )

    def _begun(self, services: Sequence[str]) -> dict[str, Watch]:
        """Where the process before stopped: an anomaly that is open goes on. Those of other fleets are theirs."""
        mine = {_scope(service): service for service in services}
        kept = [one for one in self._store.open_anomalies() if one.scope in mine]
        self._found_open = {mine[one.scope]: one.began for one in kept}
        return {mine[one.scope]: Watch(scope=one.scope, last=one.last, open=one) for one in kept}

    def _explained(self, one: Anomaly, like: Sequence[Sequence[datetime]], service: str) -> Anomaly:
        """Against the same hours of the weeks (or days) that its first hour is held against."""
        if not like or one.began < one.last - TOLD_WITHIN:
            return one
        length = one.hours * HOUR
        during = self._usage(Window(start=one.began, end=one.began + length), service)
        before = [self._usage(Window(start=at, end=at + length), service) for at in like[0]]
        whole = Usage(
            lines=[row for usage in before for row in usage.lines],
            seats=[row for usage in before for row in usage.seats],
        )
        return explained(one, during, whole, float(len(before)))

    def _usage(self, window: Window, service: str) -> Usage:
        lines = self._reader.lines(window, OF_POOL, {Dimension.SERVICE: service})
        return Usage(lines=lines, seats=[row for row in self._reader.seats(window) if row.service == service])


def _scope(service: str) -> str:
    return f"service={service}"


def _alarm(service: str, watch: Watch, now: datetime) -> Alarm:
    one = watch.open
    if one is None:
        return Alarm(service=service, name="anomaly", holds=False, summary="costs are as usual again", do="")
    driver = f", mostly by {one.driver}" if one.driver else ""
    return Alarm(
        service=service,
        name="anomaly",
        holds=now - one.last <= TOLD_WITHIN,
        summary=f"{service} costs more than these hours usually do since {one.began:%Y-%m-%d %H:%M} UTC: "
        f"${usd(one.actual_nanousd):,.2f} instead of ${usd(one.expected_nanousd):,.2f}{driver}",
        do=DO,
    )
