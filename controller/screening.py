"""What a pass shows the safety kernel, and what the kernel's storms tell the decisions before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from controller.decide.guards import not_on
from controller.decide.placement import usd_per_hour
from controller.decide.rules import ServicePolicy
from controller.decide.situation import Situation, VariantSituation
from controller.facts.budgets import Guard
from controller.facts.decisions import Decision, ServiceMemory
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.readings import Observation
from controller.facts.safety import SafetyMemory, Stop, Storm
from controller.safety.kernel import Scene
from controller.safety.rules import SafetyRules
from controller.safety.storm import Target, doubtful, struck, weathered

SPOT = frozenset({CapacityType.SPOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """The kernel's memory with the storms of this pass, and what they mean for it.

    struck     variants whose spot a storm takes
    doubtful   (service, variant, replica) that start in one
    """

    memory: SafetyMemory
    struck: Mapping[Target, Storm]
    doubtful: frozenset[tuple[str, str, str]]


def weather(
    memory: SafetyMemory, rules: SafetyRules, seen: Observation, services: Mapping[str, ServiceMemory]
) -> Weather:
    """``services``: as the pass before left them."""

    def served(service: str, variant: str, replica: str) -> bool:
        return service in services and f"{variant}/{replica}" in services[service].ready_since

    memory = weathered(memory, rules.storm, seen, served)
    return Weather(memory=memory, struck=struck(memory, seen), doubtful=doubtful(memory, seen))


def sheltered(situation: Situation, found: Weather) -> Situation:
    """``situation`` as it is in a storm: no spot where it is taken, and none of it counted before it is ready."""
    if not found.memory.storms:
        return situation
    service = situation.service
    guards = tuple(
        Guard(
            service=service,
            budget="storm",
            why=f"{storm.why}, no spot of it before {storm.until:%H:%M} UTC",
            forbidden_pools=frozenset({(variant, CapacityType.SPOT)}),
            storm=True,
        )
        for (owner, variant), storm in found.struck.items()
        if owner == service
    )
    variants = {name: _doubted(service, one, found) for name, one in situation.variants.items()}
    return replace(situation, guards=(*situation.guards, *guards), variants=variants)


def _doubted(service: str, variant: VariantSituation, found: Weather) -> VariantSituation:
    replicas = (replace(one, doubtful=(service, variant.name, one.name) in found.doubtful) for one in variant.replicas)
    return replace(variant, replicas=tuple(replicas))


def scene_of(
    situations: Sequence[Situation],
    policies: Mapping[str, ServicePolicy],
    found: Weather,
    stops: tuple[Stop, ...],
    now: datetime,
) -> Scene:
    """What the kernel looks at beside the decisions."""
    known = {one.service: one for one in situations}

    def usd(decision: Decision, count: int) -> float | Missing:
        return usd_per_hour(known[decision.service].variants[decision.variant], policies[decision.service], count)

    def off_spot(decision: Decision) -> float:
        variant = known[decision.service].variants[decision.variant]
        return not_on(SPOT, variant, policies[decision.service], variant.current)

    return Scene(
        at=now,
        minimums={name: policies[name].replicas.min_replicas for name in known},
        urgent=frozenset(name for name, one in known.items() if _below_slo(one, policies[name])),
        stops=stops,
        struck=found.struck,
        usd_per_hour=usd,
        off_spot=off_spot,
    )


def _below_slo(situation: Situation, policy: ServicePolicy) -> bool:
    """Whether nobody serves, or a latency that the policy sets a target for is over it. What is not known is not."""
    seen, slo = situation.signals, policy.slo
    pairs = ((seen.ttft_s, slo.ttft), (seen.tpot_s, slo.tpot))
    return not situation.ready or any(
        target is not None and not isinstance(value, Missing) and value > target.seconds for value, target in pairs
    )


def as_well_as_cut(decisions: Sequence[Decision], decided: Sequence[Decision]) -> tuple[Decision, ...]:
    """``decisions``, and those that the kernel cut as they were ``decided``: what is abnormal about them stays so."""
    return (*decisions, *(one for one, after in zip(decided, decisions, strict=True) if one is not after))
