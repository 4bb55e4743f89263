"""What one replica's engine did per second."""

from __future__ import annotations

from dataclasses import dataclass

from controller.estimate.windows import Window
from controller.facts.estimates import Number
from controller.facts.missing import Missing, first_missing
from controller.facts.readings import Counter, Distribution
from controller.facts.unguarded import unguarded


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Tokens and requests per second, and the mean lengths of what finished.

    computed_prompt   prompt tokens that the prefix cache did not serve
    """

    prompt: Number
    cached_prompt: Number
    computed_prompt: Number
    output: Number
    requests: Number
    mean_prompt: Number
    mean_output: Number


def traffic_of(window: Window) -> Traffic:
    """Where an engine does not count cached prompt tokens itself, its prefix-cache hits stand for them."""
    prompt = window.rate(Counter.PROMPT_TOKENS)
    cached = window.rate(Counter.CACHED_PROMPT_TOKENS)
    if isinstance(cached, Missing):
        hits = window.rate(Counter.PREFIX_HITS_TOKENS)
        cached = cached if isinstance(hits, Missing) else hits
    return Traffic(
        prompt=prompt,
        cached_prompt=cached,
        computed_prompt=_computed(prompt, cached),
        output=window.rate(Counter.OUTPUT_TOKENS),
        requests=window.rate(Counter.REQUESTS),
        mean_prompt=window.mean(Distribution.PROMPT_LENGTH_TOKENS),
        mean_output=window.mean(Distribution.OUTPUT_LENGTH_TOKENS),
    )


def _computed(prompt: Number, cached: Number) -> Number:
    lost = first_missing(prompt, cached)
    if isinstance(prompt, Missing) or isinstance(cached, Missing):
        return Missing("computed_prompt_tokens_per_s", str(lost))
    # Hits are counted when a request is scheduled and prompt tokens when it is prefilled: a window may see the hits
    # first.
    return max(prompt - cached, 0.0)
