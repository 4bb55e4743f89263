"""INSERT … ON CONFLICT for both engines, with one rule a column for what becomes of the row that is already there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnDefault, ColumnElement, Connection, Dialect, case, func
from sqlalchemy.dialects import postgresql, sqlite

from controller.ledger.rollup import Row
from controller.ledger.tables import Base, table

Merge = Callable[[ColumnElement[object], ColumnElement[object]], ColumnElement[object]]
"""(the row's value, the new value) -> what to keep."""

Process = Callable[[Any], object]
"""A value as Python has it -> as the driver takes it."""

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
        prepared = _prepared(connection.dialect, into, rules, tuple(rows[0]))
        connection.exec_driver_sql(prepared.sql, prepared.parameters(rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A statement as the driver takes it.

    Rows are made ready a column at a time: through SQLAlchemy, which does it a value at a time, 5,000 replicas took
    a tenth of a pass.

    names        of the parameters, in their order
    by_position  whether the driver wants tuples, else mappings
    columns      of those names, the ones that come from the rows, with what turns a value into the driver's; None: as
                 it is
    constants    the others
    """

    sql: str
    names: tuple[str, ...]
    by_position: bool
    columns: Mapping[str, Process | None]
    constants: Mapping[str, object]

    def parameters(self, rows: Sequence[Row]) -> list[tuple[object, ...]] | list[dict[str, object]]:
        values = zip(*(self._values(name, rows) for name in self.names), strict=True)
        return list(values) if self.by_position else [dict(zip(self.names, one, strict=True)) for one in values]

    def _values(self, name: str, rows: Sequence[Row]) -> Iterable[object]:
        if name in self.constants:
            return [self.constants[name]] * len(rows)
        process, said = self.columns[name], [row[name] for row in rows]
        return said if process is None else map(cache(process), said)  # times and names come again and again


@lru_cache(maxsize=256)
def _prepared(
    dialect: Dialect, into: type[Base], merge: tuple[tuple[str, Merge], ...], columns: tuple[str, ...]
) -> _Prepared:
    compiled = _statement(dialect.name, into, merge).compile(dialect=dialect, column_keys=list(columns))
    types = {name: table(into).c[name].type.dialect_impl(dialect) for name in columns}
    defaults = {
        one.key: one.default.arg
        for one in table(into).c
        if isinstance(one.default, ColumnDefault) and one.default.is_scalar
    }
    return _Prepared(
        sql=str(compiled),
        names=tuple(compiled.positiontup or compiled.params),
        by_position=compiled.positional,
        columns={name: one.bind_processor(dialect) for name, one in types.items()},
        constants={name: defaults.get(name, it) for name, it in compiled.params.items() if name not in types},
    )


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
