"""What one replica does under a load, and the most load that it carries inside an SLO: queueing arithmetic.

Batch. A sequence stays for (output - 1) steps, each T = a + k B long (k: a sequence and its context) and stretched by
the share of the time that goes into prompts, rho = requests/s x E[S], S the time one prompt takes. By Little's law

    B = r (output - 1) T / (1 - rho)

which is linear in B. B moves: arrivals come by chance, bring prompts that delay everybody, and a larger batch is a
slower one. Linearised, it is a birth and death process with

    Var B = B (T / a) (D E[(1 + r S / (1 - rho))²] + 1) / 2,   D: dispersion of the arrivals' counts (Poisson: 1)

TPOT of one request is the mean over its own steps, so a long answer averages what a short one takes in full: for each
length of answer, the chance to exceed a bound is that of a gamma variable with the matched mean and variance.

TTFT. An engine computes, in the next step, all prompts that came during this one. The step that an arrival meets is
length-biased; it waits for its rest, then for a step with its own prompt and with all that came meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erfc, exp, inf, sqrt

from controller.estimate.performance.lengths import WEIGHTS, expected, points
from controller.facts.missing import Missing
from controller.facts.performance import EngineLimits, ReplicaCapacity, RequestShape, ServingPoint, StepModel
from controller.facts.slo import LatencyTarget, Slo

FULL_DEVIATIONS = 3.0
"""Standard deviations of the batch kept free below the KV cache and the sequence limit: preemption stays rare."""

MOST_LOAD = 0.98
"""Of what would saturate the engine: beyond it no steady state worth the name."""

CAPACITY_ROUNDS = 14
QUANTILE_ROUNDS = 14
"""Bisections: to 1e-4 of the range, which is far below what the arithmetic is worth."""

SHORTEST_S, LONGEST_S = 1e-3, 3600.0
"""Latencies are looked for between these."""

BLOCK_WASTE_TOKENS = 7.5
"""Of its last block of 16 that a sequence leaves unused, on average."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What one request asks for, whatever the load."""

    prompt_s: tuple[float, ...]  # time of its prompt, by point of the prompt's length
    prompt_chunks: tuple[float, ...]  # steps beyond the first that its prompt needs
    mean_s: float
    square_s: float
    cube_s: float
    gaps: tuple[float, ...]  # tokens after the first, by point of the answer's length
    mean_gaps: float
    context: float  # mean tokens of a decoding sequence
    context_variance: float


@dataclass(frozen=True, slots=True)
class _State:
    """Where the batch settles. ``met_s``: T as a request in the batch meets it."""

    requests_per_s: float
    running: float
    variance: float
    busy: float
    met_s: float
    per_sequence_s: float
    base_s: float
    dispersion: float


def serving_point(
    step: StepModel,
    limits: EngineLimits,
    shape: RequestShape,
    requests_per_s: float,
    slo: Slo,
    *,
    dispersion: float = 1.0,
) -> ServingPoint:
    """What one replica does under ``requests_per_s``: latencies at the SLO's quantiles (the mean where it has none).

    dispersion   variance / mean of the arrivals' counts: 1 for Poisson
    """
    work = _work_of(step, limits, shape)
    return _point(work, step, limits, slo, requests_per_s, dispersion)


def capacity(
    step: StepModel,
    limits: EngineLimits,
    shape: RequestShape,
    slo: Slo,
    *,
    dispersion: float = 1.0,
    source: str = "prior",
    band_ratio: float = 0.3,
) -> ReplicaCapacity | Missing:
    """The most requests/s inside the SLO. Missing when not even a lone request is."""
    work = _work_of(step, limits, shape)
    highest = _saturating(work, step)
    low, high, binding = 0.0, MOST_LOAD * highest, "throughput"
    first = _violated(work, step, limits, slo, highest * 1e-3, dispersion)
    if first is not None:
        return Missing("capacity", _impossible(first, work, step, limits, slo))
    last = _violated(work, step, limits, slo, high, dispersion)
    if last is None:
        low = high
    else:
        binding = last
        for _ in range(CAPACITY_ROUNDS):
            middle = (low + high) / 2
            violated = _violated(work, step, limits, slo, middle, dispersion)
            if violated is None:
                low = middle
            else:
                high, binding = middle, violated
    return ReplicaCapacity(
        requests_per_s=low,
        binding=binding,
        at=_point(work, step, limits, slo, low, dispersion),
        source=source,
        band_ratio=band_ratio,
    )


def _work_of(step: StepModel, limits: EngineLimits, shape: RequestShape) -> _Work:
    prompts = points(max(shape.prompt_tokens, 1.0), shape.prompt_cv)
    outputs = points(max(shape.output_tokens, 1.0), shape.output_cv)
    cached = shape.cached_ratio
    prompt_s = tuple(step.prefill_s(one * (1 - cached), one * one * (1 - cached * cached)) for one in prompts)
    gaps = tuple(max(one - 1.0, 0.0) for one in outputs)
    first, second, third = (expected(outputs, power) for power in (1, 2, 3))
    made = second / (2 * first)  # of its answer, a sequence met at a random moment
    return _Work(
        prompt_s=prompt_s,
        prompt_chunks=tuple(one * (1 - cached) // limits.token_budget for one in prompts),
        mean_s=expected(prompt_s),
        square_s=expected(prompt_s, 2),
        cube_s=expected(prompt_s, 3),
        gaps=gaps,
        mean_gaps=expected(gaps),
        context=shape.prompt_tokens + made,
        context_variance=(shape.prompt_cv * shape.prompt_tokens) ** 2 + max(third / (3 * first) - made * made, 0.0),
    )


def _saturating(work: _Work, step: StepModel) -> float:
    """Requests/s at which the engine has no time left, however large the batch."""
    per_sequence_s = step.per_kv_token_s * work.context + max(step.per_sequence_s, step.host_per_token_s)
    return 1 / (work.mean_s + work.mean_gaps * per_sequence_s)


def _settled(work: _Work, step: StepModel, requests_per_s: float, dispersion: float) -> _State | None:
    """The batch under a load; None when it has no end."""
    busy = requests_per_s * work.mean_s
    per_sequence_s = step.per_sequence_s + step.per_kv_token_s * work.context
    tokens_per_s = requests_per_s * work.mean_gaps
    left = 1 - busy - tokens_per_s * per_sequence_s
    if left <= 0:
        return None
    running = tokens_per_s * (step.base_s + per_sequence_s) / left
    base_s = step.base_s
    met = running + 1
    if step.host_per_token_s * met > step.base_s + step.per_sequence_s * met:
        # The host is the bottleneck: a step as long as the tokens it hands out. The batch then only grows.
        return None
    met_s = base_s + per_sequence_s * met
    delay = requests_per_s / (1 - busy)
    jump = 1 + 2 * delay * work.mean_s + delay * delay * work.square_s
    variance = running * (met_s / base_s) * (dispersion * jump + 1) / 2
    return _State(requests_per_s, running, variance, busy, met_s, per_sequence_s, base_s, dispersion)


def _tpot_exceeded(work: _Work, state: _State, bound_s: float) -> float:
    """Share of the requests whose mean time per output token is above ``bound_s``."""
    over = 0.0
    stretch = 1 / (1 - state.busy)
    relaxed_s = work.mean_gaps * state.met_s * state.met_s * stretch / state.base_s
    batch = (state.per_sequence_s * stretch) ** 2 * state.variance
    rate = state.requests_per_s
    for weight, gaps in zip(WEIGHTS, work.gaps, strict=True):
        if gaps < 0.5:
            continue
        steps = max(gaps, 1.0)
        spans = steps * bound_s / relaxed_s
        averaged = batch * 2 * (spans - 1 + exp(-spans)) / (spans * spans) if spans > 1e-3 else batch
        # Prompts that came during the step of its own prompt are computed in its first gap, hence the prompt's time.
        exposed_s = steps * state.met_s + work.mean_s
        delay = state.busy * stretch * exposed_s / steps
        delay_variance = rate * state.dispersion * work.square_s * stretch**3 * exposed_s / steps**2
        over += weight * _some_above(
            bound_s - state.met_s, exp(-rate * exposed_s), averaged, delay, delay_variance, state.met_s - state.base_s
        )
    return over


def _some_above(bound: float, none: float, spread: float, mean: float, variance: float, floor: float) -> float:
    """Chance that a delay is above ``bound``: with the chance ``none`` there is none, else it is gamma distributed.

    mean, variance   of the delay, none included
    spread, floor    variance of what comes without delay, and how far below the mean it may go
    """
    over = none * _gamma_above(bound + floor, floor, spread)
    some = 1 - none
    if some < 1e-6:
        return over
    with_some = mean / some
    square = (variance + mean * mean) / some
    return over + some * _gamma_above(bound + floor, with_some + floor, max(square - with_some**2, 0.0) + spread)


def _ttft_exceeded(work: _Work, state: _State, bound_s: float) -> float:
    """Share of the requests whose first token takes longer than ``bound_s``."""
    step_s, rate, busy = state.met_s, state.requests_per_s, state.busy
    met_s, met_square = _met_step(work, state)
    mean = met_s * (0.5 + busy)
    square = met_square * (1 / 3 + busy + busy**2) + rate * state.dispersion * met_s * work.square_s
    # Alone: it meets a step without prompts, and nobody else comes during that.
    alone = (1 - busy) * exp(-rate * step_s * (1 / (1 - busy) + 1))
    met_mean = (mean - alone * step_s / 2) / (1 - alone)
    met_variance = max((square - alone * step_s**2 / 3) / (1 - alone) - met_mean**2, 0.0)
    over = 0.0
    for weight, own_s, chunks in zip(WEIGHTS, work.prompt_s, work.prompt_chunks, strict=True):
        left_s = bound_s - own_s - step_s * (1 + chunks)
        lonely = min(max(1 - left_s / step_s, 0.0), 1.0)
        over += weight * (alone * lonely + (1 - alone) * _gamma_above(left_s, met_mean, met_variance))
    return over


def _met_step(work: _Work, state: _State) -> tuple[float, float]:
    """Mean and mean square of the step that an arrival meets, from the first three moments of all steps."""
    busy, rate = state.busy, state.requests_per_s * state.dispersion
    mean_s = state.met_s / (1 - busy)
    variance = rate * mean_s * work.square_s / (1 - busy**2)
    skewed = (rate * mean_s * work.cube_s + 3 * rate * busy * variance * work.square_s) / (1 - busy**3)
    return mean_s + variance / mean_s, skewed / mean_s + 3 * variance + mean_s**2


def _gamma_above(bound: float, mean: float, variance: float) -> float:
    """Chance that a gamma variable is above ``bound``: Wilson and Hilferty, 1931: its cube root is nearly normal."""
    if bound <= 0:
        return 1.0
    if variance <= 0:
        return 1.0 if mean > bound else 0.0
    if mean <= 0:
        return 0.0
    ninth = variance / (9 * mean * mean)
    return erfc(((bound / mean) ** (1 / 3) - 1 + ninth) / sqrt(2 * ninth)) / 2


def _violated(
    work: _Work, step: StepModel, limits: EngineLimits, slo: Slo, requests_per_s: float, dispersion: float
) -> str | None:
    """What the load breaks, or None."""
    state = _settled(work, step, requests_per_s, dispersion)
    if state is None:
        return "throughput"
    if slo.tpot is not None and _tpot_exceeded(work, state, slo.tpot.seconds) > 1 - slo.tpot.quantile:
        return "tpot"
    if slo.ttft is not None and _ttft_exceeded(work, state, slo.ttft.seconds) > 1 - slo.ttft.quantile:
        return "ttft"
    margin = FULL_DEVIATIONS * sqrt(state.variance)
    if state.running + 1 + margin > limits.max_sequences:
        return "max_sequences"
    return "kv_cache" if _kv_high(work, state) > limits.kv_capacity_tokens else None


def _kv_mean(work: _Work, state: _State) -> float:
    """Tokens of the batch and of the prompts being computed."""
    computing = state.busy + state.requests_per_s * state.met_s / max(1 - state.busy, 1e-9)
    return (state.running + computing) * (work.context + BLOCK_WASTE_TOKENS)


def _kv_high(work: _Work, state: _State) -> float:
    """What the KV cache holds at its fullest: FULL_DEVIATIONS above the mean."""
    variance = state.variance * work.context**2 + state.running * work.context_variance
    return _kv_mean(work, state) + FULL_DEVIATIONS * sqrt(variance)


def _point(
    work: _Work, step: StepModel, limits: EngineLimits, slo: Slo, requests_per_s: float, dispersion: float
) -> ServingPoint:
    state = _settled(work, step, requests_per_s, dispersion)
    if state is None:
        return ServingPoint(
            requests_per_s=requests_per_s, running=inf, kv_cache_ratio=inf, busy_ratio=1.0, ttft_s=inf, tpot_s=inf
        )
    return ServingPoint(
        requests_per_s=requests_per_s,
        running=state.running,
        kv_cache_ratio=_kv_mean(work, state) / limits.kv_capacity_tokens,
        busy_ratio=state.busy,
        ttft_s=_ttft_mean(work, state) if slo.ttft is None else _quantile(work, state, slo.ttft, _ttft_exceeded),
        tpot_s=_tpot_mean(state) if slo.tpot is None else _quantile(work, state, slo.tpot, _tpot_exceeded),
    )


def _tpot_mean(state: _State) -> float:
    return state.met_s / (1 - state.busy)


def _ttft_mean(work: _Work, state: _State) -> float:
    return _met_step(work, state)[0] * (0.5 + state.busy) + state.met_s + work.mean_s


def _quantile(
    work: _Work, state: _State, target: LatencyTarget, exceeded: Callable[[_Work, _State, float], float]
) -> float:
    """The bound that the target's share of requests keeps; infinite beyond LONGEST_S."""
    low, high = 0.0, SHORTEST_S
    while exceeded(work, state, high) > 1 - target.quantile:
        low, high = high, 2 * high
        if high > LONGEST_S:
            return inf
    for _ in range(QUANTILE_ROUNDS):
        middle = (low + high) / 2
        if exceeded(work, state, middle) > 1 - target.quantile:
            low = middle
        else:
            high = middle
    return high


def _impossible(violated: str, work: _Work, step: StepModel, limits: EngineLimits, slo: Slo) -> str:
    """Why not even a lone request is served inside the SLO, with the numbers."""
    lone_s = step.decode_s(1, work.context)
    target = slo.tpot if violated == "tpot" else slo.ttft
    if violated == "tpot" and target is not None:
        return f"a lone sequence takes {lone_s * 1e3:.1f} ms a token, the SLO allows {target.seconds * 1e3:g} ms"
    if violated == "ttft" and target is not None:
        return (
            f"the first token of a lone request takes {work.mean_s + lone_s:.2f} s on average; the SLO allows "
            f"{target.seconds:g} s for {target.quantile:.0%} of them"
        )
    return (
        f"a request holds {work.context:.0f} tokens of the KV cache on average and spreads too widely for its "
        f"{limits.kv_capacity_tokens} tokens, or for {limits.max_sequences} sequences"
    )
