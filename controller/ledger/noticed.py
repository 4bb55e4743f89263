"""What was announced about machines, to rows and back. Each fleet has its own queue, and its own rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, Delete, RowMapping, delete, func
from sqlmodel import Field

from controller.facts.interruptions import Notice, NoticeKind
from controller.ledger.queries import rows_of
from controller.ledger.rollup import Row
from controller.ledger.tables import Base, Prose, UtcDateTime, table
from controller.ledger.upsert import replaced, upsert

FIRST, LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""Times come from outside. PostgreSQL tells them in its own zone, where the calendar's first and last hours are none
that Python has: whoever reads such a row would fail on it, at every start."""

CHANGES = dict.fromkeys(("at", "heard_at", "deadline", "source"), replaced)


class NoticeRow(Base, table=True):
    """A ``Notice`` that holds. ``undated``: maintenance whose time was not told, beside another of a later date."""

    __tablename__ = "notice"
    fleet: str = Field(primary_key=True)
    node: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    undated: int = Field(primary_key=True)
    announcement: str = Field(primary_key=True, sa_type=Prose)
    at: datetime = Field(sa_type=UtcDateTime)
    heard_at: datetime = Field(sa_type=UtcDateTime)
    deadline: datetime | None = Field(default=None, sa_type=UtcDateTime)
    source: str


def keep(
    connection: Connection, fleet: str, said: Sequence[Notice], over: Iterable[Notice], heard_at: datetime
) -> None:
    """``said`` holds from now on, and ``over`` does no more. Doing it twice is doing it once."""
    columns = table(NoticeRow).c
    for one in over:
        same = [columns[name] == value for name, value in _key(fleet, one).items()]
        connection.execute(delete(table(NoticeRow)).where(*same))
    upsert(connection, NoticeRow, [_row(fleet, one, heard_at) for one in said], CHANGES)


def notices(connection: Connection, fleet: str) -> tuple[Notice, ...]:
    """Of ``fleet``."""
    return tuple(map(_notice, rows_of(connection, NoticeRow, table(NoticeRow).c.fleet == fleet)))


def over_before(at: datetime) -> Delete:
    """Of machines that ended so long ago, and hints given so long ago."""
    columns = table(NoticeRow).c
    return delete(table(NoticeRow)).where(columns.at < at, func.coalesce(columns.deadline, columns.at) < at)


def _key(fleet: str, one: Notice) -> Row:
    node, kind, undated, announcement = one.key
    return {"fleet": fleet, "node": node, "kind": kind.value, "undated": int(undated), "announcement": announcement}


def _row(fleet: str, one: Notice, heard_at: datetime) -> Row:
    deadline = None if one.deadline is None else _storable(one.deadline)
    told = {"at": _storable(one.at), "heard_at": heard_at, "deadline": deadline, "source": one.source}
    return {**_key(fleet, one), **told}


def _storable(at: datetime) -> datetime:
    return min(max(at, FIRST), LAST)


def _notice(row: RowMapping) -> Notice:
    return Notice(
        node=row["node"],
        kind=NoticeKind(row["kind"]),
        at=row["at"],
        deadline=row["deadline"],
        source=row["source"],
        announcement=row["announcement"],
    )
