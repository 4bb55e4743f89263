"""What one replica's window says about the time of a step, or why it says nothing."""

from __future__ import annotations

from dataclasses import dataclass

from controller.estimate.histograms import mean
from controller.estimate.performance.shape import coefficient_of_variation
from controller.facts.missing import Missing, first_missing
from controller.facts.performance import StepModel
from controller.facts.readings import Counter, Distribution, EngineReading, Gauge
from controller.facts.unguarded import unguarded

WARM_UP_S = 120.0
"""After the process' start: compilation and cold caches. A guess: start-ups last 80 to 300 s, and count before."""

LEAST_TOKENS = 100.0
"""Output tokens in a window below which its means are noise: a guess, 10 % of a step where gaps vary by 100 %."""

MOST_KV_RATIO = 0.95
"""Above, sequences are preempted and computed again: steps do what nobody counted."""

SHAPE_CHANGE_RATIO = 2.0
"""Levels that double or halve within a window: its means belong to no one moment."""

STEADY_SEQUENCES = 4.0
"""Levels below this change by chance."""


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class StepSample:
    """One window's mean step. Everything is a mean over the steps that a decoding sequence sees.

    step_s          time from one token of a sequence to its next
    sequences       decoding in a step
    kv_tokens       of context that a step reads
    prefill_tokens, prefill_pairs
                    computed in a step; pairs: growth of the contexts' squares
    """

    window_s: float
    steps: float
    step_s: float
    sequences: float
    kv_tokens: float
    prefill_tokens: float
    prefill_pairs: float = 0.0

    def predicted_s(self, step: StepModel) -> float:
        """What ``step`` says that this took."""
        return step.decode_s(self.sequences, self.kv_tokens) + step.prefill_s(self.prefill_tokens, self.prefill_pairs)


def sample_of(reading: EngineReading, previous: EngineReading | None) -> StepSample | Missing:
    """The sample in ``reading``; Missing says why it is dropped. ``previous``: the same replica's reading before it."""
    if previous is None:
        return _dropped("the first reading of this replica has no level to start from")
    unfit = _unfit(reading, previous)
    if unfit is not None:
        return unfit
    gaps, output = reading.histogram(Distribution.TPOT_S), reading.counter(Counter.OUTPUT_TOKENS)
    running = _level(reading, previous, Gauge.RUNNING)
    prompt = _computed_prompt(reading)
    kv_tokens = _kv_tokens(reading, previous)
    if (
        isinstance(gaps, Missing)
        or isinstance(output, Missing)
        or isinstance(running, Missing)
        or isinstance(prompt, Missing)
        or isinstance(kv_tokens, Missing)
    ):
        return _dropped(str(first_missing(gaps, output, running, prompt, kv_tokens)))
    if gaps.count < LEAST_TOKENS:
        return _dropped(f"idle: {gaps.count:.0f} tokens in the window, {LEAST_TOKENS:.0f} needed")
    if gaps.total <= 0:
        return _dropped(f"no time between {gaps.count:.0f} tokens: the engine's clock stands still")
    counted = reading.counter(Counter.ENGINE_STEPS)
    steps = gaps.count / max(running, 1.0) if isinstance(counted, Missing) or counted <= 0 else counted
    return StepSample(
        window_s=reading.window_s,
        steps=steps,
        step_s=gaps.total / gaps.count,
        # A token's sequence sees itself and, at low load, more company than the mean step has: at least itself.
        sequences=max(gaps.count / steps, running, 1.0),
        kv_tokens=kv_tokens,
        prefill_tokens=prompt / steps,
        prefill_pairs=_pairs(reading, prompt) / steps,
    )


def _dropped(why: str) -> Missing:
    return Missing("step_sample", why)


def _unfit(reading: EngineReading, previous: EngineReading) -> Missing | None:
    """Warm-up, idle, saturated, or changing under our eyes."""
    started = reading.gauge(Gauge.START_TIME_S)
    age_s = WARM_UP_S if isinstance(started, Missing) else reading.at.timestamp() - reading.window_s - started
    if reading.window_s <= 0:
        return _dropped("the reading spans no time")
    if age_s < WARM_UP_S:
        return _dropped(f"warming up: the engine started {age_s:.0f} s before the window, {WARM_UP_S:.0f} s needed")
    waiting = [one.gauge(Gauge.QUEUE_DEPTH) for one in (previous, reading)]
    if all(not isinstance(one, Missing) and one > 0 for one in waiting):
        return _dropped("saturated: requests waited at both ends of the window")
    preempted = reading.counter(Counter.PREEMPTIONS)
    if not isinstance(preempted, Missing) and preempted > 0:
        return _dropped(f"saturated: {preempted:.0f} preemptions")
    used = reading.gauge(Gauge.KV_CACHE_RATIO)
    if not isinstance(used, Missing) and used > MOST_KV_RATIO:
        return _dropped(f"saturated: the KV cache is {used:.0%} full")
    before, after = previous.gauge(Gauge.RUNNING), reading.gauge(Gauge.RUNNING)
    if isinstance(before, Missing) or isinstance(after, Missing):
        return None
    low, high = sorted((before, after))
    if high > STEADY_SEQUENCES and high > SHAPE_CHANGE_RATIO * max(low, STEADY_SEQUENCES / 2):
        return _dropped(f"shape change: from {before:.0f} to {after:.0f} sequences within the window")
    return None


def _level(reading: EngineReading, previous: EngineReading, gauge: Gauge) -> float | Missing:
    """Mean of a gauge's levels at both ends."""
    before, after = previous.gauge(gauge), reading.gauge(gauge)
    if isinstance(before, Missing):
        return after
    return after if isinstance(after, Missing) else (before + after) / 2


def _kv_tokens(reading: EngineReading, previous: EngineReading) -> float | Missing:
    used, capacity = _level(reading, previous, Gauge.KV_CACHE_RATIO), reading.gauge(Gauge.KV_CAPACITY_TOKENS)
    if isinstance(used, Missing) or isinstance(capacity, Missing):
        return Missing("kv_tokens", str(first_missing(used, capacity)))
    return used * capacity


def _computed_prompt(reading: EngineReading) -> float | Missing:
    """Prompt tokens less what the prefix cache served."""
    prompt, cached = reading.counter(Counter.PROMPT_TOKENS), reading.counter(Counter.CACHED_PROMPT_TOKENS)
    if isinstance(cached, Missing):
        cached = reading.counter(Counter.PREFIX_HITS_TOKENS)
    if isinstance(prompt, Missing):
        return prompt
    return max(prompt - (0.0 if isinstance(cached, Missing) else cached), 0.0)


def _pairs(reading: EngineReading, computed: float) -> float:
    """Growth of the contexts' squares: each computed token sees the mean context of its prompt, twice over."""
    lengths = reading.histogram(Distribution.PROMPT_LENGTH_TOKENS)
    typical, prompt = mean("prompt", lengths), reading.counter(Counter.PROMPT_TOKENS)
    if isinstance(lengths, Missing) or isinstance(typical, Missing) or isinstance(prompt, Missing) or prompt <= 0:
        return 0.0
    spread = coefficient_of_variation(lengths)
    square = typical * (1 + (1.0 if isinstance(spread, Missing) else spread) ** 2)
    cached = 1 - min(computed / prompt, 1.0)
    return computed * square * (1 + cached)
