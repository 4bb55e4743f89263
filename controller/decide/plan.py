"""From a service's count to one decision a variant: what grows, who goes, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from controller.decide.guards import REFUSED, STORM_REFUSED, grown_within
from controller.decide.memory import benched_until, overdue, still_trying
from controller.decide.placement import growth_order, units_of, usd_per_hour
from controller.decide.reach import numbers as reach_numbers
from controller.decide.reach import out_of_reach, told
from controller.decide.rules import ServicePolicy
from controller.decide.shrink import victims
from controller.decide.signals import Wish, decisive
from controller.decide.situation import ReplicaView, Situation, VariantSituation
from controller.facts.decisions import Because, Decision, ServiceMemory
from controller.facts.missing import Missing

NOTHING: Mapping[str, int] = MappingProxyType({})

SILENT = "replicas_silent"
"""Among a decision's numbers: the ready replicas of its variant of which nobody knows whether they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The service's count before it is placed on variants."""

    desired: int
    wanted: int
    because: Because
    detail: str
    wishes: tuple[Wish, ...] = ()


@dataclass(frozen=True, slots=True)
class _Move:
    """What changes on each variant, and why not more. ``refused``: replicas that a budget or a storm does not let be
    added, as a number of the decision."""

    gained: Mapping[str, int] = field(default_factory=dict)
    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    because: Because | None = None
    note: str = ""
    refused: Mapping[str, float] = field(default_factory=dict)


def placed(
    situation: Situation, policy: ServicePolicy, memory: ServiceMemory, verdict: Verdict
) -> tuple[Decision, ...]:
    more = verdict.desired - situation.current
    move = _Move()
    if more > 0:
        move = _growth(situation, policy, memory, more)
        if not move.gained and not move.refused:
            move = _making_room(situation, policy, move)
    elif more < 0:
        move = _removal(situation, policy, verdict, -more)
    return tuple(_decision(situation, policy, verdict, move, variant) for variant in situation.variants.values())


def _growth(situation: Situation, policy: ServicePolicy, memory: ServiceMemory, more: int) -> _Move:
    until = {name: benched_until(name, memory, policy.replicas) for name in situation.variants}
    benched = {name: at for name, at in until.items() if at is not None and at > situation.at}
    order = growth_order(situation.variants, policy, benched, _capacity(situation))
    trying = {name for name, one in situation.variants.items() if still_trying(one)}
    awake = tuple(variant for variant in order if variant.name not in benched.keys() | trying)
    if order and not awake:
        return _waiting(situation, policy, benched)
    growth = grown_within(situation, policy, awake, more)
    if not growth.gained and not growth.refused:
        return _Move(because=Because.INFEASIBLE, note=f"no allowed variant has capacity left{_full(situation)}")
    out = f"{growth.left} found no capacity{_full(situation, growth.gained)}" if growth.left else ""
    passed = "" if growth.left else _passed_over(situation, policy, benched, growth.gained)
    notes = (_lost_now(situation, memory), growth.told(), passed, out)
    return _Move(
        gained=growth.gained,
        because=None if growth.gained else Because.STORM if growth.for_storm else Because.BUDGET,
        note="; ".join(note for note in notes if note),
        refused={STORM_REFUSED if growth.for_storm else REFUSED: growth.refused} if growth.refused else {},
    )


def _full(situation: Situation, gained: Mapping[str, int] = NOTHING) -> str:
    """Whose owner allows no more, after what they have gained."""
    bounded = [(one.bounds, gained.get(name, 0)) for name, one in situation.variants.items() if one.bounds is not None]
    return "".join(f"; {bounds.said}" for bounds, more in bounded if bounds.free <= more)


def _passed_over(
    situation: Situation, policy: ServicePolicy, benched: Mapping[str, datetime], gained: Mapping[str, int]
) -> str:
    """Whose owner has no place left, of those that would have come before the last one that grows."""
    if all(one.bounds is None for one in situation.variants.values()):
        return ""
    unbounded = {name: replace(one, bounds=None) for name, one in situation.variants.items()}
    order = [one.name for one in growth_order(unbounded, policy, benched, _capacity(situation))]
    last = max((order.index(name) for name in gained), default=0)
    before = {name: situation.variants[name] for name in order[:last]}
    return "; ".join(
        one.bounds.said for name, one in before.items() if one.bounds and one.bounds.free <= gained.get(name, 0)
    )


def _waiting(situation: Situation, policy: ServicePolicy, benched: Mapping[str, datetime]) -> _Move:
    """Why no variant may grow, though there is room: they rest, or the last step still waits for its machines."""
    if benched:
        note = f"starts failed; the next try is at {min(benched.values()):%H:%M:%S} UTC"
        return _Move(because=Because.START_FAILED, note=note)
    each = situation.variants.values()
    failed = any(overdue(one.replicas, policy.replicas, situation.at) for one in each)
    because = Because.START_FAILED if failed else Because.STARTING
    return _Move(because=because, note="what was started last gets no further yet; no more is put beside it")


def _making_room(situation: Situation, policy: ServicePolicy, move: _Move) -> _Move:
    """Where nothing can grow, what does not start goes, down to the minimum: it waits for what nobody gives."""
    removed = _given_up(situation, policy, situation.current - policy.replicas.min_replicas)
    if not removed:
        return move
    gone = {name for some in removed.values() for name in some}
    each = (replica for variant in situation.variants.values() for replica in variant.replicas)
    stuck = next((one.stuck for one in each if one.name in gone and one.stuck is not None), None)
    why = f"{stuck.kind}: {stuck.detail}" if stuck is not None else ""
    note = "; ".join(part for part in (why, move.note) if part)
    return replace(move, removed=removed, because=Because.START_FAILED, note=note)


def _lost_now(situation: Situation, memory: ServiceMemory) -> str:
    lost = sum(at == situation.at for at in memory.lost.values())
    return (
        f"{lost} {'was' if lost == 1 else 'were'} lost after {'it' if lost == 1 else 'they'} had served" if lost else ""
    )


def _capacity(situation: Situation) -> dict[str, float]:
    """Requests/s of one replica, by variant; what cannot keep the SLO carries none."""
    outlook = situation.outlook
    if isinstance(outlook, Missing):
        return {}
    known = {name: one.requests_per_s for name, one in outlook.capacity.items() if not isinstance(one, Missing)}
    return known | dict.fromkeys(out_of_reach(situation), 0.0)


def _removal(situation: Situation, policy: ServicePolicy, verdict: Verdict, fewer: int) -> _Move:
    if verdict.because is Because.START_FAILED:
        return _kept(situation, _given_up(situation, policy, fewer), fewer)
    variants = situation.variants.values()
    order = victims(variants, situation.current, units_of(variants, policy, _capacity(situation)))
    return _kept(situation, _by_variant(_allowed(situation, order)[:fewer]), fewer)


def _kept(situation: Situation, removed: Mapping[str, tuple[str, ...]], fewer: int) -> _Move:
    """What goes, and who keeps the rest of ``fewer``."""
    if sum(map(len, removed.values())) == fewer:
        return _Move(removed=removed)
    said = "; ".join(
        one.bounds.said
        for name, one in situation.variants.items()
        if one.bounds is not None and one.current - len(removed.get(name, ())) <= one.least
    )
    return _Move(removed=removed, because=None if removed or not said else Because.LIMIT, note=said)


def _allowed(situation: Situation, order: Iterable[tuple[str, ReplicaView]]) -> list[tuple[str, ReplicaView]]:
    """Those of ``order`` that may go: of each variant, as many as its platform's owner does not keep."""
    spare = {name: variant.current - variant.least for name, variant in situation.variants.items()}
    allowed = []
    for name, replica in order:
        if spare[name] > 0:
            spare[name] -= 1
            allowed.append((name, replica))
    return allowed


def _given_up(situation: Situation, policy: ServicePolicy, fewer: int) -> dict[str, tuple[str, ...]]:
    """``fewer`` of the replicas whose start is given up, or all of them."""
    late = [
        (variant.name, replica)
        for variant in situation.variants.values()
        for replica in overdue(variant.replicas, policy.replicas, situation.at)
    ]
    return _by_variant(_allowed(situation, late)[: max(0, fewer)])


def _by_variant(chosen: Iterable[tuple[str, ReplicaView]]) -> dict[str, tuple[str, ...]]:
    removed: dict[str, tuple[str, ...]] = {}
    for name, replica in chosen:
        removed[name] = (*removed.get(name, ()), replica.name)
    return removed


def _decision(
    situation: Situation, policy: ServicePolicy, verdict: Verdict, move: _Move, variant: VariantSituation
) -> Decision:
    gone = move.removed.get(variant.name, ())
    desired = variant.current + move.gained.get(variant.name, 0) - len(gone)
    unfit = out_of_reach(situation).get(variant.name) if variant.current or desired else None
    warning = told(variant.name, unfit, policy) if unfit is not None else ""
    return Decision(
        id=f"{situation.service}/{variant.name}@{situation.at.isoformat(timespec='microseconds')}",
        at=situation.at,
        service=situation.service,
        variant=variant.name,
        current=variant.current,
        ready=variant.ready,
        desired=desired,
        wanted=verdict.wanted,
        because=move.because or verdict.because,
        detail="; ".join(part for part in (verdict.detail, move.note, warning) if part),
        signal=decisive(verdict.wishes).signal if verdict.wishes else "",
        numbers=_numbers(situation, verdict)
        | _silent(variant)
        | dict(move.refused)
        | (reach_numbers(unfit, policy) if unfit is not None else {}),
        usd_per_hour_before=usd_per_hour(variant, policy, variant.current),
        usd_per_hour_after=usd_per_hour(variant, policy, desired),
        victims=gone,
    )


def _silent(variant: VariantSituation) -> dict[str, float]:
    silent = sum(replica.silent for replica in variant.replicas)
    return {SILENT: silent} if silent else {}


def _numbers(situation: Situation, verdict: Verdict) -> dict[str, float]:
    numbers: dict[str, float] = {"service_current": situation.current, "service_ready": situation.ready}
    for wish in verdict.wishes:
        numbers[wish.signal] = wish.value
        numbers[f"{wish.signal}_target"] = wish.target
        numbers[f"{wish.signal}_wanted"] = wish.wanted
        numbers |= wish.numbers
    return numbers
