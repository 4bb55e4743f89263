"""Many rows at once, as each engine takes them fastest: prepared statements on SQLite, COPY on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine

from controller.errors import LedgerError
from controller.ledger.engine import ledger_errors, shown

Rows = Sequence[Sequence[Any]]
"""Values in the order of the columns beside them: integers, floats, texts and None, as the drivers take them."""


@contextmanager
def writing(engine: Engine, what: str, then: str) -> Iterator[Connection]:
    """A transaction. Any database error inside becomes a LedgerError, also one that comes from the driver itself."""
    where = shown(engine.url.render_as_string(hide_password=False))
    try:
        with ledger_errors(what, where, then), engine.begin() as connection:
            yield connection
    except engine.dialect.loaded_dbapi.Error as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LedgerError(f"could not {what} in {where}: {lines[0]}; {then}") from error


def on_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def copy(connection: Connection, into: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """PostgreSQL's COPY. ``into`` and ``columns`` are names of ours."""
    with _cursor(connection) as cursor, cursor.copy(f"COPY {into} ({', '.join(columns)}) FROM STDIN") as to:
        for row in rows:
            to.write_row(row)


def copy_bytes(connection: Connection, into: str, columns: Sequence[str], data: bytes) -> None:
    """The same for what is in PostgreSQL's binary format already."""
    with (
        _cursor(connection) as cursor,
        cursor.copy(f"COPY {into} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)") as to,
    ):
        to.write(data)


def insert(connection: Connection, into: str, columns: Sequence[str], rows: Rows) -> None:
    """Insert ``rows``; none of their keys may be there."""
    if not rows:
        return
    if on_postgresql(connection):
        copy(connection, into, columns, rows)
    else:
        places = ", ".join("?" * len(columns))
        sql = f"INSERT INTO {into} ({', '.join(columns)}) VALUES ({places})"
        connection.exec_driver_sql(sql, [tuple(row) for row in rows])


def add(connection: Connection, into: str, key: Sequence[str], sums: Sequence[str], rows: Rows) -> None:
    """Insert ``rows`` of ``key`` and ``sums``; where the key is there already, add to it.

    Rows go in by key, so that writers who meet wait for each other in one order and never in a ring.
    """
    if not rows:
        return
    columns = (*key, *sums)
    merged = ", ".join(f"{name} = {into}.{name} + excluded.{name}" for name in sums)
    conflict = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {merged}"
    if on_postgresql(connection):
        arrived = arriving(connection, into)
        copy(connection, arrived, columns, rows)
        listed, order = ", ".join(columns), ", ".join(key)
        connection.exec_driver_sql(
            f"INSERT INTO {into} ({listed}) SELECT {listed} FROM {arrived} ORDER BY {order} {conflict}"
        )
        connection.exec_driver_sql(f"TRUNCATE {arrived}")
    else:
        places = ", ".join("?" * len(columns))
        sql = f"INSERT INTO {into} ({', '.join(columns)}) VALUES ({places}) {conflict}"
        connection.exec_driver_sql(sql, sorted(tuple(row) for row in rows))


def arriving(connection: Connection, into: str) -> str:
    """A table of this connection alone, shaped as ``into`` and empty at the start of every transaction."""
    name = f"arriving_{into}"
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} (LIKE {into} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
    )
    return name


def _cursor(connection: Connection) -> Any:  # psycopg's, which is there only where PostgreSQL is used
    driver: Any = connection.connection.driver_connection
    return driver.cursor()
