"""One busy hour of a whole fleet: how long it takes to settle, and how many bytes its minutes are."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import Connection, text

from benchmarks.ledger.engines import ENGINES, ledger
from benchmarks.ledger.fill import END, Fleet, named
from benchmarks.ledger.queries import BYTES
from controller.attribute.batch import SUMS
from controller.ledger.accounts import bulk
from controller.ledger.accounts.hours import hour_of
from controller.ledger.accounts.partitions import MINUTES, Partitions
from controller.ledger.accounts.settle import Settler
from controller.ledger.accounts.verify import verify
from controller.ledger.engine import writer_engine
from controller.ledger.tables import ReplicaMinuteRow
from controller.ledger.upsert import upsert

START = END - timedelta(hours=4)
MINUTE_TABLES = ("replica_minute", "usage_minute", "cost_minute")


def measure(fleet: Fleet) -> None:
    print("| engine | replicas | identities | settle s | verify s | balances | minute B | usage B | cost B |")
    print("|---|---:|---:|---:|---:|---|---:|---:|---:|")
    for engine in ENGINES:
        with ledger(engine) as url:
            writing = writer_engine(url)
            numbers = named(writing, fleet)
            Partitions().ensure(writing, MINUTES, [hour_of(START) * 60])
            with writing.begin() as connection:
                _minutes(connection, fleet)
                _usage(connection, fleet, numbers.people)
            with closing(Settler(url)) as settler:
                began = time.perf_counter()
                done = settler.settle(END - timedelta(hours=1), at_once=1)
                settled = time.perf_counter() - began
            began = time.perf_counter()
            proof = verify(url)
            proven = time.perf_counter() - began
            with writing.connect() as connection:
                sizes = " | ".join(f"{size:.0f}" for size in _sizes(connection, engine))
            writing.dispose()
            print(
                f"| {engine} | {fleet.replicas} | {fleet.identities} | {settled:.2f} | {proven:.2f} "
                f"| {proof.balances and len(done.settled) == 1} | {sizes} |",
                flush=True,
            )


def _minutes(connection: Connection, fleet: Fleet) -> None:
    made = np.random.default_rng(2)
    rows = []
    for number in range(fleet.replicas):
        prompts, outputs = made.integers(10_000, 500_000, 60), made.integers(1_000, 100_000, 60)
        rows += [_minute(number, minute, int(prompts[minute]), int(outputs[minute]), fleet) for minute in range(60)]
    upsert(connection, ReplicaMinuteRow, rows, {})


def _minute(
    number: int, minute: int, prompt: int, output: int, fleet: Fleet
) -> dict[str, float | int | str | datetime | None]:
    return {
        "minute": START + timedelta(minutes=minute),
        "service": f"service-{number % (2 * fleet.services) // 2}",
        "variant": "h100",
        "replica": f"replica-{number}",
        "capacity_type": ("on_demand", "spot")[number % 2],
        "gpus": 2,
        **dict.fromkeys(
            ("ready_s", "covered_s", "running_s", "queue_depth_s", "kv_cache_ratio_s", "mfu_ratio_s"), 60.0
        ),
        **dict.fromkeys(("starting_s", "draining_s", "failed_s", "missing_s", "unpriced_s"), 0.0),
        "missing_why": "",
        "prompt_tokens": float(prompt),
        "cached_prompt_tokens": float(prompt // 3),
        "output_tokens": float(output),
        "requests": 50.0,
        "running_integral": 900.0,
        "queue_depth_integral": 0.0,
        "prefill_s": 200.0,
        "decode_s": 700.0,
        "cost_nanousd": 83_333_333,
        "list_nanousd": 83_333_333,
        "node": "",
    }


def _usage(connection: Connection, fleet: Fleet, people: list[int]) -> None:
    """Every identity in every service, every minute."""
    made = np.random.default_rng(3)
    first = hour_of(START) * 60
    keys = [
        (minute, f"service-{service}", "", who)
        for minute in range(first, first + 60)
        for service in range(fleet.services)
        for who in people[5:]
    ]
    sums = made.integers(1, 10_000, size=(len(keys), len(SUMS))).tolist()
    bulk.insert(
        connection,
        "usage_minute",
        ("minute", "service", "variant", "identity", *SUMS),
        [(*k, *s) for k, s in zip(keys, sums, strict=True)],
    )


def _sizes(connection: Connection, engine: str) -> list[float]:
    found = {name: int(size) for name, size in connection.execute(text(BYTES[engine])).all()}
    result = []
    for table in MINUTE_TABLES:
        size = sum(value for name, value in found.items() if name.startswith((table, f"sqlite_autoindex_{table}")))
        result.append(size / max(int(connection.scalar(text(f"SELECT COUNT(*) FROM {table}")) or 0), 1))
    return result
