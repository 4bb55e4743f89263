"""Variants that cannot keep the SLO with any number of replicas: told with the decision, and in an alert."""

from __future__ import annotations

from math import isfinite

from controller.decide.rules import ServicePolicy
from controller.decide.situation import Situation
from controller.facts.missing import Missing
from controller.facts.performance import OutOfReach, ServingPoint
from controller.facts.slo import LatencyTarget, Slo

NUMBER = "least_load_"
"""How the numbers of a decision begin that say so."""

REMEDY = (
    "More replicas do not help: loosen that target of the SLO, or name a faster variant (more or faster GPUs a "
    "replica, a lower precision; where TPOT is what breaks, a smaller --max-num-batched-tokens)."
)
"""What a person can do about it."""


def out_of_reach(situation: Situation) -> dict[str, OutOfReach]:
    """By name: the variants that cannot keep the SLO, as far as is known."""
    if isinstance(situation.outlook, Missing):
        return {}
    found = {name: situation.outlook.capacity.get(name) for name in situation.variants}
    return {name: one for name, one in found.items() if isinstance(one, OutOfReach)}


def told(variant: str, found: OutOfReach, policy: ServicePolicy) -> str:
    """A sentence without its full stop."""
    latencies = [
        f"{name.upper()} P{target.quantile * 100:g} {seconds:.3g} s, target {target.seconds:g} s"
        for name, seconds, target in _latencies(found.at, policy.slo)
        if isfinite(seconds)
    ]
    predicted = ", ".join(latencies) or found.why
    return f"{variant} cannot keep the SLO however few requests it gets ({found.source}): {predicted}"


def numbers(found: OutOfReach, policy: ServicePolicy) -> dict[str, float]:
    """What is predicted under next to no load, and what the SLO allows."""
    told_: dict[str, float] = {}
    for name, seconds, target in _latencies(found.at, policy.slo):
        told_ |= {f"{NUMBER}{name}_s": seconds, f"{NUMBER}{name}_s_target": target.seconds}
    return told_


def _latencies(at: ServingPoint, slo: Slo) -> list[tuple[str, float, LatencyTarget]]:
    """(name, predicted, target) of each target, the one that is missed by most first."""
    found = [
        (name, seconds, target)
        for name, seconds, target in (("ttft", at.ttft_s, slo.ttft), ("tpot", at.tpot_s, slo.tpot))
        if target is not None
    ]
    return sorted(found, key=lambda one: one[1] / one[2].seconds, reverse=True)
