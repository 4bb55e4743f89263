"""Counters that survive restarts of the engine and of the daemon, resets and vanishing targets.

Prometheus' own rule sees a reset only when a value drops; an engine that restarts and overtakes its old value between
two scrapes would be missed, so a changed start time counts as a reset too. After a reset the increase is the new value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isnan

from controller.facts.missing import Missing
from controller.facts.readings import Counter, CounterMark, Signal
from controller.observe.layout import Layout

ACCOUNTED = (
    Counter.PROMPT_TOKENS,
    Counter.CACHED_PROMPT_TOKENS,
    Counter.OUTPUT_TOKENS,
    Counter.REQUESTS,
    Counter.REJECTIONS,
    Counter.PREEMPTIONS,
)
"""What the ledger adds up: these marks are kept over a restart of the daemon, so that nothing is lost or doubled."""

FORGET_AFTER = timedelta(hours=1)
"""A target that vanished is remembered for so long. A guess: longer than a node takes to come back."""

MOST_LEFT_OUT = 20_000
"""Forget the series that a target's last page lacked beyond this many, so that labels that never return cannot fill the
memory. A guess: as many as are read of one page."""

FIRST = "the first reading of this series; an increase needs two"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """What happened to one target's counters since its reading before.

    increases   by the page's order; None when nothing is known of before
    known       signals whose increase is known; None = all
    unmoved_s   for how long no value of the page has changed
    """

    window_s: float
    increases: Sequence[float] | None
    known: frozenset[str] | None = None
    unmoved_s: float = 0.0

    def missing(self, signal: Signal) -> Missing | None:
        """Why the increase of ``signal`` is not known, or None when it is."""
        name = signal.value
        if self.increases is None or (self.known is not None and name not in self.known):
            return Missing(name, FIRST)
        return None


@dataclass(slots=True, kw_only=True)
class _Target:
    """How far one target has been counted.

    layout   of the last page; None: restored, only ``marks`` are known
    marks    of series that the last page lacked (a line that could not be read): they go on when they are back
    """

    at: datetime
    started_s: float | None
    layout: Layout | None = None
    values: Sequence[float] = ()
    moved_at: datetime | None = None
    marks: Mapping[str, float] = field(default_factory=dict)


class CounterBook:
    """Remembers every target's last values. ``watching_since``: what started later is counted from zero.

    unused_until   by target url: nobody had been sent there by then, so that the same holds for it as for a start
    """

    def __init__(self) -> None:
        self.unused_until: Mapping[str, datetime] = {}
        self._targets: dict[str, _Target] = {}
        self._watching_since: datetime | None = None

    def advance(
        self, url: str, layout: Layout, values: Sequence[float], started_s: float | None, now: datetime
    ) -> Advance:
        """Count ``values`` in, and tell what they grew by."""
        if self._watching_since is None:
            self._watching_since = now
        before = self._targets.get(url)
        self._targets[url] = after = _Target(at=now, started_s=started_s, layout=layout, values=values, moved_at=now)
        if before is None:
            return self._first(url, values, started_s, now)
        window_s = (now - before.at).total_seconds()
        previous = _aligned(before, layout)
        restarted = _restarted(before, started_s, previous, values, layout)
        if isnan(sum(values)):  # what cannot be read now is counted later, with what comes when it can be
            base = [0.0] * len(values) if restarted else previous
            after.values = [old if isnan(new) else new for old, new in zip(base, values, strict=True)]
        if restarted:
            return Advance(window_s=window_s, increases=values)
        after.marks = _left_out(before, layout)
        increases = [new - old for old, new in zip(previous, values, strict=True)]
        if before.layout is None:
            return Advance(window_s=window_s, increases=increases, known=frozenset(ACCOUNTED))
        if before.moved_at is not None and after.values == previous:  # a NaN that stays is no move
            after.moved_at = before.moved_at
        unmoved_s = (now - (after.moved_at or now)).total_seconds()
        return Advance(window_s=window_s, increases=increases, unmoved_s=unmoved_s)

    def forget(self, now: datetime) -> None:
        """Drop targets that have not been read for FORGET_AFTER.

        One that comes back after all must not be counted from zero again: what started before the last reading of a
        forgotten target is from then on a first sight.
        """
        forgotten = [url for url, one in self._targets.items() if now - one.at > FORGET_AFTER]
        for url in forgotten:
            at = self._targets.pop(url).at
            if self._watching_since is not None:
                self._watching_since = max(self._watching_since, at)

    def marks(self) -> tuple[CounterMark, ...]:
        """How far the accounted counters have been counted."""
        return tuple(
            CounterMark(target_url=url, series=series, started_s=one.started_s, value=value, at=one.at)
            for url, one in self._targets.items()
            for series, value in _accounted(one)
            if not isnan(value)
        )

    def restore(self, marks: Iterable[CounterMark], watching_since: datetime | None) -> None:
        """Go on from ``marks``; whatever started after ``watching_since`` (the last pass) counts from zero."""
        self._watching_since = watching_since
        by_target: dict[str, list[CounterMark]] = {}
        for mark in marks:
            by_target.setdefault(mark.target_url, []).append(mark)
        for url, some in by_target.items():
            self._targets[url] = _Target(
                at=some[0].at, started_s=some[0].started_s, marks={mark.series: mark.value for mark in some}
            )

    def _first(self, url: str, values: Sequence[float], started_s: float | None, now: datetime) -> Advance:
        """A target never seen: when its process started after we began to watch, all it counts is new; and when it
        started before, perhaps under a daemon that died since, but nobody was sent there until we watched."""
        since = self._watching_since
        started = None if started_s is None else datetime.fromtimestamp(started_s, UTC)
        idle_until = [at for at in (started, self.unused_until.get(url)) if at is not None]
        if since is not None and any(since < at <= now for at in idle_until):
            return Advance(window_s=(now - min(idle_until)).total_seconds(), increases=values)
        return Advance(window_s=0.0, increases=None)


_ACCOUNTED_NAMES = frozenset(counter.value for counter in ACCOUNTED)


def _accounted(target: _Target) -> list[tuple[str, float]]:
    """How far the target's accounted series have been counted, those that its last page lacked included."""
    layout = target.layout
    if layout is None:
        return list(target.marks.items())
    found = [
        (series, value)
        for series, signals, value in zip(layout.series, layout.signals, target.values, strict=True)
        if not _ACCOUNTED_NAMES.isdisjoint(signals.split(","))
    ]
    for series, value in target.marks.items():
        signals = (key.partition("/")[0] for key in series.split(","))
        if not _ACCOUNTED_NAMES.isdisjoint(signals):
            found.append((series, value))
    return found


def _known(target: _Target) -> Mapping[str, float]:
    """All that has been counted of the target, by series."""
    if target.layout is None:
        return target.marks
    return {**target.marks, **dict(zip(target.layout.series, target.values, strict=True))}


def _left_out(before: _Target, layout: Layout) -> Mapping[str, float]:
    """What was known before and is not on the page with ``layout``."""
    if before.layout is layout:
        return before.marks
    here = set(layout.series)
    left_out = {series: value for series, value in _known(before).items() if series not in here}
    return left_out if len(left_out) <= MOST_LEFT_OUT else {}


def _aligned(before: _Target, layout: Layout) -> Sequence[float]:
    """The values before, in the order of ``layout``; a series that was never there began at zero."""
    if before.layout is layout:
        return before.values
    known = _known(before)
    return [known.get(series, 0.0) for series in layout.series]


def _restarted(
    before: _Target, started_s: float | None, previous: Sequence[float], values: Sequence[float], layout: Layout
) -> bool:
    """Whether the process is another one than before: its start time changed, or a counter fell."""
    if started_s is not None and before.started_s is not None and abs(started_s - before.started_s) > START_JITTER_S:
        return True
    return any(values[index] < previous[index] for index in layout.counting)


START_JITTER_S = 1.0
"""Start times closer than this are the same: texts round them. A guess; no engine restarts that fast."""
