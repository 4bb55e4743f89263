"""Many rows at once, as each engine takes them fastest: prepared statements on SQLite, COPY and arrays on PostgreSQL.

No temporary tables there: emptying one at every commit costs the server more than a thousand rows do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine

from controller.errors import LedgerError
from controller.ledger.engine import ledger_errors, shown
from controller.ledger.migrate import require_current

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


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction of a question about the accounts."""
    with writing(engine, "read the accounts", "nothing was changed") as connection:
        require_current(connection, shown(engine.url.render_as_string(hide_password=False)))
        alone(connection)
        yield connection


def on_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def alone(connection: Connection) -> None:
    """Until the transaction ends, without PostgreSQL's parallel workers: to start two of them took longer than to add
    up the few thousand rows of a question, and all the more where the cores have other work."""
    if on_postgresql(connection):
        connection.exec_driver_sql("SET LOCAL max_parallel_workers_per_gather = 0")


def copy(connection: Connection, into: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """PostgreSQL's COPY. ``into`` and ``columns`` are names of ours."""
    with _cursor(connection) as cursor, cursor.copy(f"COPY {into} ({', '.join(columns)}) FROM STDIN") as to:
        for row in rows:
            to.write_row(row)


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
    """Insert ``rows`` of ``key`` (texts and whole numbers) and ``sums`` (whole numbers), each key once; where the key
    is there already, add to it.

    Rows go in by key, so that writers who meet wait for each other in one order and never in a ring.
    """
    if not rows:
        return
    columns, ordered = (*key, *sums), sorted(tuple(row) for row in rows)
    listed = ", ".join(columns)
    merged = ", ".join(f"{name} = {into}.{name} + excluded.{name}" for name in sums)
    conflict = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {merged}"
    if on_postgresql(connection):
        arrays, types = zip(*(_array(column) for column in zip(*ordered, strict=True)), strict=True)
        sent = ", ".join(f"%s::{kind}[]" for kind in types)
        connection.exec_driver_sql(f"INSERT INTO {into} ({listed}) SELECT * FROM unnest({sent}) {conflict}", arrays)
    else:
        places = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"INSERT INTO {into} ({listed}) VALUES ({places}) {conflict}", ordered)


def literal(values: Iterable[Any]) -> str:
    """Whole numbers, or texts that are ``quoted``, as an array of PostgreSQL's: the driver takes ten times as long."""
    return f"{{{','.join(map(str, values))}}}"


def quoted(value: str) -> str:
    """As an element of an array, https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _array(column: Sequence[Any]) -> tuple[str, str]:
    """Texts or whole numbers of one column, and which of them."""
    return (literal(map(quoted, column)), "text") if isinstance(column[0], str) else (literal(column), "bigint")


def _cursor(connection: Connection) -> Any:  # psycopg's, which is there only where PostgreSQL is used
    driver: Any = connection.connection.driver_connection
    return driver.cursor()
