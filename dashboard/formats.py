"""Numbers and times as people read them. None is unknown and says so; it is never shown as a zero."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

UNKNOWN = "unknown"

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
UNITS_S = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

LEAST_USD = 0.0001
"""Nobody reads more zeros than these; a smaller amount only says that it is none."""


def dollars(usd: float | None) -> str:
    """Cents are shown from a cent up; below it, two significant digits ("$0.0042"), as far as LEAST_USD."""
    if usd is None:
        return UNKNOWN
    size, sign = abs(usd), "-" if usd < 0 else ""
    if 0 < size < LEAST_USD:
        return f"{'>-' if sign else '<'}${LEAST_USD}"
    if size and size < 0.01:
        return f"{sign}${_significant(size, 2)}"
    return f"{sign}${size:,.2f}"


def whole_dollars(usd: float | None) -> str:
    """For projections, whose cents would pretend: cents only below $100."""
    if usd is None or abs(usd) < 100:
        return dollars(usd)
    return f"{'-' if usd < 0 else ''}${abs(usd):,.0f}"


def dollars_per_hour(usd: float | None) -> str:
    return UNKNOWN if usd is None else f"{dollars(usd)}/h"


def compact(value: float | None, unit: str = "") -> str:
    """Three significant digits with a decimal prefix ("12.3k tokens/s"); a small whole number stays whole."""
    if value is None:
        return UNKNOWN
    return f"{_prefixed(value)} {unit}".rstrip()


def percent(ratio: float | None) -> str:
    """One decimal below 10 %, none from there."""
    if ratio is None:
        return UNKNOWN
    digits = 1 if 0 < abs(ratio) < 0.0995 else 0
    return f"{ratio * 100:.{digits}f} %"


def seconds(value: float | None) -> str:
    """Milliseconds below a second, then seconds."""
    if value is None:
        return UNKNOWN
    if abs(value) < 0.9995:
        return f"{_significant(value * 1000, 3)} ms"
    return f"{_significant(value, 3)} s"


def lasting(value_s: float) -> str:
    """A duration in the unit that fits it and the next one ("3 min", "1 h 59 min"): an hour may be nearly two."""
    whole_s = max(0, int(value_s))
    for (size, unit), (smaller, its_unit) in pairwise(UNITS_S):
        if whole_s >= size:
            rest = whole_s % size // smaller
            return f"{whole_s // size} {unit}" + (f" {rest} {its_unit}" if rest else "")
    return f"{whole_s} s"


def moment(at: datetime) -> str:
    """A full UTC time ("1 Mar 2026, 12:05:10 UTC")."""
    utc = at.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y, %H:%M:%S} UTC"


def short_moment(at: datetime) -> str:
    """A UTC time within a table ("1 Mar 12:05:10")."""
    utc = at.astimezone(UTC)
    return f"{utc.day} {utc:%b %H:%M:%S}"


def short_hour(at: datetime) -> str:
    """A UTC time whose seconds do not matter ("1 Mar 12:05")."""
    utc = at.astimezone(UTC)
    return f"{utc.day} {utc:%b %H:%M}"


def plain(value: float) -> str:
    """A number that decided, neither padded nor cut to nothing."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    shown = _significant(value, 4)
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def counted(number: int, thing: str) -> str:
    """ "1 GPU", "2 GPUs"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def words(name: str) -> str:
    """A name of the code as words ("not_proven_idle" is "not proven idle")."""
    return name.replace("_", " ")


def _prefixed(value: float) -> str:
    for size, letter in PREFIXES:
        if abs(value) >= size * 0.9995:
            return f"{_significant(value / size, 3)}{letter}"
    return f"{value:.0f}" if float(value).is_integer() else _significant(value, 3)


def _significant(value: float, digits: int) -> str:
    """``digits`` significant digits, never in exponents, and never fewer than the whole part has."""
    if value == 0:
        return "0"
    whole = f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - int(whole.split("e")[1]))
    return f"{value:,.{decimals}f}"
