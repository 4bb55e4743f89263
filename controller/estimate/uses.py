"""What every replica did and cost between two passes, for the ledger."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import replace
from datetime import datetime

from controller.estimate.gpus import energy_j, readings_of
from controller.facts.accounts import STRANDED
from controller.facts.estimates import Estimates, ReplicaCost, ReplicaLoad
from controller.facts.missing import Missing
from controller.facts.passes import ReplicaUse
from controller.facts.prices import FourRates
from controller.facts.readings import Distribution, EngineReading, Observation, Phase

NOBODYS = {
    "": "no replica uses this committed capacity",
    STRANDED: "no replica uses these GPUs of its nodes",
}
"""What stands in the place of a replica's name, and why no engine can be read there."""


def replica_uses(
    observation: Observation,
    estimates: Estimates,
    last_pass_at: datetime | None,
    now: datetime,
) -> tuple[ReplicaUse, ...]:
    """One row a replica, one per unused committed place and one a variant with stranded GPUs, from the last pass to
    this one; none in the first pass.

    Counts and phase seconds are those of this pass's reading alone: the rate window overlaps with the passes before.
    Costs are accrued at whole nanodollars per hour, so that intervals that touch add up to the nanodollar.
    """
    if last_pass_at is None or last_pass_at >= now:
        return ()
    siblings = Tally(key[:2] for key in estimates.loads)
    uses = []
    for cost in estimates.costs:
        key = (cost.service, cost.variant, cost.replica)
        if cost.replica not in NOBODYS:
            energy = energy_j(readings_of(observation, [key], siblings[key[:2]]))
            uses.append(_use(cost, estimates.loads[key], observation, energy, last_pass_at, now))
        else:
            uses.append(_unused(cost, last_pass_at, now))
    return tuple(uses)


def _use(
    cost: ReplicaCost,
    load: ReplicaLoad,
    observation: Observation,
    energy: float | None,
    start: datetime,
    end: datetime,
) -> ReplicaUse:
    said = observation.engines.get(load.url)
    reading = said if isinstance(said, EngineReading) else None
    use = ReplicaUse(
        service=cost.service,
        variant=cost.variant,
        replica=cost.replica,
        capacity_type=cost.capacity_type,
        start=start,
        end=end,
        phase=load.phase,
        gpus=cost.gpus,
        node=cost.node,
        counts=dict(reading.counters) if reading is not None else {},
        prefill_s=_seconds(reading, Distribution.PREFILL_TIME_S),
        decode_s=_seconds(reading, Distribution.DECODE_TIME_S),
        running=_or_none(load.running),
        queue_depth=_or_none(load.queue_depth),
        kv_cache_ratio=_or_none(load.kv_cache_ratio),
        mfu_ratio=_or_none(load.mfu_ratio),
        energy_j=energy,
        missing=load.unread,
    )
    return _paid(use, cost.rates)


def _unused(cost: ReplicaCost, start: datetime, end: datetime) -> ReplicaUse:
    use = ReplicaUse(
        service=cost.service,
        variant=cost.variant,
        replica=cost.replica,
        capacity_type=cost.capacity_type,
        start=start,
        end=end,
        phase=Phase.READY,
        gpus=cost.gpus,
        missing=NOBODYS[cost.replica],
    )
    return _paid(use, cost.rates)


def _paid(use: ReplicaUse, rates: FourRates) -> ReplicaUse:
    costs = rates.accrued(use.start, use.end)
    return replace(
        use,
        cost_nanousd=costs.effective,
        list_nanousd=costs.list_,
        contracted_nanousd=costs.contracted,
        billed_nanousd=costs.billed,
    )


def _seconds(reading: EngineReading | None, phase: Distribution) -> float | None:
    """What the requests that finished since the reading before spent in ``phase``."""
    histogram = reading.histograms.get(phase) if reading is not None else None
    return None if histogram is None else histogram.total


def _or_none(value: float | Missing) -> float | None:
    return None if isinstance(value, Missing) else value
