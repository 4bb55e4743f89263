"""Minutes of a whole fleet: every replica serves, and every identity asks every service."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import Connection

from benchmarks.ledger.fill import Fleet
from controller.attribute.batch import SUMS
from controller.facts.accounts import PARTS
from controller.ledger.accounts import bulk
from controller.ledger.accounts.hours import hour_of
from controller.ledger.accounts.tables import PART_COLUMNS
from controller.ledger.tables import ReplicaMinuteRow
from controller.ledger.upsert import upsert


def replica_minutes(connection: Connection, fleet: Fleet, start: datetime, count: int) -> None:
    made = np.random.default_rng(2)
    for number in range(fleet.replicas):
        prompts, outputs = made.integers(10_000, 500_000, count), made.integers(1_000, 100_000, count)
        rows = [
            _minute(number, start + timedelta(minutes=minute), int(prompts[minute]), int(outputs[minute]), fleet)
            for minute in range(count)
        ]
        upsert(connection, ReplicaMinuteRow, rows, {})


def _minute(
    number: int, minute: datetime, prompt: int, output: int, fleet: Fleet
) -> dict[str, float | int | str | datetime | None]:
    return {
        "minute": minute,
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


def usage_minutes(connection: Connection, fleet: Fleet, start: datetime, count: int, people: list[int]) -> None:
    made = np.random.default_rng(3)
    first = hour_of(start) * 60
    who = [(f"service-{service}", "", one) for service in range(fleet.services) for one in people[5:]]
    for minute in range(first, first + count):
        sums = made.integers(1, 10_000, size=(len(who), len(SUMS))).tolist()
        rows = [(minute, *key, *row) for key, row in zip(who, sums, strict=True)]
        bulk.insert(connection, "usage_minute", ("minute", "service", "variant", "identity", *SUMS), rows)


def cost_minutes(connection: Connection, start: datetime, count: int, pools: list[int]) -> None:
    made = np.random.default_rng(4)
    first = hour_of(start) * 60
    parts = made.integers(0, 10**8, size=(count, len(pools), len(PARTS))).tolist()
    rows = [
        (first + minute, pool, *row, 600_000_000, 0)
        for minute in range(count)
        for pool, row in zip(pools, parts[minute], strict=True)
    ]
    bulk.insert(connection, "cost_minute", ("minute", "pool", *PART_COLUMNS, "priced_us", "unpriced_us"), rows)
