"""Where budgets stand, what was forecast and what came of it, and cost that nobody expected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from controller.facts.account_reader import BudgetState, Window
from controller.facts.budgets import Anomaly, BudgetMemory, BudgetStanding, SpendPromise
from controller.facts.missing import Missing
from controller.ledger.accounts.billed_tables import AnomalyRow, BudgetPeriodRow, SpendForecastRow
from controller.ledger.accounts.hours import date_of, day_of, hour_of, time_of, up
from controller.ledger.accounts.store import Store
from controller.ledger.tables import Base, table
from controller.ledger.upsert import Merge, replaced, upsert

BURNS = {"hour": "1 h", "six_hours": "6 h", "day": "1 d", "three_days": "3 d"}
"""Windows, and how they are told."""

THEN = "they are worked out again"


class Budgets(Store):
    """What budgets, forecasts and anomalies keep over a restart."""

    def memories(self) -> Mapping[str, BudgetMemory]:
        """By budget, of its newest period: what was told of it already."""
        periods = table(BudgetPeriodRow)
        newest = select(periods.c.budget, func.max(periods.c.start).label("start")).group_by(periods.c.budget)
        last = newest.subquery()
        same = (periods.c.budget == last.c.budget) & (periods.c.start == last.c.start)
        with self._reading("read the budgets") as connection:
            rows = connection.execute(select(periods).join(last, same)).mappings().all()
        return {row["budget"]: _memory(row) for row in rows}

    def keep_budgets(self, standings: Sequence[BudgetStanding], memories: Mapping[str, BudgetMemory]) -> None:
        """Where each budget stands in its period, in the place of what was kept of that period."""
        rows = [_standing_row(one, memories.get(one.budget.name)) for one in standings]
        with self._writing("keep the budgets", THEN) as connection:
            upsert(connection, BudgetPeriodRow, rows, _all(BudgetPeriodRow))

    def promises(self) -> Sequence[SpendPromise]:
        """Forecasts that were made, due or not, as far back as they are kept; the oldest first."""
        made = table(SpendForecastRow)
        order = (made.c.made_day, made.c.budget, made.c.horizon_days)
        with self._reading("read the forecasts") as connection:
            rows = connection.execute(select(made).order_by(*order)).mappings().all()
        return [_promise(row) for row in rows]

    def keep_promises(self, promises: Sequence[SpendPromise]) -> None:
        """Known by budget, day and horizon: what is there is replaced."""
        rows = [_promise_row(one) for one in promises]
        with self._writing("keep the forecasts", THEN) as connection:
            upsert(connection, SpendForecastRow, rows, _all(SpendForecastRow))

    def open_anomalies(self) -> Sequence[Anomaly]:
        """Those that have not ended, the oldest first."""
        with self._reading("read what nobody expected") as connection:
            return _anomalies(connection, table(AnomalyRow).c.ended_hour.is_(None))

    def anomalies(self, window: Window) -> Sequence[Anomaly]:
        """Those of which an hour is in ``window``, the oldest first."""
        with self._reading("read what nobody expected") as connection:
            return anomalies_in(connection, window)

    def keep_anomalies(self, anomalies: Sequence[Anomaly]) -> None:
        """Known by scope and beginning: what is there is replaced."""
        rows = [_anomaly_row(one) for one in anomalies]
        with self._writing("keep what nobody expected", THEN) as connection:
            upsert(connection, AnomalyRow, rows, _all(AnomalyRow))


def anomalies_in(connection: Connection, window: Window) -> list[Anomaly]:
    """Those of which an hour is in ``window``, the oldest first."""
    found = table(AnomalyRow).c
    first, last = hour_of(window.start), up(window.end)
    return _anomalies(connection, (found.began_hour < last) & (found.last_hour >= first))


def _anomalies(connection: Connection, which: Any) -> list[Anomaly]:
    found = table(AnomalyRow)
    query = select(found).where(which).order_by(found.c.began_hour, found.c.scope)
    return [_anomaly(row) for row in connection.execute(query).mappings()]


def states_at(connection: Connection, at: datetime) -> list[BudgetState]:
    """Every budget's period that ``at`` is in, as it stood last; at the end of a period, that one."""
    periods = table(BudgetPeriodRow)
    query = select(periods).where(periods.c.start < at, periods.c.end_at >= at).order_by(periods.c.budget)
    return [
        BudgetState(
            name=row["budget"],
            scope=row["scope"],
            start=row["start"],
            end=row["end_at"],
            limit_nanousd=row["limit_nanousd"],
            spent_nanousd=row["spent_nanousd"],
            p50_nanousd=row["p50_nanousd"],
            p90_nanousd=row["p90_nanousd"],
            state=row["phase"],
            at_limit=row["at_limit"],
            burn={told: row[f"burn_{name}"] for name, told in BURNS.items() if row[f"burn_{name}"] is not None},
        )
        for row in connection.execute(query).mappings()
    ]


def _all(row: type[Base]) -> dict[str, Merge]:
    return {column.name: replaced for column in table(row).columns if not column.primary_key}


def _standing_row(one: BudgetStanding, memory: BudgetMemory | None) -> dict[str, Any]:
    told = memory or BudgetMemory(start=one.start)
    return {
        "budget": one.budget.name,
        "start": one.start,
        "end_at": one.end,
        "scope": one.budget.told_scope(),
        "limit_nanousd": one.budget.limit_nanousd,
        "spent_nanousd": one.spent_nanousd,
        "p50_nanousd": _known(one.p50_nanousd),
        "p90_nanousd": _known(one.p90_nanousd),
        **{f"burn_{name}": _known(getattr(one.burn, name)) for name in BURNS},
        "phase": one.phase.value,
        "at_limit": one.budget.at_limit.value,
        "told_threshold": told.told_threshold,
        "burning_fast": int(told.burning_fast),
        "burning_slow": int(told.burning_slow),
        "told_p50_day": _day(told.told_p50),
        "told_p90_day": _day(told.told_p90),
        "at": one.at,
    }


def _memory(row: RowMapping) -> BudgetMemory:
    return BudgetMemory(
        start=row["start"],
        told_threshold=row["told_threshold"],
        burning_fast=bool(row["burning_fast"]),
        burning_slow=bool(row["burning_slow"]),
        told_p50=_date(row["told_p50_day"]),
        told_p90=_date(row["told_p90_day"]),
    )


def _promise_row(one: SpendPromise) -> dict[str, Any]:
    return {
        "budget": one.budget,
        "made_day": day_of(one.made),
        "horizon_days": one.horizon_days,
        "due_day": day_of(one.due),
        "p50_nanousd": one.p50_nanousd,
        "p90_nanousd": one.p90_nanousd,
        "actual_nanousd": one.actual_nanousd,
    }


def _promise(row: RowMapping) -> SpendPromise:
    return SpendPromise(
        budget=row["budget"],
        made=date_of(row["made_day"]),
        horizon_days=row["horizon_days"],
        due=date_of(row["due_day"]),
        p50_nanousd=row["p50_nanousd"],
        p90_nanousd=row["p90_nanousd"],
        actual_nanousd=row["actual_nanousd"],
    )


def _anomaly_row(one: Anomaly) -> dict[str, Any]:
    return {
        "scope": one.scope,
        "began_hour": hour_of(one.began),
        "last_hour": hour_of(one.last),
        "ended_hour": None if one.ended is None else hour_of(one.ended),
        "expected_nanousd": one.expected_nanousd,
        "actual_nanousd": one.actual_nanousd,
        "driver": one.driver,
        "by_driver": json.dumps(dict(one.by_driver)),
    }


def _anomaly(row: RowMapping) -> Anomaly:
    return Anomaly(
        scope=row["scope"],
        began=time_of(row["began_hour"]),
        last=time_of(row["last_hour"]),
        ended=None if row["ended_hour"] is None else time_of(row["ended_hour"]),
        expected_nanousd=row["expected_nanousd"],
        actual_nanousd=row["actual_nanousd"],
        driver=row["driver"],
        by_driver=json.loads(row["by_driver"]),
    )


def _known(value: Any) -> Any:
    """NULL for what nobody knows."""
    return None if isinstance(value, Missing) else value


def _day(one: date | None) -> int | None:
    return None if one is None else day_of(one)


def _date(day: int | None) -> date | None:
    return None if day is None else date_of(day)
