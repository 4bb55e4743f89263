"""The last pass as the ledger has it: what a daemon that stands by can tell of the fleet."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from time import monotonic
from typing import Any

from controller.facts.estimates import Estimate, Estimates
from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.facts.readings import Observation
from controller.ledger.queries import RecordedDecision
from controller.ledger.read import LedgerReader
from controller.ledger.rows import FleetNow, RecordedPass, ServiceMinute

MOST_DECISIONS = 2000
"""Of one pass, and of those recorded while we look."""

TEXTS = ("replica", "mfu_source", "mbu_source")


def last_pass(url: str, fleet: str) -> PassResult | None:
    """Of this fleet; None before its first. What the ledger does not keep of a pass is missing. Raises LedgerError."""
    with closing(LedgerReader(url)) as reader:
        now = reader.fleet_now()
        last = None if now is None else next((one for one in now.passes if one.fleet == fleet), None)
        if now is None or last is None:
            return None
        made = reader.decisions(start=last.at, limit=MOST_DECISIONS)
        decided = [one for one in made if one.decision.at == last.at and now.owners.get(one.decision.service) == fleet]
        states, pauses = reader.alert_states(), reader.pauses()
    alerts = tuple(one for one in states if now.owners.get(one.service) == fleet)
    return _pass(now, last, decided, alerts=alerts, pauses=pauses)


def cached(url: str, fleet: str, for_s: float) -> Callable[[], PassResult | None]:
    """``last_pass``, read again after ``for_s``: whoever asks the endpoints often must not ask the ledger as often."""
    kept: list[tuple[float, PassResult | None]] = []

    def latest() -> PassResult | None:
        if not kept or monotonic() - kept[0][0] >= for_s:
            kept[:] = [(monotonic(), last_pass(url, fleet))]
        return kept[0][1]

    return latest


def _pass(now: FleetNow, last: RecordedPass, decided: list[RecordedDecision], **more: Any) -> PassResult:
    mine = [one for one in now.services if now.owners.get(one.service) == last.fleet]
    variants = [one for one in now.variants if now.owners.get(one.service) == last.fleet]
    nothing = _estimate(None, last)
    return PassResult(
        at=last.at,
        mode=last.mode,
        duration_s=last.duration_s or 0.0,
        observation=Observation(at=last.at, targets=(), engines={}, gpus={}, replicas={}),
        estimates=Estimates(
            at=last.at,
            fleet=nothing if len(now.passes) > 1 else _estimate(now.fleet, last),
            services={one.service: _estimate(one, last) for one in mine},
            variants={(one.service, one.variant): _estimate(one, last) for one in variants},
            replicas={},
            costs=(),
            findings=(),
        ),
        decisions=tuple(one.decision for one in decided),
        outcomes=tuple(one.outcome for one in decided if one.outcome is not None),
        sent=(),
        problems=last.problems,
        **more,
    )


def _estimate(seen: ServiceMinute | None, last: RecordedPass) -> Estimate:
    """The minute of that pass; what it does not hold says where to ask."""
    values: dict[str, Any] = {"at": last.at, "window_s": 60.0, **dict.fromkeys(TEXTS, "")}
    values |= {"service": "", "variant": "", "replicas_current": last.replicas, "replicas_ready": 0, "gpus": 0}
    for field in fields(Estimate):
        found = getattr(seen, field.name, None)
        if found is not None:
            values[field.name] = found
        elif field.name == "replicas_read":
            values[field.name] = 0
        elif field.name not in values:
            values[field.name] = Missing(field.name, "the ledger does not have it of this pass; ask whoever leads")
    return Estimate(**values)
