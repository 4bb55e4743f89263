"""Which usage records were never seen before: by the hour in which they start and 128 bits of digest."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy import Connection

from controller.attribute.batch import Bools, Ints
from controller.ledger.accounts import bulk

Key = tuple[int, int, int]

INSERT = "INSERT OR IGNORE INTO usage_seen (hour, a, b) VALUES (?, ?, ?)"
CHANGES = "SELECT total_changes()"


def new_keys(connection: Connection, hour: Ints, a: Ints, b: Ints) -> Bools:
    """Which of the keys, ascending and each there once, were never seen; they are seen from now on."""
    if not len(hour):
        return np.zeros(0, dtype=np.bool_)
    if bulk.on_postgresql(connection):
        return _on_postgresql(connection, hour, a, b)
    return _on_sqlite(connection, list(zip(hour.tolist(), a.tolist(), b.tolist(), strict=True)))


def _on_sqlite(connection: Connection, keys: list[Key]) -> Bools:
    """Nearly always all are new, and one statement does. Otherwise it is undone, and each goes in alone."""
    connection.exec_driver_sql("SAVEPOINT seen")
    before = connection.exec_driver_sql(CHANGES).scalar_one()
    connection.exec_driver_sql(INSERT, keys)
    all_new = connection.exec_driver_sql(CHANGES).scalar_one() - before == len(keys)
    if not all_new:
        connection.exec_driver_sql("ROLLBACK TO seen")
    connection.exec_driver_sql("RELEASE seen")
    return np.ones(len(keys), dtype=np.bool_) if all_new else _one_by_one(connection, keys)


def _one_by_one(connection: Connection, keys: list[Key]) -> Bools:
    """The driver's own cursor: SQLAlchemy's would take ten times as long a row."""
    driver: Any = connection.connection.driver_connection
    return np.array([driver.execute(INSERT, key).rowcount == 1 for key in keys], dtype=np.bool_)


def _on_postgresql(connection: Connection, hour: Ints, a: Ints, b: Ints) -> Bools:
    arriving = bulk.arriving(connection, "usage_seen")
    bulk.copy_bytes(connection, arriving, ("hour", "a", "b"), _binary(hour, a, b))
    inserted = connection.exec_driver_sql(
        f"INSERT INTO usage_seen (hour, a, b) SELECT hour, a, b FROM {arriving} ORDER BY hour, a, b "
        "ON CONFLICT (hour, a, b) DO NOTHING"
    )
    if inserted.rowcount == len(hour):
        return np.ones(len(hour), dtype=np.bool_)
    mine = connection.exec_driver_sql(  # xmin: the transaction that wrote a row
        f"SELECT hour, a, b FROM {arriving} JOIN usage_seen USING (hour, a, b) "
        "WHERE usage_seen.xmin = pg_current_xact_id()::xid"
    )
    new = {(row[0], row[1], row[2]) for row in mine}
    keys = zip(hour.tolist(), a.tolist(), b.tolist(), strict=True)
    return np.array([key in new for key in keys], dtype=np.bool_)


def _binary(hour: Ints, a: Ints, b: Ints) -> bytes:
    """PostgreSQL's binary COPY, https://www.postgresql.org/docs/current/sql-copy.html: of each row the number of its
    fields, then each field's length and bytes, all big-endian."""
    row = np.dtype(
        [("n", ">i2"), ("l0", ">i4"), ("hour", ">i4"), ("l1", ">i4"), ("a", ">i8"), ("l2", ">i4"), ("b", ">i8")]
    )
    rows = np.empty(len(hour), dtype=row)
    rows["n"], rows["l0"], rows["l1"], rows["l2"] = 3, 4, 8, 8
    rows["hour"], rows["a"], rows["b"] = hour, a, b
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff"
