"""How one engine's batch settles under a load, and how its latencies spread: queueing arithmetic, for many loads at
once.

Batch. A sequence stays for (output - 1) steps, each T = a + k B long (k: a sequence and its context) and stretched by
the share of the time that goes into prompts, rho = r E[S]: r requests/s, S the time that one prompt takes. By Little's
law B = r (output - 1) T / (1 - rho), which is linear in B. A sequence meets B others. B moves: arrivals come by chance,
bring prompts that delay everybody, and a larger batch is a slower one. Linearised, a birth and death process has

    Var B = B (T / a) (D E[(1 + r S / (1 - rho))²] + 1) / 2        D: dispersion of the arrivals' counts (Poisson: 1)

TPOT is the mean over a request's own steps, so a long answer averages what a short one takes in full. Own steps and the
prompts that come meanwhile are a busy period: its mean and variance are matched by a gamma variable for each length of
answer, apart from the chance that no prompt comes at all.

TTFT. An engine computes in the next step all prompts that came during this one. The step that an arrival meets is
length-biased; it waits for its rest, then for a step with its own prompt and with all that came meanwhile.

Small token budgets. Where prompts are cut into chunks, no step is longer than a full one, and so no time per token
above that is possible; but prompts then wait for their turn: each takes its number of full steps. Behind a router that
sends to whoever has least to do, n replicas wait together, as n servers of one queue do (Sakasegawa, 1977):

    E[wait] = u^(sqrt(2 (n + 1)) - 1) / (n (1 - u)) x (D + c²) / 2 x E[service]       u: share of the chunks in use

with an exponential tail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.estimate.performance.lengths import WEIGHTS, Floats, expected, points
from controller.facts.performance import EngineLimits, RequestShape, StepModel

FULL_DEVIATIONS = 3.0
"""Standard deviations of the batch kept free below the KV cache and the sequence limit: preemption stays rare."""

BLOCK_WASTE_TOKENS = 7.5
"""Of its last block of 16 that a sequence leaves unused, on average."""

LEAST_LEFT = 1e-9
"""Of the engine's time: a batch beyond this has no end."""


@dataclass(frozen=True, slots=True)
class Work:
    """What requests of one shape ask of one engine, whatever the load. Arrays: by point of the length."""

    prompt_s: Floats
    prompt_tokens: Floats  # to be computed
    token_budget: int
    prompt_chunks: Floats  # steps beyond the first that a prompt needs
    mean_s: float
    square_s: float
    cube_s: float
    gaps: Floats  # tokens after the first, at least 1
    weights: Floats  # of these: 0 where there is one token only, and so no time per token
    mean_gaps: float
    context: float  # mean tokens of a decoding sequence
    context_variance: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Where the batch settles, for a column of loads.

    steady   it does settle; what else is said of it then means nothing
    met_s    T as a request in the batch meets it
    busy     share of the time that prompts take
    """

    requests_per_s: Floats
    steady: NDArray[np.bool_]
    running: Floats
    variance: Floats
    busy: Floats
    met_s: Floats
    per_sequence_s: float
    base_s: float
    dispersion: float  # of what one replica gets
    common_dispersion: float  # of what all of them get together
    replicas: int


Exceeded = Callable[[Work, Batch, float | Floats], Floats]
"""Share of the requests above a latency: by load, or for one load by bound (a column)."""


def work_of(step: StepModel, limits: EngineLimits, shape: RequestShape) -> Work:
    prompts = points(max(shape.prompt_tokens, 1.0), shape.prompt_cv)
    outputs = points(max(shape.output_tokens, 1.0), shape.output_cv)
    cached = shape.cached_ratio
    prompt_s = step.per_prefill_token_s * (1 - cached) * prompts
    prompt_s += step.per_prefill_pair_s * (1 - cached * cached) * prompts**2
    gaps = np.maximum(outputs - 1.0, 0.0)
    first, second, third = (expected(outputs**power) for power in (1, 2, 3))
    made = second / (2 * first)  # of its answer, a sequence met at a random moment
    return Work(
        prompt_s=prompt_s,
        prompt_tokens=np.maximum((1 - cached) * prompts, 1.0),
        token_budget=limits.token_budget,
        prompt_chunks=prompts * (1 - cached) // limits.token_budget,
        mean_s=expected(prompt_s),
        square_s=expected(prompt_s**2),
        cube_s=expected(prompt_s**3),
        gaps=np.maximum(gaps, 1.0),
        weights=np.where(gaps < 0.5, 0.0, WEIGHTS),
        mean_gaps=expected(gaps),
        context=shape.prompt_tokens + made,
        context_variance=(shape.prompt_cv * shape.prompt_tokens) ** 2 + max(third / (3 * first) - made * made, 0.0),
    )


def saturating(work: Work, step: StepModel) -> float:
    """Requests/s at which the engine has no time left, however large the batch."""
    per_sequence_s = step.per_kv_token_s * work.context + max(step.per_sequence_s, step.host_per_token_s)
    return 1 / max(work.mean_s + work.mean_gaps * per_sequence_s, LEAST_LEFT)


def settled(work: Work, step: StepModel, requests_per_s: Floats, dispersion: float, replicas: int = 1) -> Batch:
    """The batch under each of the loads (of one replica), where ``replicas`` share the arrivals."""
    loads = requests_per_s.reshape(-1, 1)
    per_sequence_s = step.per_sequence_s + step.per_kv_token_s * work.context
    tokens_per_s = loads * work.mean_gaps
    busy = np.minimum(loads * work.mean_s, 1 - LEAST_LEFT)
    left = 1 - loads * work.mean_s - tokens_per_s * per_sequence_s
    running = tokens_per_s * (step.base_s + per_sequence_s) / np.maximum(left, LEAST_LEFT)
    met = running + 1
    # Where the host hands out tokens slower than the GPU makes them, steps grow with the batch and it never settles.
    by_gpu = step.host_per_token_s * met <= step.base_s + step.per_sequence_s * met
    met_s = step.base_s + per_sequence_s * met
    delay = loads / (1 - busy)
    alone = 1 + (dispersion - 1) / replicas  # a burst is spread over all of them
    jump = 1 + 2 * delay * work.mean_s + delay * delay * work.square_s
    return Batch(
        requests_per_s=loads,
        steady=(left > LEAST_LEFT) & by_gpu,
        running=running,
        variance=running * (met_s / step.base_s) * (alone * jump + 1) / 2,
        busy=busy,
        met_s=met_s,
        per_sequence_s=per_sequence_s,
        base_s=step.base_s,
        dispersion=alone,
        common_dispersion=dispersion,
        replicas=replicas,
    )


def tpot_exceeded(work: Work, batch: Batch, bound_s: float | Floats) -> Floats:
    """Share of the requests whose mean time per output token is above ``bound_s``."""
    stretch = 1 / (1 - batch.busy)
    relaxed_s = np.maximum(work.mean_gaps * batch.met_s**2 * stretch / batch.base_s, LEAST_LEFT)
    spans = np.maximum(work.gaps * (bound_s / relaxed_s), 1e-3)
    averaged = 2 * (spans - 1 + np.exp(-spans)) / spans**2
    own_variance = (batch.per_sequence_s * stretch) ** 2 * batch.variance * averaged
    # Prompts that came during the step of its own prompt are computed in its first gap, hence the prompt's time.
    exposed_s = work.gaps * batch.met_s + work.mean_s
    some = -np.expm1(-batch.requests_per_s * exposed_s)
    delay = batch.busy * stretch * exposed_s / work.gaps
    clumps = batch.requests_per_s * batch.dispersion * work.square_s
    variance = clumps * stretch**3 * exposed_s / work.gaps**2
    with_some = delay / some
    some_variance = np.maximum((variance + delay * delay) / some - with_some**2, 0.0) + own_variance
    above_s, room_s = batch.met_s - batch.base_s, bound_s - batch.base_s
    over = (1 - some) * _gamma_above(room_s, above_s, own_variance)
    over += some * _gamma_above(room_s, with_some + above_s, some_variance)
    possible = np.greater(full_step_s(work, batch), bound_s)
    shares: Floats = (over * possible) @ work.weights
    return shares


def full_step_s(work: Work, batch: Batch) -> Floats:
    """A step whose token budget is used up: by the batch, and by prompts for the rest."""
    return batch.met_s + _chunk_tokens(work, batch) * (work.mean_s / expected(work.prompt_tokens))


def _chunk_tokens(work: Work, batch: Batch) -> Floats:
    """Prompt tokens that a full step computes."""
    tokens: Floats = np.maximum(work.token_budget - batch.running, 1.0)
    return tokens


def _turn_exceeded(work: Work, batch: Batch, bound_s: float | Floats) -> Floats:
    """Share of the requests that wait for their turn among the prompts so long that ``bound_s`` goes by."""
    step_s = full_step_s(work, batch)
    turn_s = work.prompt_tokens / _chunk_tokens(work, batch) * step_s
    mean_s = (turn_s @ WEIGHTS)[:, None]
    variation = ((turn_s**2) @ WEIGHTS)[:, None] / mean_s**2 - 1
    used = batch.requests_per_s * mean_s
    free = np.maximum(1 - used, LEAST_LEFT)
    some = np.minimum(used, 1.0) ** (np.sqrt(2 * (batch.replicas + 1)) - 1)
    wait_s = mean_s * (batch.common_dispersion + variation) / 2 / (batch.replicas * free)
    left_s = bound_s - turn_s - step_s
    over: Floats = np.where(left_s > 0, some * np.exp(-np.maximum(left_s, 0.0) / wait_s), 1.0) @ WEIGHTS
    return np.where(used[:, 0] < 1, over, 1.0)


def ttft_exceeded(work: Work, batch: Batch, bound_s: float | Floats) -> Floats:
    """Share of the requests whose first token takes longer than ``bound_s``."""
    step_s, rate, busy = batch.met_s, batch.requests_per_s, batch.busy
    met_s, met_square = _met_step(work, batch)
    mean = met_s * (0.5 + busy)
    square = met_square * (1 / 3 + busy + busy**2) + rate * batch.dispersion * met_s * work.square_s
    # Alone: it meets a step without prompts, and nobody else comes during that.
    alone = (1 - busy) * np.exp(-rate * step_s * (1 / (1 - busy) + 1))
    met_mean = (mean - alone * step_s / 2) / (1 - alone)
    met_variance = np.maximum((square - alone * step_s**2 / 3) / (1 - alone) - met_mean**2, 0.0)
    left_s = bound_s - work.prompt_s - step_s * (1 + work.prompt_chunks)
    lonely = np.minimum(np.maximum(1 - left_s / step_s, 0.0), 1.0)
    shares: Floats = (alone * lonely + (1 - alone) * _gamma_above(left_s, met_mean, met_variance)) @ WEIGHTS
    cut = _chunk_tokens(work, batch)[:, 0] < expected(work.prompt_tokens)  # else a step takes whole prompts
    turns: Floats = np.where(cut, np.maximum(shares, _turn_exceeded(work, batch, bound_s)), shares)
    return turns


def tpot_mean(batch: Batch) -> Floats:
    return batch.met_s / (1 - batch.busy)


def ttft_mean(work: Work, batch: Batch) -> Floats:
    return _met_step(work, batch)[0] * (0.5 + batch.busy) + batch.met_s + work.mean_s


def kv_mean(work: Work, batch: Batch) -> Floats:
    """Tokens in the KV cache: of the batch, and of the prompts being computed."""
    computing = batch.busy + batch.requests_per_s * batch.met_s / (1 - batch.busy)
    return (batch.running + computing) * (work.context + BLOCK_WASTE_TOKENS)


def kv_high(work: Work, batch: Batch) -> Floats:
    """Tokens in the KV cache at its fullest."""
    variance = batch.variance * work.context**2 + batch.running * work.context_variance
    return kv_mean(work, batch) + FULL_DEVIATIONS * np.sqrt(variance)


def sequences_high(batch: Batch) -> Floats:
    """Sequences in the batch at its fullest."""
    return batch.running + 1 + FULL_DEVIATIONS * np.sqrt(batch.variance)


def _met_step(work: Work, batch: Batch) -> tuple[Floats, Floats]:
    """Mean and mean square of the step that an arrival meets, from the first three moments of all steps."""
    busy, rate = batch.busy, batch.requests_per_s * batch.dispersion
    mean_s = batch.met_s / (1 - busy)
    variance = rate * mean_s * work.square_s / (1 - busy**2)
    skewed = (rate * mean_s * work.cube_s + 3 * rate * busy * variance * work.square_s) / (1 - busy**3)
    return mean_s + variance / mean_s, skewed / mean_s + 3 * variance + mean_s**2


def _gamma_above(bound: Floats | float, mean: Floats, variance: Floats) -> Floats:
    """Chance that a gamma variable is above ``bound``: its cube root is nearly normal (Wilson and Hilferty, 1931), and
    a normal's tail nearly logistic in a cubic, to 2e-4 (Page, 1977)."""
    ninth = np.maximum(variance / (9 * mean * mean), 1e-12)
    deviations = (np.cbrt(np.maximum(bound, 0.0) / mean) - 1 + ninth) / np.sqrt(ninth)
    deviations = np.minimum(np.maximum(deviations, -8.0), 8.0)
    tail: Floats = 1 / (1 + np.exp(deviations * (1.5976 + 0.070566 * deviations * deviations)))
    return np.maximum(tail, np.less_equal(bound, 0.0))
