"""A lenient, fast reader of Prometheus' text format 0.0.4: line by line, a bad line is counted and skipped.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/. A fleet's pages repeat the same series texts over
and over, so each text up to the value is parsed and classified once for the whole fleet and found in a dictionary ever
after. A property test holds this reader equal to prometheus_client's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")

MOST_KNOWN_SERIES = 200_000
"""Forget all known series texts beyond this many, so that hostile label values cannot fill the memory. A guess: 300
distinct pages of 650 lines; at about 200 bytes each that is 40 MB."""

_NAME = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(rb'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|(?=\}))', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", '"': '"', "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Series:
    """A metric name and its labels."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Key]):
    """One page, read: the wanted values and their keys, in the page's order.

    rejected   lines that are no sample, comment or blank
    samples    samples read, wanted or not
    whole      the page ends with a newline, as the format demands: otherwise it was cut off
    """

    keys: tuple[Key, ...]
    values: list[float]
    rejected: int
    samples: int
    whole: bool


class Unwanted:
    """The key of a series that nobody asked for."""


_UNWANTED = Unwanted()


class PageReader(Generic[Key]):
    """Reads pages, keeping the samples that ``classify`` gives a key for."""

    def __init__(self, classify: Callable[[Series], Key | None], max_series: int = 20_000) -> None:
        self._classify = classify
        self._max_series = max_series
        self._known: dict[bytes, Key | Unwanted] = {}

    def read(self, body: bytes) -> Page[Key]:
        """The page's wanted samples. Reading stops at ``max_series`` samples; the rest counts as rejected."""
        lines = [line for line in body.split(b"\n") if line and line[0] != 35]  # 35 is "#"
        split = [line.rpartition(b" ") for line in lines]
        known, keys, values, rejected = self._known, [], [], 0
        beyond = max(0, len(split) - self._max_series)
        if beyond:
            del split[self._max_series :]
        for series, _, number in split:
            key = known.get(series)
            if key is None:
                found = self._learn(series, number)
                if found is None:
                    rejected += 1
                    continue
                key, number = found
            if key is _UNWANTED:
                continue
            try:
                value = float(number)
            except ValueError:
                rejected += 1
                continue
            if b"_" in number:  # Python reads 1_000, Prometheus does not
                rejected += 1
                continue
            values.append(value)
            keys.append(key)
        return Page(
            keys=tuple(keys),  # type: ignore[arg-type]  # Unwanted was sorted out above
            values=values,
            rejected=rejected + beyond,
            samples=len(split) - rejected,
            whole=body.endswith(b"\n"),
        )

    def _learn(self, text: bytes, number: bytes) -> tuple[Key | Unwanted, bytes] | None:
        """Parse a line that begins like none before; None when it is no sample. Blank lines count as unwanted."""
        line = text + b" " + number if text else number
        stripped = line.strip()
        if not stripped or stripped.startswith(b"#"):
            return _UNWANTED, number
        parsed = _parsed(stripped)
        if parsed is None:
            return None
        series, value, dated = parsed
        key = self._classify(series) or _UNWANTED
        if not dated and line.endswith(b" " + value):
            if len(self._known) >= MOST_KNOWN_SERIES:
                self._known.clear()
            self._known[text] = key
        return key, value


def _parsed(line: bytes) -> tuple[Series, bytes, bool] | None:
    """(series, value, whether a timestamp follows) of one sample line."""
    name = _NAME.match(line)
    if name is None:
        return None
    labels, position = _labels(line, name.end())
    if labels is None:
        return None
    rest = line[position:].split()
    if len(rest) not in (1, 2) or not _is_number(rest[0]) or (len(rest) == 2 and not _is_number(rest[1])):
        return None
    return Series(name.group().decode(), labels), rest[0], len(rest) == 2


def _labels(line: bytes, position: int) -> tuple[dict[str, str] | None, int]:
    """The label block at ``position`` and where it ends; no block is no labels; a broken one is None."""
    if line[position : position + 1] != b"{":
        return ({}, position) if line[position : position + 1].isspace() else (None, position)
    position += 1
    labels: dict[str, str] = {}
    while True:
        match = _LABEL.match(line, position)
        if match is None:
            break
        labels[match[1].decode()] = _ESCAPE.sub(_unescaped, match[2].decode("utf-8", "replace"))
        position = match.end()
    end = re.compile(rb"\s*\}").match(line, position)
    return (labels, end.end()) if end is not None else (None, position)


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPED.get(match[1], match[0])


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return b"_" not in text
