"""What every replica did and cost between two passes, for the ledger."""

from __future__ import annotations

from datetime import datetime

from controller.estimate.gpus import energy_j, readings_of
from controller.estimate.seats import Seat, seats_of
from controller.facts.estimates import Estimate, Estimates, ReplicaCost
from controller.facts.fleet import CapacityType, Fleet, Variant
from controller.facts.missing import Missing
from controller.facts.money import accrued_nanousd, nanousd
from controller.facts.passes import ReplicaUse
from controller.facts.prices import Prices
from controller.facts.readings import EngineReading, Observation, Phase


def replica_uses(
    fleet: Fleet,
    observation: Observation,
    estimates: Estimates,
    prices: Prices,
    last_pass_at: datetime | None,
    now: datetime,
) -> tuple[ReplicaUse, ...]:
    """One row a replica, and one per unused committed place, from the last pass to this one; none in the first pass.

    Counts are those of this pass's reading alone: the rate window overlaps with the passes before. The cost is
    accrued at the whole nanodollars per hour nearest to the estimate, so that intervals that touch add up to the
    nanodollar. ``prices`` have already gone into ``estimates.costs``.
    """
    if last_pass_at is None or last_pass_at >= now:
        return ()
    seats = {seat.key: seat for seat in seats_of(fleet, observation, {})}
    siblings: dict[tuple[str, ...], int] = {}
    for key in seats:
        siblings[key[:2]] = siblings.get(key[:2], 0) + 1
    uses = []
    for cost in estimates.costs:
        key = (cost.service, cost.variant, cost.replica)
        variant = fleet.services[cost.service].variants[cost.variant]
        if cost.replica:
            energy = energy_j(readings_of(observation, [seats[key]], siblings[key[:2]]))
            seen = estimates.replicas[key]
            uses.append(_use(cost, seats[key], seen, observation, energy, last_pass_at, now))
        else:
            uses.append(_unused(cost, variant, last_pass_at, now))
    return tuple(uses)


def _use(
    cost: ReplicaCost,
    seat: Seat,
    seen: Estimate,
    observation: Observation,
    energy: float | None,
    start: datetime,
    end: datetime,
) -> ReplicaUse:
    reading = observation.engines.get(seat.url)
    return ReplicaUse(
        service=cost.service,
        variant=cost.variant,
        replica=cost.replica,
        capacity_type=cost.capacity_type,
        start=start,
        end=end,
        phase=seat.phase,
        gpus=seat.variant.gpus_per_replica,
        counts=dict(reading.counters) if isinstance(reading, EngineReading) else {},
        running=_or_none(seen.running),
        queue_depth=_or_none(seen.queue_depth),
        kv_cache_ratio=_or_none(seen.kv_cache_ratio),
        mfu_ratio=_or_none(seen.mfu_ratio),
        energy_j=energy,
        missing=seat.window.why if isinstance(seat.window, Missing) else "",
        cost_nanousd=_accrued(cost, start, end),
    )


def _unused(cost: ReplicaCost, variant: Variant, start: datetime, end: datetime) -> ReplicaUse:
    return ReplicaUse(
        service=cost.service,
        variant=cost.variant,
        replica="",
        capacity_type=CapacityType.RESERVED,
        start=start,
        end=end,
        phase=Phase.READY,
        gpus=variant.gpus_per_replica,
        missing="no replica uses this committed capacity",
        cost_nanousd=_accrued(cost, start, end),
    )


def _accrued(cost: ReplicaCost, start: datetime, end: datetime) -> int | None:
    if isinstance(cost.usd_per_hour, Missing):
        return None
    return accrued_nanousd(nanousd(cost.usd_per_hour), start, end)


def _or_none(value: float | Missing) -> float | None:
    return None if isinstance(value, Missing) else value
