"""INSERT … ON CONFLICT for both engines, with one rule a column for what becomes of the row that is already there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter

from sqlalchemy import ColumnElement, Connection, case, func
from sqlalchemy.dialects import postgresql, sqlite

from controller.ledger.rollup import Row
from controller.ledger.tables import Base, table

Merge = Callable[[ColumnElement[object], ColumnElement[object]], ColumnElement[object]]
"""(the row's value, the new value) -> what to keep."""

INSERTS: Mapping[str, Callable[..., sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def added(old: ColumnElement[object], new: ColumnElement[object]) -> ColumnElement[object]:
    """Their sum; the one that is known when the other is NULL."""
    return func.coalesce(old + new, old, new)


def newest(old: ColumnElement[object], new: ColumnElement[object]) -> ColumnElement[object]:
    """The new value, unless it is NULL."""
    return func.coalesce(new, old)


def highest(old: ColumnElement[object], new: ColumnElement[object]) -> ColumnElement[object]:
    """The greater; the one that is known when the other is NULL (the engines' own functions differ on that)."""
    return case((old.is_(None) | (new > old), new), else_=old)


def said(old: ColumnElement[object], new: ColumnElement[object]) -> ColumnElement[object]:
    """The new text, unless it is empty."""
    return case((new != "", new), else_=old)


def replaced(_old: ColumnElement[object], new: ColumnElement[object]) -> ColumnElement[object]:
    """The new value, NULL or not."""
    return new


def upsert(connection: Connection, into: type[Base], rows: Sequence[Row], merge: Mapping[str, Merge]) -> None:
    """Insert ``rows``; where the primary key exists, merge the columns of ``merge`` and leave the others."""
    if rows:
        rules = tuple(sorted(merge.items(), key=itemgetter(0)))
        connection.execute(_statement(connection.dialect.name, into, rules), rows)


@lru_cache(maxsize=256)
def _statement(
    dialect: str, into: type[Base], merge: tuple[tuple[str, Merge], ...]
) -> sqlite.Insert | postgresql.Insert:
    """Built once: a pass says the same few, and building one takes longer than writing its rows."""
    target = table(into)
    statement = INSERTS[dialect](target)
    key = [column.name for column in target.primary_key]
    if not merge:
        return statement.on_conflict_do_nothing(index_elements=key)
    changes = {name: rule(target.c[name], statement.excluded[name]) for name, rule in merge}
    return statement.on_conflict_do_update(index_elements=key, set_=changes)


def insert_new(connection: Connection, into: type[Base], row: Row) -> bool:
    """Insert ``row`` unless its primary key exists; say whether it was new. (Row counts differ between the drivers.)"""
    target = table(into)
    key = list(target.primary_key)
    statement = INSERTS[connection.dialect.name](target).on_conflict_do_nothing(index_elements=key)
    return connection.execute(statement.returning(*key), row).first() is not None
