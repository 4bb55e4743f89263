"""Reads, and can do nothing else: the dashboard, the HTTP API and the command line ask here while the daemon writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Float, RowMapping, func, or_, select
from sqlalchemy import cast as sql_cast

from controller.facts.decisions import AlertPhase, AlertState, Pause
from controller.facts.demand import Forecast
from controller.facts.fleet import CapacityType
from controller.facts.passes import Gap
from controller.facts.safety import Stop
from controller.ledger import learning, remembered, safety
from controller.ledger.demand import demand_minutes
from controller.ledger.engine import ledger_errors, reader_engine, shown
from controller.ledger.fleets import owners, watching
from controller.ledger.last import last_passes, seen_in
from controller.ledger.learned_tables import CapacityRow, ForecastAccuracyRow, ForecastRow
from controller.ledger.migrate import require_current
from controller.ledger.queries import RecordedDecision, between, open_pauses, recorded_decisions, rows_of
from controller.ledger.rollup import LEVELS, minute_of
from controller.ledger.rows import (
    AlertEvent,
    Cost,
    DemandMinute,
    FleetNow,
    HourlyAccuracy,
    HourlyCapacity,
    RecordedPass,
    ReplicaMinute,
    ServiceMinute,
)
from controller.ledger.tables import (
    AlertEventRow,
    AlertStateRow,
    DecisionRow,
    GapRow,
    LeadershipRow,
    ReplicaMinuteRow,
    ServiceMinuteRow,
    table,
)
from controller.ledger.totals import total, totals

CostKey = Literal["service", "variant", "replica", "capacity_type", "minute"]

SUMMED = (
    "unpriced_s",
    "covered_s",
    "ready_s",
    "prompt_tokens",
    "cached_prompt_tokens",
    "output_tokens",
    "requests",
    "energy_j",
)


class LedgerReader:
    """The read side. Every failure is a LedgerError; each call sees one moment; intervals are start <= t < end."""

    def __init__(self, url: str) -> None:
        """Opens nothing yet; ``url`` as in the fleet file."""
        self._where = shown(url)
        self._engine = reader_engine(url)

    def __repr__(self) -> str:
        return f"LedgerReader({self._where!r})"

    def close(self) -> None:
        self._engine.dispose()

    def last_pass(self) -> RecordedPass | None:
        """The newest pass of any fleet; None before the first."""
        with self._reading() as connection:
            passes = last_passes(connection, owners(connection))
        return passes[0] if passes else None

    def fleet_now(self) -> FleetNow | None:
        """What the last pass of each fleet saw of it; None before the first."""
        with self._reading() as connection:
            owned = owners(connection)
            passes = last_passes(connection, owned)
            scopes = {(one.service, one.variant): one for last in passes for one in seen_in(connection, last, owned)}
        if not passes:
            return None
        found = [scopes[key] for key in sorted(scopes)]
        fleets = [one for one in found if not one.service]
        return FleetNow(
            last_pass=passes[0],
            fleet=total(fleets, minute_of(passes[0].at)) if fleets else None,
            services=tuple(one for one in found if one.service and not one.variant),
            variants=tuple(one for one in found if one.service and one.variant),
            passes=passes,
            owners=owned,
        )

    def services(self) -> tuple[str, ...]:
        """The services that the ledger knows anything of, by name."""
        name = table(ServiceMinuteRow).c.service
        with self._reading() as connection:
            return tuple(connection.scalars(select(name).where(name != "").distinct().order_by(name)))

    def variants(self, service: str) -> tuple[str, ...]:
        """The variants of ``service`` that the ledger knows anything of, by name."""
        columns = table(ServiceMinuteRow).c
        mine = select(columns.variant).where(columns.service == service, columns.variant != "")
        with self._reading() as connection:
            return tuple(connection.scalars(mine.distinct().order_by(columns.variant)))

    def service_series(
        self, service: str, start: datetime, end: datetime, variant: str = ""
    ) -> tuple[ServiceMinute, ...]:
        """Minute by minute, oldest first. ``service`` "" is all fleets together; ``variant`` "" the whole service."""
        columns = table(ServiceMinuteRow).c
        where = [columns.service == service, *between(columns.minute, start, end)]
        where += [columns.variant == variant] if service else []
        with self._reading() as connection:
            found = [ServiceMinute(**row) for row in rows_of(connection, ServiceMinuteRow, *where)]
        return tuple(found) if service else totals(found)

    def replica_minutes(
        self, start: datetime, end: datetime, service: str | None = None, variant: str | None = None
    ) -> tuple[ReplicaMinute, ...]:
        """Every replica's minutes, oldest first."""
        columns = table(ReplicaMinuteRow).c
        where = between(columns.minute, start, end) + _matching({columns.service: service, columns.variant: variant})
        with self._reading() as connection:
            return tuple(_replica_minute(row) for row in rows_of(connection, ReplicaMinuteRow, *where))

    def decisions(
        self,
        service: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 200,
        moves_only: bool = False,
    ) -> tuple[RecordedDecision, ...]:
        """Decisions with their numbers and outcomes, newest first. ``moves_only`` leaves out those that hold."""
        columns = table(DecisionRow).c
        where = between(columns.at, start, end) + _matching({columns.service: service})
        if moves_only:
            where.append(or_(columns.replicas_desired != columns.replicas_current, columns.change != ""))
        with self._reading() as connection:
            return recorded_decisions(connection, *where, limit=limit)

    def last_decision(self, service: str) -> RecordedDecision | None:
        """The newest decision of ``service``; of several variants decided at once, the one that moves."""
        columns = table(DecisionRow).c
        newest = select(func.max(columns.at)).where(columns.service == service).scalar_subquery()
        with self._reading() as connection:
            made = recorded_decisions(connection, columns.service == service, columns.at == newest)
        return next((one for one in made if not one.decision.holds), made[0] if made else None)

    def leader(self, service: str, epoch: int) -> str:
        """Who led the fleet of ``service`` in that term; "" when it was forgotten."""
        terms = table(LeadershipRow).c
        with self._reading() as connection:
            fleet = owners(connection).get(service, "")
            holder = select(terms.holder).where(terms.fleet == fleet, terms.epoch == epoch)
            return connection.scalar(holder) or ""

    def cost(self, start: datetime, end: datetime, by: Sequence[CostKey] = ("service",)) -> tuple[Cost, ...]:
        """Money and tokens of whole minutes, grouped and sorted by ``by``; () sums up everything."""
        columns = table(ReplicaMinuteRow).c
        keys = [columns[name] for name in by]
        sums = [
            func.sum(columns.cost_nanousd).label("cost_nanousd"),
            func.sum(columns.covered_s * sql_cast(columns.gpus, Float)).label("gpu_s"),
            *(func.sum(columns[name]).label(name) for name in SUMMED),
        ]
        query = select(*keys, *sums).where(*between(columns.minute, start, end)).group_by(*keys).order_by(*keys)
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(_cost(row) for row in rows if row["covered_s"] is not None)

    def gaps(self, start: datetime, end: datetime, service: str | None = None) -> tuple[Gap, ...]:
        """Time between ``start`` and ``end`` in which nobody watched ``service``, or some fleet, oldest first. A gap
        may reach over either."""
        columns = table(GapRow).c
        where = [columns.started_at < end, columns.ended_at > start]
        where += [] if service is None else [watching(columns.fleet, service)]
        with self._reading() as connection:
            rows = rows_of(connection, GapRow, *where)
        names = ("fleet", "why")
        return tuple(
            Gap(start=row["started_at"], end=row["ended_at"], **{name: row[name] for name in names}) for row in rows
        )

    def alerts(self, start: datetime, end: datetime) -> tuple[AlertEvent, ...]:
        """The messages sent, oldest first."""
        with self._reading() as connection:
            rows = rows_of(connection, AlertEventRow, *between(table(AlertEventRow).c.at, start, end))
        return tuple(_alert_event(row) for row in rows)

    def alert_states(self) -> tuple[AlertState, ...]:
        """Where every alert is now."""
        with self._reading() as connection:
            return tuple(remembered.alert_state(row) for row in rows_of(connection, AlertStateRow))

    def pauses(self) -> Mapping[str, Pause]:
        """The pauses that are on, by service."""
        with self._reading() as connection:
            return open_pauses(connection)

    def stops(self) -> tuple[Stop, ...]:
        """Those that nobody lifted, of all fleets, and those that the last passes found elsewhere."""
        with self._reading() as connection:
            return (*safety.open_stops(connection), *safety.stops_elsewhere(connection))

    def demand_history(self, service: str, start: datetime, end: datetime) -> tuple[DemandMinute, ...]:
        """What arrived, every minute from that of ``start`` on: one that nobody saw is there, unknown, with its why."""
        with self._reading() as connection:
            return demand_minutes(connection, service, start, end)

    def forecasts(
        self, service: str, start: datetime, end: datetime, horizon_s: float | None = None
    ) -> tuple[Forecast, ...]:
        """The forecasts for ``start`` to ``end``, whenever they were made, by horizon and time."""
        columns = table(ForecastRow).c
        where = [columns.service == service, *between(columns.due_at, start, end)]
        if horizon_s is not None:
            where.append(columns.horizon_s == horizon_s)
        with self._reading() as connection:
            return tuple(learning.forecast(row) for row in rows_of(connection, ForecastRow, *where))

    def latest_forecasts(self, service: str) -> tuple[Forecast, ...]:
        """The newest forecasts, horizons ascending."""
        columns = table(ForecastRow).c
        newest = select(func.max(columns.slot)).where(columns.service == service).scalar_subquery()
        with self._reading() as connection:
            rows = rows_of(connection, ForecastRow, columns.service == service, columns.slot == newest)
        return tuple(learning.forecast(row) for row in rows)

    def forecast_accuracy(self, service: str, start: datetime, end: datetime) -> tuple[HourlyAccuracy, ...]:
        """How good the forecasts were, hour by hour, by horizon and time."""
        columns = table(ForecastAccuracyRow).c
        where = [columns.service == service, *between(columns.hour, start, end)]
        with self._reading() as connection:
            return tuple(learning.accuracy(row) for row in rows_of(connection, ForecastAccuracyRow, *where))

    def capacities(self, service: str, start: datetime, end: datetime) -> tuple[HourlyCapacity, ...]:
        """What one replica of each variant carries, hour by hour, by variant and time."""
        columns = table(CapacityRow).c
        where = [columns.service == service, *between(columns.hour, start, end)]
        with self._reading() as connection:
            return tuple(learning.capacity(row) for row in rows_of(connection, CapacityRow, *where))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        then = "nothing was changed. The daemon makes the ledger at its first start; has it run?"
        with ledger_errors("read the ledger", self._where, then), self._engine.begin() as connection:
            require_current(connection, self._where)
            yield connection


def _matching(wanted: Mapping[Any, str | None]) -> list[ColumnElement[bool]]:
    return [column == value for column, value in wanted.items() if value is not None]


def _replica_minute(row: RowMapping) -> ReplicaMinute:
    values = dict(row)
    for level in LEVELS:
        integral, seconds = values.pop(f"{level}_integral"), values.pop(f"{level}_s")
        values[level] = integral / seconds if integral is not None and seconds else None
    return ReplicaMinute(**values | {"capacity_type": CapacityType(row["capacity_type"])})


def _cost(row: RowMapping) -> Cost:
    """PostgreSQL sums BIGINT as an exact decimal; it is whole."""
    total = row["cost_nanousd"]
    return Cost(**dict(row) | {"cost_nanousd": None if total is None else int(total)})


def _alert_event(row: RowMapping) -> AlertEvent:
    values = dict(row)
    do = values.pop("remedy")
    return AlertEvent(**values | {"do": do, "phase": AlertPhase(row["phase"])})
