"""What measuring one replica beforehand tells: the planners that need a profile get this one, and where another's
default has no meaning for an LLM service its setting is a share of the load in here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.facts.performance import EngineLimits, RequestShape, StepModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardPass:
    """One measured step: prompt tokens computed in it, KV tokens of the sequences that decode in it, its time."""

    prefill_tokens: float
    decode_kv_tokens: float
    step_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaProfile:
    """One replica under the service's mean request, profiled alone.

    ttft_s, tpot_s    what was promised
    requests_per_s    the most at which a steady closed loop keeps both
    running           sequences in the batch there
    kv_cache_ratio    share of the KV cache in use there
    passes            step times over prompt and KV tokens, as an engine's self-benchmark measures them
    """

    shape: RequestShape
    limits: EngineLimits
    ttft_s: float
    tpot_s: float
    requests_per_s: float
    running: float
    kv_cache_ratio: float
    passes: tuple[ForwardPass, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlane:
    """step_s = base_s + per_prefill_token_s x prompt tokens + per_kv_token_s x KV tokens of decoding sequences"""

    base_s: float
    per_prefill_token_s: float
    per_kv_token_s: float

    def step_s(self, prefill_tokens: float, decode_kv_tokens: float) -> float:
        return self.base_s + self.per_prefill_token_s * prefill_tokens + self.per_kv_token_s * decode_kv_tokens


SMALLEST_S = 1e-9
"""Coefficients are at least this, so that a step never takes no time; a guess, because no engine is near it."""


def plane_of(passes: tuple[ForwardPass, ...]) -> StepPlane:
    """The least-squares plane through measured steps: Dynamo's regression of an engine that prefills and decodes.
    ``ValueError`` when there are fewer than three."""
    if len(passes) < 3:
        raise ValueError(f"{len(passes)} forward passes do not determine a plane; at least 3 are needed")
    terms = np.array([(1.0, one.prefill_tokens, one.decode_kv_tokens) for one in passes])
    times = np.array([one.step_s for one in passes])
    base, prefill, kv = np.linalg.lstsq(terms, times, rcond=None)[0]
    return StepPlane(
        base_s=max(float(base), SMALLEST_S),
        per_prefill_token_s=max(float(prefill), 0.0),
        per_kv_token_s=max(float(kv), 0.0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """A replica with a constant number of requests in it; times are means, seconds."""

    requests_per_s: float
    ttft_s: float
    tpot_s: float


def closed_loop(step: StepModel, shape: RequestShape, sequences: float) -> ClosedLoop:
    """``sequences`` requests of the mean shape, each replaced when it ends.

    Every step, sequences / output tokens of them begin and bring their prompts: step = decode + their prefill. A new
    one waits half a step, computes its prompt and takes part in a step.
    """
    resident = shape.prompt_tokens + shape.output_tokens / 2
    beginning = sequences / shape.output_tokens
    own_s = _prefill_s(step, shape)
    step_s = step.decode_s(sequences, sequences * resident) + beginning * own_s
    return ClosedLoop(
        requests_per_s=beginning / step_s,
        ttft_s=1.5 * step_s + own_s,
        tpot_s=step_s,
    )


def profile_engine(
    step: StepModel, limits: EngineLimits, shape: RequestShape, *, ttft_s: float, tpot_s: float
) -> ReplicaProfile:
    """What profiling an engine of these step times measures. The largest batch that keeps both latencies, by bisection;
    one sequence where none does."""
    resident = shape.prompt_tokens + shape.output_tokens / 2
    low, high = 1, max(1, int(min(limits.max_sequences, limits.kv_capacity_tokens / resident)))
    while low < high:
        middle = (low + high + 1) // 2
        tried = closed_loop(step, shape, middle)
        low, high = (middle, high) if tried.ttft_s <= ttft_s and tried.tpot_s <= tpot_s else (low, middle - 1)
    return ReplicaProfile(
        shape=shape,
        limits=limits,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        requests_per_s=closed_loop(step, shape, low).requests_per_s,
        running=float(low),
        kv_cache_ratio=low * resident / limits.kv_capacity_tokens,
        passes=_benchmark(step, limits, shape),
    )


def _prefill_s(step: StepModel, shape: RequestShape) -> float:
    """Computing the prompt of the mean request, less what the prefix cache holds."""
    cached = shape.prompt_tokens * shape.cached_ratio
    return step.prefill_s(shape.prompt_tokens - cached, shape.prompt_tokens**2 - cached**2)


def _benchmark(step: StepModel, limits: EngineLimits, shape: RequestShape) -> tuple[ForwardPass, ...]:
    """Steps over a grid: no prompt to a full budget, by an empty to a full batch of the mean context."""
    resident = shape.prompt_tokens + shape.output_tokens / 2
    most = min(limits.max_sequences, limits.kv_capacity_tokens / resident)
    return tuple(
        ForwardPass(
            prefill_tokens=prompt,
            decode_kv_tokens=sequences * resident,
            step_s=step.decode_s(sequences, sequences * resident)
            + step.prefill_s(prompt, prompt * min(prompt, shape.prompt_tokens)),
        )
        for prompt in (limits.token_budget * share for share in (0.0, 0.125, 0.25, 0.5, 1.0))
        for sequences in (most * share for share in (0.0, 0.125, 0.25, 0.5, 1.0))
    )
