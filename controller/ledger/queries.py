"""Queries that both the writing and the reading side ask."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, func, select

from controller.facts.decisions import Decision, Outcome, Pause
from controller.facts.fleet import Mode
from controller.ledger import remembered
from controller.ledger.tables import (
    Base,
    DecisionNumberRow,
    DecisionRow,
    DecisionVictimRow,
    OutcomeRow,
    PassRow,
    PauseRow,
    table,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDecision:
    """A decision with the mode it was made in, and what became of it: None when it holds, or when nobody knows yet.

    epoch   of the term it was made in; None where the ledger knows of none
    """

    decision: Decision
    mode: Mode
    outcome: Outcome | None
    epoch: int | None = None


def rows_of(connection: Connection, row: type[Base], *where: ColumnElement[bool]) -> list[RowMapping]:
    """The rows of one table in the order of its primary key."""
    source = table(row)
    return list(connection.execute(select(source).where(*where).order_by(*source.primary_key)).mappings())


def between(column: ColumnElement[datetime], start: datetime | None, end: datetime | None) -> list[ColumnElement[bool]]:
    """``start <= column < end``; None leaves that side open."""
    return [
        *([column >= start] if start is not None else []),
        *([column < end] if end is not None else []),
    ]


def last_pass_at(connection: Connection, fleet: str) -> datetime | None:
    """Of ``fleet``; None before its first."""
    passes = table(PassRow).c
    at: datetime | None = connection.scalar(select(func.max(passes.at)).where(passes.fleet == fleet))
    return at


def open_pauses(connection: Connection) -> Mapping[str, Pause]:
    """The pauses that are on, by service."""
    rows = rows_of(connection, PauseRow, table(PauseRow).c.resumed_at.is_(None))
    return {row["service"]: remembered.pause(row) for row in rows}


def recorded_decisions(
    connection: Connection, *where: ColumnElement[bool], limit: int | None = None
) -> tuple[RecordedDecision, ...]:
    """Decisions with their numbers, victims and outcomes, newest first."""
    source = table(DecisionRow)
    newest = select(source).where(*where).order_by(source.c.at.desc(), source.c.id).limit(limit)
    rows = list(connection.execute(newest).mappings())
    ids = [row["id"] for row in rows]
    numbers = _grouped(connection, DecisionNumberRow, ids)
    victims = _grouped(connection, DecisionVictimRow, ids)
    outcomes = _grouped(connection, OutcomeRow, ids)
    return tuple(
        RecordedDecision(
            decision=remembered.decision(row, numbers[row["id"]], victims[row["id"]]),
            mode=Mode(row["mode"]),
            outcome=next((remembered.outcome(one) for one in outcomes[row["id"]]), None),
            epoch=row["epoch"],
        )
        for row in rows
    )


IDS_AT_ONCE = 500
"""Parameters in one IN list: SQLite before 3.32 took 999, https://sqlite.org/limits.html#max_variable_number."""


def _grouped(connection: Connection, row: type[Base], ids: list[str]) -> defaultdict[str, list[RowMapping]]:
    source: Table = table(row)
    grouped: defaultdict[str, list[RowMapping]] = defaultdict(list)
    for chunk in _chunks(ids):
        for one in rows_of(connection, row, source.c.decision_id.in_(chunk)):
            grouped[one["decision_id"]].append(one)
    return grouped


def _chunks(ids: list[str]) -> Iterable[list[str]]:
    return (ids[start : start + IDS_AT_ONCE] for start in range(0, len(ids), IDS_AT_ONCE))
