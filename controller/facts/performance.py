"""How fast an engine is: the time of one step, the limits of its scheduler, and the load that it carries."""

from __future__ import annotations

from dataclasses import dataclass

from controller.facts.missing import Missing
from controller.facts.unguarded import unguarded


@dataclass(frozen=True, slots=True, kw_only=True)
class StepModel:
    """step_s = max(base + per_sequence x B, host_per_token x B) + per_kv_token x KV + per_prefill_token x P + attention

    B sequences decode, KV tokens are read by them, P prompt tokens are computed in the step; ``attention`` is
    per_prefill_pair_s x (context after the chunk² - context before it²), summed over chunks.
    """

    base_s: float
    per_sequence_s: float
    per_kv_token_s: float
    per_prefill_token_s: float
    per_prefill_pair_s: float = 0.0
    host_per_token_s: float = 1 / 15_000
    """One engine process samples and streams at most about 15,000 tokens/s: NIM on an 8B at 200 concurrent requests
    reached 13,348 where the GPU alone would have given 17,800. On the careful side: cache and prefill come on top, so
    that row comes out 13 % low (BENCHMARKS.md: published figures); with 18,000 it would be right."""

    def decode_s(self, sequences: float, kv_tokens: float) -> float:
        """One step that only decodes."""
        gpu_s = self.base_s + self.per_sequence_s * sequences
        return max(gpu_s, self.host_per_token_s * sequences) + self.per_kv_token_s * kv_tokens

    def prefill_s(self, tokens: float, pairs: float) -> float:
        """What ``tokens`` of prefill add to a step; ``pairs``: growth of the contexts' squares."""
        return self.per_prefill_token_s * tokens + self.per_prefill_pair_s * pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What an engine's scheduler keeps to.

    kv_capacity_tokens   room for keys and values, tokens
    token_budget         prompt and output tokens computed in one step (vLLM: --max-num-batched-tokens)
    max_sequences        sequences in a batch (vLLM: --max-num-seqs)
    """

    kv_capacity_tokens: int
    token_budget: int = 8192
    max_sequences: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShape:
    """What requests look like. Means over requests; ``_cv``: standard deviation / mean; ``cached_ratio``: share of the
    prompt tokens that the prefix cache serves."""

    prompt_tokens: float
    output_tokens: float
    cached_ratio: float = 0.0
    prompt_cv: float = 1.0
    output_cv: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPoint:
    """What one replica does under ``requests_per_s`` of a shape.

    running          mean sequences in the batch
    kv_cache_ratio   mean share of the KV cache in use
    busy_ratio       share of the step time that prefill takes
    ttft_s, tpot_s   at the SLO's quantiles (the mean where the SLO names none); infinite when overloaded
    """

    requests_per_s: float
    running: float
    kv_cache_ratio: float
    busy_ratio: float
    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCapacity:
    """The most requests/s that one replica carries inside the SLO, what stops it there, and how sure that is.

    binding      "ttft", "tpot", "kv_cache", "max_sequences" or "throughput"
    source       "prior", "learned" or "profile"
    band_ratio   relative uncertainty: the truth is expected within requests_per_s x (1 ± band_ratio)
    """

    requests_per_s: float
    binding: str
    at: ServingPoint
    source: str
    band_ratio: float


@dataclass(frozen=True, slots=True)
class OutOfReach(Missing):
    """A capacity that there is not: one replica breaks the SLO under next to no load, so no number of them keeps it.

    at       what it does under that load
    source   as a capacity's
    """

    at: ServingPoint
    source: str


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedStep:
    """What the readings taught about one variant's step model. Plain numbers, so that they can be kept as JSON.

    prior, bands        the step model from before any reading, and the relative band of base, per sequence, per KV
                        token and prefill
    information, pull   of the least squares, 4 x 4 by rows and 4: what the samples said, forgetting included
    factors             coefficient / prior's: base, per sequence, per KV token, prefill
    samples             taken in since the start or since the last doubt
    error_ratio         running mean of |predicted - observed| / observed mean step, predicted before each was learned
    prior_error_ratio   the same of the prior
    """

    prior: StepModel
    bands: tuple[float, float, float, float]
    information: tuple[float, ...] = (0.0,) * 16
    pull: tuple[float, ...] = (0.0,) * 4
    factors: tuple[float, ...] = (1.0,) * 4
    samples: int = 0
    error_ratio: float = 0.0
    prior_error_ratio: float = 0.0
