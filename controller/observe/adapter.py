"""What an engine adapter is: data. For every signal an ordered list of names, a unit scale and how to combine ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from controller.facts.fleet import EngineKind
from controller.facts.readings import Distribution, Gauge, Signal
from controller.observe.exposition import Series

MOST_BOUNDS = 200_000
"""Forget all bound series beyond this many, so that hostile label values cannot fill the memory. A guess: a thousand
engines whose every series differs."""


class Combine(StrEnum):
    """How one replica's value comes from its engine ranks."""

    SUM = "sum"
    MEAN = "mean"
    MAX = "max"


class Part(StrEnum):
    """Which part of a family a series is."""

    VALUE = "value"
    BUCKET = "bucket"
    TOTAL = "sum"
    COUNT = "count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """One candidate name on the wire.

    where    labels that must have one of these values; to Prometheus an absent label and "" are the same
    scale    multiplies the value into our unit
    product  the value is the product of these labels' numbers (an info metric), not the sample's
    least    values below it mean "no data" (vLLM V0's hit rates print -1)
    """

    name: str
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scale: float = 1.0
    product: tuple[str, ...] = ()
    least: float | None = None

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(label, "") in allowed for label, allowed in self.where.items())

    def __str__(self) -> str:
        chosen = ",".join(f'{label}="{"|".join(values)}"' for label, values in self.where.items())
        product = "[" + " x ".join(self.product) + "]" if self.product else ""
        return self.name + (f"{{{chosen}}}" if chosen else "") + product


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where one signal comes from: the first name that a page has wins. ``absent``: why it may be missing."""

    signal: Signal
    names: tuple[Name, ...]
    combine: Combine = Combine.SUM
    absent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One engine.

    rank_labels       labels that name a rank inside one replica
    duplicate_labels  labels whose values repeat the same state (tensor-parallel ranks): only the first one counts
    prefixes          spellings of the metric names' prefix: replaced, longest first, by the value
    no_metrics        what to do about a page without any of the engine's metrics
    """

    engine: EngineKind
    sources: tuple[Source, ...]
    rank_labels: tuple[str, ...]
    duplicate_labels: tuple[str, ...] = ()
    prefixes: Mapping[str, str] = field(default_factory=dict)
    no_metrics: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bound:
    """A series that a source wants. There is one object a series text, so identity is equality.

    key        the same for the same series in every process, and in later versions that know more names:
               "signal/part/name/rank/other labels"
    preference the place of its name in the source's list: the lowest on a page wins
    others     all labels but those of rank and duplicates
    duplicate  the values of the duplicate labels
    le         a bucket's upper bound
    fixed      the value, when it comes from labels
    """

    source: Source
    name: Name
    wire_name: str
    part: Part
    key: str
    rank: str
    preference: int
    others: str
    duplicate: tuple[str, ...] = ()
    le: float = 0.0
    fixed: float | None = None


class Binder:
    """Tells for each series whether an adapter wants it, and as what."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self._bounds: dict[str, Bound] = {}
        self._wanted: dict[str, list[tuple[Source, int, Name, Part]]] = {}
        for source in adapter.sources:
            for preference, name in enumerate(source.names):
                for wire_name, part in _wire_names(source, name):
                    self._wanted.setdefault(wire_name, []).append((source, preference, name, part))

    def bind(self, series: Series) -> tuple[Bound, ...] | None:
        """Every use of ``series`` (one may serve two signals), or None when nobody wants it."""
        name = self._normalised(series.name)
        bounds = [
            bound
            for source, preference, candidate, part in self._wanted.get(name, ())
            if candidate.matches(series.labels)
            and (bound := self._bound(series, source, preference, candidate, part)) is not None
        ]
        return tuple(bounds) or None

    def _normalised(self, name: str) -> str:
        for prefix, plain in self.adapter.prefixes.items():
            if name.startswith(prefix):
                return plain + name.removeprefix(prefix)
        return name

    def _bound(self, series: Series, source: Source, preference: int, name: Name, part: Part) -> Bound | None:
        labels = series.labels
        fixed = _product(name, labels) if name.product else None
        if name.product and fixed is None:
            return None
        try:
            le = float(labels["le"]) if part is Part.BUCKET else 0.0
        except (KeyError, ValueError):
            return None
        rank = "/".join(labels.get(label, "") for label in self.adapter.rank_labels)
        special = {*self.adapter.rank_labels, *self.adapter.duplicate_labels, "__name__"}
        others = "" if name.product else ",".join(f"{k}={v}" for k, v in sorted(labels.items()) if k not in special)
        duplicate = tuple(labels.get(label, "") for label in self.adapter.duplicate_labels)
        key = "/".join((source.signal, part, str(name), rank, ".".join(duplicate), others, str(fixed)))
        known = self._bounds.get(key)
        if known is None:
            if len(self._bounds) >= MOST_BOUNDS:
                self._bounds.clear()
            known = self._bounds[key] = Bound(
                source=source,
                name=name,
                wire_name=series.name,
                part=part,
                key=key,
                rank=rank,
                preference=preference,
                others=others,
                duplicate=duplicate,
                le=le,
                fixed=fixed,
            )
        return known


def _wire_names(source: Source, name: Name) -> list[tuple[str, Part]]:
    if isinstance(source.signal, Distribution):
        return [
            (f"{name.name}_bucket", Part.BUCKET),
            (f"{name.name}_sum", Part.TOTAL),
            (f"{name.name}_count", Part.COUNT),
        ]
    return [(name.name, Part.VALUE)]


def _product(name: Name, labels: Mapping[str, str]) -> float | None:
    """The product of the labels' numbers; None when one is absent or is no number (vLLM prints "None")."""
    result = 1.0
    for label in name.product:
        try:
            result *= float(labels[label])
        except (KeyError, ValueError):
            return None
    return result


def is_gauge(signal: Signal) -> bool:
    """Whether the signal is a level, not an increase."""
    return isinstance(signal, Gauge)
