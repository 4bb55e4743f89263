"""A value that could not be had, and why. It is never replaced by a zero."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Missing:
    """``what`` could not be had, and ``why``, in words that a tired person understands."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what} missing: {self.why}"


def known(values: Iterable[T | Missing]) -> list[T]:
    """The values that are there, in order."""
    return [value for value in values if not isinstance(value, Missing)]


def first_missing(*values: object) -> Missing | None:
    """The first of ``values`` that is missing, or None when all are known."""
    return next((value for value in values if isinstance(value, Missing)), None)


def mapped(value: T | Missing, function: Callable[[T], U]) -> U | Missing:
    """``function(value)``, or the same Missing."""
    return value if isinstance(value, Missing) else function(value)


def ratio(what: str, numerator: float | Missing, denominator: float | Missing) -> float | Missing:
    """``numerator / denominator``; Missing when either is, or when there was nothing to divide by."""
    if isinstance(numerator, Missing):
        return Missing(what, numerator.why)
    if isinstance(denominator, Missing):
        return Missing(what, denominator.why)
    if denominator == 0:
        return Missing(what, "nothing to divide by in this window")
    return numerator / denominator
