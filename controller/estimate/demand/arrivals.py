"""What arrives at a service, from what its engines tell.

    arrivals = finished + growth of (running + waiting) + rejected

per replica and over the same seconds. Completions alone will not do: an overloaded engine completes what it can,
however much arrives, and the rest shows in its queue only. Replicas come and go with what they run, so growth is only
taken between two readings of the same replica: one that is new, or gone, adds and takes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import fsum

from controller.estimate.demand.shape import ShapeSums
from controller.facts.demand import Demand, Number
from controller.facts.estimates import Estimate
from controller.facts.missing import Missing
from controller.facts.readings import Counter, EngineReading, Gauge

OLDEST_MARK_S = 300.0
"""A replica that was not read for longer starts again: what happened meanwhile says nothing about now. A guess; the
longest usual scrape interval is one minute."""

LEAST_READ_RATIO = 0.5
"""Of the ready replicas that must have been read for the others to be taken as alike. Routers spread load evenly, so
half of a fleet shows what the rest does; a few of many may be the odd ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandMark:
    """What the next pass must remember of this one.

    inside   by target url: when it was read, and how many requests ran or waited in it
    shapes   what requests looked like lately
    """

    at: datetime | None = None
    inside: Mapping[str, tuple[datetime, float]] = field(default_factory=dict)
    shapes: ShapeSums = field(default_factory=ShapeSums)


def demand_of(
    service: Estimate, readings: Iterable[EngineReading | Missing], mark: DemandMark
) -> tuple[Demand, DemandMark]:
    """What arrives now, and the mark for the next pass.

    service    the service's estimate of this pass
    readings   this pass's readings of its targets; those that could not be had may be left out
    mark       the mark of the pass before; at first ``DemandMark()``
    """
    read = [one for one in readings if isinstance(one, EngineReading)]
    now = {one.target.url: (one.at, inside) for one in read if (inside := _inside(one)) is not None}
    spent_s = (service.at - mark.at).total_seconds() if mark.at is not None else 0.0
    shapes = mark.shapes.aged(spent_s, read)
    demand = Demand(
        requests_per_s=_arrivals(service, read, mark),
        waiting_requests=_waiting(service),
        shape=shapes.shape(_why_no_shape(service)),
    )
    return demand, DemandMark(at=service.at, inside={**_recent(mark, service.at), **now}, shapes=shapes)


def _arrivals(service: Estimate, read: list[EngineReading], mark: DemandMark) -> Number:
    what = "requests_per_s"
    if service.replicas_ready == 0 and not read:
        return Missing(what, "no replica is ready, so nobody can count what arrives")
    if service.replicas_read < LEAST_READ_RATIO * service.replicas_ready:
        return Missing(what, f"only {service.replicas_read} of {service.replicas_ready} ready replicas were read")
    rates = [(one, _rate(one, mark)) for one in read]
    known = [rate for _, rate in rates if isinstance(rate, float)]
    lost = [f"{one.target.replica}: {rate.why}" for one, rate in rates if isinstance(rate, Missing)]
    if lost:
        return Missing(what, "; ".join(dict.fromkeys(lost)))
    if not known:
        return Missing(what, "every replica was read for the first time: rates need two readings")
    unread = max(service.replicas_ready - service.replicas_read, 0)
    return max(fsum(known), 0.0) * (1 + unread / max(service.replicas_read, 1))


def _rate(reading: EngineReading, mark: DemandMark) -> Number | None:
    """One replica's arrivals per second; None at its first reading, which spans no time."""
    if reading.window_s <= 0:
        return None
    finished = reading.counter(Counter.REQUESTS)
    if isinstance(finished, Missing):
        return finished
    rejected = reading.counters.get(Counter.REJECTIONS, 0.0)  # not every engine rejects, and so counts them
    inside = _inside(reading)
    if inside is None:
        return Missing("requests_per_s", "what runs or waits is unknown, so completions may hide a backlog")
    return (finished + rejected) / reading.window_s + _growth(reading, inside, mark)


def _growth(reading: EngineReading, inside: float, mark: DemandMark) -> float:
    """Requests/s by which the replica's running and waiting ones grew since it was read before."""
    before = mark.inside.get(reading.target.url)
    if before is None:
        return 0.0
    spent_s = (reading.at - before[0]).total_seconds()
    return (inside - before[1]) / spent_s if 0 < spent_s <= OLDEST_MARK_S else 0.0


def _inside(reading: EngineReading) -> float | None:
    running, waiting = reading.gauge(Gauge.RUNNING), reading.gauge(Gauge.QUEUE_DEPTH)
    return None if isinstance(running, Missing) or isinstance(waiting, Missing) else running + waiting


def _recent(mark: DemandMark, now: datetime) -> dict[str, tuple[datetime, float]]:
    """Replicas that were read lately: one that skips a pass is not new at the next."""
    return {url: one for url, one in mark.inside.items() if (now - one[0]).total_seconds() <= OLDEST_MARK_S}


def _waiting(service: Estimate) -> Number:
    """Waiting for capacity where the engines tell it apart, else all that waits."""
    capacity = service.queue_depth_capacity
    return service.queue_depth if isinstance(capacity, Missing) else capacity


def _why_no_shape(service: Estimate) -> str:
    mean = service.mean_prompt_tokens
    return mean.why if isinstance(mean, Missing) else "too few requests finished lately"
