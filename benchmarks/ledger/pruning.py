"""What is left of a ledger, and how large it is, when minutes are forgotten, and when hours are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta

from sqlalchemy import text

from benchmarks.ledger.engines import ledger
from benchmarks.ledger.fill import END, Fleet, fill
from benchmarks.ledger.queries import minutes_of_a_day, sizes
from controller.ledger.engine import writer_engine
from controller.ledger.write import Ledger

MINUTES, DECISIONS = timedelta(days=90).total_seconds(), timedelta(days=400).total_seconds()
"""What is kept when nobody sets it."""


def measure(engines: Sequence[str], fleet: Fleet) -> None:
    for engine in engines:
        with ledger(engine) as opened, closing(Ledger(opened.url)) as writer:
            filling = writer_engine(opened.url)
            fill(filling, fleet)
            minutes_of_a_day(filling, fleet)
            print(f"\n{engine}: {fleet.days} days of {fleet.replicas} replicas, one of them by the minute\n")
            sizes(opened.url)
            for days in (60, 120, 500):
                began = time.perf_counter()
                gone = writer.prune(END + timedelta(days=days), MINUTES, DECISIONS)
                if engine == "postgresql":  # as autovacuum does in its own time
                    with filling.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                        connection.execute(text("VACUUM"))
                print(f"{days} days later: {gone:,} rows forgotten in {time.perf_counter() - began:.1f} s\n")
                sizes(opened.url)
            filling.dispose()
