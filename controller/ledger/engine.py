"""Opens a database for writing or for reading only, and turns every failure into a LedgerError without secrets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from controller.errors import LedgerError

BUSY_TIMEOUT_MS = 5_000
"""How long SQLite waits for another writer. A guess: a pass and a command line's pause each write for milliseconds,
and the usual interval between passes is three times this."""

CONNECT_TIMEOUT_S = 5
"""How long PostgreSQL may take to answer at all. A guess: as long as SQLite may be busy."""

PATIENCE: Mapping[str, int] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "tcp_user_timeout": 2 * CONNECT_TIMEOUT_S * 1000,
    "keepalives_idle": CONNECT_TIMEOUT_S,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""What libpq waits for, unless the URL says otherwise. A host that is gone sends nothing: without these the kernel goes
on trying for a quarter of an hour (net.ipv4.tcp_retries2), and a pass with it. A statement may take as long as it does.
Guesses."""

DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
"""The PostgreSQL driver we install is psycopg 3, whichever way the URL spells it."""

WRITER_PRAGMAS = (
    "PRAGMA journal_mode = WAL",  # readers never wait for the writer, nor it for them
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    # NORMAL would survive kill -9 but may lose the last commits when the power goes: an action whose intent is lost was
    # acted on unrecorded. FULL costs one fsync a commit, and a pass commits twice.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
READER_PRAGMAS = (f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}", "PRAGMA query_only = ON")


def writer_engine(url: str) -> Engine:
    """An engine whose every transaction takes the write lock at its start."""
    return _engine(_parsed(url), WRITER_PRAGMAS, "BEGIN IMMEDIATE")


def reader_engine(url: str) -> Engine:
    """An engine that cannot write, and whose every transaction sees one moment."""
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        engine = _engine(parsed, (), "")
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    if not parsed.database:
        raise LedgerError("a SQLite ledger in memory cannot be read from outside; give it a file")
    file = Path(parsed.database).absolute()
    url_of_file = parsed.set(database=f"file:{quote(str(file))}", query={"mode": "ro", "uri": "true"})
    engine = _engine(url_of_file, READER_PRAGMAS, "BEGIN")

    @event.listens_for(engine, "do_connect")
    def connecting(
        _dialect: Dialect, entry: ConnectionPoolEntry, arguments: list[str], _more: dict[str, object]
    ) -> None:
        entry.info["alone"] = _alone(file)
        if entry.info["alone"] is not None:
            arguments[0] += "&immutable=1"

    @event.listens_for(engine, "checkout")
    def handed_out(_connection: DBAPIConnection, entry: ConnectionPoolEntry, _handed: object) -> None:
        """Somebody began to write after all: what was read until now may be half of it."""
        if entry.info["alone"] is not None and entry.info["alone"] != _alone(file):
            raise DisconnectionError("the file is written to")

    return engine


def _alone(file: Path) -> tuple[int, int] | None:
    """What the content of ``file`` goes by, where nobody writes it and we could not: in WAL mode SQLite would make two
    files beside it even to read. None: somebody writes it, or we may."""
    try:
        if os.access(file.parent, os.W_OK) or file.with_name(f"{file.name}-wal").exists():
            return None
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def shown(url: str) -> str:
    """``url`` without its password, for messages; of a reader's, as the fleet file has it."""
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite" and (parsed.database or "").startswith("file:"):
        parsed = parsed.set(database=unquote((parsed.database or "").removeprefix("file:")), query={})
    hidden = {key: "***" if "pass" in key.lower() else value for key, value in parsed.query.items()}
    return parsed.set(query=hidden).render_as_string(hide_password=True)


@contextmanager
def ledger_errors(what: str, where: str, then: str) -> Iterator[None]:
    """Any database error inside becomes a LedgerError: what could not be done, where, why, and what happens next."""
    try:
        yield
    except DBAPIError as error:
        lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        raise LedgerError(f"could not {what} in {where}: {lines[0]}; {then}") from error
    except (SQLAlchemyError, OverflowError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LedgerError(f"could not {what} in {where}: {reason}; {then}") from error


def _parsed(url: str) -> URL:
    """Raises LedgerError without quoting ``url``: it may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise LedgerError(
            "`ledger:` is not a database URL; expected sqlite:///pennyweight.db or postgresql+psycopg://user@host/name"
        ) from None
    parsed = parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise LedgerError(f"the ledger runs on sqlite and postgresql, not on {parsed.get_backend_name()}")
    return parsed


def _engine(url: URL, pragmas: tuple[str, ...], begin: str) -> Engine:
    sqlite = url.get_backend_name() == "sqlite"
    patience = {} if sqlite else {name: it for name, it in PATIENCE.items() if name not in url.query}
    try:
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=not sqlite, connect_args=patience)
    except (ImportError, NoSuchModuleError):
        raise LedgerError(
            f"the driver of {url.drivername} is not installed; install pennyweight[postgres], or use postgresql+psycopg"
        ) from None
    if sqlite:
        _prepare_sqlite(engine, pragmas, begin)
    else:
        give_up_the_silent(engine)
    return engine


def give_up_the_silent(engine: Engine) -> None:
    """Of a PostgreSQL that keeps connections open and answers nothing. With another driver than psycopg 3 it is as that
    driver has it."""
    if engine.dialect.driver == "psycopg":
        from controller.ledger.answering import answer_or_end  # its driver is not there where the ledger is SQLite's

        answer_or_end(engine)


def _prepare_sqlite(engine: Engine, pragmas: tuple[str, ...], begin: str) -> None:
    """Python's driver would begin transactions late and end them around DDL; we say BEGIN ourselves."""

    @event.listens_for(engine, "connect")
    def connected(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        entry.info["file"] = _file_of(connection)
        cursor.close()

    @event.listens_for(engine, "checkout")
    def handed_out(connection: DBAPIConnection, entry: ConnectionPoolEntry, _handed: object) -> None:
        """SQLite would go on writing into a file that was moved or deleted, and nobody would ever read it."""
        if entry.info["file"] != _file_of(connection):
            raise DisconnectionError("the file was moved, deleted or replaced")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _file_of(connection: DBAPIConnection) -> tuple[int, int] | None:
    """What identifies the file that now stands where ``connection`` opened one; None: there is none."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA database_list")
    path = Path(cursor.fetchall()[0][2])
    cursor.close()
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
