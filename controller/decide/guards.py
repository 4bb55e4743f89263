"""What budgets leave of growth. They bound it from above and do nothing else: nothing goes for them, minimums stand."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from controller.decide.placement import free_places, grown, most, usd_per_hour
from controller.decide.rules import ServicePolicy
from controller.decide.situation import Situation, VariantSituation
from controller.facts.budgets import Guard
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.money import nanousd

REFUSED = "budget_refused_replicas"
"""Among a decision's numbers: what would have been added to the service but for a budget."""

STORM_REFUSED = "storm_refused_replicas"
"""The same, but for a spot storm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What each variant gains, and what becomes of the rest.

    left      replicas that find no capacity
    refused   replicas that would have found some, but a budget refuses them
    held      (variant, guard) wherever a guard allowed fewer than would have been placed there; ``everywhere``: on
              every variant that may grow
    """

    gained: Mapping[str, int]
    left: int = 0
    refused: int = 0
    held: tuple[tuple[str, Guard], ...] = ()
    everywhere: bool = False

    @property
    def for_storm(self) -> bool:
        """Whether no budget held anything back, but a spot storm did."""
        return bool(self.held) and all(guard.storm for _, guard in self.held)

    def told(self) -> str:
        """Which budget held what back, and why; "" when none did."""
        if not self.held:
            return ""
        variants: dict[str, list[str]] = {}
        for name, guard in self.held:
            variants.setdefault(guard.why, []).append(name)
        whys = [why if self.everywhere else f"{why} (not on {', '.join(names)})" for why, names in variants.items()]
        return "; ".join((*whys, f"{self.refused} more refused" if self.refused else "placed elsewhere"))


def grown_within(situation: Situation, policy: ServicePolicy, order: Sequence[VariantSituation], more: int) -> Growth:
    """``more`` replicas, the best of ``order`` first, as far as the guards let them.

    Up to min_replicas no guard is asked. Beyond, a variant takes what the tightest guard leaves it, and the next in
    order what does not fit; together never more than without guards.
    """
    free, left = grown(order, policy, more)
    if not situation.guards:
        return Growth(gained=free, left=left)
    goal = sum(free.values())
    gained, _ = grown(order, policy, min(more, max(0, policy.replicas.min_replicas - situation.current)))
    held: list[tuple[str, Guard]] = []
    for variant in order:
        fits = min(goal - sum(gained.values()), most(variant, policy) - variant.current - gained.get(variant.name, 0))
        allowed, by = _allowed(situation, policy, gained, variant, max(0, int(fits)))
        held += [(variant.name, by)] if by is not None else []
        if allowed:
            gained[variant.name] = gained.get(variant.name, 0) + allowed
    refused = goal - sum(gained.values())
    return Growth(gained=gained, left=left, refused=refused, held=tuple(held), everywhere=len(held) == len(order))


def _allowed(
    situation: Situation, policy: ServicePolicy, gained: Mapping[str, int], variant: VariantSituation, wanted: int
) -> tuple[int, Guard | None]:
    """How many of ``wanted`` more replicas of ``variant`` all guards allow, and the tightest where it is fewer."""
    allowed, by = wanted, None
    for guard in situation.guards:
        one = _under(guard, situation, policy, gained, variant, wanted)
        if one < allowed:
            allowed, by = one, guard
    return allowed, by


def _under(
    guard: Guard,
    situation: Situation,
    policy: ServicePolicy,
    gained: Mapping[str, int],
    variant: VariantSituation,
    wanted: int,
) -> int:
    if guard.refuse_growth or variant.name in guard.forbidden_variants:
        return 0
    count = variant.current + gained.get(variant.name, 0)
    forbidden = guard.forbidden_capacity | {bought for name, bought in guard.forbidden_pools if name == variant.name}
    allowed = int(min(wanted, not_on(forbidden, variant, policy, count)))
    if guard.cap_nanousd_per_hour is not None and allowed:
        allowed = _within(guard.cap_nanousd_per_hour, situation, policy, gained, variant, allowed)
    return allowed


def not_on(forbidden: Collection[CapacityType], variant: VariantSituation, policy: ServicePolicy, count: int) -> float:
    """Places beside the ``count`` that are taken, on capacity that is not forbidden. Infinite when the fleet file does
    not say how the variant is bought: nothing tells that it would be forbidden."""
    if not forbidden or not variant.capacity:
        return inf
    return sum(places for bought, places in free_places(variant, policy, count) if bought not in forbidden)


def _within(
    cap_nanousd: int,
    situation: Situation,
    policy: ServicePolicy,
    gained: Mapping[str, int],
    variant: VariantSituation,
    wanted: int,
) -> int:
    """How many more the service can pay without its cost an hour going over the cap. What costs nothing more, such as a
    place that is paid anyway, is free to take; a price that nobody knows holds all back."""

    def cost_nanousd(more: int) -> float:
        return _cost_nanousd(situation, policy, {**gained, variant.name: gained.get(variant.name, 0) + more})

    now = cost_nanousd(0)
    if now == inf:
        return 0
    return bisect_right(range(1, wanted + 1), max(float(cap_nanousd), now), key=cost_nanousd)


def _cost_nanousd(situation: Situation, policy: ServicePolicy, gained: Mapping[str, int]) -> float:
    """What the service costs an hour with so many more of each variant; infinite when any price is unknown."""
    total = 0
    for variant in situation.variants.values():
        usd = usd_per_hour(variant, policy, variant.current + gained.get(variant.name, 0))
        if isinstance(usd, Missing):
            return inf
        total += nanousd(usd)
    return total
