"""Numbers as arguments of the command line. What is wrong with one takes its place, so that all are told at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wrong:
    """Stands in an argument's place until all are told."""

    message: str


def positive(text: str) -> int | Wrong:
    """A whole number of 1 or more."""
    return _whole(text, 1)


def whole(text: str) -> int | Wrong:
    """A whole number of 0 or more."""
    return _whole(text, 0)


def number(text: str) -> float | Wrong:
    """Any number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    return value if 0 < value < float("inf") else Wrong(f"expected a number above 0, found '{text}'")


def _whole(text: str, least: int) -> int | Wrong:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    return value if value >= least else Wrong(f"expected a whole number of {least} or more, found '{text}'")
