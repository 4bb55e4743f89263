"""The last pass of each fleet on a ledger, and what it saw."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, func, select

from controller.facts.fleet import Mode
from controller.ledger.queries import rows_of
from controller.ledger.rollup import minute_of
from controller.ledger.rows import RecordedPass, ServiceMinute
from controller.ledger.tables import PassProblemRow, PassRow, ServiceMinuteRow, table


def last_passes(connection: Connection, owners: Mapping[str, str]) -> tuple[RecordedPass, ...]:
    """Of each fleet that has services now (of each that ever was, where none has), the newest first."""
    passes = table(PassRow).c
    newest = select(passes.fleet, func.max(passes.at).label("at")).group_by(passes.fleet)
    found = {row.fleet: row.at for row in connection.execute(newest)}
    kept = {fleet: at for fleet, at in found.items() if fleet in owners.values()} or found
    told = [_pass(connection, fleet, at) for fleet, at in kept.items()]
    return tuple(sorted(told, key=lambda one: one.at, reverse=True))


def seen_in(connection: Connection, last: RecordedPass, owners: Mapping[str, str]) -> list[ServiceMinute]:
    """What the minute of that pass holds of its fleet: the total, and its services and variants."""
    there = table(ServiceMinuteRow).c.minute == minute_of(last.at)
    scopes = [ServiceMinute(**row) for row in rows_of(connection, ServiceMinuteRow, there)]
    return [one for one in scopes if _is_its(one, last.fleet, owners)]


def _is_its(one: ServiceMinute, fleet: str, owners: Mapping[str, str]) -> bool:
    return owners.get(one.service, fleet) == fleet if one.service else one.variant == fleet


def _pass(connection: Connection, fleet: str, at: datetime) -> RecordedPass:
    passes, problems = table(PassRow).c, table(PassProblemRow).c
    (row,) = rows_of(connection, PassRow, passes.at == at, passes.fleet == fleet)
    told = rows_of(connection, PassProblemRow, problems.at == at, problems.fleet == fleet)
    return RecordedPass(
        at=at,
        mode=Mode(row["mode"]),
        services=row["services"],
        replicas=row["replicas"],
        duration_s=row["duration_s"],
        problems=tuple(one["problem"] for one in told),
        fleet=fleet,
    )
