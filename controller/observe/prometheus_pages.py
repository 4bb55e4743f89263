"""Between a Prometheus server and an engine adapter: which names to ask for, and a target's series as a page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.facts.readings import Gauge
from controller.observe.adapter import Adapter, Binder, Bound, is_gauge
from controller.observe.exposition import Page, Series
from controller.observe.prometheus import ADDRESS_LABELS, ServedTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to ask for: patterns of names without suffix, those that are gauges, and names that date a target."""

    names: tuple[str, ...]
    gauges: tuple[str, ...]
    dated: tuple[str, ...]


def asked_of(adapter: Adapter) -> Asked:
    """Every name of ``adapter`` in every spelling. The requests running date a target: every engine exports them."""
    sources = adapter.sources
    plain = [name.name for source in sources for name in source.names]
    gauges = [name.name for source in sources if is_gauge(source.signal) for name in source.names if not name.product]
    running = [name.name for source in sources if source.signal is Gauge.RUNNING for name in source.names]
    return Asked(
        names=_spelled(adapter, plain),
        gauges=_spelled(adapter, gauges),
        dated=tuple(spelling for name in running for spelling in _spellings(adapter, name)),
    )


def page_of(target: ServedTarget, binder: Binder) -> Page[tuple[Bound, ...]]:
    """The target's series as if they had been scraped: without the labels that the server added."""
    added = ADDRESS_LABELS | target.labels.keys()
    found: list[tuple[tuple[Bound, ...], float]] = []
    for name, labels, value in target.samples:
        own = {label: text for label, text in labels.items() if label not in added}
        bounds = binder.bind(Series(name, own))
        if bounds is not None:
            found.append((bounds, value))
    found.sort(key=lambda one: one[0][0].key)  # the server promises no order, and pages are told apart by theirs
    return Page(
        keys=tuple(bounds for bounds, _ in found),
        values=[value for _, value in found],
        rejected=0,
        samples=len(target.samples),
        whole=True,
    )


def _spelled(adapter: Adapter, names: Iterable[str]) -> tuple[str, ...]:
    """Patterns that match ``names`` in every spelling of their prefix; short, for they travel in a URL."""
    by_prefix: dict[str, set[str]] = {}
    for name in names:
        prefix = _prefix(adapter, name)
        by_prefix.setdefault(prefix, set()).add(name.removeprefix(prefix).removesuffix("_total"))
    return tuple(
        f"(?:{'|'.join(_prefixes(adapter, prefix))})(?:{'|'.join(sorted(rests))})"
        for prefix, rests in by_prefix.items()
    )


def _spellings(adapter: Adapter, name: str) -> list[str]:
    prefix = _prefix(adapter, name)
    return [spelling + name.removeprefix(prefix) for spelling in _prefixes(adapter, prefix)]


def _prefix(adapter: Adapter, name: str) -> str:
    return next((plain for plain in adapter.prefixes.values() if name.startswith(plain)), "")


def _prefixes(adapter: Adapter, prefix: str) -> list[str]:
    return [prefix, *(spelling for spelling, plain in adapter.prefixes.items() if plain == prefix)]
