"""Spot storms: losses that come together, what is not trusted while they last, and until when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from controller.facts.fleet import CapacityType
from controller.facts.interruptions import NoticeKind
from controller.facts.missing import Missing
from controller.facts.readings import Observation, Phase, ReplicaState
from controller.facts.safety import Loss, SafetyMemory, Storm
from controller.safety.rules import StormRule

TAKEN = frozenset({NoticeKind.SPOT, NoticeKind.RESERVATION, NoticeKind.STOPPED})
"""Notices that count as losses. Maintenance is announced long ahead and drains machine after machine by itself."""

LEAST_OF_SPOT = 2
"""One loss is no correlation, whatever share of the spot replicas it is."""

Target = tuple[str, str]
"""Service and variant."""

Served = Callable[[str, str, str], bool]
"""(service, variant, replica): whether it was ready at the pass before."""


def weathered(memory: SafetyMemory, rule: StormRule, seen: Observation, served: Served) -> SafetyMemory:
    """``memory`` brought up to what this pass sees: losses, and the storms that they are."""
    now = seen.at
    fresh = tuple(_losses(seen, memory, served))
    if not (fresh or memory.losses or memory.storms):
        return memory
    start, losses = now - timedelta(seconds=rule.window_s), (*memory.losses, *fresh)
    storms = _storms(memory, rule, tuple(one for one in losses if one.at > start), seen)
    kept = tuple(one for one in losses if one.at > start or one.domain in storms)
    return replace(memory, losses=kept, storms=storms)


def _losses(seen: Observation, memory: SafetyMemory, served: Served) -> Iterator[Loss]:
    """Of a replica that ended before it ever served nothing is told: that is a start that failed."""
    known = {(one.service, one.variant, one.replica) for one in memory.losses}
    for (service, variant), state in _states(seen):
        taken = state.notice is not None and state.notice.kind in TAKEN
        if not taken and (state.phase is not Phase.FAILED or not served(service, variant, state.replica)):
            continue
        if (service, variant, state.replica) not in known:
            at = min(state.notice.at, seen.at) if taken and state.notice is not None else seen.at
            spot = state.capacity_type is CapacityType.SPOT
            if spot or state.domain:
                yield Loss(
                    service=service, variant=variant, replica=state.replica, at=at, domain=state.domain, spot=spot
                )


def _storms(memory: SafetyMemory, rule: StormRule, losses: tuple[Loss, ...], seen: Observation) -> dict[str, Storm]:
    now = seen.at
    storms = {domain: one for domain, one in memory.storms.items() if now < one.until}
    told = _struck_domains(rule, losses) | _struck_spot(rule, losses, seen)
    for domain in {*storms, *told}:
        last = max((one.at for one in losses if one.domain == domain), default=None)
        if last is None:
            continue  # calm now, and over by itself
        before = storms.get(domain)
        until = last + timedelta(seconds=rule.quiet_s)
        why = told.get(domain) or (before.why if before is not None else "")
        since = now if before is None else before.since
        if now < until:
            storms[domain] = Storm(domain=domain, since=since, last=last, until=until, why=why)
    return storms


def _struck_domains(rule: StormRule, losses: tuple[Loss, ...]) -> dict[str, str]:
    count = Counter(one.domain for one in losses if one.domain)
    return {
        domain: f"{number} replicas of {domain} were lost within {rule.window_s:g} s"
        for domain, number in count.items()
        if number >= rule.losses
    }


def _struck_spot(rule: StormRule, losses: tuple[Loss, ...], seen: Observation) -> dict[str, str]:
    lost = [one for one in losses if one.spot]
    if len(lost) < LEAST_OF_SPOT:
        return {}
    left = sum(_is_live_spot(state) for _, state in _states(seen))
    if len(lost) / (left + len(lost)) < rule.share:
        return {}
    why = f"{len(lost)} of {left + len(lost)} spot replicas were lost within {rule.window_s:g} s"
    return {one.domain: why for one in lost}


def struck(memory: SafetyMemory, seen: Observation) -> Mapping[Target, Storm]:
    """The variants whose spot is not to be had now: it was lost, or lies, in a storm, and none of it serves outside."""
    if not memory.storms:
        return {}
    hit = {
        (one.service, one.variant): memory.storms[one.domain] for one in memory.losses if one.domain in memory.storms
    }
    outside = set()
    for target, state in _states(seen):
        if state.capacity_type is not CapacityType.SPOT or (not state.domain and "" not in memory.storms):
            continue
        storm = memory.storms.get(state.domain)
        if storm is not None:
            hit.setdefault(target, storm)
        elif state.phase is Phase.READY and _is_live_spot(state):
            outside.add(target)
    return {target: storm for target, storm in hit.items() if target not in outside}


def doubtful(memory: SafetyMemory, seen: Observation) -> frozenset[tuple[str, str, str]]:
    """Spot replicas that start in a storm, as (service, variant, replica): no supply before they are ready, so that
    cover is counted against the spot that is."""
    if not memory.storms:
        return frozenset()
    hit = struck(memory, seen)
    return frozenset(
        (*target, state.replica)
        for target, state in _states(seen)
        if state.phase is Phase.STARTING
        and state.capacity_type is CapacityType.SPOT
        and (state.domain in memory.storms or (not state.domain and target in hit))
    )


def _is_live_spot(state: ReplicaState) -> bool:
    ends = state.notice is not None and state.notice.ends
    return state.capacity_type is CapacityType.SPOT and state.phase in (Phase.STARTING, Phase.READY) and not ends


def _states(seen: Observation) -> Iterator[tuple[Target, ReplicaState]]:
    for target, states in seen.replicas.items():
        if not isinstance(states, Missing):
            for state in states:
                yield target, state
