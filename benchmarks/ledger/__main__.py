"""``python -m benchmarks.ledger WHAT``: what the accounts cost on SQLite and on PostgreSQL.

ingest    usage records a second of one core: reading JSON, counting, the database's own work
queries   questions about months, p50 and p95, and the bytes that answer them
prune     bytes before and after minutes, and then hours, are forgotten
kill      senders killed while they write: what is lost of what was acknowledged, what is counted twice
together  four processes that send at once
settle    one hour of the whole fleet: seconds to settle and to verify, bytes of its minutes
"""

from __future__ import annotations

import argparse

from benchmarks.ledger import ingest, processes, pruning, queries, settling
from benchmarks.ledger.engines import ENGINES
from benchmarks.ledger.fill import Fleet


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.ledger", description=__doc__)
    parser.add_argument("what", choices=("ingest", "queries", "settle", "prune", "kill", "together"))
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--records", type=int, default=2_000_000, help="records to take in, each engine and batch size")
    parser.add_argument("--batch", type=int, nargs="+", default=[1_000, 5_000, 20_000])
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--hours", type=int, help="how many of the last are kept by the hour; all without")
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20, help="for each engine")
    asked = parser.parse_args()
    hours = 24 * asked.days if asked.hours is None else asked.hours
    fleet = Fleet(days=asked.days, hours_kept=hours, replicas=asked.replicas)
    if asked.what == "ingest":
        ingest.measure(asked.engine, asked.records, asked.batch)
    elif asked.what == "queries":
        queries.measure(asked.engine, fleet, asked.repeats)
    elif asked.what == "prune":
        pruning.measure(asked.engine, fleet)
    elif asked.what == "kill":
        processes.kills(asked.engine, asked.kills)
    elif asked.what == "together":
        processes.together(asked.engine, writers=4, batches=20, size=5_000)
    else:
        settling.measure(asked.engine, fleet)


if __name__ == "__main__":
    main()
