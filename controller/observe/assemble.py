"""From one page to one reading, or to the reason why there is none. Pure but for the book of counters."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

from controller.facts.fleet import EngineKind
from controller.facts.missing import Missing
from controller.facts.readings import Counter, EngineReading, Gauge, Signal, Target
from controller.observe.adapter import Binder, Bound
from controller.observe.counters import Advance, CounterBook
from controller.observe.engines import ADAPTERS
from controller.observe.exposition import Page, PageReader
from controller.observe.layout import Layout, Layouts

FROZEN_AFTER_S = 60.0
"""With requests running, a page on which nothing moved for so long is frozen. A guess: vLLM sets its gauges only when
the engine steps, and a step with the largest prefill takes seconds."""


def metrics_url(url: str) -> str:
    """``url`` with /metrics, unless it already names a path."""
    return url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/metrics"


class Assembler:
    """Turns pages into readings; one for the whole fleet, so that what pages share is worked out once."""

    def __init__(self, max_series: int = 20_000) -> None:
        self.book = CounterBook()
        self._binders = {kind: Binder(adapter) for kind, adapter in ADAPTERS.items()}
        self._readers = {kind: PageReader(binder.bind, max_series) for kind, binder in self._binders.items()}
        self._layouts = {kind: Layouts(adapter) for kind, adapter in ADAPTERS.items()}

    def text(self, body: bytes, target: Target, engine: EngineKind, now: datetime) -> EngineReading | Missing:
        """A reading from a scraped page."""
        what, asked = "engine metrics", metrics_url(target.url)
        if not body.strip():
            return Missing(what, f"{asked} answered an empty page")
        if body.lstrip()[:1] == b"<":
            return Missing(what, f"{asked} answered HTML, not metrics; is the address an engine's?")
        page = self._readers[engine].read(body)
        if not page.whole:
            return Missing(what, f"{asked} answered a page that was cut off in the middle of a line")
        if page.samples == 0:
            return Missing(what, f"{asked} answered text that is not metrics")
        return self.page(page, target, engine, now, "scrape")

    def page(
        self, page: Page[tuple[Bound, ...]], target: Target, engine: EngineKind, now: datetime, source: str
    ) -> EngineReading | Missing:
        """A reading from samples, wherever they come from."""
        layout = self._layouts[engine].of(page.keys)
        if layout.empty:
            asked = metrics_url(target.url) if source == "scrape" else target.url
            return Missing("engine metrics", f"{asked}: {ADAPTERS[engine].no_metrics}")
        missing: dict[Signal, Missing] = dict(layout.absent)
        gauges = _gauges(layout, page, missing)
        advance = self.book.advance(target.url, layout, page.values, gauges.get(Gauge.START_TIME_S), now)
        _freeze(gauges, missing, advance)
        counters: dict[Counter, float] = {}
        for slots in layout.counters:
            increase = advance.missing(slots.signal) or slots.read(advance.increases or ())
            if isinstance(increase, Missing):
                missing[slots.signal] = increase
            else:
                counters[slots.signal] = increase
        histograms = {}
        for histogram in layout.histograms:
            grown = advance.missing(histogram.signal) or histogram.read(advance.increases or ())
            if isinstance(grown, Missing):
                missing[histogram.signal] = grown
            else:
                histograms[histogram.signal] = grown
        return EngineReading(
            target=target,
            at=now,
            window_s=advance.window_s,
            source=source,
            engine=engine,
            gauges=gauges,
            counters=counters,
            histograms=histograms,
            missing=missing,
            names=layout.names,
            rejected_lines=page.rejected,
        )

    def binder(self, engine: EngineKind) -> Binder:
        """Classifies series of ``engine``, for sources that do not read text."""
        return self._binders[engine]


def _gauges(layout: Layout, page: Page[tuple[Bound, ...]], missing: dict[Signal, Missing]) -> dict[Gauge, float]:
    gauges: dict[Gauge, float] = {}
    for slots in layout.gauges:
        signal = slots.source.signal
        value = slots.read(page.values)
        if isinstance(value, Missing):
            missing[signal] = value
        elif isinstance(signal, Gauge):
            gauges[signal] = value
    return gauges


def _freeze(gauges: dict[Gauge, float], missing: dict[Signal, Missing], advance: Advance) -> None:
    """Gauges of an engine that runs requests but moves nothing are not to be believed.

    ``running`` stays, so that the engine can be found to be stuck; so do the capacity and the start time,
    which never move.
    """
    if gauges.get(Gauge.RUNNING, 0.0) <= 0 or advance.unmoved_s < FROZEN_AFTER_S:
        return
    for signal in set(gauges) - {Gauge.RUNNING, Gauge.KV_CAPACITY_TOKENS, Gauge.START_TIME_S}:
        why = f"frozen: requests run, but nothing on the page has moved for {advance.unmoved_s:.0f} s"
        missing[signal] = Missing(signal.value, why)
        del gauges[signal]
