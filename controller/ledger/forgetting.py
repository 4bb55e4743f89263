"""What of the ledger is old: the deletions that retention asks for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Delete, ScalarSelect, delete, func, select

from controller.ledger import noticed
from controller.ledger.learned_tables import CapacityRow, ForecastAccuracyRow, ForecastRow, LearnedStateRow
from controller.ledger.safety_tables import StopRow
from controller.ledger.tables import (
    ActionRow,
    AlertEventRow,
    Base,
    CounterMarkRow,
    DecisionRow,
    GapRow,
    LeadershipRow,
    OutcomeRow,
    PassProblemRow,
    PassRow,
    PauseRow,
    ReplicaMinuteRow,
    ServiceMinuteRow,
    table,
)


def rows_before(minutes: datetime, decisions: datetime) -> list[Delete]:
    done = select(table(OutcomeRow).c.decision_id)
    intended = select(table(ActionRow).c.decision_id)
    decided = table(DecisionRow).c
    return [
        _older(ReplicaMinuteRow, "minute", minutes),
        _older(ServiceMinuteRow, "minute", minutes),
        _older(PassProblemRow, "at", minutes),
        _older(PassRow, "at", minutes).where(table(PassRow).c.at < _last_of_fleet()),
        _older(GapRow, "ended_at", minutes),
        _older(CounterMarkRow, "at", minutes),
        _older(DecisionRow, "at", decisions).where(decided.id.in_(done) | decided.id.not_in(intended)),
        _older(AlertEventRow, "at", decisions),
        _older(PauseRow, "resumed_at", decisions),
        noticed.over_before(minutes),
        _older(StopRow, "lifted_at", decisions),
        _older(LeadershipRow, "since", decisions).where(table(LeadershipRow).c.epoch < _newest_of_fleet()),
    ]


def learned_before(shown: datetime, states: datetime) -> list[Delete]:
    """``shown``: what only people look at; ``states``: what the estimators need, as long as their service lives."""
    return [
        _older(ForecastRow, "slot", shown),
        _older(ForecastAccuracyRow, "hour", shown),
        _older(CapacityRow, "hour", shown),
        _older(LearnedStateRow, "at", states).where(table(LearnedStateRow).c.kind != "profile"),
    ]


def _last_of_fleet() -> ScalarSelect[datetime]:
    """Of the fleet of the pass that is asked about."""
    passes, same = table(PassRow).c, table(PassRow).alias().c
    return select(func.max(same.at)).where(same.fleet == passes.fleet).correlate(table(PassRow)).scalar_subquery()


def _newest_of_fleet() -> ScalarSelect[int]:
    """The epoch that fences off all others."""
    terms, same = table(LeadershipRow).c, table(LeadershipRow).alias().c
    return (
        select(func.max(same.epoch)).where(same.fleet == terms.fleet).correlate(table(LeadershipRow)).scalar_subquery()
    )


def _older(row: type[Base], column: str, than: datetime) -> Delete:
    return delete(table(row)).where(table(row).c[column] < than)
