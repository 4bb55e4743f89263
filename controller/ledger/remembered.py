"""Memory, decisions and outcomes to rows and back. Pure: what goes in comes out equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, nan

from sqlalchemy import RowMapping

from controller.facts.decisions import (
    Alert,
    AlertPhase,
    AlertState,
    Because,
    Decision,
    Memory,
    Outcome,
    OutcomeKind,
    Pause,
    Recommendation,
    ScaleEvent,
    ServiceMemory,
    SpotRecord,
)
from controller.facts.missing import Missing
from controller.facts.readings import CounterMark
from controller.ledger.memory_tables import (
    ExpectedReplicasRow,
    GivenUpRow,
    LostReplicaRow,
    ReadyReplicaRow,
    RecommendationRow,
    ScaleEventRow,
    ServiceMemoryRow,
    SpotRecordRow,
)
from controller.ledger.rollup import Row
from controller.ledger.tables import AlertStateRow, Base

MEMORY_TABLES: tuple[type[Base], ...] = (
    ServiceMemoryRow,
    RecommendationRow,
    ScaleEventRow,
    GivenUpRow,
    LostReplicaRow,
    ReadyReplicaRow,
    ExpectedReplicasRow,
    SpotRecordRow,
    AlertStateRow,
)
"""The tables that hold nothing but the newest Memory."""

COSTS = ("usd_per_hour_before", "usd_per_hour_after")


def memory_rows(memory: Memory) -> dict[type[Base], list[Row]]:
    """``memory`` as the rows of ``MEMORY_TABLES``."""
    rows: dict[type[Base], list[Row]] = {row: [] for row in MEMORY_TABLES}
    for service, one in memory.services.items():
        times = {name: getattr(one, name) for name in ("live_since", "idle_since", "foreign_until")}
        rows[ServiceMemoryRow].append({"service": service, **times})
        rows[RecommendationRow] += [
            {"service": service, "position": position, "at": wanted.at, "wanted": wanted.wanted}
            for position, wanted in enumerate(one.recommendations)
        ]
        rows[ScaleEventRow] += [
            {
                "service": service,
                "position": position,
                "at": change.at,
                "variant": change.variant,
                "replicas_before": change.before,
                "replicas_after": change.after,
            }
            for position, change in enumerate(one.scale_events)
        ]
        rows[GivenUpRow] += [{"service": service, "replica": name, "at": at} for name, at in one.given_up.items()]
        rows[LostReplicaRow] += [{"service": service, "replica": name, "at": at} for name, at in one.lost.items()]
        rows[ReadyReplicaRow] += [
            {"service": service, "replica": name, "since": at} for name, at in one.ready_since.items()
        ]
        rows[ExpectedReplicasRow] += [
            {"service": service, "variant": variant, "replicas": count} for variant, count in one.expected.items()
        ]
        rows[SpotRecordRow] += [_spot_row(service, key, record) for key, record in one.spot.items()]
    rows[AlertStateRow] = [_alert_state_row(state) for state in memory.alerts.values()]
    return rows


def memory_of(rows: Mapping[type[Base], Sequence[RowMapping]]) -> Memory:
    """The Memory that ``rows`` (each table's, in the order of their positions) were made from."""
    lists = {row: _by_service(rows[row]) for row in MEMORY_TABLES}
    services = {}
    for one in rows[ServiceMemoryRow]:
        name = one["service"]
        services[name] = ServiceMemory(
            recommendations=tuple(
                Recommendation(at=row["at"], wanted=row["wanted"]) for row in lists[RecommendationRow][name]
            ),
            scale_events=tuple(_scale_event(row) for row in lists[ScaleEventRow][name]),
            live_since=one["live_since"],
            idle_since=one["idle_since"],
            given_up={row["replica"]: row["at"] for row in lists[GivenUpRow][name]},
            lost={row["replica"]: row["at"] for row in lists[LostReplicaRow][name]},
            ready_since={row["replica"]: row["since"] for row in lists[ReadyReplicaRow][name]},
            expected={row["variant"]: row["replicas"] for row in lists[ExpectedReplicasRow][name]},
            foreign_until=one["foreign_until"],
            spot={(row["variant"], row["domain"]): _spot_record(row) for row in lists[SpotRecordRow][name]},
        )
    states = [alert_state(row) for row in rows[AlertStateRow]]
    return Memory(services=services, alerts={(state.service, state.name): state for state in states})


def _by_service(rows: Iterable[RowMapping]) -> defaultdict[str, list[RowMapping]]:
    grouped: defaultdict[str, list[RowMapping]] = defaultdict(list)
    for row in rows:
        grouped[row["service"]].append(row)
    return grouped


def _scale_event(row: RowMapping) -> ScaleEvent:
    return ScaleEvent(at=row["at"], variant=row["variant"], before=row["replicas_before"], after=row["replicas_after"])


def _spot_row(service: str, key: tuple[str, str], record: SpotRecord) -> Row:
    variant, domain = key
    return {
        "service": service,
        "variant": variant,
        "domain": domain,
        "replica_hours": record.replica_h,
        "losses": record.losses,
        "at": record.at,
        "lost_at": record.lost_at,
    }


def _spot_record(row: RowMapping) -> SpotRecord:
    return SpotRecord(replica_h=row["replica_hours"], losses=row["losses"], at=row["at"], lost_at=row["lost_at"])


def _alert_state_row(state: AlertState) -> Row:
    return {
        "service": state.service,
        "name": state.name,
        "phase": state.phase.value,
        "since": state.since,
        "last_sent": state.last_sent,
        "cleared_since": state.cleared_since,
    }


def alert_state(row: RowMapping) -> AlertState:
    return AlertState(
        service=row["service"],
        name=row["name"],
        phase=AlertPhase(row["phase"]),
        since=row["since"],
        last_sent=row["last_sent"],
        cleared_since=row["cleared_since"],
    )


def alert_event_row(alert: Alert) -> Row:
    return {
        "at": alert.at,
        "service": alert.service,
        "name": alert.name,
        "phase": alert.phase.value,
        "severity": alert.severity,
        "condition": alert.condition,
        "summary": alert.summary,
        "remedy": alert.do,
        "since": alert.since,
    }


def decision_row(decision: Decision, mode: str) -> Row:
    row: Row = {
        "id": decision.id,
        "at": decision.at,
        "mode": mode,
        "service": decision.service,
        "variant": decision.variant,
        "replicas_current": decision.current,
        "replicas_ready": decision.ready,
        "replicas_desired": decision.desired,
        "replicas_wanted": decision.wanted,
        "because": decision.because.value,
        "detail": decision.detail,
        "signal": decision.signal,
        "change": decision.change,
    }
    for name in COSTS:
        cost = getattr(decision, name)
        missing = isinstance(cost, Missing)
        row[name] = None if missing else cost
        row[f"{name}_missing"] = cost.what if missing else None
        row[f"{name}_why"] = cost.why if missing else None
    return row


def number_rows(decision: Decision) -> list[Row]:
    return [
        {"decision_id": decision.id, "name": name, "value": value if isfinite(value) else None}
        for name, value in decision.numbers.items()
    ]


def victim_rows(decision: Decision) -> list[Row]:
    return [
        {"decision_id": decision.id, "position": position, "replica": replica}
        for position, replica in enumerate(decision.victims)
    ]


def decision(row: RowMapping, numbers: Sequence[RowMapping], victims: Sequence[RowMapping]) -> Decision:
    """The Decision of ``row``. A number that was not one comes back as NaN, which formats, and compares to nothing."""
    return Decision(
        id=row["id"],
        at=row["at"],
        service=row["service"],
        variant=row["variant"],
        current=row["replicas_current"],
        ready=row["replicas_ready"],
        desired=row["replicas_desired"],
        wanted=row["replicas_wanted"],
        because=Because(row["because"]),
        detail=row["detail"],
        signal=row["signal"],
        numbers={one["name"]: nan if one["value"] is None else one["value"] for one in numbers},
        usd_per_hour_before=_cost(row, "usd_per_hour_before"),
        usd_per_hour_after=_cost(row, "usd_per_hour_after"),
        victims=tuple(one["replica"] for one in victims),
        change=row["change"],
    )


def _cost(row: RowMapping, name: str) -> float | Missing:
    value: float | None = row[name]
    return Missing(row[f"{name}_missing"] or name, row[f"{name}_why"] or "not recorded") if value is None else value


def outcome_row(outcome: Outcome) -> Row:
    return {
        "decision_id": outcome.decision_id,
        "service": outcome.service,
        "variant": outcome.variant,
        "kind": outcome.kind.value,
        "detail": outcome.detail,
        "at": outcome.at,
    }


def outcome(row: RowMapping) -> Outcome:
    return Outcome(
        decision_id=row["decision_id"],
        service=row["service"],
        variant=row["variant"],
        kind=OutcomeKind(row["kind"]),
        detail=row["detail"],
        at=row["at"],
    )


def mark_row(mark: CounterMark) -> Row:
    return {
        "target_url": mark.target_url,
        "series": mark.series,
        "started_s": mark.started_s,
        "value": mark.value,
        "at": mark.at,
    }


def mark(row: RowMapping) -> CounterMark:
    return CounterMark(
        target_url=row["target_url"],
        series=row["series"],
        started_s=row["started_s"],
        value=row["value"],
        at=row["at"],
    )


def pause(row: RowMapping) -> Pause:
    return Pause(service=row["service"], since=row["since"], by=row["paused_by"], reason=row["reason"])
