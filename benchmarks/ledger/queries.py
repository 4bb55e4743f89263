"""Every question that the pages about money and a report ask, many times: how long until it is answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
from sqlalchemy import Engine

from benchmarks.ledger.engines import Opened, ledger
from benchmarks.ledger.fill import END, Fleet, fill, named
from benchmarks.ledger.minutes import cost_minutes, replica_minutes, usage_minutes
from controller.facts.account_reader import HOUR, Dimension, Statics, Window
from controller.ledger.accounts.hours import hour_of
from controller.ledger.accounts.partitions import MINUTES, Partitions
from controller.ledger.accounts.reader import LedgerAccounts
from controller.ledger.accounts.size import size
from controller.ledger.engine import writer_engine
from controller.report.cells import Asked
from controller.report.query import Period, report, windows

DAY = timedelta(days=1)
NOW = END - timedelta(hours=10)
"""In the middle of a day: windows end with hours."""

WORST = Window(start=datetime(2026, 11, 3, tzinfo=UTC), end=END - timedelta(hours=1))
"""From a Tuesday to the last hour of a Friday: as many pieces as a month can have."""


def questions(reader: LedgerAccounts, days: int) -> dict[str, Callable[[], object]]:
    """What the pages about money ask of the accounts, then what a report makes of them, then questions of months."""
    return {**_pages(reader), **_reports(reader), **_months(reader, Window(start=END - days * DAY, end=NOW))}


def _pages(reader: LedgerAccounts) -> dict[str, Callable[[], object]]:
    month, last = windows(Period.MONTH, NOW.date(), NOW)
    long = Window(start=NOW - 35 * DAY, end=NOW)
    both = Window(start=last.start, end=NOW)
    one_team, one_service = {Dimension.TEAM: "team-7"}, {Dimension.SERVICE: "service-3"}
    of_both = {**one_team, **one_service}
    by_team = (Dimension.TEAM,)
    found: dict[str, Callable[[], object]] = {
        "month: places": partial(reader.seats, month),
        "month before: places": partial(reader.seats, last),
        "two months by day": partial(reader.lines, both, (), {}, DAY),
        "35 d by hour": partial(reader.lines, long, (), {}, HOUR),
        "month by day": partial(reader.lines, month, (), {}, DAY),
        "month by team and day": partial(reader.lines, month, by_team, {}, DAY),
        "budgets": partial(reader.budgets, NOW),
        "commitments": partial(reader.commitments, month),
        "anomalies": partial(reader.anomalies, long),
        "hours that are open": partial(reader.open_hours, month),
        "effects": partial(reader.effects, month),
    }
    for by in ((), (Dimension.FEATURE,), (Dimension.SERVICE,), (Dimension.VARIANT,)):
        found[f"month by team{''.join(f' and {one}' for one in by)}"] = partial(
            reader.lines, month, (*by_team, *by), {}
        )
    found["month by service"] = partial(reader.lines, month, (Dimension.SERVICE,), {})
    for name, where in (("a team", one_team), ("a service", one_service), ("a team in a service", of_both)):
        found[f"month of {name} by feature"] = partial(reader.lines, month, (Dimension.TEAM, Dimension.FEATURE), where)
        found[f"month of {name} by day"] = partial(reader.lines, month, (), where, DAY)
    return found


def _reports(reader: LedgerAccounts) -> dict[str, Callable[[], object]]:
    found: dict[str, Callable[[], object]] = {}
    for period in Period:
        this, last = windows(period, NOW.date(), NOW)
        for by in REPORTED:
            name = f"report of a {period}{' by ' * bool(by)}{' and '.join(by)}"
            found[name] = partial(report, reader, this, last, Asked(by=by))
    return found


def _months(reader: LedgerAccounts, window: Window) -> dict[str, Callable[[], object]]:
    week, days = 7 * DAY, (window.end - window.start) // DAY
    by_team, by_service = (Dimension.TEAM,), (Dimension.SERVICE,)
    return {
        f"{days} d by team": partial(reader.lines, window, by_team, {}),
        f"{days} d by team and day": partial(reader.lines, window, by_team, {}, DAY),
        f"{days} d by team and feature": partial(reader.lines, window, (*by_team, Dimension.FEATURE), {}),
        f"{days} d by service and week": partial(reader.lines, window, by_service, {}, week),
        f"{days} d by team, service and week": partial(reader.lines, window, (*by_team, *by_service), {}, week),
        f"{days} d of a team by service and day": partial(
            reader.lines, window, by_service, {Dimension.TEAM: "team-7"}, DAY
        ),
        f"{days} d of a service by team": partial(reader.lines, window, by_team, {Dimension.SERVICE: "service-3"}),
        f"{days} d: places": partial(reader.seats, window),
        "11 days, a week and 23 hours by team and service": partial(reader.lines, WORST, (*by_team, *by_service), {}),
    }


REPORTED = (
    (),
    (Dimension.TEAM,),
    (Dimension.TEAM, Dimension.FEATURE),
    (Dimension.TEAM, Dimension.SERVICE),
    (Dimension.SERVICE,),
    (Dimension.REPLICA,),
    (Dimension.KIND,),
)


def measure(engines: Sequence[str], fleet: Fleet, repeats: int) -> None:
    for engine in engines:
        with ledger(engine) as opened:
            writing = writer_engine(opened.url)
            began = time.perf_counter()
            fill(writing, fleet)
            minutes_of_a_day(writing, fleet)
            print(f"\n{engine}: filled in {time.perf_counter() - began:.0f} s; {repeats} times each\n", flush=True)
            writing.dispose()
            sizes(opened.url)
            with closing(LedgerAccounts(opened.url, Statics())) as reader:
                print("| question | first ms | p50 ms | p95 ms | CPU ms | server ms |\n|---|---:|---:|---:|---:|---:|")
                for name, ask in questions(reader, fleet.days).items():
                    _ask(name, ask, repeats, opened)


def _ask(name: str, ask: Callable[[], object], repeats: int, opened: Opened) -> None:
    """CPU of this process and of the server: what it would take alone on the machine."""
    took, cpu, server = [], time.process_time(), opened.server_cpu_s()
    for _ in range(repeats):
        began = time.perf_counter()
        ask()
        took.append(1000 * (time.perf_counter() - began))
    cpu, server = time.process_time() - cpu, opened.server_cpu_s() - server
    p50, p95 = np.quantile(took, (0.5, 0.95))
    each = [f"{1000 * seconds / repeats:.0f}" for seconds in (cpu, server)]
    print(f"| {name} | {took[0]:.0f} | {p50:.0f} | {p95:.0f} | {' | '.join(each)} |", flush=True)


def minutes_of_a_day(engine: Engine, fleet: Fleet) -> None:
    """Of the day before the last."""
    numbers, start = named(engine, fleet), END - 2 * DAY
    Partitions().ensure(engine, MINUTES, [hour_of(start) * 60, hour_of(END) * 60 - 1])
    with engine.begin() as connection:
        replica_minutes(connection, fleet, start, 1440)
        cost_minutes(connection, start, 1440, numbers.pools)
        usage_minutes(connection, fleet, start, 1440, numbers.people)


def sizes(url: str) -> None:
    """Bytes of every table that has rows, and of a day of a replica."""
    found = size(url)
    print("| table | rows | bytes | bytes a row | bytes a replica-day |\n|---|---:|---:|---:|---:|")
    for one in found.tables:
        if one.rows and one.bytes is not None:
            day = one.bytes_per_replica_day
            each = f"{one.bytes / one.rows:.0f} | {'' if day is None else f'{day:,.0f}'}"
            print(f"| {one.name} | {one.rows:,} | {one.bytes:,} | {each} |")
    print(f"\n{found.bytes:,} bytes in all\n", flush=True)
