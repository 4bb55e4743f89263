"""What every replica did and cost between two passes, for the ledger."""

from __future__ import annotations

from collections import Counter as Tally
from datetime import datetime
from functools import cache
from typing import Any

from controller.estimate.gpus import energy_j, readings_of
from controller.facts.accounts import STRANDED
from controller.facts.estimates import Estimates, ReplicaCost, ReplicaLoad
from controller.facts.missing import Missing
from controller.facts.passes import ReplicaUse
from controller.facts.prices import FourCosts
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
    accrued = cache(lambda rates: rates.accrued(last_pass_at, now))  # a variant's replicas cost the same
    uses = []
    for cost in estimates.costs:
        key = (cost.service, cost.variant, cost.replica)
        if cost.replica not in NOBODYS:
            energy = energy_j(readings_of(observation, [key], siblings[key[:2]]))
            said = observation.engines.get(estimates.loads[key].url)
            known = _known(estimates.loads[key], said if isinstance(said, EngineReading) else None, energy)
        else:
            known = {"phase": Phase.READY, "missing": NOBODYS[cost.replica]}
        uses.append(_use(cost, last_pass_at, now, accrued(cost.rates), known))
    return tuple(uses)


def _use(cost: ReplicaCost, start: datetime, end: datetime, costs: FourCosts, known: dict[str, Any]) -> ReplicaUse:
    return ReplicaUse(
        service=cost.service,
        variant=cost.variant,
        replica=cost.replica,
        capacity_type=cost.capacity_type,
        start=start,
        end=end,
        gpus=cost.gpus,
        node=cost.node,
        cost_nanousd=costs.effective,
        list_nanousd=costs.list_,
        contracted_nanousd=costs.contracted,
        billed_nanousd=costs.billed,
        **known,
    )


def _known(load: ReplicaLoad, reading: EngineReading | None, energy: float | None) -> dict[str, Any]:
    """What was measured of a replica; ``reading`` None: its engine could not be read."""
    return {
        "phase": load.phase,
        "counts": reading.counters if reading is not None else {},
        "prefill_s": _seconds(reading, Distribution.PREFILL_TIME_S),
        "decode_s": _seconds(reading, Distribution.DECODE_TIME_S),
        "running": _or_none(load.running),
        "queue_depth": _or_none(load.queue_depth),
        "kv_cache_ratio": _or_none(load.kv_cache_ratio),
        "mfu_ratio": _or_none(load.mfu_ratio),
        "energy_j": energy,
        "missing": load.unread,
    }


def _seconds(reading: EngineReading | None, phase: Distribution) -> float | None:
    """What the requests that finished since the reading before spent in ``phase``."""
    histogram = reading.histograms.get(phase) if reading is not None else None
    return None if histogram is None else histogram.total


def _or_none(value: float | Missing) -> float | None:
    return None if isinstance(value, Missing) else value
