"""One busy hour of a whole fleet: how long it takes to settle, and how many bytes its minutes are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta

from benchmarks.ledger.engines import ledger
from benchmarks.ledger.fill import END, Fleet, named
from benchmarks.ledger.minutes import replica_minutes, usage_minutes
from controller.ledger.accounts.hours import hour_of
from controller.ledger.accounts.partitions import MINUTES, Partitions
from controller.ledger.accounts.settle import Settler
from controller.ledger.accounts.size import size
from controller.ledger.accounts.verify import verify
from controller.ledger.engine import writer_engine

START = END - timedelta(hours=4)
MINUTE_TABLES = ("replica_minute", "usage_minute", "cost_minute")


def measure(engines: Sequence[str], fleet: Fleet) -> None:
    print("| engine | replicas | identities | settle s | verify s | balances | minute B | usage B | cost B |")
    print("|---|---:|---:|---:|---:|---|---:|---:|---:|")
    for engine in engines:
        with ledger(engine) as opened:
            writing = writer_engine(opened.url)
            numbers = named(writing, fleet)
            Partitions().ensure(writing, MINUTES, [hour_of(START) * 60])
            with writing.begin() as connection:
                replica_minutes(connection, fleet, START, 60)
                usage_minutes(connection, fleet, START, 60, numbers.people)
            with closing(Settler(opened.url)) as settler:
                began = time.perf_counter()
                done = settler.settle(END - timedelta(hours=1), at_once=1)
                settled = time.perf_counter() - began
            began = time.perf_counter()
            proof = verify(opened.url)
            proven = time.perf_counter() - began
            writing.dispose()
            sizes = " | ".join(f"{one:.0f}" for one in _sizes(opened.url))
            print(
                f"| {engine} | {fleet.replicas} | {fleet.identities} | {settled:.2f} | {proven:.2f} "
                f"| {proof.balances and len(done.settled) == 1} | {sizes} |",
                flush=True,
            )


def _sizes(url: str) -> list[float]:
    found = {one.name: (one.bytes or 0) / max(one.rows, 1) for one in size(url).tables}
    return [found[table] for table in MINUTE_TABLES]
