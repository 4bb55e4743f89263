"""What requests look like, from the windows of the replicas that served them."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from controller.estimate.histograms import mean, merge_histograms
from controller.estimate.windows import Window
from controller.facts.missing import Missing, known
from controller.facts.performance import RequestShape
from controller.facts.readings import Counter, Distribution, Histogram


def shape_of(windows: Sequence[Window]) -> RequestShape | Missing:
    """The requests that finished in ``windows``: means exact, spreads from the buckets, the cached share from the
    counters."""
    prompts = _lengths(windows, Distribution.PROMPT_LENGTH_TOKENS)
    outputs = _lengths(windows, Distribution.OUTPUT_LENGTH_TOKENS)
    prompt, output = mean("prompt_tokens", prompts), mean("output_tokens", outputs)
    if isinstance(prompts, Missing) or isinstance(prompt, Missing):
        return Missing("shape", f"prompt lengths: {prompt.why if isinstance(prompt, Missing) else prompts}")
    if isinstance(outputs, Missing) or isinstance(output, Missing):
        return Missing("shape", f"output lengths: {output.why if isinstance(output, Missing) else outputs}")
    return RequestShape(
        prompt_tokens=prompt,
        output_tokens=output,
        cached_ratio=_cached_ratio(windows),
        prompt_cv=_spread(prompts),
        output_cv=_spread(outputs),
    )


def coefficient_of_variation(histogram: Histogram) -> float | Missing:
    """Standard deviation / mean, each bucket's observations spread evenly over it.

    The last bucket, without an end, takes what the exact total leaves over, and at least its lower bound.
    """
    count = histogram.count
    if count <= 0 or histogram.total <= 0 or len(histogram.bounds) < 2:
        return Missing("cv", "nothing finished, or no bucket has an end")
    sums, squares, lower = 0.0, 0.0, 0.0
    for bound, inside in zip(histogram.bounds[:-1], histogram.counts[:-1], strict=True):
        sums += inside * (lower + bound) / 2
        squares += inside * (lower * lower + lower * bound + bound * bound) / 3
        lower = bound
    last = histogram.counts[-1]
    if last > 0:
        typical = max((histogram.total - sums) / last, lower)
        sums, squares = sums + last * typical, squares + last * typical * typical
    # By the buckets' own mean: its error and that of the squares go the same way.
    typical = sums / count
    return sqrt(max(squares / count - typical * typical, 0.0)) / typical


def _lengths(windows: Sequence[Window], name: Distribution) -> Histogram | Missing:
    said = [window.histogram(name) for window in windows]
    there = known(said)
    if not there:
        return next((one for one in said if isinstance(one, Missing)), Missing(name.value, "there is no window"))
    return merge_histograms(there)


def _spread(histogram: Histogram) -> float:
    """1, an exponential's, where the buckets do not tell."""
    spread = coefficient_of_variation(histogram)
    return 1.0 if isinstance(spread, Missing) else spread


def _cached_ratio(windows: Sequence[Window]) -> float:
    """Share of the prompt tokens that the prefix caches served; 0 where no engine counts them."""
    prompt = sum(known(window.counter(Counter.PROMPT_TOKENS) for window in windows))
    cached = 0.0
    for window in windows:
        served = window.counter(Counter.CACHED_PROMPT_TOKENS)
        hits = window.counter(Counter.PREFIX_HITS_TOKENS) if isinstance(served, Missing) else served
        cached += 0.0 if isinstance(hits, Missing) else hits
    return min(cached / prompt, MOST_CACHED) if prompt > 0 else 0.0


MOST_CACHED = 0.999
"""An engine computes at least the last token of a prompt."""
