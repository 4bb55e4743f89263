"""Days, months and dimensions as arguments of the command line. What is wrong with one takes its place, as in
numbers.py."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from controller.cli.numbers import Wrong
from controller.facts.account_reader import Dimension

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Days:
    """From ``first`` up to ``until``, without it, in UTC."""

    first: date
    until: date

    @property
    def start(self) -> datetime:
        return datetime.combine(self.first, time(), UTC)

    @property
    def end(self) -> datetime:
        return datetime.combine(self.until, time(), UTC)

    @property
    def is_month(self) -> bool:
        """A whole one."""
        return self.first.day == 1 and self.until == _next_month(self.first)


def days(text: str) -> Days | Wrong:
    """A day, or all days of a month."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}", text):
            first = date.fromisoformat(f"{text}-01")
            return Days(first, _next_month(first))
        first = date.fromisoformat(text)
        return Days(first, first + DAY)
    except (ValueError, OverflowError):
        return Wrong(f"expected a day such as 2026-11-20 or a month such as 2026-11, found '{text}'")


def month(text: str) -> Days | Wrong:
    """All days of a month."""
    found = days(text) if re.fullmatch(r"\d{4}-\d{2}", text) else None
    return found if isinstance(found, Days) else Wrong(f"expected a month such as 2026-11, found '{text}'")


def dimensions(text: str) -> tuple[Dimension, ...] | Wrong:
    """Several, each once, with commas between."""
    names = [name.strip() for name in text.split(",")]
    unknown = [_unknown(name) for name in names if name not in set(Dimension)]
    if unknown:
        return Wrong("; ".join(unknown))
    if len(set(names)) < len(names):
        return Wrong(f"expected each only once, found '{text}'")
    return tuple(map(Dimension, names))


def only(text: str) -> tuple[Dimension, str] | Wrong:
    """A dimension and the one value that is wanted."""
    name, equals, value = text.partition("=")
    if name not in set(Dimension):
        return Wrong(_unknown(name))
    return (Dimension(name), value) if equals else Wrong(f"expected {name}=VALUE, found '{text}'")


def _unknown(name: str) -> str:
    return f"no dimension '{name}'{meant(name, Dimension)}; there are {', '.join(Dimension)}"


def meant(name: str, choices: Iterable[str]) -> str:
    """ ", did you mean …?", where one of ``choices`` is near."""
    close = difflib.get_close_matches(name.lower(), list(choices), n=1, cutoff=0.4)
    return f", did you mean '{close[0]}'?" if close else ""


def _next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)
