"""The rate window of one replica: its recent readings as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from math import fsum
from typing import TypeVar

from controller.estimate.histograms import merge_histograms
from controller.facts.missing import Missing
from controller.facts.readings import Counter, Distribution, EngineReading, Gauge, Histogram, Observation, Signal
from controller.facts.unguarded import unguarded

S = TypeVar("S", bound=Signal)
V = TypeVar("V")


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one replica did over ``window_s`` seconds ending at ``at``.

    counted_s   by counter: the seconds over which its increase was seen, which may be part of the window
    finished    by distribution: what each reading saw finish, still to be added up
    """

    at: datetime
    window_s: float
    gauges: Mapping[Gauge, float]
    counters: Mapping[Counter, float]
    counted_s: Mapping[Counter, float]
    finished: Mapping[Distribution, Sequence[Histogram]]
    missing: Mapping[Signal, Missing]

    def gauge(self, signal: Gauge) -> float | Missing:
        return self.gauges[signal] if signal in self.gauges else self._why(signal)

    def counter(self, signal: Counter) -> float | Missing:
        return self.counters[signal] if signal in self.counters else self._why(signal)

    def rate(self, signal: Counter) -> float | Missing:
        """Increase per second."""
        return self.counters[signal] / self.counted_s[signal] if signal in self.counters else self._why(signal)

    def histogram(self, signal: Distribution) -> Histogram | Missing:
        return merge_histograms(self.finished[signal]) if signal in self.finished else self._why(signal)

    def mean(self, signal: Distribution) -> float | Missing:
        """Sum of the observed values / their number."""
        if signal not in self.finished:
            return Missing(f"mean_{signal.value}", self._why(signal).why)
        parts = self.finished[signal]
        count = sum([one.count for one in parts])
        nothing = Missing(f"mean_{signal.value}", "nothing finished in this window")
        return fsum([one.total for one in parts]) / count if count > 0 else nothing

    def _why(self, signal: Signal) -> Missing:
        return self.missing.get(signal) or _not_exported(signal)


@cache
def _not_exported(signal: Signal) -> Missing:
    """Made once: most engines lack something, and every pass asks each of them for it."""
    return Missing(signal.value, "the engine does not export it")


def history_after(
    past: Mapping[str, tuple[EngineReading, ...]], observation: Observation, window_s: float
) -> dict[str, tuple[EngineReading, ...]]:
    """The readings of the last ``window_s`` by target; one that neither discovery nor an actuator names any more is
    forgotten."""
    oldest = observation.at - timedelta(seconds=window_s)
    states = (state for some in observation.replicas.values() if not isinstance(some, Missing) for state in some)
    urls = dict.fromkeys([*(target.url for target in observation.targets), *(state.url for state in states)])
    history = {}
    for url in urls:
        reading = observation.engines.get(url)
        kept = tuple(one for one in past.get(url, ()) if one.at > oldest)
        fresh = (reading,) if isinstance(reading, EngineReading) else ()
        if kept or fresh or url in observation.engines:
            history[url] = (*kept, *fresh)
    return history


def merge(readings: Sequence[EngineReading]) -> Window:
    """The readings of one replica as one window: increases added up, histograms side by side, gauges of the newest.

    A counter or histogram is missing only when no reading that spans time has it. A gauge is missing when the newest
    reading lacks it: an older level would pass for the present one. The order of ``readings`` does not matter.
    """
    if not readings:
        raise ValueError("merging needs at least one reading")
    newest = max(readings, key=lambda one: one.at)
    spanning = [one for one in readings if one.window_s > 0]
    if len(spanning) == 1:
        return _alone(spanning[0], newest)
    increases = _side_by_side([one.counters for one in spanning])
    window_s = fsum(one.window_s for one in spanning)
    return Window(
        at=newest.at,
        window_s=window_s,
        gauges=newest.gauges,
        counters={counter: fsum(values) for counter, values in increases.items()},
        counted_s={
            counter: window_s if len(values) == len(spanning) else _seconds_of(counter, spanning)
            for counter, values in increases.items()
        },
        finished=_side_by_side([one.histograms for one in spanning]),
        missing=newest.missing,
    )


def _side_by_side(said: Sequence[Mapping[S, V]]) -> dict[S, Sequence[V]]:
    """By signal: every value that was said of it."""
    if said and all([*one] == [*said[0]] for one in said):  # as a rule: the same engine says the same things
        return dict(zip(said[0], zip(*[one.values() for one in said], strict=True), strict=True))
    values: defaultdict[S, list[V]] = defaultdict(list)
    for one in said:
        for signal, value in one.items():
            values[signal].append(value)
    return dict(values)


def _seconds_of(counter: Counter, readings: Sequence[EngineReading]) -> float:
    """Over which ``counter`` was seen."""
    return fsum(one.window_s for one in readings if counter in one.counters)


def _alone(one: EngineReading, newest: EngineReading) -> Window:
    """The only reading that spans time, as it is."""
    return Window(
        at=newest.at,
        window_s=one.window_s,
        gauges=newest.gauges,
        counters=one.counters,
        counted_s=dict.fromkeys(one.counters, one.window_s),
        finished={name: (histogram,) for name, histogram in one.histograms.items()},
        missing=newest.missing,
    )
