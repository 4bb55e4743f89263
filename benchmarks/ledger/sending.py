"""A process that sends usage records and says after each batch that it was acknowledged.

python -m benchmarks.ledger.sending URL FIRST BATCHES SIZE
"""

from __future__ import annotations

import json
import sys
from contextlib import closing

from benchmarks.ledger.ingest import SOURCE, batch_in, record
from controller.ledger.accounts.ingest import Intake


def body(first: int, size: int) -> bytes:
    return "\n".join(json.dumps(record(number)) for number in range(first, first + size)).encode()


def main() -> None:
    url, first, batches, size = sys.argv[1], *map(int, sys.argv[2:])
    with closing(Intake(url)) as intake:
        print("ready", flush=True)
        for start in range(first, first + batches * size, size):
            receipt = intake.add(SOURCE, batch_in(body(start, size)))
            print(receipt.accepted + receipt.duplicates, flush=True)


if __name__ == "__main__":
    main()
