"""Run as a process of its own: sends usage records, and says after each batch that it was acknowledged.

python sender.py URL FIRST BATCHES SIZE
"""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta

from controller.attribute.batch import batch_of
from controller.facts.accounts import Identity
from controller.facts.usage import UsageRecord
from controller.ledger.accounts.ingest import Intake

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SOURCE = "gateway"


def record(number: int) -> UsageRecord:
    """The same for the same number, whoever makes it."""
    started = NOON + timedelta(seconds=number % 7200)
    return UsageRecord(
        id=f"request-{number}",
        service="chat",
        started_at=started,
        ended_at=started + timedelta(seconds=number % 100),
        prompt_tokens=100 + number % 7,
        cached_tokens=number % 50,
        output_tokens=number % 300,
        identity=Identity(team=f"team-{number % 5}", feature=f"feature-{number % 3}"),
    )


def main() -> None:
    url, first, batches, size = sys.argv[1], *map(int, sys.argv[2:])
    with closing(Intake(url)) as intake:
        print("ready", flush=True)
        for batch in range(batches):
            start = first + batch * size
            receipt = intake.add(SOURCE, batch_of([record(number) for number in range(start, start + size)], SOURCE))
            print(batch, receipt.accepted, receipt.duplicates, flush=True)


if __name__ == "__main__":
    main()
