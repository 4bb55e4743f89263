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
INSERT_SENT = f"""
WITH sent AS MATERIALIZED (SELECT * FROM {SENT} AS sent (hour, a, b)),
added AS (
    INSERT INTO usage_seen (hour, a, b) SELECT * FROM sent ON CONFLICT (hour, a, b) DO NOTHING RETURNING hour, a, b
)
SELECT * FROM sent EXCEPT SELECT * FROM added
"""
"""Gives the keys that were there. EXCEPT is worked out by hashing or sorting; a join of two sets of which the planner
knows nothing may be worked out by holding every key against every other."""


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
    """In one statement: asked for once more what was there would have to be looked up again."""
    sent = tuple(bulk.literal(column.tolist()) for column in (hour, a, b))
    known = set(map(tuple, connection.exec_driver_sql(INSERT_SENT, sent)))
    new: Bools = np.full(len(hour), len(known) < len(hour))
    if known and new.any():
        keys = zip(hour.tolist(), a.tolist(), b.tolist(), strict=True)
        new[[place for place, key in enumerate(keys) if key in known]] = False
    return new
