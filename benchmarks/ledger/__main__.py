"""``python -m benchmarks.ledger {ingest,queries,settle}``: what the accounts cost on SQLite and on PostgreSQL.

ingest    usage records a second of one core: reading JSON, counting, the database's own work
queries   questions about months, p50 and p95, and the bytes that answer them
settle    one hour of the whole fleet: seconds to settle and to verify, bytes of its minutes
"""

from __future__ import annotations

import argparse

from benchmarks.ledger import ingest, queries, settling
from benchmarks.ledger.fill import Fleet


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.ledger", description=__doc__)
    parser.add_argument("what", choices=("ingest", "queries", "settle"))
    parser.add_argument("--records", type=int, default=2_000_000, help="records to take in, each engine and batch size")
    parser.add_argument("--batch", type=int, nargs="+", default=[1_000, 5_000, 20_000])
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--hours", type=int, default=168, help="how many of the last are kept by the hour")
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=50)
    asked = parser.parse_args()
    fleet = Fleet(days=asked.days, hours_kept=asked.hours, replicas=asked.replicas)
    if asked.what == "ingest":
        ingest.measure(asked.records, asked.batch)
    elif asked.what == "queries":
        queries.measure(fleet, asked.repeats)
    else:
        settling.measure(fleet)


if __name__ == "__main__":
    main()
