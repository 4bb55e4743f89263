"""Brings a database to this program's schema: numbered steps, in order, one transaction each."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, inspect, text

from controller.errors import LedgerError
from controller.ledger.migrations import (
    m0001_measured,
    m0002_decided,
    m0003_remembered,
    m0004_learned,
    m0005_served,
)

Migration = tuple[str, ...]

MIGRATIONS: tuple[Migration, ...] = (
    m0001_measured.STATEMENTS,
    m0002_decided.STATEMENTS,
    m0003_remembered.STATEMENTS,
    m0004_learned.STATEMENTS,
    m0005_served.STATEMENTS,
)
"""Version n is made by the n-th entry."""

TIMESTAMP = {"sqlite": "TEXT", "postgresql": "TIMESTAMPTZ"}
"""How each engine keeps an instant: SQLite has no such type and keeps ISO 8601 in UTC (see ``tables.UtcDateTime``)."""

MIGRATION_LOCK = 7_065_659_119_911
"""Key of PostgreSQL's advisory lock, so that two daemons never migrate at once. A guess: any fixed number does."""


def migrate(engine: Engine, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Apply what is still to do and return the version reached. Raises LedgerError on a newer schema."""
    while True:
        with engine.begin() as connection:
            _lock(connection)
            version = schema_version(connection)
            if version > len(migrations):
                raise LedgerError(newer(version, len(migrations)))
            if version == len(migrations):
                return version
            _apply(connection, version + 1, migrations[version])


def schema_version(connection: Connection) -> int:
    """The newest migration that was applied; 0 for an empty database."""
    if not inspect(connection).has_table("schema_version"):
        return 0
    return int(connection.scalar(text("SELECT MAX(version) FROM schema_version")) or 0)


def newer(found: int, known: int) -> str:
    return (
        f"the ledger has schema version {found} and this program knows {known}: a newer pennyweight wrote it; "
        "nothing was changed. Run that version, or point `ledger:` at another database"
    )


def _lock(connection: Connection) -> None:
    """SQLite's writer already holds the only write lock from BEGIN IMMEDIATE on."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})


def _apply(connection: Connection, version: int, statements: Migration) -> None:
    timestamp = TIMESTAMP[connection.dialect.name]
    if version == 1:
        connection.execute(text("CREATE TABLE schema_version (version INTEGER NOT NULL PRIMARY KEY)"))
    for statement in statements:
        connection.execute(text(statement.format(timestamp=timestamp)))
    connection.execute(text("INSERT INTO schema_version (version) VALUES (:version)"), {"version": version})
