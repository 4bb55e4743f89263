"""From the ledger's rows to what charts and tables draw. Pure: no clock, no ledger, no Streamlit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil
from statistics import fmean, median

from controller.facts.money import usd
from controller.facts.passes import Gap
from controller.ledger.queries import RecordedDecision
from controller.ledger.rows import Cost, DemandMinute, ReplicaMinute, ServiceMinute
from dashboard.formats import UNKNOWN, dollars_per_hour, lasting, plain, words

MOST_POINTS = 480
"""Points of one line. More than a chart has pixels for would only be slow; a guess at half a wide chart."""

USUAL_STEPS = 2
"""A hole of more than so many usual steps breaks a line; a ledger with a pass every five minutes has no holes."""

HOURS_PER_MONTH = 730
"""8,760 hours of a year by twelve, as cloud bills project."""

WORST = frozenset({"ttft_p95_s", "tpot_p95_s", "queue_depth", "kv_cache_ratio"})
"""When minutes are put together these keep their highest: a mean would hide what people look for."""

Point = dict[str, str | float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A gap cut to the range shown."""

    start: datetime
    end: datetime
    why: str

    @property
    def name(self) -> str:
        return f"not watched for {lasting((self.end - self.start).total_seconds())}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A decision that moved something, as drawn on a chart."""

    at: datetime
    up: bool
    sentence: str


def points(
    minutes: Iterable[ServiceMinute | DemandMinute],
    field: str,
    start: datetime,
    end: datetime,
    text: Callable[[float | None], str],
) -> list[Point]:
    """The line of ``field``, cut to at most MOST_POINTS. Unknown and unrecorded minutes are None: the line breaks."""
    step = bucket(start, end)
    found: defaultdict[int, list[float]] = defaultdict(list)
    for one in minutes:
        known = getattr(one, field)
        found[(one.minute - start) // step] += [] if known is None else [float(known)]
    if not any(found.values()):
        return []
    together = max if field in WORST else fmean
    line: list[Point] = []
    for index in _broken(sorted(found)):
        value = together(found[index]) if found[index] else None
        line.append({"at": (start + index * step).isoformat(), "value": value, "shown": text(value)})
    return line


def _broken(indices: list[int]) -> list[int]:
    """``indices`` and, where far more is left out than usual, one more: nothing is found there and the line breaks."""
    if len(indices) < 2:
        return indices
    steps = [after - before for before, after in pairwise(indices)]
    usual = median(steps)
    breaks = [before + 1 for before, apart in zip(indices, steps, strict=False) if apart > USUAL_STEPS * usual]
    return sorted({*indices, *breaks})


def bucket(start: datetime, end: datetime) -> timedelta:
    """How much time one point stands for: whole minutes."""
    return timedelta(minutes=max(1, ceil((end - start) / timedelta(minutes=1) / MOST_POINTS)))


def bands(gaps: Iterable[Gap], start: datetime, end: datetime) -> list[Band]:
    """The gaps inside the range, cut to it."""
    cut = [Band(start=max(one.start, start), end=min(one.end, end), why=one.why) for one in gaps]
    return [one for one in cut if one.start < one.end]


def marks(decisions: Iterable[RecordedDecision]) -> list[Mark]:
    """The decisions that moved something, oldest first, each with its full sentence."""
    moved = [one.decision for one in decisions if one.decision.moves]
    return [Mark(at=one.at, up=one.desired > one.current, sentence=str(one)) for one in reversed(moved)]


def per_month(usd_per_hour: float | None) -> float | None:
    return None if usd_per_hour is None else usd_per_hour * HOURS_PER_MONTH


def spent(costs: Sequence[Cost]) -> tuple[float | None, str]:
    """The sum of everything in USD, and a note on what is missing from it ("" when nothing)."""
    priced = [one.cost_nanousd for one in costs if one.cost_nanousd is not None]
    unpriced_s = sum(one.unpriced_s for one in costs)
    if not priced:
        return None, "no price is known for any replica" if unpriced_s else "nothing was recorded in this time"
    note = f"without {lasting(unpriced_s)} of replica time that has no price" if unpriced_s >= 1 else ""
    return usd(sum(priced)), note


LATENCIES = ("ttft_", "tpot_", "e2e_", "queue_time_")
MONEY = ("usd", "_per_usd")


def why_unknown(field: str, now: ServiceMinute | None, uses: Iterable[ReplicaMinute]) -> str:
    """The best reason the ledger has for a field that is None: a replica's own words first, then what follows."""
    if now is None:
        return "the last pass recorded nothing of it"
    mine = [one for one in uses if now.service in ("", one.service)]
    money = any(part in field for part in MONEY)
    if money and any(one.unpriced_s > 0 for one in mine):
        return "a replica has no known price"
    said = next((one.missing_why for one in mine if one.missing_why), "")
    if said and field != "usd_per_hour":
        return said
    if now.replicas_ready == 0 and field != "usd_per_hour":
        return "no replica is ready"
    if now.requests_per_s == 0 and (field.startswith(LATENCIES) or money):
        return "no request in this window"
    return "not measured in the last pass"


def money_change(one: RecordedDecision) -> str:
    """A decision's dollars per hour, before and after; once when it changes nothing."""
    before, after = one.decision.usd_per_hour_before, one.decision.usd_per_hour_after
    texts = [dollars_per_hour(value) if isinstance(value, (int, float)) else UNKNOWN for value in (before, after)]
    return texts[0] if texts[0] == texts[1] else " → ".join(texts)


def decisive_numbers(one: RecordedDecision) -> str:
    """Every number that decided, by name."""
    return " · ".join(f"{words(name)} {plain(value)}" for name, value in one.decision.numbers.items())


def spark(values: Sequence[float | None], width: int = 120, height: int = 26) -> list[str]:
    """A small line as SVG point lists, one for each unbroken run of known values. A flat line lies in the middle."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return []
    low, high = min(known), max(known)
    runs: list[list[str]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
            continue
        x = index * width / (len(values) - 1)
        level = 0.5 if high == low else (value - low) / (high - low)
        runs[-1].append(f"{x:.1f},{height - 2 - level * (height - 4):.1f}")
    return [" ".join(run) for run in runs if len(run) > 1]
