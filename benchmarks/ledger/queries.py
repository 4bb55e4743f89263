"""Every kind of question that a dashboard or a report asks, many times: how long until it is answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import numpy as np
from sqlalchemy import text

from benchmarks.ledger.engines import ENGINES, ledger
from benchmarks.ledger.fill import END, Fleet, fill
from controller.ledger.accounts.read import AccountReader
from controller.ledger.engine import writer_engine

DAY = timedelta(days=1)
BYTES = {
    "sqlite": "SELECT name, SUM(pgsize) FROM dbstat GROUP BY name",
    "postgresql": (
        "SELECT relname, pg_total_relation_size(oid) FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
    ),
}


def questions(reader: AccountReader, days: int, hours: int) -> dict[str, Callable[[], object]]:
    start, recent = END - timedelta(days=days), timedelta(hours=hours)

    return {
        f"{days} d by team": lambda: reader.lines(start, END, by=("team",)),
        f"{days} d by team and day": lambda: reader.lines(start, END, by=("team",), step=DAY),
        f"{days} d by team and feature": lambda: reader.lines(start, END, by=("team", "feature")),
        f"{days} d by service": lambda: reader.lines(start, END, by=("service",)),
        f"{days} d by service and week": lambda: reader.lines(start, END, by=("service",), step=7 * DAY),
        f"{days} d by team and service and week": lambda: reader.lines(
            start, END, by=("team", "service"), step=7 * DAY
        ),
        f"{days} d of one team by service and day": lambda: reader.lines(
            start, END, by=("service",), where={"team": "team-7"}, step=DAY
        ),
        f"{days} d of one service by team": lambda: reader.lines(
            start, END, by=("team",), where={"service": "service-3"}
        ),
        f"{days} d by replica": lambda: reader.seats(start, END),
        "30 d by team, service and capacity type": lambda: reader.lines(
            END - 30 * DAY, END, by=("team", "service", "capacity_type")
        ),
        f"{hours} h by team and hour": lambda: reader.lines(END - recent, END, by=("team",), step=timedelta(hours=1)),
        f"{hours} h by service and hour": lambda: reader.lines(
            END - recent, END, by=("service",), step=timedelta(hours=1)
        ),
        "1 d by team and service": lambda: reader.lines(END - DAY, END, by=("team", "service")),
    }


def measure(fleet: Fleet, repeats: int) -> None:
    for engine in ENGINES:
        with ledger(engine) as url:
            writing = writer_engine(url)
            began = time.perf_counter()
            fill(writing, fleet)
            print(f"\n{engine}: filled in {time.perf_counter() - began:.0f} s; {repeats} times each\n")
            _sizes(writing, engine, fleet)
            writing.dispose()
            with closing(AccountReader(url)) as reader:
                print("| question | first ms | p50 ms | p95 ms |\n|---|---:|---:|---:|")
                for name, ask in questions(reader, fleet.days, fleet.hours_kept).items():
                    _ask(name, ask, repeats)


def _ask(name: str, ask: Callable[[], object], repeats: int) -> None:
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        ask()
        took.append(1000 * (time.perf_counter() - began))
    p50, p95 = np.quantile(took, (0.5, 0.95))
    print(f"| {name} | {took[0]:.0f} | {p50:.0f} | {p95:.0f} |", flush=True)


def _sizes(writing: object, engine: str, fleet: Fleet) -> None:
    with writing.connect() as connection:  # type: ignore[attr-defined]
        try:
            sizes = dict(connection.execute(text(BYTES[engine])).all())
        except Exception as error:  # SQLite can be built without dbstat
            print(f"sizes are not known: {str(error).splitlines()[0]}\n")
            return
        rows = {name: connection.scalar(text(f"SELECT COUNT(*) FROM {name}")) for name in KEPT}
    print("| table | rows | bytes | bytes a row |\n|---|---:|---:|---:|")
    for name in KEPT:
        size = sum(int(value) for table, value in sizes.items() if table.startswith(name))
        print(f"| {name} | {rows[name]:,} | {size:,} | {size / max(rows[name], 1):.0f} |")
    print()


KEPT = ("allocation_hour", "cost_hour", "spend", "capacity_spend", "hour_state")
