"""What one replica does under a load, and the most load that it carries inside an SLO. The same arithmetic
(queueing.py) answers what N - 1 replicas would do, and any other what-if."""

from __future__ import annotations

from math import inf

import numpy as np

from controller.estimate.performance.lengths import WEIGHTS, Floats, expected
from controller.estimate.performance.queueing import (
    Batch,
    Exceeded,
    Work,
    kv_high,
    kv_mean,
    saturating,
    sequences_high,
    settled,
    tpot_exceeded,
    tpot_mean,
    ttft_exceeded,
    ttft_mean,
    work_of,
)
from controller.facts.performance import (
    EngineLimits,
    OutOfReach,
    ReplicaCapacity,
    RequestShape,
    ServingPoint,
    StepModel,
)
from controller.facts.slo import LatencyTarget, Slo

MOST_LOAD = 0.98
"""Of what would saturate the engine: beyond it no steady state worth the name."""

LOADS = np.array([0.001, 0.05, 0.12, 0.22, 0.35, 0.5, 0.65, 0.78, 0.9, 1.0])
"""Of MOST_LOAD, where the capacity is looked for first; then between the two that it lies between. A replica that
cannot carry the least of them inside the SLO carries nothing."""

BOUNDS = np.geomspace(1 / 64, 64, 17)
"""Of a latency target, where its quantile is looked for."""

FRACTIONS = np.linspace(0.0, 1.0, 12)
"""Of the way between two places of the coarse scale: the fine one."""

NEGLIGIBLE = 1e-9
"""Shares are cut here before a logarithm is taken."""


def serving_point(
    step: StepModel,
    limits: EngineLimits,
    shape: RequestShape,
    requests_per_s: float,
    slo: Slo,
    *,
    dispersion: float = 1.0,
    replicas: int = 1,
) -> ServingPoint:
    """What one replica does under ``requests_per_s``: latencies at the SLO's quantiles, as means where it has none.

    dispersion   variance / mean of the arrivals' counts: 1 for Poisson
    Latencies are told between 1/64 and 64 times their targets; longer is infinite.
    """
    return _point(work_of(step, limits, shape), step, limits, slo, requests_per_s, dispersion, replicas)


def capacity(
    step: StepModel,
    limits: EngineLimits,
    shape: RequestShape,
    slo: Slo,
    *,
    dispersion: float = 1.0,
    replicas: int = 1,
    source: str = "prior",
    band_ratio: float = 0.3,
) -> ReplicaCapacity | OutOfReach:
    """The most requests/s inside the SLO. OutOfReach when not even a few are. ``source``, ``band_ratio``: of ``step``.

    replicas   so many share the arrivals: together they smooth what each alone would have to wait for
    """
    work = work_of(step, limits, shape)
    loads = LOADS * (MOST_LOAD * saturating(work, step))
    excess, names = _excess(work, limits, slo, settled(work, step, loads, dispersion, replicas))
    if excess[0] > 0:
        point = _point(work, step, limits, slo, float(loads[0]), dispersion, replicas)
        return OutOfReach("capacity", _impossible(names[0], work, step, limits, slo), point, source)
    if (excess <= 0).all():
        most, binding = float(loads[-1]), "throughput"
    else:
        loads = _between(loads, excess)
        excess, names = _excess(work, limits, slo, settled(work, step, loads, dispersion, replicas))
        at = int(np.argmax(excess > 0))
        most, binding = _zero(loads, excess, at), names[at]
    return ReplicaCapacity(
        requests_per_s=most,
        binding=binding,
        at=_point(work, step, limits, slo, most, dispersion, replicas),
        source=source,
        band_ratio=band_ratio,
    )


def _between(loads: Floats, excess: Floats) -> Floats:
    """A finer scale around the first load that is too much."""
    at = int(np.argmax(excess > 0))
    return _scale(loads[at - 1], loads[at])


def _scale(low: float, high: float) -> Floats:
    """FRACTIONS of the way, in equal ratios."""
    places: Floats = low * (high / low) ** FRACTIONS
    return places


def _zero(places: Floats, values: Floats, at: int) -> float:
    """Where values cross 0 between the place before ``at`` and it: a straight line over the places' logarithms."""
    share = values[at - 1] / (values[at - 1] - values[at])
    return float(places[at - 1] * (places[at] / places[at - 1]) ** share)


def _excess(work: Work, limits: EngineLimits, slo: Slo, batch: Batch) -> tuple[Floats, list[str]]:
    """By load: by how much it breaks what binds most (logarithm; negative: it keeps everything), and what that is."""
    ratios = {
        "kv_cache": (kv_high(work, batch) / limits.kv_capacity_tokens)[:, 0],
        "max_sequences": (sequences_high(batch) / limits.max_sequences)[:, 0],
        "throughput": np.where(batch.steady[:, 0], 0.0, inf),
    }
    if slo.tpot is not None:
        ratios["tpot"] = tpot_exceeded(work, batch, slo.tpot.seconds) / (1 - slo.tpot.quantile)
    if slo.ttft is not None:
        ratios["ttft"] = ttft_exceeded(work, batch, slo.ttft.seconds) / (1 - slo.ttft.quantile)
    table = np.array(list(ratios.values()))
    most = table.max(axis=0)
    names = list(ratios)
    return np.log(np.minimum(np.maximum(most, NEGLIGIBLE), 1 / NEGLIGIBLE)), [
        names[row] for row in table.argmax(axis=0)
    ]


def _point(
    work: Work, step: StepModel, limits: EngineLimits, slo: Slo, requests_per_s: float, dispersion: float, replicas: int
) -> ServingPoint:
    batch = settled(work, step, np.array([requests_per_s]), dispersion, replicas)
    running, held = float(batch.running[0, 0]), float(kv_mean(work, batch)[0, 0])
    if not batch.steady[0, 0] or running > limits.max_sequences or held > limits.kv_capacity_tokens:
        return ServingPoint(
            requests_per_s=requests_per_s, running=inf, kv_cache_ratio=inf, busy_ratio=1.0, ttft_s=inf, tpot_s=inf
        )
    return ServingPoint(
        requests_per_s=requests_per_s,
        running=running,
        kv_cache_ratio=held / limits.kv_capacity_tokens,
        busy_ratio=float(batch.busy[0, 0]),
        ttft_s=_quantile(work, batch, slo.ttft, ttft_exceeded) if slo.ttft else float(ttft_mean(work, batch)[0, 0]),
        tpot_s=_quantile(work, batch, slo.tpot, tpot_exceeded) if slo.tpot else float(tpot_mean(batch)[0, 0]),
    )


def _quantile(work: Work, batch: Batch, target: LatencyTarget, exceeded: Exceeded) -> float:
    """The latency that the target's share of requests keeps: looked for on a coarse scale, then on a fine one."""

    def short(bounds: Floats) -> Floats:
        shares = exceeded(work, batch, bounds.reshape(-1, 1))
        return np.log(np.maximum(shares, NEGLIGIBLE) / (1 - target.quantile))

    bounds = BOUNDS * target.seconds
    kept = short(bounds) <= 0
    if not kept.any():
        return inf
    at = int(np.argmax(kept))
    if at == 0:
        return float(bounds[0])
    finer = _scale(bounds[at - 1], bounds[at])
    over = short(finer)
    return _zero(finer, over, max(int(np.argmax(over <= 0)), 1))


def _impossible(violated: str, work: Work, step: StepModel, limits: EngineLimits, slo: Slo) -> str:
    """Why not even a lone request is served inside the SLO, with the numbers."""
    lone_s = step.decode_s(1, work.context)
    if violated == "tpot" and slo.tpot is not None:
        return (
            f"a lone sequence takes {lone_s * 1e3:.1f} ms a token and more when prompts come between; the SLO allows "
            f"{slo.tpot.seconds * 1e3:g} ms for {_percent(slo.tpot.quantile)} of the requests"
        )
    if violated == "ttft" and slo.ttft is not None:
        first_s = work.prompt_s + lone_s * (1 + work.prompt_chunks)
        slow_s = first_s[int(np.searchsorted(np.cumsum(WEIGHTS), slo.ttft.quantile))]
        return (
            f"the first token of a lone request takes {expected(first_s):.2f} s on average, and {slow_s:.2f} s where "
            f"only {_percent(1 - slo.ttft.quantile)} of the prompts are longer; the SLO allows {slo.ttft.seconds:g} s "
            f"for {_percent(slo.ttft.quantile)} of the requests"
        )
    return (
        f"a request holds {work.context:.0f} tokens of the KV cache on average, spread too widely for its "
        f"{limits.kv_capacity_tokens} tokens, or for {limits.max_sequences} sequences"
    )


def _percent(share: float) -> str:
    """99.9 %, 1 %."""
    return f"{share * 100:.4g} %"
