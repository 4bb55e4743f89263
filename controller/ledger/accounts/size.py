"""How much room the ledger takes: by table, and for a day of a replica."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError

from controller.ledger.accounts import bulk
from controller.ledger.engine import reader_engine
from controller.ledger.tables import Base

A_DAY_OF_A_REPLICA: Mapping[str, tuple[str, int]] = {
    "replica_minute": ("", 1440),
    "cost_hour": (" WHERE revision = 0", 24),
    "capacity_spend": (" WHERE grain = 24", 1),
}
"""Which rows of a table, and how many of them, are a day of one replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """``bytes`` with its indexes and partitions; None: this SQLite cannot tell.

    replica_days   how many are in it; None: it is not by replica
    """

    name: str
    rows: int
    bytes: int | None
    replica_days: float | None = None

    @property
    def bytes_per_replica_day(self) -> float | None:
        if self.bytes is None or not self.replica_days:
            return None
        return self.bytes / self.replica_days


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """``tables`` by size, the largest first; ``bytes`` of everything, with what is free inside the file."""

    bytes: int
    tables: tuple[TableSize, ...]

    @property
    def bytes_per_replica_day(self) -> float | None:
        """While all of it is kept: its minutes, its hours and its day. None before there is one."""
        known = [one.bytes_per_replica_day for one in self.tables if one.replica_days]
        found = [one for one in known if one is not None]
        return sum(found) if found else None


def size(url: str) -> Size:
    """Counts every row: seconds for gigabytes."""
    engine = reader_engine(url)
    try:
        with bulk.writing(engine, "measure the ledger", "nothing was changed") as connection:
            whole, by_table = _postgresql(connection) if bulk.on_postgresql(connection) else _sqlite(connection)
            tables = [_table(connection, name, by_table.get(name)) for name in sorted(Base.metadata.tables)]
    finally:
        engine.dispose()
    return Size(bytes=whole, tables=tuple(sorted(tables, key=lambda one: (-(one.bytes or 0), -one.rows, one.name))))


def _table(connection: Connection, name: str, taken: int | None) -> TableSize:
    """``name`` is one of ours."""
    where, rows_a_day = A_DAY_OF_A_REPLICA.get(name, ("", 0))
    days = _count(connection, f"{name}{where}") / rows_a_day if rows_a_day else None
    return TableSize(name=name, rows=_count(connection, name), bytes=taken, replica_days=days)


def _count(connection: Connection, source: str) -> int:
    return int(connection.scalar(text(f"SELECT COUNT(*) FROM {source}")) or 0)


def _sqlite(connection: Connection) -> tuple[int, Mapping[str, int]]:
    pages = int(connection.scalar(text("PRAGMA page_count")) or 0)
    whole = pages * int(connection.scalar(text("PRAGMA page_size")) or 0)
    by_table = (
        "SELECT tbl_name, SUM(pgsize) FROM dbstat JOIN sqlite_master ON sqlite_master.name = dbstat.name "
        "WHERE aggregate = TRUE GROUP BY tbl_name"
    )
    try:
        return whole, {name: int(taken) for name, taken in connection.execute(text(by_table))}
    except DatabaseError:  # built without dbstat
        return whole, {}


def _postgresql(connection: Connection) -> tuple[int, Mapping[str, int]]:
    by_table = (
        "SELECT relname, (SELECT SUM(pg_total_relation_size(relid)) FROM pg_partition_tree(oid)) "
        "FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'p' "
        "UNION ALL SELECT relname, pg_total_relation_size(oid) "
        "FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
    )
    taken = {name: int(size or 0) for name, size in connection.execute(text(by_table))}
    return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0), taken
