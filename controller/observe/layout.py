"""Which of a page's values make which signal: worked out once for every distinct sequence of series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, isnan

from controller.facts.missing import Missing
from controller.facts.readings import Counter, Distribution, Gauge, Histogram, Signal
from controller.observe.adapter import Adapter, Bound, Combine, Part, Source

Keys = tuple[tuple[Bound, ...], ...]
"""For each wanted value of a page, in order, the uses it has."""


_SMALL = {float(whole): float(whole) for whole in range(1024)}
"""Most buckets count few requests. One object for all that count the same: a third of a large fleet's memory."""


def shared(counts: Iterable[float]) -> tuple[float, ...]:
    """The same numbers, small whole ones as the objects that everybody has."""
    return tuple([_SMALL.get(count, count) for count in counts])


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeSlots:
    """Where a gauge's values are: indices into the page's values, or fixed values from labels."""

    source: Source
    name: str
    scale: float
    least: float | None
    indices: tuple[int, ...]
    fixed: tuple[float, ...]

    def read(self, values: Sequence[float]) -> float | Missing:
        found = [*(values[index] for index in self.indices), *self.fixed]
        if any(isnan(value) for value in found):
            return Missing(self.source.signal.value, f"the engine reports NaN for {self.name}")
        if self.least is not None:
            found = [value for value in found if value >= self.least]
            if not found:
                return Missing(self.source.signal.value, f"{self.name} has no data yet")
        return _COMBINED[self.source.combine](found) * self.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterSlots:
    """Where a counter's increases are."""

    signal: Counter
    name: str
    scale: float
    combine: Combine
    indices: tuple[int, ...]

    def read(self, increases: Sequence[float]) -> float | Missing:
        increase = _COMBINED[self.combine]([increases[index] for index in self.indices])
        if isnan(increase):
            return Missing(self.signal.value, f"the engine reports NaN for {self.name}")
        return increase * self.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramSlots:
    """Where a histogram's increases are: for each bound the buckets of all ranks, and the sums and counts."""

    signal: Distribution
    name: str
    bounds: tuple[float, ...]
    buckets: tuple[tuple[int, ...], ...]
    totals: tuple[int, ...]
    counts: tuple[int, ...]

    def read(self, increases: Sequence[float]) -> Histogram | Missing:
        cumulative = [sum([increases[index] for index in indices]) for indices in self.buckets]
        total = sum([increases[index] for index in self.totals])
        if isnan(total) or any(isnan(count) for count in cumulative):
            return Missing(self.signal.value, f"the engine reports NaN for {self.name}")
        bounds = self.bounds
        if bounds[-1] != inf:
            bounds = (*bounds, inf)
            cumulative.append(sum([increases[index] for index in self.counts]))
        counts, below = [], 0.0
        for count in cumulative:
            counts.append(max(0.0, count - below))
            below = max(below, count)
        return Histogram(bounds=bounds, counts=shared(counts), total=total)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Everything that one sequence of series can say. ``absent`` explains the signals it cannot."""

    series: tuple[str, ...]
    signals: tuple[str, ...]
    gauges: tuple[GaugeSlots, ...]
    counters: tuple[CounterSlots, ...]
    histograms: tuple[HistogramSlots, ...]
    counting: tuple[int, ...]
    absent: dict[Signal, Missing]
    names: dict[Signal, str]

    @property
    def empty(self) -> bool:
        """Nothing of the engine is on the page: a start time alone says nothing of an engine."""
        said = [one for one in self.gauges if one.source.signal is not Gauge.START_TIME_S]
        return not (self.counters or self.histograms or said)


class Layouts:
    """All layouts of one adapter, worked out on first sight. Engines of one version share theirs."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._known: dict[Keys, Layout] = {}

    def of(self, keys: Keys) -> Layout:
        layout = self._known.get(keys)
        if layout is None:
            if len(self._known) > MOST_LAYOUTS:
                self._known.clear()
            layout = self._known[keys] = _laid_out(self._adapter, keys)
        return layout


MOST_LAYOUTS = 5_000
"""Distinct pages remembered. A guess: more than any fleet has engine versions times label sets; each is about 50 kB."""


def _laid_out(adapter: Adapter, keys: Keys) -> Layout:
    uses = [(index, bound) for index, bounds in enumerate(keys) for bound in bounds]
    gauges, counters, histograms = [], [], []
    absent: dict[Signal, Missing] = {}
    names: dict[Signal, str] = {}
    for source in adapter.sources:
        chosen = _chosen([(index, bound) for index, bound in uses if bound.source is source])
        signal = source.signal
        slots = _slots(source, chosen)
        if slots is None:
            why = source.absent or "the page has none of " + ", ".join(str(name) for name in source.names)
            absent[signal] = Missing(signal.value, why)
            continue
        names[signal] = slots.name
        if isinstance(slots, GaugeSlots):
            gauges.append(slots)
        elif isinstance(slots, CounterSlots):
            counters.append(slots)
        else:
            histograms.append(slots)
    return Layout(
        series=tuple(",".join(bound.key for bound in bounds) for bounds in keys),
        signals=tuple(",".join(bound.source.signal.value for bound in bounds) for bounds in keys),
        gauges=tuple(gauges),
        counters=tuple(counters),
        histograms=tuple(histograms),
        counting=_counting(counters, histograms),
        absent=absent,
        names=names,
    )


def _chosen(uses: Sequence[tuple[int, Bound]]) -> list[tuple[int, Bound]]:
    """The uses under the preferred name; of ranks that repeat each other only the first."""
    if not uses:
        return []
    best = min(bound.preference for _, bound in uses)
    first: dict[tuple[object, ...], tuple[int, Bound]] = {}
    for index, bound in uses:
        if bound.preference != best:
            continue
        same = (bound.part, bound.rank, bound.le, bound.others)
        if same not in first or bound.duplicate < first[same][1].duplicate:
            first[same] = (index, bound)
    return list(first.values())


def _slots(source: Source, chosen: Sequence[tuple[int, Bound]]) -> GaugeSlots | CounterSlots | HistogramSlots | None:
    if not chosen:
        return None
    signal, bound = source.signal, chosen[0][1]
    if isinstance(signal, Gauge):
        return GaugeSlots(
            source=source,
            name=str(bound.name),
            scale=bound.name.scale,
            least=bound.name.least,
            indices=tuple(index for index, one in chosen if one.fixed is None),
            fixed=tuple(one.fixed for _, one in chosen if one.fixed is not None),
        )
    if isinstance(signal, Counter):
        return CounterSlots(
            signal=signal,
            name=str(bound.name),
            scale=bound.name.scale,
            combine=source.combine,
            indices=tuple(index for index, _ in chosen),
        )
    return _histogram_slots(signal, str(bound.name), chosen)


def _histogram_slots(signal: Distribution, name: str, chosen: Sequence[tuple[int, Bound]]) -> HistogramSlots | None:
    bounds = sorted({bound.le for _, bound in chosen if bound.part is Part.BUCKET})
    counts = _of(chosen, Part.COUNT)
    if not bounds or (bounds[-1] != inf and not counts):
        return None
    return HistogramSlots(
        signal=signal,
        name=name,
        bounds=tuple(bounds),
        buckets=tuple(
            tuple(index for index, bound in chosen if bound.part is Part.BUCKET and bound.le == le) for le in bounds
        ),
        totals=_of(chosen, Part.TOTAL),
        counts=counts,
    )


def _of(chosen: Iterable[tuple[int, Bound]], part: Part) -> tuple[int, ...]:
    return tuple(index for index, bound in chosen if bound.part is part)


def _counting(counters: Iterable[CounterSlots], histograms: Iterable[HistogramSlots]) -> tuple[int, ...]:
    """The indices of all values that only ever grow.

    The sums of histograms are none: a latency taken from a wall clock that was set back is negative.
    """
    found = {index for counter in counters for index in counter.indices}
    for histogram in histograms:
        found.update(index for bucket in histogram.buckets for index in bucket)
        found.update(histogram.counts)
    return tuple(sorted(found))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


_COMBINED: dict[Combine, Callable[[Sequence[float]], float]] = {
    Combine.SUM: sum,
    Combine.MEAN: _mean,
    Combine.MAX: max,
}
