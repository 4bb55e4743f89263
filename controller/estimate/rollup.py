"""One Estimate from the replicas of a scope: a replica, a variant, a service or the fleet.

Totals and replicas that could not be read. ``replicas_read`` counts the ready replicas that answered; whoever decides
compares it with the ready ones, because a total over fewer is a lower bound. Within the replicas that answered:

- levels (running, queue depth, KV use) and token and request rates are Missing when one serving replica that answered
  lacks them: a replica whose queue is unknown must not pass for one without a queue;
- a replica's first reading spans no time, so it is left out of rates until its second, unless there is no other;
- rejections and preemptions, which not every engine counts, are sums over those that do;
- ratios are means over those that have them, weighted by what they are shares of.
When nobody has a value it is Missing, with what each replica said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import fsum
from operator import attrgetter
from typing import Any, cast

from controller.estimate.costs import tokens_per_usd, total_usd_per_hour, usd_per_million
from controller.estimate.efficiency import Efficiency, efficiency_of
from controller.estimate.gpus import GpuUse
from controller.estimate.histograms import mean, merge_histograms, quantile
from controller.estimate.seats import Seat
from controller.estimate.traffic import Traffic, traffic_of
from controller.estimate.windows import Window
from controller.facts.estimates import Estimate, Number, ReplicaCost, ReplicaLoad
from controller.facts.missing import Missing, known, ratio
from controller.facts.readings import Counter, Distribution, Gauge, Histogram, Phase
from controller.facts.unguarded import unguarded

QUANTILES: tuple[tuple[str, Distribution, float], ...] = (
    ("ttft_p50_s", Distribution.TTFT_S, 0.50),
    ("ttft_p95_s", Distribution.TTFT_S, 0.95),
    ("ttft_p99_s", Distribution.TTFT_S, 0.99),
    ("tpot_p50_s", Distribution.TPOT_S, 0.50),
    ("tpot_p95_s", Distribution.TPOT_S, 0.95),
    ("tpot_p99_s", Distribution.TPOT_S, 0.99),
    ("e2e_p95_s", Distribution.E2E_S, 0.95),
    ("queue_time_p95_s", Distribution.QUEUE_TIME_S, 0.95),
)
"""Field of Estimate, distribution, share."""

MEANS = (
    ("mean_prompt_tokens", Distribution.PROMPT_LENGTH_TOKENS),
    ("mean_output_tokens", Distribution.OUTPUT_LENGTH_TOKENS),
)
"""Field of Estimate, distribution."""

MERGED = tuple(dict.fromkeys([*(name for _, name, _ in QUANTILES), *(name for _, name in MEANS)]))
"""The distributions that an Estimate needs."""

Finished = Mapping[Distribution, Histogram]
"""What finished in some part of a scope; a distribution that nobody there has is absent."""

TOTALLED_GAUGES = (
    Gauge.RUNNING,
    Gauge.QUEUE_DEPTH,
    Gauge.QUEUE_DEPTH_CAPACITY,
    Gauge.QUEUE_DEPTH_DEFERRED,
    Gauge.KV_CAPACITY_TOKENS,
)
"""Gauges of which Estimate has the sum, under the gauge's name."""

RATES: Mapping[str, Callable[[Seen], Number]] = {
    "prompt_tokens_per_s": attrgetter("traffic.prompt"),
    "computed_prompt_tokens_per_s": attrgetter("traffic.computed_prompt"),
    "cached_prompt_tokens_per_s": attrgetter("traffic.cached_prompt"),
    "output_tokens_per_s": attrgetter("traffic.output"),
    "requests_per_s": attrgetter("traffic.requests"),
    "rejections_per_s": lambda one: one.window.rate(Counter.REJECTIONS),
    "preemptions_per_s": lambda one: one.window.rate(Counter.PREEMPTIONS),
}
"""Field of Estimate, of which it has the sum."""

LOADS: Mapping[str, Callable[[Seen], Number]] = {
    "prompt_tokens_per_s": attrgetter("traffic.prompt"),
    "output_tokens_per_s": attrgetter("traffic.output"),
    "running": lambda one: one.window.gauge(Gauge.RUNNING),
    "queue_depth": lambda one: one.window.gauge(Gauge.QUEUE_DEPTH),
    "kv_cache_ratio": lambda one: one.window.gauge(Gauge.KV_CACHE_RATIO),
    "mfu_ratio": attrgetter("efficiency.mfu"),
}
"""Field of ReplicaLoad."""

NOT_ALWAYS_COUNTED = ("rejections_per_s", "preemptions_per_s")

REASONS_TOLD = 3
"""How many different reasons a Missing of a large scope lists before it only counts the rest."""


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One replica that answered, with everything that is worked out once."""

    seat: Seat
    window: Window
    traffic: Traffic
    efficiency: Efficiency


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is rolled up. Names are "" above their level.

    finished   of every part of it, each merged already
    """

    at: datetime
    seats: Sequence[Seat]
    seen: Sequence[Seen]
    finished: Sequence[Finished]
    costs: Sequence[ReplicaCost]
    gpu: GpuUse
    service: str = ""
    variant: str = ""
    replica: str = ""


def seen_of(seat: Seat) -> Seen | None:
    """The replica's numbers, or None when it did not answer."""
    if isinstance(seat.window, Missing):
        return None
    traffic = traffic_of(seat.window)
    efficiency = efficiency_of(seat.window, traffic, seat.model, seat.variant)
    return Seen(seat=seat, window=seat.window, traffic=traffic, efficiency=efficiency)


def finished_in(seen: Sequence[Seen]) -> Finished:
    """What finished in all of ``seen``. Merging everything at once is much cheaper than replica by replica."""
    parts = {name: [part for one in seen for part in one.window.finished.get(name, ())] for name in MERGED}
    return {name: merge_histograms(some) for name, some in parts.items() if some}


def load_of(seat: Seat, seen: Seen | None, usd_per_hour: Number) -> ReplicaLoad:
    """The few numbers of one replica that every pass needs."""
    told = {what: _told(what, seat.window if seen is None else value(seen)) for what, value in LOADS.items()}
    return ReplicaLoad(
        service=seat.variant.service,
        variant=seat.variant.name,
        replica=seat.replica,
        url=seat.url,
        phase=seat.phase,
        ready=seat.ready,
        unread=seat.window.why if isinstance(seat.window, Missing) else "",
        window_s=seen.window.window_s if seen is not None else 0.0,
        usd_per_hour=usd_per_hour,
        **told,
    )


def _told(what: str, found: Number | Window) -> Number:
    return Missing(what, found.why) if isinstance(found, Missing) else cast("float", found)


def rolled_up(scope: Scope) -> Estimate:
    """The scope's estimate; see this module's docstring for the rules."""
    values: dict[str, Any] = {}
    for part in (_counts, _rates, _levels, _ratios, _latencies, _efficiencies, _gpu_and_money):
        values.update(part(scope, values))
    return Estimate(at=scope.at, service=scope.service, variant=scope.variant, replica=scope.replica, **values)


def _counts(scope: Scope, _: dict[str, Any]) -> dict[str, Any]:
    return {
        "window_s": max((seen.window.window_s for seen in scope.seen), default=0.0),
        "replicas_current": sum(seat.phase in (Phase.STARTING, Phase.READY) for seat in scope.seats),
        "replicas_ready": sum(seat.ready for seat in scope.seats),
        "replicas_read": sum(seen.seat.ready for seen in scope.seen),
        "gpus": sum(seat.variant.gpus_per_replica for seat in scope.seats),
    }


def _rates(scope: Scope, _: dict[str, Any]) -> dict[str, Any]:
    spanning = [seen for seen in scope.seen if seen.window.window_s > 0] or scope.seen
    return {
        what: _total(what, scope, spanning, rate, strict=what not in NOT_ALWAYS_COUNTED) for what, rate in RATES.items()
    }


def _levels(scope: Scope, _: dict[str, Any]) -> dict[str, Any]:
    return {gauge.value: _total(gauge.value, scope, scope.seen, partial(_gauge, gauge)) for gauge in TOTALLED_GAUGES}


def _ratios(scope: Scope, _: dict[str, Any]) -> dict[str, Any]:
    hits = ratio("prefix_hit_ratio", *_sums(scope, Counter.PREFIX_HITS_TOKENS, Counter.PREFIX_QUERIES_TOKENS))
    accepted = ratio("acceptance_ratio", *_sums(scope, Counter.ACCEPTED_TOKENS, Counter.DRAFT_TOKENS))
    per_draft = ratio("accepted_length_tokens", *_sums(scope, Counter.ACCEPTED_TOKENS, Counter.DRAFTS))
    length = per_draft if isinstance(per_draft, Missing) else 1 + per_draft
    return {
        "kv_cache_ratio": _kv_cache_ratio(scope),
        "prefix_hit_ratio": hits,
        "acceptance_ratio": _or_gauge(scope, accepted, Gauge.ACCEPTANCE_RATIO),
        "accepted_length_tokens": _or_gauge(scope, length, Gauge.ACCEPTED_LENGTH_TOKENS),
    }


def _latencies(scope: Scope, _: dict[str, Any]) -> dict[str, Any]:
    merged = {name: _merged(scope, name) for name in MERGED}
    values: dict[str, Any] = {field: quantile(field, merged[name], q) for field, name, q in QUANTILES}
    return values | {field: mean(field, merged[name]) for field, name in MEANS}


def _efficiencies(scope: Scope, _: dict[str, Any]) -> dict[str, Any]:
    gpus = [float(one.seat.variant.gpus_per_replica) for one in scope.seen]
    mfus, mbus = [one.efficiency.mfu for one in scope.seen], [one.efficiency.mbu for one in scope.seen]
    return {
        "mfu_ratio": _weighted("mfu_ratio", scope, mfus, gpus),
        "mfu_source": _sources(one.efficiency.mfu_source for one in scope.seen),
        "mbu_ratio": _weighted("mbu_ratio", scope, mbus, gpus),
        "mbu_source": _sources(one.efficiency.mbu_source for one in scope.seen),
    }


def _gpu_and_money(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    usd = total_usd_per_hour(scope.costs)
    output = values["output_tokens_per_s"]
    both = _plus(values["prompt_tokens_per_s"], output)
    return {
        "gpu_utilization_ratio": scope.gpu.utilization,
        "tensor_active_ratio": scope.gpu.tensor,
        "dram_active_ratio": scope.gpu.dram,
        "power_w": scope.gpu.power_w,
        "joules_per_token": ratio("joules_per_token", scope.gpu.power_w, output),
        "usd_per_hour": usd,
        "usd_per_million_output_tokens": usd_per_million("usd_per_million_output_tokens", usd, output),
        "usd_per_million_tokens": usd_per_million("usd_per_million_tokens", usd, both),
        "output_tokens_per_usd": tokens_per_usd("output_tokens_per_usd", usd, output),
        "tokens_per_usd": tokens_per_usd("tokens_per_usd", usd, both),
    }


def _total(
    what: str, scope: Scope, seen: Sequence[Seen], value: Callable[[Seen], Number], *, strict: bool = True
) -> Number:
    try:
        if seen:
            return fsum(cast("Iterable[float]", map(value, seen)))
    except TypeError:  # somebody's is Missing
        pass
    values = [(one, value(one)) for one in seen]
    there = known(number for _, number in values)
    lost = [(one, number) for one, number in values if isinstance(number, Missing)]
    if not there:
        return _nobody(what, scope, [f"{number.why}" for _, number in lost])
    unknown = [f"{one.seat.replica}: {number.why}" for one, number in lost if one.seat.ready]
    return _nobody(what, scope, unknown) if strict and unknown else fsum(there)


def _nobody(what: str, scope: Scope, said: Sequence[str]) -> Missing:
    """Why nobody has it: what those said that answered, else why nobody answered."""
    said = said or [
        f"{seat.replica}: {seat.window.why}" if not scope.replica else seat.window.why
        for seat in scope.seats
        if isinstance(seat.window, Missing)
    ]
    reasons = list(dict.fromkeys(said)) or ["there is no replica"]
    more = f"; and {len(reasons) - REASONS_TOLD} more" if len(reasons) > REASONS_TOLD else ""
    return Missing(what, "; ".join(reasons[:REASONS_TOLD]) + more)


def _kv_cache_ratio(scope: Scope) -> Number:
    """Mean over the serving replicas (or all that answered), weighted by capacity where all say theirs."""
    what = Gauge.KV_CACHE_RATIO.value
    serving = [one for one in scope.seen if one.seat.ready] or scope.seen
    ratios = [one.window.gauge(Gauge.KV_CACHE_RATIO) for one in serving]
    lost = [
        f"{one.seat.replica}: {value.why}"
        for one, value in zip(serving, ratios, strict=True)
        if isinstance(value, Missing)
    ]
    if lost:
        return _nobody(what, scope, lost)
    capacities = known([one.window.gauge(Gauge.KV_CAPACITY_TOKENS) for one in serving])
    weighable = len(capacities) == len(ratios) and fsum(capacities) > 0
    return _weighted(what, scope, ratios, capacities if weighable else [1.0] * len(ratios))


def _weighted(what: str, scope: Scope, values: Sequence[Number], weights: Sequence[float]) -> Number:
    pairs = [(value, weight) for value, weight in zip(values, weights, strict=True) if not isinstance(value, Missing)]
    if not pairs:
        return _nobody(what, scope, [value.why for value in values if isinstance(value, Missing)])
    return fsum(value * weight for value, weight in pairs) / fsum(weight for _, weight in pairs)


def _sums(scope: Scope, part: Counter, whole: Counter) -> tuple[Number, Number]:
    """The two increases over the replicas that count both, so that their quotient is weighted by ``whole``."""
    both = [said for one in scope.seen if part in (said := one.window.counters) and whole in said]
    if both:
        return fsum([said[part] for said in both]), fsum([said[whole] for said in both])
    told = [one.window.counter(counter) for one in scope.seen for counter in (part, whole)]
    each = {id(one): one for one in told}.values()  # most are one and the same
    lost = _nobody(part.value, scope, [str(one) for one in each if isinstance(one, Missing)])
    return lost, lost


def _or_gauge(scope: Scope, counted: Number, gauge: Gauge) -> Number:
    """What the counters give, else the mean of the gauge that some engines export instead."""
    if not isinstance(counted, Missing):
        return counted
    values = [said[gauge] for one in scope.seen if gauge in (said := one.window.gauges)]
    return fsum(values) / len(values) if values else counted


def _merged(scope: Scope, name: Distribution) -> Histogram | Missing:
    parts = [part[name] for part in scope.finished if name in part]
    if parts:
        return merge_histograms(parts)
    said = (one.window.histogram(name) for one in scope.seen)
    return _nobody(name.value, scope, [one.why for one in said if isinstance(one, Missing)])


def _gauge(gauge: Gauge, seen: Seen) -> Number:
    return seen.window.gauge(gauge)


def _plus(first: Number, second: Number) -> Number:
    if isinstance(first, Missing):
        return first
    return second if isinstance(second, Missing) else first + second


def _sources(sources: Iterable[str]) -> str:
    return "; ".join(sorted({source for source in sources if source}))
