"""Why usage records were refused: by source, reason and day, so that whoever sends them can be told what to mend."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, func, select

from controller.facts.usage import Reason, Refused
from controller.ledger.accounts import bulk
from controller.ledger.accounts.hours import date_of
from controller.ledger.accounts.rows import RefusedFor
from controller.ledger.accounts.tables import UsageRefusedRow
from controller.ledger.tables import table

TODAY = {
    "sqlite": "SELECT CAST(strftime('%s', 'now') AS INTEGER) / 86400",
    "postgresql": "SELECT CAST(FLOOR(EXTRACT(EPOCH FROM now()) / 86400) AS BIGINT)",
}
"""Days since 1970 by the ledger's clock, for all who write to it. A record's own time may be what is wrong with it."""


def add(connection: Connection, refused: Iterable[tuple[str, Sequence[Refused]]]) -> None:
    """Count what was refused of each source."""
    counts = Counter((source, one.reason) for source, ones in refused for one in ones)
    if counts:
        today = int(connection.exec_driver_sql(TODAY[connection.dialect.name]).scalar_one())
        rows = [(source, today, reason.value, count) for (source, reason), count in counts.items()]
        bulk.add(connection, "usage_refused", ("source", "day", "reason"), ("records",), rows)


def by_source(connection: Connection) -> dict[str, tuple[RefusedFor, ...]]:
    """The reasons of each source, the most frequent first."""
    rows = table(UsageRefusedRow).c
    sums = (func.sum(rows.records).label("records"), func.max(rows.day).label("day"))
    query = select(rows.source, rows.reason, *sums).group_by(rows.source, rows.reason)
    found: defaultdict[str, list[RefusedFor]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.source].append(RefusedFor(reason=Reason(row.reason), records=int(row.records), last=date_of(row.day)))
    return {
        source: tuple(sorted(ones, key=lambda one: (-one.records, one.reason.value))) for source, ones in found.items()
    }
