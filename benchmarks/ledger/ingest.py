"""Usage records a second on one core: read from JSON, counted, durable."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

from benchmarks.ledger.engines import Opened, ledger
from controller.attribute.batch import Batch
from controller.ledger.accounts.ingest import Intake
from controller.usage.batch import Rules
from controller.usage.decode import read_usage
from controller.usage.directory import Directory

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SERVICES = {f"service-{number}": ("h100", "a100") for number in range(10)}
TEAMS, FEATURES = 50, 3
SOURCE = "gateway"
RULES = Rules(directory=Directory(services=SERVICES))
KNOWN = (0.0, 0.05, 1.0)
"""Shares of records that were counted before."""


def bodies(records: int, size: int, duplicates: float) -> Iterator[bytes]:
    """NDJSON bodies of ``size`` records, as a gateway sends them within an hour; some records come twice."""
    made = random.Random(1)
    for first in range(0, records, size):
        lines = []
        for number in range(first, first + size):
            again = number > size and made.random() < duplicates
            lines.append(json.dumps(record(made.randrange(number) if again else number)))
        yield "\n".join(lines).encode()


def record(number: int) -> dict[str, object]:
    started = NOW - timedelta(minutes=30) + timedelta(microseconds=number * 20)  # 50,000 a second
    return {
        "id": f"chatcmpl-{number:032x}",
        "service": f"service-{number % 10}",
        "started_at": started.isoformat(),
        "ended_at": (started + timedelta(seconds=number % 20)).isoformat(),
        "prompt_tokens": 500 + number % 1000,
        "cached_tokens": number % 400,
        "output_tokens": 50 + number % 300,
        "team": f"team-{number % TEAMS}",
        "feature": f"feature-{number // TEAMS % FEATURES}",
    }


def measure(engines: Sequence[str], records: int, sizes: list[int]) -> None:
    print(
        "| engine | batch | known | records | read us | count us | server us | records/s of CPU | wall s | records/s |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for engine in engines:
        for size in sizes:
            for known in KNOWN:
                with ledger(engine) as opened:
                    _measure(engine, opened, records, size, known)


def _measure(engine: str, opened: Opened, records: int, size: int, known: float) -> None:
    read = count = wall = 0.0
    with closing(Intake(opened.url)) as intake:
        if known == 1:  # a sender that has lost its place sends all of it again
            for body in bodies(records, size, 0):
                intake.add(SOURCE, batch_in(body))
        server = opened.server_cpu_s()
        for body in bodies(records, size, 0 if known == 1 else known):
            began, before = time.perf_counter(), time.process_time()
            batch = batch_in(body)
            between = time.process_time()
            receipt = intake.add(SOURCE, batch)
            read, count = read + between - before, count + time.process_time() - between
            wall += time.perf_counter() - began
            if receipt.refused:
                raise RuntimeError(receipt.refused[0].why)
        server = opened.server_cpu_s() - server
    cpu = read + count + server
    each = [f"{seconds / records * 1e6:.1f}" for seconds in (read, count, server)]
    print(
        f"| {engine} | {size:,} | {known:.0%} | {records:,} | {' | '.join(each)} "
        f"| {records / cpu:,.0f} | {wall:.1f} | {records / wall:,.0f} |",
        flush=True,
    )


def batch_in(body: bytes) -> Batch:
    return read_usage(body, "", RULES, source=SOURCE, trusted=True, now=NOW)
