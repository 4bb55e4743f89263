"""PostgreSQL keeps usage in ranges of time, so that forgetting is dropping a table. SQLite needs none of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from controller.ledger.accounts.bulk import writing

LOCK = 7_065_659_119_912
"""Key of the advisory lock under which partitions are made, one after the other. Any fixed number does."""


@dataclass(frozen=True, slots=True)
class Ranged:
    """A partitioned table: its key counts minutes or hours since 1970, ``width`` of them to a partition."""

    name: str
    width: int


MINUTES = Ranged("usage_minute", 7 * 24 * 60)
SEEN = Ranged("usage_seen", 24)
RANGED = (MINUTES, SEEN)


class Partitions:
    """Makes partitions before they are needed, and remembers which there are."""

    def __init__(self) -> None:
        self._made: set[tuple[str, int]] = set()

    def ensure(self, engine: Engine, ranged: Ranged, keys: Iterable[int]) -> None:
        """There is a partition for each of ``keys``. In a transaction of its own: making one locks the whole table."""
        if engine.dialect.name != "postgresql":
            return
        wanted = {(ranged.name, key // ranged.width * ranged.width) for key in keys} - self._made
        if not wanted:
            return
        with writing(engine, "make partitions", "nothing was counted; it is tried again") as connection:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            for name, start in sorted(wanted):
                connection.exec_driver_sql(
                    f"CREATE TABLE IF NOT EXISTS {name}_{start} PARTITION OF {name} "
                    f"FOR VALUES FROM ({start}) TO ({start + ranged.width})"
                )
        self._made |= wanted

    def forget(self) -> None:
        """Look anew: somebody may have dropped one."""
        self._made.clear()


def older(connection: Connection, ranged: Ranged, than: int) -> list[str]:
    """The partitions that hold nothing from ``than`` on, oldest first."""
    found = connection.exec_driver_sql(
        "SELECT child.relname FROM pg_inherits "
        "JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent "
        "WHERE parent.relname = %s AND parent.relnamespace = current_schema()::regnamespace",
        (ranged.name,),
    )
    starts = {name: int(name.rsplit("_", 1)[1]) for (name,) in found}
    return sorted(
        (name for name, start in starts.items() if start + ranged.width <= than), key=lambda name: starts[name]
    )
