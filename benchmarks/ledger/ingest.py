"""Usage records a second on one core: read from JSON, counted, durable."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

from benchmarks.ledger.engines import ENGINES, ledger, server_cpu_s
from controller.ledger.accounts.ingest import Intake
from controller.usage.batch import Rules
from controller.usage.decode import read_usage
from controller.usage.directory import Directory

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SERVICES = {f"service-{number}": ("h100", "a100") for number in range(10)}
TEAMS, FEATURES = 50, 3
SOURCE = "gateway"


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


def measure(records: int, sizes: list[int]) -> None:
    print(
        "| engine | batch | again | records | read us | count us | server us | records/s of CPU | wall s | records/s |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for engine in ENGINES:
        for size in sizes:
            for duplicates in (0.0, 0.05):
                with ledger(engine) as url:
                    _measure(engine, url, records, size, duplicates)


def _measure(engine: str, url: str, records: int, size: int, duplicates: float) -> None:
    rules = Rules(directory=Directory(services=SERVICES))
    read = count = wall = 0.0
    server = server_cpu_s() if engine == "postgresql" else 0.0
    with closing(Intake(url)) as intake:
        for body in bodies(records, size, duplicates):
            began, before = time.perf_counter(), time.process_time()
            batch = read_usage(body, "", rules, source=SOURCE, trusted=True, now=NOW)
            between = time.process_time()
            receipt = intake.add(SOURCE, batch)
            read, count = read + between - before, count + time.process_time() - between
            wall += time.perf_counter() - began
            if receipt.refused:
                raise RuntimeError(receipt.refused[0].why)
        server = server_cpu_s() - server if engine == "postgresql" else 0.0
    cpu = read + count + server
    each = [f"{seconds / records * 1e6:.1f}" for seconds in (read, count, server)]
    print(
        f"| {engine} | {size:,} | {duplicates:.0%} | {records:,} | {' | '.join(each)} "
        f"| {records / cpu:,.0f} | {wall:.1f} | {records / wall:,.0f} |",
        flush=True,
    )
