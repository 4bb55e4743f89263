"""What a token costs of a replica's time: the step model at the replica's capacity, corrected by the engine's phases.

Batching is normalised here, once. A request's own seconds overlap with those of everybody it is batched with; what it
*takes* of the engine is its share of the steps at capacity. So a token's price does not jump with the load: what a low
load leaves free is idle, not dear tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import isfinite

from controller.facts.accounts import WorkRate
from controller.facts.missing import Missing
from controller.facts.performance import ReplicaCapacity, RequestShape, StepModel

LEAST_REQUESTS = 100
"""Fewer say little about a mean. A guess: the mean of 100 exponential times is within 20 % in 19 cases of 20."""

MOST_CORRECTION = 4.0
"""Beyond it the engine measures something else than the model means. A guess, because no source says how far a step
model may be wrong; the learned ones are within a few per cent."""

CHUNK_TOKENS = 8192
"""Prompt tokens computed in one step: vLLM's default --max-num-batched-tokens of online serving on large GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSeconds:
    """What requests that finished spent in each phase by their own clocks: wall time, in which others were served too.

    requests               that both sums are over
    prefill_s, decode_s    from the first schedule to the first token; from there to the last
    running                mean sequences in the batch while there were any
    """

    requests: float
    prefill_s: float
    decode_s: float
    running: float


def work_rate(
    step: StepModel,
    capacity: ReplicaCapacity,
    shape: RequestShape,
    phases: PhaseSeconds | Missing,
    *,
    service: str,
    variant: str,
    at: datetime,
    cached_token_weight: float = 0.0,
) -> WorkRate | Missing:
    """Engine-seconds a token, such that the mean request takes 1 / capacity: at capacity, a second a second.

        prefill + cached   busy share of the steps / capacity, spread as  c u + e u² + e 2 h u + w c h
        decode             the rest, spread as                            (step without KV / B) o + k o (p + o / 2)

    u uncached and h cached prompt tokens, o output; c, e, k the step model's prefill token, pair and KV token; B the
    batch at capacity; w ``cached_token_weight``, what handling a cached token takes of computing it (0 … 0.1).
    ``phases`` correct how the request is shared by prefill and decode, never what it takes in all.
    """
    point = capacity.at
    if not (capacity.requests_per_s > 0 and isfinite(point.running) and point.running > 0):
        return Missing("work rate", f"{service}/{variant}: its capacity is not a load that an engine can stand")
    prefill, decode = _Prefill.of(step, shape, cached_token_weight), _Decode.of(step, shape, point.running)
    by_prefill, by_decode = _corrections(step, shape, phases)
    prefill_s, decode_s = point.busy_ratio * by_prefill, (1 - point.busy_ratio) * by_decode
    if prefill.whole <= 0:
        prefill_s = 0.0
    if decode.whole <= 0:
        decode_s = 0.0
    if prefill_s + decode_s <= 0:
        return Missing("work rate", f"{service}/{variant}: the step model gives its requests no work")
    whole = capacity.requests_per_s * (prefill_s + decode_s)
    to_prefill = prefill_s / (whole * prefill.whole) if prefill_s else 0.0
    to_decode = decode_s / (whole * decode.whole) if decode_s else 0.0
    return WorkRate(
        service=service,
        variant=variant,
        at=at,
        prefill_s_per_token=to_prefill * prefill.per_token,
        prefill_s_per_square=to_prefill * prefill.per_square,
        cached_s_per_cross=to_prefill * prefill.per_square,
        cached_s_per_token=to_prefill * prefill.per_cached,
        decode_s_per_token=to_decode * decode.per_token,
        decode_s_per_context=to_decode * decode.per_context,
        mean_uncached=_uncached(shape),
        mean_cached=_cached(shape),
        mean_output=shape.output_tokens,
        uncached_cv=shape.prompt_cv,
        basis=capacity.source,
        band_ratio=capacity.band_ratio,
    )


def seconds_per_token(rate: WorkRate) -> tuple[float, float, float]:
    """Engine-seconds of an uncached, a cached and an output token in requests of the mean shape.

    What computed tokens spend on looking at cached ones is counted with the cached: without any, nothing.
    """
    square = rate.mean_uncached * (1 + rate.uncached_cv**2)
    context = 2 * (rate.mean_uncached + rate.mean_cached) + rate.mean_output
    return (
        rate.prefill_s_per_token + square * rate.prefill_s_per_square,
        rate.cached_s_per_token + 2 * rate.mean_uncached * rate.cached_s_per_cross,
        rate.decode_s_per_token + context * rate.decode_s_per_context,
    )


@dataclass(frozen=True, slots=True)
class _Prefill:
    """A request's prompt before it is scaled: by the step model alone."""

    per_token: float
    per_square: float
    per_cached: float
    whole: float

    @classmethod
    def of(cls, step: StepModel, shape: RequestShape, cached_token_weight: float) -> _Prefill:
        per_token, per_square = step.per_prefill_token_s, step.per_prefill_pair_s
        per_cached = cached_token_weight * per_token
        whole = step.prefill_s(_uncached(shape), _pairs(shape)) + per_cached * _cached(shape)
        return cls(per_token, per_square, per_cached, whole)


@dataclass(frozen=True, slots=True)
class _Decode:
    """A request's answer before it is scaled. ``per_context``: of output x (2 prompt + output), twice the tokens that
    its steps read."""

    per_token: float
    per_context: float
    whole: float

    @classmethod
    def of(cls, step: StepModel, shape: RequestShape, running: float) -> _Decode:
        per_token, per_context = step.decode_s(running, 0.0) / running, step.per_kv_token_s / 2
        output = shape.output_tokens
        context = output * (2 * shape.prompt_tokens + output)
        return cls(per_token, per_context, per_token * output + per_context * context)


def _corrections(step: StepModel, shape: RequestShape, phases: PhaseSeconds | Missing) -> tuple[float, float]:
    """Measured / modelled seconds of prefill and of decode; 1 where there is too little to measure by."""
    if isinstance(phases, Missing) or phases.requests < LEAST_REQUESTS or not _positive(phases):
        return 1.0, 1.0
    prefill_s, decode_s = _walls(step, shape, max(phases.running, 1.0))
    return (
        _clipped(phases.prefill_s / phases.requests, prefill_s),
        _clipped(phases.decode_s / phases.requests, decode_s),
    )


def _walls(step: StepModel, shape: RequestShape, running: float) -> tuple[float, float]:
    """What a request would see by its own clock in a batch of ``running``.

    prefill   the steps its chunks take, with what the batch decodes in them
    decode    a step a token after the first, and the prompts of those that come meanwhile: in a steady batch, one for
              each other sequence
    """
    step_s = step.decode_s(running, running * (shape.prompt_tokens + shape.output_tokens / 2))
    prompt_s = step.prefill_s(_uncached(shape), _pairs(shape))
    chunks = max(1.0, _uncached(shape) / CHUNK_TOKENS)
    return chunks * step_s + prompt_s, max(shape.output_tokens - 1, 0.0) * step_s + (running - 1) * prompt_s


def _positive(phases: PhaseSeconds) -> bool:
    return phases.prefill_s > 0 and phases.decode_s > 0 and isfinite(phases.prefill_s + phases.decode_s)


def _clipped(measured_s: float, modelled_s: float) -> float:
    if modelled_s <= 0:
        return 1.0
    return min(max(measured_s / modelled_s, 1 / MOST_CORRECTION), MOST_CORRECTION)


def _uncached(shape: RequestShape) -> float:
    return shape.prompt_tokens * (1 - shape.cached_ratio)


def _cached(shape: RequestShape) -> float:
    return shape.prompt_tokens * shape.cached_ratio


def _pairs(shape: RequestShape) -> float:
    """Growth of the contexts' squares a request: E[u²] + E[2 h u]."""
    uncached = _uncached(shape)
    return uncached**2 * (1 + shape.prompt_cv**2) + 2 * uncached * _cached(shape)
