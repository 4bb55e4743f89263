"""Engine seconds that a request takes at least, whoever schedules it and whatever it is batched with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.facts.performance import EngineLimits, StepModel
from controller.simulate.arrivals import Requests

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One priced way to serve, bought on demand.

    start_up_min_s      no replica serves sooner after its launch
    initial_replicas    ready when the run begins
    min_replicas        billed at any time, starting ones included
    max_replicas        as many are billed at most; None: any number. Give it only where draining replicas count too
    tokens_per_step     most tokens that a sequence gains in one step: 1 + drafted tokens with speculation
    fastest             the shortest that a step ever takes, as a multiple of what ``step`` says
    """

    step: StepModel
    limits: EngineLimits
    start_up_min_s: float
    usd_per_replica_hour: float
    initial_replicas: int = 0
    min_replicas: int = 0
    max_replicas: int | None = None
    tokens_per_step: int = 1
    fastest: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """How the fixed part of a step is charged to the sequences in it; the three add up to 1.

    sequences   in equal parts of a full batch: a sequence pays 1 / max_sequences
    kv          by the KV cache that it holds: context / kv_capacity_tokens
    host        not at all: instead the tokens that the CPU samples and streams are paid, and the GPU's per-sequence
                time is not

    A batch never has more than max_sequences sequences nor more context than the cache, and a step takes at least as
    long as the GPU and as the host need, so by any mixture of the three a step charges no more than it took.
    """

    sequences: float = 0.0
    kv: float = 0.0
    host: float = 0.0

    def mixed(self, other: Charge, weight: float) -> Charge:
        """``other`` by ``weight``, the rest this one."""
        return Charge(
            sequences=(1 - weight) * self.sequences + weight * other.sequences,
            kv=(1 - weight) * self.kv + weight * other.kv,
            host=(1 - weight) * self.host + weight * other.host,
        )


CORNERS = (Charge(kv=1.0), Charge(sequences=1.0), Charge(host=1.0))


def work_s(requests: Requests, variant: Variant, charge: Charge) -> Floats:
    """Seconds of one engine of ``variant``, by request.

    With p prompt tokens, o output tokens, h cached ones, at most k tokens a step, n = ceil((o - 1) / k) steps after
    the first token, which comes with the prefill:

        per_prefill_token x (p - h) + per_prefill_pair x (p² - h²)      the chunks of a prompt add up to this
        + per_kv_token x R,   R = n p + (o - 1)(n - 1) / 2              context read, summed over the steps
        + (1 - host) x per_sequence x (o - 1)
        + base x (sequences x n / max_sequences + kv x R / kv_capacity)
        + host x host_per_token x (o - 1)
    """
    step, limits = variant.step, variant.limits
    prompt, cached = requests.prompt_tokens.astype(np.float64), requests.cached_tokens.astype(np.float64)
    more = np.maximum(requests.output_tokens.astype(np.float64) - 1.0, 0.0)
    steps = np.ceil(more / variant.tokens_per_step)
    reads = steps * prompt + more * np.maximum(steps - 1.0, 0.0) / 2
    took: Floats = step.per_prefill_token_s * (prompt - cached) + step.per_prefill_pair_s * (prompt**2 - cached**2)
    took += (step.per_kv_token_s + step.base_s * charge.kv / limits.kv_capacity_tokens) * reads
    took += (step.base_s * charge.sequences / limits.max_sequences) * steps
    took += ((1 - charge.host) * step.per_sequence_s + charge.host * step.host_per_token_s) * more
    return took * variant.fastest
