"""Speculative decoding: a step verifies each sequence's drafted tokens beside its next one, and gives it several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controller.facts.missing import Missing
from controller.facts.performance import StepModel
from controller.facts.readings import Counter, EngineReading

LEAST_DRAFTS = 100.0
"""In a pass, below which their mean is noise: a guess, some 5 % of it."""


def pace_of(readings: Sequence[EngineReading], before: float) -> float:
    """Tokens that a sequence gains in a step of one variant's engines; ``before``: what holds while few are made.

    Of engines that count their drafts, which is vLLM: it also counts one gap a sequence and step, whatever that gave.
    Others (SGLang) count a gap a token, and what is learned of them is a token's time already: 1.
    """
    drafts, accepted = 0.0, 0.0
    for reading in readings:
        made, kept = reading.counter(Counter.DRAFTS), reading.counter(Counter.ACCEPTED_TOKENS)
        if not isinstance(made, Missing) and not isinstance(kept, Missing):
            drafts, accepted = drafts + made, accepted + kept
    return before if drafts < LEAST_DRAFTS else 1 + max(accepted, 0.0) / drafts


def token_step(step: StepModel, pace: float) -> StepModel:
    """The time of a token, where ``step`` is that of a step that gives ``pace`` of them to each sequence.

    A prompt takes what it took: it is met by fewer steps, each of them longer. So does the host, which works by token.
    """
    return replace(
        step,
        base_s=step.base_s / pace,
        per_sequence_s=step.per_sequence_s / pace,
        per_kv_token_s=step.per_kv_token_s / pace,
    )


def verifying(step: StepModel, draft_tokens: int, draft_s: float) -> StepModel:
    """``step`` with so many drafted tokens a sequence verified in it, and the drafting itself."""
    return replace(step, base_s=step.base_s + draft_s, per_sequence_s=step.per_sequence_s * (1 + draft_tokens))


def gained(draft_tokens: int, chance: float) -> float:
    """Tokens that a step gives, when each drafted one is kept with ``chance`` if those before it were."""
    return sum(chance**place for place in range(draft_tokens + 1))


def chance_of(draft_tokens: int, acceptance_ratio: float) -> float:
    """The chance in ``gained`` at which ``acceptance_ratio`` of the drafted tokens are kept: found by halving."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        enough = gained(draft_tokens, middle) >= 1 + draft_tokens * acceptance_ratio
        low, high = (low, middle) if enough else (middle, high)
    return high
