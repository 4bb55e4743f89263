"""Correcting the step model by the readings: forgetful recursive least squares of each coefficient's factor over the
prior.

With x the prior's share of a sample's step by coefficient, divided by the step observed, the factors f solve

    (A + P) f = b + P 1,   A <- l A + x x'/s²,   b <- l b + x/s²,   P = diag(1 / band²)

P is never forgotten, so what the samples do not excite stays at the prior; l halves old evidence every hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from controller.estimate.performance.prior import StepPrior
from controller.estimate.performance.samples import StepSample
from controller.facts.performance import LearnedStep, StepModel

HALF_LIFE_S = 3600.0
"""Of evidence: a guess, long beside a scrape, short beside a day, over which drivers, neighbours and shapes change."""

SAMPLE_ERROR = 0.10
"""Relative noise of one sample, its levels being read at two moments only: a guess."""

LEAST_FACTOR, MOST_FACTOR = 0.4, 2.5
"""Beyond these the tables, not the engine, are wrong: fix the fleet file."""

ERROR_HALF_LIFE_S = 300.0
"""Of the running errors: a guess."""

EARLY_SHARE = 0.25
"""Of the newest sample in the running errors while there are few: the first ones miss because nothing is learned."""

MOST_SURPRISE = 0.6
"""A sample that misses by more is an accident or a change: it counts as an error and is not learned."""

DOUBT_RATIO = 0.3
"""A running error at which what was learned explains nothing any more: it is forgotten and the prior stands."""

TRUSTED_SAMPLES = 8
"""Before that the prior stands: two minutes of one replica."""

LEAST_BAND = 0.05
"""No fit is better than this: the arithmetic around it is not."""


def start(prior: StepPrior) -> LearnedStep:
    """Nothing learned yet."""
    base, sequence, kv_token, prefill, _ = prior.bands
    return LearnedStep(prior=prior.step, bands=(base, sequence, kv_token, prefill))


def learned(state: LearnedStep, sample: StepSample) -> LearnedStep:
    """``state`` with one more sample. Constant work; equal calls give equal answers."""
    if _host_bound(state.prior, sample):
        return state
    parts = [part / sample.step_s for part in _parts(state.prior, sample)]
    surprise = sum(part * factor for part, factor in zip(parts, state.factors, strict=True)) - 1
    fresh = 1 - 0.5 ** (sample.window_s / ERROR_HALF_LIFE_S)
    if state.samples < 2 * TRUSTED_SAMPLES:
        fresh = max(fresh, EARLY_SHARE)
    error = _followed(state.error_ratio, abs(surprise), fresh)
    prior_error = _followed(state.prior_error_ratio, abs(sum(parts) - 1), fresh)
    if state.samples >= TRUSTED_SAMPLES and error > DOUBT_RATIO:
        return replace(start_again(state), error_ratio=prior_error, prior_error_ratio=prior_error)
    if abs(surprise) > MOST_SURPRISE and state.samples >= TRUSTED_SAMPLES:
        return replace(state, error_ratio=error, prior_error_ratio=prior_error)
    return LearnedStep(
        prior=state.prior,
        bands=state.bands,
        error_ratio=error,
        prior_error_ratio=prior_error,
        samples=state.samples + 1,
        **_taken_in(state, parts, 0.5 ** (sample.window_s / HALF_LIFE_S)),
    )


def start_again(state: LearnedStep) -> LearnedStep:
    """The same prior, nothing learned."""
    return LearnedStep(prior=state.prior, bands=state.bands)


def trusted(state: LearnedStep) -> bool:
    """Enough samples, and they are explained better than by the prior."""
    return (
        state.samples >= TRUSTED_SAMPLES
        and state.error_ratio <= DOUBT_RATIO
        and state.error_ratio <= max(state.prior_error_ratio, LEAST_BAND)
    )


def step_of(state: LearnedStep) -> StepModel:
    """The step model to plan with: the learned one where it may be trusted, else the prior."""
    if not trusted(state):
        return state.prior
    base, sequence, kv_token, prefill = state.factors
    prior = state.prior
    return replace(
        prior,
        base_s=prior.base_s * base,
        per_sequence_s=prior.per_sequence_s * sequence,
        per_kv_token_s=prior.per_kv_token_s * kv_token,
        per_prefill_token_s=prior.per_prefill_token_s * prefill,
        per_prefill_pair_s=prior.per_prefill_pair_s * prefill,
    )


def band_of(state: LearnedStep) -> float:
    """Relative uncertainty of a capacity worked out with ``step_of``: about two standard deviations.

    Of the prior: twice the bands of base and prefill together, which make up most of a step.
    """
    if trusted(state):
        return max(LEAST_BAND, 2 * state.error_ratio)
    base, _, _, prefill = state.bands
    return float(min(2 * (base + prefill) / 2**0.5, 0.9))


def _followed(mean: float, value: float, fresh: float) -> float:
    """An exponential mean; it starts at the first value."""
    return value if mean == 0 else mean + fresh * (value - mean)


def _parts(step: StepModel, sample: StepSample) -> tuple[float, float, float, float]:
    """The step's seconds by coefficient: base, per sequence, per KV token, prefill."""
    return (
        step.base_s,
        step.per_sequence_s * sample.sequences,
        step.per_kv_token_s * sample.kv_tokens,
        step.prefill_s(sample.prefill_tokens, sample.prefill_pairs),
    )


def _host_bound(step: StepModel, sample: StepSample) -> bool:
    """The GPU waits for the host: such a step tells nothing about it."""
    return step.host_per_token_s * sample.sequences > step.base_s + step.per_sequence_s * sample.sequences


def _taken_in(state: LearnedStep, parts: Sequence[float], kept: float) -> dict[str, tuple[float, ...]]:
    """The evidence with one more sample, and the factors that it asks for."""
    weight, size = 1 / SAMPLE_ERROR**2, len(parts)
    anchor = [1 / band**2 for band in state.bands]
    information = [
        [kept * state.information[row * size + column] + parts[row] * parts[column] * weight for column in range(size)]
        for row in range(size)
    ]
    pull = [kept * before + part * weight for before, part in zip(state.pull, parts, strict=True)]
    factors = _solved(
        [
            [*one[:row], one[row] + held, *one[row + 1 :], pulled + held]
            for row, (one, held, pulled) in enumerate(zip(information, anchor, pull, strict=True))
        ]
    )
    return {
        "information": tuple(chain.from_iterable(information)),
        "pull": tuple(pull),
        "factors": tuple(min(max(factor, LEAST_FACTOR), MOST_FACTOR) for factor in factors),
    }


def _solved(rows: list[list[float]]) -> list[float]:
    """x of A x = b, by elimination; ``rows`` of A, each with its b behind it. A is symmetric and positive definite, so
    nothing need be swapped.

    Every replica asks in every pass, and four unknowns take longer to hand to a library than to solve.
    """
    size = len(rows)
    for at, pivot in enumerate(rows):
        for row in rows[at + 1 :]:
            share = row[at] / pivot[at]
            for column in range(at + 1, size + 1):
                row[column] -= share * pivot[column]
    found = [0.0] * size
    for at in reversed(range(size)):
        row = rows[at]
        left = row[size]
        for column in range(at + 1, size):
            left -= row[column] * found[column]
        found[at] = left / row[at]
    return found
