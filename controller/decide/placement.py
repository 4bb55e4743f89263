"""Which variant grows, and what a count of replicas costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import inf
from types import MappingProxyType

from controller.decide.rules import ServicePolicy, VariantRule
from controller.decide.situation import CapacityPrice, Number, VariantSituation
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing

NO_CAPACITY: Mapping[str, float] = MappingProxyType({})

ALL_TYPES = tuple(CapacityType)


def offers(variant: VariantSituation, policy: ServicePolicy) -> tuple[CapacityPrice, ...]:
    """The ways of buying this variant that the policy allows, in the fleet file's order."""
    rule = _rule(variant.name, policy)
    allowed = rule.capacity_types if rule is not None and rule.capacity_types is not None else ALL_TYPES
    return tuple(
        [
            capacity
            for capacity in variant.capacity
            if capacity.type in allowed and (capacity.type is not CapacityType.SPOT or policy.spot_allowed)
        ]
    )


def most(variant: VariantSituation, policy: ServicePolicy) -> float:
    """The most replicas there is room for now, in the allowed capacity and within what its platform's owner allows."""
    return min(_bought(variant, policy), inf if variant.bounds is None else variant.current + variant.bounds.free)


def most_ever(variant: VariantSituation, policy: ServicePolicy) -> float:
    """The same once those are gone who are on their way out."""
    return min(_bought(variant, policy), inf if variant.bounds is None else variant.bounds.most)


def _bought(variant: VariantSituation, policy: ServicePolicy) -> float:
    """What the allowed capacity can hold: infinite when the fleet file names no bound."""
    bought = offers(variant, policy)
    if not variant.capacity or any(capacity.replicas is None for capacity in bought):
        return inf
    return sum(capacity.replicas or 0 for capacity in bought)


def free_places(variant: VariantSituation, policy: ServicePolicy, count: int) -> tuple[tuple[CapacityType, float], ...]:
    """What each allowed way of buying still has room for when ``count`` replicas fill them in order."""
    places, left = [], float(count)
    free = inf if variant.bounds is None else max(0.0, variant.current + variant.bounds.free - count)
    for capacity in offers(variant, policy):
        bound = inf if capacity.replicas is None else float(capacity.replicas)
        filled = min(left, bound)
        places.append((capacity.type, min(free, bound - filled)))
        left -= filled
    return tuple(places)


def usd_per_hour(variant: VariantSituation, policy: ServicePolicy, count: int) -> Number:
    """What ``count`` replicas cost an hour: filled in order; what is reserved is paid even when unused."""
    if not variant.capacity:
        return Missing("usd_per_hour", f"{variant.name} names no capacity in the fleet file")
    total, left = 0.0, count
    for capacity in offers(variant, policy):
        fits = left if capacity.replicas is None else min(left, capacity.replicas)
        paid = capacity.replicas or 0 if capacity.type is CapacityType.RESERVED else fits
        if paid and isinstance(capacity.usd_per_replica_hour, Missing):
            return capacity.usd_per_replica_hour
        if not isinstance(capacity.usd_per_replica_hour, Missing):
            total += max(paid, fits) * capacity.usd_per_replica_hour
        left -= fits
    if left > 0:
        return Missing("usd_per_hour", f"{count} replicas of {variant.name} do not fit its capacity in the fleet file")
    return total


def growth_order(
    variants: Mapping[str, VariantSituation],
    policy: ServicePolicy,
    benched: Collection[str],
    capacity: Mapping[str, float] = NO_CAPACITY,
) -> tuple[VariantSituation, ...]:
    """The variants that may grow, best first.

    Cheapest next replica first when every price is known: per request/s that it carries when all of ``capacity`` is
    known, else per unit of token load when every variant states one; else the policy's order: an unknown price moves
    nothing. Spot counts with what losing it costs, and comes after all else where the saving is not worth that. A
    benched variant (a start failed lately) comes last.
    """
    names = [rule.name for rule in policy.variants] or list(variants)
    allowed = [variants[name] for name in names if name in variants and offers_room(variants[name], policy)]
    units = units_of(allowed, policy, capacity)
    following = {variant.name: next_place(variant, policy) for variant in allowed}
    costs = {variant.name: _next_cost(variant, policy, following[variant.name]) for variant in allowed}
    prices = {
        name: cost / unit if (unit := units.get(name, 1.0)) > 0 else inf
        for name, cost in costs.items()
        if not isinstance(cost, Missing)
    }
    if len(prices) == len(costs):
        allowed.sort(key=lambda variant: prices[variant.name])
    shunned = {name for name, place in following.items() if place is not None and place.shunned}
    return tuple(sorted(allowed, key=lambda variant: (variant.name in benched, variant.name in shunned)))


def next_place(variant: VariantSituation, policy: ServicePolicy) -> CapacityPrice | None:
    """How one more replica would be bought; None: not at all, or nobody says."""
    left = variant.current
    for capacity in offers(variant, policy):
        if capacity.replicas is None or left < capacity.replicas:
            return capacity
        left -= capacity.replicas
    return None


def offers_room(variant: VariantSituation, policy: ServicePolicy) -> bool:
    """Whether one more replica fits the allowed capacity."""
    return variant.current < most(variant, policy)


def units_of(
    variants: Collection[VariantSituation],
    policy: ServicePolicy,
    capacity: Mapping[str, float] = NO_CAPACITY,
) -> Mapping[str, float]:
    """What a replica of each variant is worth, in one unit for all of them; empty when there is none.

    Growing and shrinking divide prices by the same units: else what is ordered as the cheapest goes as the dearest.
    """
    if all(variant.name in capacity for variant in variants):
        return capacity
    loads = {rule.name: rule.token_load_per_s for rule in policy.variants}
    return {name: load for name, load in loads.items() if load} if all(loads.values()) else {}


def _next_cost(variant: VariantSituation, policy: ServicePolicy, place: CapacityPrice | None) -> Number:
    risk = 0.0 if place is None else place.risk_usd_per_replica_hour
    before, after = (usd_per_hour(variant, policy, variant.current + more) for more in (0, 1))
    if isinstance(before, Missing):
        return before
    return after if isinstance(after, Missing) else after - before + risk


def _rule(name: str, policy: ServicePolicy) -> VariantRule | None:
    return next((rule for rule in policy.variants if rule.name == name), None)


def grown(order: Sequence[VariantSituation], policy: ServicePolicy, more: int) -> tuple[dict[str, int], int]:
    """How many replicas each variant gains, filling the best first, and how many found no room."""
    gained: dict[str, int] = {}
    for variant in order:
        room = most(variant, policy) - variant.current
        take = more if room >= more else int(room)
        if take > 0:
            gained[variant.name] = take
            more -= take
    return gained, more
