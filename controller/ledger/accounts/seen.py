"""Which usage records were never seen before: by the hour in which they start and 128 bits of digest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sqlalchemy import Connection

from controller.attribute.batch import Bools, Ints
from controller.ledger.accounts import bulk

Key = tuple[int, int, int]

INSERT = "INSERT OR IGNORE INTO usage_seen (hour, a, b) VALUES (?, ?, ?)"

SENT = "unnest(%s::int[], %s::bigint[], %s::bigint[])"
INSERT_SENT = f"INSERT INTO usage_seen (hour, a, b) SELECT * FROM {SENT} ON CONFLICT (hour, a, b) DO NOTHING"
KNOWN = f"""
SELECT place FROM {SENT} WITH ORDINALITY AS sent (hour, a, b, place) WHERE (
    SELECT xmin <> pg_current_xact_id()::xid FROM usage_seen WHERE (hour, a, b) = (sent.hour, sent.a, sent.b)
)
"""
"""Places from 1 on of keys that an earlier transaction wrote: ``xmin`` is the one that wrote a row. A subquery, because
it is answered key by key from the index; a join may read the whole table."""


def new_keys(connection: Connection, hour: Ints, a: Ints, b: Ints) -> Bools:
    """Which of the keys, ascending and each there once, were never seen; they are seen from now on."""
    if not len(hour):
        return np.zeros(0, dtype=np.bool_)
    if bulk.on_postgresql(connection):
        return _on_postgresql(connection, hour, a, b)
    return _on_sqlite(connection, list(zip(hour.tolist(), a.tolist(), b.tolist(), strict=True)))


def _on_sqlite(connection: Connection, keys: list[Key]) -> Bools:
    """One statement for all: the driver asks for a key when the one before it is written, so that what the connection
    has changed by then tells whether that one was new."""
    driver: Any = connection.connection.driver_connection
    totals = [driver.total_changes]

    def following() -> Iterator[Key]:
        for key in keys:
            yield key
            totals.append(driver.total_changes)

    driver.executemany(INSERT, following())
    new: Bools = np.diff(totals) == 1
    return new


def _on_postgresql(connection: Connection, hour: Ints, a: Ints, b: Ints) -> Bools:
    """Nearly always all are new or none is, and the number of rows says so. Otherwise those that another transaction
    has written were there before: KNOWN."""
    sent = tuple(bulk.literal(column.tolist()) for column in (hour, a, b))
    inserted = connection.exec_driver_sql(INSERT_SENT, sent).rowcount
    new: Bools = np.full(len(hour), inserted > 0)
    if 0 < inserted < len(hour):
        new[[place - 1 for (place,) in connection.exec_driver_sql(KNOWN, sent)]] = False
    return new
