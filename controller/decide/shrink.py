"""Shrinking safely: would fewer replicas still hold the load, and which go first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from types import MappingProxyType

from controller.decide.rules import Targets
from controller.decide.signals import Wish
from controller.decide.situation import ReplicaView, VariantSituation
from controller.facts.missing import Missing
from controller.facts.readings import Phase

NO_UNITS: Mapping[str, float] = MappingProxyType({})


def safe_count(current: int, desired: int, ready: int, wishes: Sequence[Wish], targets: Targets) -> tuple[int, str]:
    """The lowest count from ``desired`` up that still holds the load with headroom, and what stopped it there.

    Goes down one replica at a time and stops before the first count at which a load signal, scaled by ready/remaining,
    would exceed target x (1 - headroom). Starting replicas carry no load yet, so they are removed first.
    """
    for count in range(current - 1, desired - 1, -1):
        remaining = min(ready, count)
        worst = _overload(remaining, ready, wishes, targets)
        if worst is not None:
            return count + 1, worst
    return desired, ""


def _overload(remaining: int, ready: int, wishes: Sequence[Wish], targets: Targets) -> str | None:
    if remaining == ready:
        return None
    room = 1 - targets.headroom_ratio
    for wish in wishes:
        if not wish.saturates or wish.value == 0:
            continue
        if remaining == 0:
            return f"{wish.signal} is not zero"
        value = wish.value * ready / remaining
        if value > wish.target * room:
            return (
                f"on {remaining} replicas {wish.signal} would be {value:.3g}, over {wish.target * room:.3g} "
                f"(target {wish.target:.3g} less {targets.headroom_ratio:.0%} headroom)"
            )
    return None


def victims(
    variants: Iterable[VariantSituation], count: int, units: Mapping[str, float] = NO_UNITS
) -> tuple[tuple[str, ReplicaView], ...]:
    """The ``count`` replicas to remove, first to go first, as (variant, replica).

    Order: with a spot notice, then with a hint that one may come, then still starting (they serve nobody; first who
    gets no further), then dearest, then of spot from the failure domain that has most of it, then least loaded, then
    youngest.
    A replica that could not be read counts as the most loaded, one without a price as the cheapest.

    units   what a replica of each variant is worth, as placement.units_of has it: the dearest is dear by this
    """
    candidates = [
        (variant.name, replica) for variant in variants for replica in variant.in_phase(Phase.STARTING, Phase.READY)
    ]
    plain = sorted(candidates, key=lambda pair: _order(pair[1], units.get(pair[0], 1.0)))
    if all(one.spot_domain is None for _, one in plain):
        return tuple(plain[:count])
    rest = Counter(one.spot_domain for _, one in plain)
    crowd = {}
    for name, one in plain:  # whoever goes leaves its domain one less
        crowd[name, one.name] = rest[one.spot_domain] if one.spot_domain is not None else 0
        rest[one.spot_domain] -= 1
    return tuple(
        sorted(plain, key=lambda pair: _order(pair[1], units.get(pair[0], 1.0), crowd[pair[0], pair[1].name]))[:count]
    )


def _order(
    replica: ReplicaView, unit: float, crowd: int = 0
) -> tuple[bool, bool, bool, bool, float, int, float, float, str]:
    """``crowd``: how many its failure domain has, those before it gone."""
    usd_per_hour = 0.0 if isinstance(replica.usd_per_hour, Missing) else replica.usd_per_hour
    price = usd_per_hour / unit if unit > 0 else inf
    load = float("inf") if isinstance(replica.running, Missing) else replica.running
    return (
        not replica.noticed,
        not replica.hinted,
        replica.phase is not Phase.STARTING,
        replica.phase is not Phase.STARTING or replica.stuck is None,
        -price,
        -crowd,
        load,
        -replica.since.timestamp(),
        replica.name,
    )
