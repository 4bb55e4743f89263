"""Operators' stops and the safety kernel's memory, to rows and back. Each fleet has its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping, delete, insert, or_, update

from controller.facts.safety import Damping, Loss, Move, SafetyMemory, Stop, Storm
from controller.ledger.queries import rows_of
from controller.ledger.rollup import Row
from controller.ledger.safety_tables import (
    SafetyDampingRow,
    SafetyLossRow,
    SafetyMoveRow,
    SafetyStormRow,
    StopElsewhereRow,
    StopRow,
)
from controller.ledger.tables import Base, table
from controller.ledger.upsert import replaced, upsert

MEMORY_TABLES: tuple[type[Base], ...] = (
    SafetyMoveRow,
    SafetyLossRow,
    SafetyStormRow,
    SafetyDampingRow,
    StopElsewhereRow,
)
"""They hold nothing but each fleet's newest memory."""


# --- memory -----------------------------------------------------------------------------------------------------------


def replace_memory(
    connection: Connection, memory: SafetyMemory, fleet: str, written: Mapping[type[Base], Sequence[Row]]
) -> dict[type[Base], list[Row]]:
    """Of ``fleet``: what now stands. Tables that hold it already, as ``written`` has it, are left as they are."""
    made = memory_rows(memory, fleet)
    for row, rows in made.items():
        if written.get(row) != rows:
            connection.execute(delete(table(row)).where(table(row).c.fleet == fleet))
            if rows:
                connection.execute(insert(table(row)), rows)
    return made


def read_memory(connection: Connection, fleet: str) -> SafetyMemory:
    """Of ``fleet``."""
    return memory_of({row: rows_of(connection, row, table(row).c.fleet == fleet) for row in MEMORY_TABLES})


def memory_rows(memory: SafetyMemory, fleet: str) -> dict[type[Base], list[Row]]:
    made: dict[type[Base], list[Row]] = {
        SafetyMoveRow: [_move_row(position, one) for position, one in enumerate(memory.moves)],
        SafetyLossRow: [_loss_row(position, one) for position, one in enumerate(memory.losses)],
        SafetyStormRow: [_storm_row(one) for one in memory.storms.values()],
        SafetyDampingRow: [
            {"service": service, "since": one.since, "ends_at": one.until, "hold_s": one.hold_s}
            for service, one in memory.damped.items()
        ],
        StopElsewhereRow: [_elsewhere_row(one) for one in memory.stops],
    }
    return {row: [{"fleet": fleet, **one} for one in rows] for row, rows in made.items()}


def memory_of(rows: Mapping[type[Base], Sequence[RowMapping]]) -> SafetyMemory:
    """What ``rows`` were made from."""
    moves = sorted(rows[SafetyMoveRow], key=lambda row: int(row["position"]))
    return SafetyMemory(
        moves=tuple(map(_move, moves)),
        losses=tuple(map(_loss, rows[SafetyLossRow])),
        storms={row["domain"]: _storm(row) for row in rows[SafetyStormRow]},
        damped={
            row["service"]: Damping(since=row["since"], until=row["ends_at"], hold_s=row["hold_s"])
            for row in rows[SafetyDampingRow]
        },
        stops=tuple(map(_elsewhere, rows[StopElsewhereRow])),
    )


def _move_row(position: int, one: Move) -> Row:
    return {
        "decision_id": one.id,
        "position": position,
        "at": one.at,
        "service": one.service,
        "variant": one.variant,
        "replicas": one.replicas,
        "usd_per_hour": one.usd,
        "unwound": int(one.unwound),
        "replicas_before": one.before,
    }


def _move(row: RowMapping) -> Move:
    return Move(
        id=row["decision_id"],
        at=row["at"],
        service=row["service"],
        variant=row["variant"],
        replicas=row["replicas"],
        usd=row["usd_per_hour"],
        unwound=bool(row["unwound"]),
        before=row["replicas_before"],
    )


def _loss_row(position: int, one: Loss) -> Row:
    return {
        "position": position,
        "service": one.service,
        "variant": one.variant,
        "replica": one.replica,
        "at": one.at,
        "domain": one.domain,
        "spot": int(one.spot),
    }


def _loss(row: RowMapping) -> Loss:
    return Loss(
        service=row["service"],
        variant=row["variant"],
        replica=row["replica"],
        at=row["at"],
        domain=row["domain"],
        spot=bool(row["spot"]),
    )


def _storm_row(one: Storm) -> Row:
    return {"domain": one.domain, "since": one.since, "last_at": one.last, "ends_at": one.until, "why": one.why}


def _storm(row: RowMapping) -> Storm:
    return Storm(domain=row["domain"], since=row["since"], last=row["last_at"], until=row["ends_at"], why=row["why"])


def _elsewhere_row(one: Stop) -> Row:
    return {
        "source": one.source,
        "service": one.service,
        "since": one.since,
        "stopped_by": one.by,
        "reason": one.reason,
        "unsure": int(one.unsure),
    }


def _elsewhere(row: RowMapping) -> Stop:
    return Stop(
        service=row["service"],
        since=row["since"],
        by=row["stopped_by"],
        reason=row["reason"],
        source=row["source"],
        unsure=bool(row["unsure"]),
    )


# --- stops ------------------------------------------------------------------------------------------------------------


def add_stop(connection: Connection, stop: Stop, fleet: str) -> None:
    """A stop of the same service that is already on ends where this one begins."""
    lift_stop(connection, stop.service, fleet, stop.since, stop.by)
    row = {
        "fleet": fleet,
        "service": stop.service,
        "since": stop.since,
        "stopped_by": stop.by,
        "reason": stop.reason,
        "ends_at": stop.until,
        "lifted_at": None,
        "lifted_by": None,
    }
    changes = ("stopped_by", "reason", "ends_at", "lifted_at", "lifted_by")
    upsert(connection, StopRow, [row], dict.fromkeys(changes, replaced))


def lift_stop(connection: Connection, service: str, fleet: str, at: datetime, by: str) -> bool:
    """Whether one was on."""
    stops = table(StopRow)
    is_on = (stops.c.fleet == fleet) & (stops.c.service == service) & stops.c.lifted_at.is_(None)
    still = or_(stops.c.ends_at.is_(None), stops.c.ends_at > at)
    return connection.execute(update(stops).where(is_on, still).values(lifted_at=at, lifted_by=by)).rowcount > 0


def open_stops(connection: Connection, fleet: str | None = None) -> tuple[Stop, ...]:
    """Those that nobody lifted, of ``fleet`` or of all; some may have ended by themselves."""
    stops = table(StopRow).c
    mine = [] if fleet is None else [stops.fleet == fleet]
    return tuple(map(_stop, rows_of(connection, StopRow, stops.lifted_at.is_(None), *mine)))


def stops_elsewhere(connection: Connection) -> tuple[Stop, ...]:
    """Those that the last pass of any fleet found outside the ledger."""
    return tuple(map(_elsewhere, rows_of(connection, StopElsewhereRow)))


def _stop(row: RowMapping) -> Stop:
    return Stop(
        service=row["service"],
        since=row["since"],
        by=row["stopped_by"],
        reason=row["reason"],
        until=row["ends_at"],
    )
