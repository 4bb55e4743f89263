"""What spot really costs, when it is worth its risk, and when it takes the place of dearer capacity.

effective $/h = price / (1 - L) + losses/h x (start-up + lost work) x price

losses/h   Gamma-Poisson: (prior losses + losses seen) / (prior hours + replica-hours seen), of the variant's domains
L          share of the paid time that takes no new request because it drains: losses/h x notice
start-up   of the replacement: paid, and serving nobody
lost work  what is begun and not finished within the notice is computed again
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil, floor, inf, isinf

from controller.decide.placement import free_places, growth_order, next_place, units_of
from controller.decide.rules import ServicePolicy, SpotRule
from controller.decide.situation import CapacityPrice, Situation, VariantSituation
from controller.facts.decisions import ServiceMemory, SpotRecord
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.readings import Phase

PRIOR_LOSSES = 1.0
PRIOR_HOURS = 4.4
"""Before anything was seen: one loss in 4.4 hours, believed as much as one loss that was seen. It is the mean up-run of
nine zones over 45 days of probes for a V100 (simulate/spot.py); scarce GPUs are lost more often than the 5 to 20 % a
month that AWS' Spot Instance Advisor shows for common types (https://aws.amazon.com/ec2/spot/instance-advisor/)."""

HALF_LIFE_S = 7 * 86_400.0
"""What was seen counts half after a week. A guess: markets change over weeks, and a day has its own rhythm."""

LONGEST_STEP_S = 300.0
"""Of one count: while no pass ran nobody knows what served. A guess."""

NOTICE_S = 120.0
"""AWS' notice, the longest of the large providers."""

USUAL_START_UP_S = 240.0
"""Where none was told or seen: as the fleet file's `start_up` is assumed."""

RAMP_RATIO = 0.5
"""Of the dearer replicas, so many at once are replaced, one at least. A guess: a few rounds, and a market that turns
again takes no more than half of what it had."""

LEAST_DOMAINS = 3
"""For a spare. In two the whole again is needed, for what on demand costs little more; and two zones of one region are
often taken together (simulate/spot.py has how often)."""


def losses_per_hour(records: Iterable[SpotRecord]) -> float:
    """The mean of the posterior."""
    known = tuple(records)
    losses, hours = sum(one.losses for one in known), sum(one.replica_h for one in known)
    return (PRIOR_LOSSES + losses) / (PRIOR_HOURS + hours)


def effective_usd_per_hour(
    usd_per_hour: float,
    losses_per_h: float,
    start_up_s: float,
    *,
    notice_s: float = NOTICE_S,
    lost_work_s: float = 0.0,
) -> float:
    """What an hour of service on spot costs, losses included; infinite when it is lost as soon as it is had."""
    draining_ratio = losses_per_h * notice_s / 3600
    if draining_ratio >= 1:
        return inf
    restarts_h = losses_per_h * (start_up_s + lost_work_s) / 3600
    return usd_per_hour / (1 - draining_ratio) + restarts_h * usd_per_hour


def watched(situation: Situation, memory: ServiceMemory) -> dict[tuple[str, str], SpotRecord]:
    """The records brought up to now: hours that spot replicas served, and those of them that ended or were warned."""
    serving: dict[tuple[str, str], int] = {}
    lost: dict[tuple[str, str], int] = {}
    for variant in situation.variants.values():
        for one in variant.replicas:
            if one.spot_domain is None:
                continue
            key = (variant.name, one.spot_domain)
            if one.phase is Phase.READY and not one.noticed:
                serving[key] = serving.get(key, 0) + 1
            elif (one.noticed or one.phase is Phase.FAILED) and f"{variant.name}/{one.name}" in memory.ready_since:
                lost[key] = lost.get(key, 0) + 1
    known = memory.spot.keys() | serving.keys() | lost.keys()
    return {
        key: _moved_on(memory.spot.get(key), serving.get(key, 0), lost.get(key, 0), situation.at)
        for key in sorted(known)
    }


def _moved_on(before: SpotRecord | None, serving: int, lost: int, now: datetime) -> SpotRecord:
    if before is None:
        return SpotRecord(losses=lost, at=now, lost_at=now if lost else None)
    since_s = max(0.0, (now - before.at).total_seconds())
    fade = 0.5 ** (since_s / HALF_LIFE_S)
    return SpotRecord(
        replica_h=before.replica_h * fade + serving * min(since_s, LONGEST_STEP_S) / 3600,
        losses=before.losses * fade + lost,
        at=max(now, before.at),
        lost_at=now if lost else before.lost_at,
    )


def weighed(situation: Situation, policy: ServicePolicy, memory: ServiceMemory) -> Situation:
    """``situation`` with what its spot risks, and where that is not worth it. The same where no spot may be bought."""
    if not policy.spot_allowed or not any(_spot_of(variant) for variant in situation.variants.values()):
        return situation
    units = units_of(situation.variants.values(), policy, _carried(situation))
    beside = _cheapest_on_demand(situation, units)
    variants = {
        name: _weighed(variant, situation, policy.spot, memory, beside * units.get(name, 1.0))
        for name, variant in situation.variants.items()
    }
    return replace(situation, variants=variants)


def _weighed(
    variant: VariantSituation, situation: Situation, rule: SpotRule, memory: ServiceMemory, on_demand_usd: float
) -> VariantSituation:
    """``on_demand_usd``: what an hour of as much capacity costs on demand; infinite when there is none."""
    rate = losses_per_hour(one for (name, _), one in memory.spot.items() if name == variant.name)
    start_up_s = _start_up_s(variant.name, situation)
    capacity = tuple(
        _risked(one, rate, start_up_s, rule, on_demand_usd) if one.type is CapacityType.SPOT else one
        for one in variant.capacity
    )
    return replace(variant, capacity=capacity)


def _risked(spot: CapacityPrice, rate: float, start_up_s: float, rule: SpotRule, on_demand_usd: float) -> CapacityPrice:
    if isinstance(spot.usd_per_replica_hour, Missing):
        return spot
    effective = effective_usd_per_hour(spot.usd_per_replica_hour, rate, start_up_s)
    scored_low = (
        rule.min_placement_score is not None
        and spot.placement_score is not None
        and spot.placement_score < rule.min_placement_score
    )
    return replace(
        spot,
        risk_usd_per_replica_hour=effective - spot.usd_per_replica_hour,
        shunned=effective > (1 - rule.min_saving_ratio) * on_demand_usd or scored_low,
    )


def _cheapest_on_demand(situation: Situation, units: Mapping[str, float]) -> float:
    """$/h of one unit of capacity on demand; infinite when none can be had, or its price is not known."""
    return min(
        (
            one.usd_per_replica_hour / unit
            for variant in situation.variants.values()
            for one in variant.capacity
            if one.type is CapacityType.ON_DEMAND and not isinstance(one.usd_per_replica_hour, Missing)
            if (unit := units.get(variant.name, 1.0)) > 0
        ),
        default=inf,
    )


def _carried(situation: Situation) -> dict[str, float]:
    outlook = situation.outlook
    if isinstance(outlook, Missing):
        return {}
    return {name: one.requests_per_s for name, one in outlook.capacity.items() if not isinstance(one, Missing)}


def _start_up_s(name: str, situation: Situation) -> float:
    outlook = situation.outlook
    return USUAL_START_UP_S if isinstance(outlook, Missing) else outlook.start_up_s.get(name, USUAL_START_UP_S)


def _spot_of(variant: VariantSituation) -> bool:
    return any(one.type is CapacityType.SPOT for one in variant.capacity)


# --- beside what is wanted --------------------------------------------------------------------------------------------


def beside_hinted(situation: Situation, policy: ServicePolicy, wanted: int) -> int:
    """Replicas to launch beside those that may be taken back, until what is not at risk carries all that is wanted."""
    if not (policy.spot_allowed and policy.spot.prelaunch):
        return 0
    alive = [one for variant in situation.variants.values() for one in variant.in_phase(Phase.STARTING, Phase.READY)]
    hinted = sum(one.hinted for one in alive)
    sure = sum(one.phase is Phase.READY and not one.hinted for one in alive)
    return min(hinted, max(0, wanted - sure))


def spare_beside(
    situation: Situation, policy: ServicePolicy, memory: ServiceMemory, wanted: int, resting: Iterable[str] = ()
) -> int:
    """Spot replicas beyond ``wanted``, so that what is outside any one failure domain carries that meanwhile.

    Zones are taken whole: of W that lie on spot in K domains, each has its share when W / (K - 1) more are kept. In
    fewer than three a spare goes with the rest or costs as much again: there is none, but for the only replica of a
    service, whose spare may come to lie elsewhere. None either where a notice is longer than a start, where the losses
    to expect cost less than half of what the SLO leaves, where spot with its spare would save less than ``min_saving``,
    and where growth would not take spot now: a spare on demand costs more than it is for.
    """
    domains = _spot_domains(situation)
    on_spot = wanted - (situation.current - domains.total())
    if not (policy.spot_allowed and policy.spot.spare) or on_spot <= 0 or not domains:
        return 0
    if not _grows_on_spot(situation, policy, resting) or not _worth_a_spare(situation, policy, memory, domains):
        return 0
    spread = len(domains) >= LEAST_DOMAINS
    spare = 1 if on_spot == 1 else ceil(on_spot / (len(domains) - 1)) if spread else 0
    room = policy.replicas.max_replicas - wanted
    return min(spare, room, max(domains.values()), _affordable(situation, policy, on_spot))


def _spot_domains(situation: Situation) -> Counter[str]:
    """Replicas on spot that are no loss yet, by failure domain."""
    alive = (one for variant in situation.variants.values() for one in variant.in_phase(Phase.STARTING, Phase.READY))
    return Counter(one.spot_domain for one in alive if one.spot_domain is not None)


def _grows_on_spot(situation: Situation, policy: ServicePolicy, resting: Iterable[str]) -> bool:
    """Whether the next replica would be spot, and no budget or storm holds anything back."""
    order = growth_order(situation.variants, policy, tuple(resting), _carried(situation))
    first = next_place(order[0], policy) if order and not situation.guards else None
    return (
        first is not None
        and first.type is CapacityType.SPOT
        and not first.shunned
        and order[0].name not in tuple(resting)
    )


def _worth_a_spare(
    situation: Situation, policy: ServicePolicy, memory: ServiceMemory, domains: Mapping[str, int]
) -> bool:
    """Whether the time to expect without a domain is more than half of what the SLO leaves. Half is a guess: what else
    goes wrong needs the rest, and what queued meanwhile misses its SLO too."""
    gaps = (_start_up_s(name, situation) - NOTICE_S for name, one in situation.variants.items() if _spot_of(one))
    gap_s = max(0.0, max(gaps, default=0.0))
    each = sum(domains.values()) / len(domains)  # a domain's replicas are lost together: they are one witness
    seen = [replace(one, replica_h=one.replica_h / each, losses=one.losses / each) for one in memory.spot.values()]
    short_ratio = len(domains) * losses_per_hour(seen) * gap_s / 3600
    return short_ratio > (1 - policy.slo.attainment_ratio) / 2


def _affordable(situation: Situation, policy: ServicePolicy, on_spot: int) -> int:
    """How many more leave the whole cheaper than on demand by ``min_saving``; an unknown price buys none."""
    units = units_of(situation.variants.values(), policy, _carried(situation))
    usd = [
        (one.usd_per_replica_hour + one.risk_usd_per_replica_hour) / unit
        for variant in situation.variants.values()
        for one in variant.capacity
        if one.type is CapacityType.SPOT and not isinstance(one.usd_per_replica_hour, Missing)
        if (unit := units.get(variant.name, 1.0)) > 0
    ]
    beside = _cheapest_on_demand(situation, units)
    if not usd or isinf(beside):
        return 0
    most = (1 - policy.spot.min_saving_ratio) * beside * on_spot
    return max(0, floor(most / max(usd)) - on_spot) if max(usd) > 0 else on_spot


def in_place_of_dearer(
    situation: Situation, policy: ServicePolicy, memory: ServiceMemory, wanted: int, resting: Iterable[str] = ()
) -> int:
    """Spot replicas to launch beside on-demand ones, which go, as the dearest, once the new ones serve.

    Only when all that is wanted serves and nothing more is there or on its way, nothing was lost for the quiet time, no
    budget or storm holds anything back, and spot is what growth would take first. Half of them at once.

    resting   variants that do not grow now
    """
    rule, current = policy.spot, situation.current
    if not policy.spot_allowed or current != wanted or situation.ready != current:
        return 0
    if any(
        one.lost_at is not None and _since(one.lost_at, situation.at) < rule.quiet_s for one in memory.spot.values()
    ):
        return 0
    if not _grows_on_spot(situation, policy, resting):
        return 0
    first = growth_order(situation.variants, policy, tuple(resting), _carried(situation))[0]
    dearer = _dearer(situation)
    places = sum(left for bought, left in free_places(first, policy, first.current) if bought is CapacityType.SPOT)
    room = min(policy.replicas.max_replicas - current, places)
    return int(min(max(1, int(dearer * RAMP_RATIO)), dearer, room)) if dearer and room > 0 else 0


def starting_on_spot(situation: Situation, policy: ServicePolicy) -> int:
    """Spot replicas on their way while dearer ones serve: none of them goes before it could take over."""
    if not policy.spot_allowed or not _dearer(situation):
        return 0
    starting = (one for variant in situation.variants.values() for one in variant.in_phase(Phase.STARTING))
    return sum(one.spot_domain is not None for one in starting)


def _dearer(situation: Situation) -> int:
    """Replicas of variants that are bought on demand alone, which may go."""
    return sum(
        max(0, variant.current - variant.least)
        for variant in situation.variants.values()
        if variant.capacity and all(one.type is CapacityType.ON_DEMAND for one in variant.capacity)
    )


def _since(then: datetime, now: datetime) -> float:
    return (now - then) / timedelta(seconds=1)
