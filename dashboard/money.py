"""What the pages about money share: sums, names and the way amounts are told. Pure; amounts are integer nanodollars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import floor, log10

from controller.attribute.unit_costs import MILLION
from controller.facts.account_reader import (
    NO_PARTS,
    OF_POOL,
    Dimension,
    SeatRow,
    Window,
    added_parts,
    added_tokens,
    part_sum,
)
from controller.facts.accounts import (
    ADJUSTMENT,
    IDLE,
    IDLE_OWN,
    OTHER,
    OVERHEAD,
    OVERHEAD_OWN,
    SHARED,
    UNATTRIBUTED,
    WORK,
    Tokens,
)
from controller.facts.money import usd
from controller.report.query import Period, windows
from dashboard.formats import UNKNOWN, dollars, percent, plain, whole_dollars

DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)
CENTS_BELOW = 1_000
"""Dollars from which a card leaves the cents to the tables: more digits do not fit it, and nobody reads them."""

NOBODY = "(not told)"
NO_SERVICE = "(no service)"
"""Committed capacity that nobody used, and fixed costs."""

SPECIAL = {
    UNATTRIBUTED.team: "Unattributed",
    IDLE_OWN.team: "Idle",
    OVERHEAD_OWN.team: "Overhead",
    OTHER.team: "Other identities",
    SHARED.team: "Shared cost",
    ADJUSTMENT.team: "Bill adjustments",
}
"""Lines that are no team's, by the name that stands in the place of a team."""

RECORDS = (
    "Send usage records to POST /api/v1/usage (account.ingest in the fleet file), or have a LiteLLM database, access "
    "logs or OpenTelemetry spans read (account.sources): see docs/usage.md. Until then all work is unattributed."
)
"""What to do without usage records."""

PRICES = (
    "That cost is unknown: it is in no number here, and not counted as zero. Give the capacity usd_per_gpu_hour or an "
    "offer in the fleet file."
)
"""What to do about replicas without a price."""

MEANINGS = {
    UNATTRIBUTED.team: "work that no usage record explains",
    IDLE_OWN.team: "no rule hands it to teams",
    OVERHEAD_OWN.team: "no rule hands it to teams",
    OTHER.team: "beyond the most that are told apart",
    SHARED.team: "fixed costs that are nobody's alone",
    ADJUSTMENT.team: "what bills say beyond our estimate",
}


class Shown(StrEnum):
    """The periods that a page can show. UTC; weeks begin on Monday."""

    THIS_MONTH = "This month"
    LAST_MONTH = "Last month"
    THIS_WEEK = "This week"
    LAST_WEEK = "Last week"

    @property
    def period(self) -> Period:
        return Period.MONTH if self in (Shown.THIS_MONTH, Shown.LAST_MONTH) else Period.WEEK

    @property
    def running(self) -> bool:
        return self in (Shown.THIS_MONTH, Shown.THIS_WEEK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A period and what it is held against: as much of the one before. ``whole`` ends when the period does."""

    window: Window
    last: Window
    whole: Window

    @property
    def before(self) -> Window:
        """All of the period before."""
        return Window(start=self.last.start, end=self.window.start)


def span(shown: Shown, now: datetime) -> Span:
    """At the very beginning of a period the one that has just ended is still the running one."""
    this, last = windows(shown.period, (now - INSTANT).date(), now)
    if not shown.running:
        this, last = windows(shown.period, (this.start - INSTANT).date(), now)
    end = (this.start + 32 * DAY).replace(day=1) if shown.period is Period.MONTH else this.start + 7 * DAY
    return Span(window=this, last=last, whole=Window(start=this.start, end=end))


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A cost by what it bought."""

    work: int = 0
    idle: int = 0
    overhead: int = 0

    @property
    def cost(self) -> int:
        return self.work + self.idle + self.overhead

    def __add__(self, other: Split) -> Split:
        return Split(work=self.work + other.work, idle=self.idle + other.idle, overhead=self.overhead + other.overhead)


def split(parts: Sequence[int]) -> Split:
    return Split(work=part_sum(parts, WORK), idle=part_sum(parts, IDLE), overhead=part_sum(parts, OVERHEAD))


def whole_parts(seats: Iterable[SeatRow]) -> tuple[int, ...]:
    """Of all of them together."""
    parts = NO_PARTS
    for seat in seats:
        parts = added_parts(parts, seat.parts)
    return parts


def whole_tokens(seats: Iterable[SeatRow]) -> Tokens:
    """As the engines counted them."""
    tokens = Tokens()
    for seat in seats:
        tokens = added_tokens(tokens, seat.tokens)
    return tokens


def every_token(tokens: Tokens) -> int:
    return tokens.uncached + tokens.cached + tokens.output


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A sum, and the time of seats that is not in it because nobody knows their price."""

    nanousd: int
    unpriced_us: int = 0

    @property
    def why(self) -> str:
        """Why the sum says nothing; "" when it does."""
        return "no price is known for any replica" if self.unpriced_us and not self.nanousd else ""

    def told(self) -> str:
        return UNKNOWN if self.why else card_money(self.nanousd)


def spent(seats: Iterable[SeatRow]) -> Spent:
    found = list(seats)
    return Spent(nanousd=sum(one.effective_nanousd for one in found), unpriced_us=sum(one.unpriced_us for one in found))


def unpriced_told(seats: Iterable[SeatRow]) -> str:
    """Which service and variant ran for how long without a price; "" when all have one."""
    found: dict[str, int] = {}
    for seat in seats:
        if seat.unpriced_us:
            name = "/".join(part for part in (seat.service, seat.variant) if part) or seat.replica
            found[name] = found.get(name, 0) + seat.unpriced_us
    return ", ".join(f"{name} for {hours_told(unpriced_us)}" for name, unpriced_us in sorted(found.items()))


def money(nanousd: int | None) -> str:
    """To the cent."""
    return UNKNOWN if nanousd is None else dollars(usd(nanousd))


def card_money(nanousd: int | None) -> str:
    """To the cent while that fits a card, and whole dollars from there."""
    if nanousd is None:
        return UNKNOWN
    amount = usd(nanousd)
    return dollars(amount) if abs(amount) < CENTS_BELOW else whole_dollars(amount)


def unit_money(usd_each: float) -> str:
    """A unit cost: three digits that mean something below a dollar, where tokens are priced."""
    if abs(usd_each) >= 1 or not usd_each:
        return dollars(usd_each)
    digits = max(2, 2 - floor(log10(abs(usd_each))))
    return f"{'-' if usd_each < 0 else ''}${abs(usd_each):.{digits}f}"


def millions(tokens: int) -> str:
    """In the unit that unit costs are told in; what is less than a hundredth of it is not none."""
    count = tokens / MILLION
    if count < 0.01:
        return plain(float(f"{count:.2g}"))
    return f"{count:,.0f}" if count >= 1000 else f"{count:,.2f}"


def signed(nanousd: int, told: Callable[[int], str] = money) -> str:
    """A change. Less than half a cent is none."""
    if abs(usd(nanousd)) < 0.005:
        return "$0.00"
    return f"{'+' if nanousd > 0 else ''}{told(nanousd)}"


def share(part: int, whole: int) -> str:
    """ "" of nothing."""
    return percent(part / whole) if whole else ""


def changed(this: int, last: int, told: Callable[[int], str] = money) -> str:
    """This against the last, in dollars and in percent of the last; without a percentage where the last was nothing."""
    if this == last:
        return "unchanged"
    ratio = f" ({(this - last) / last * 100:+.0f} %)" if last > 0 else ""
    return f"{signed(this - last, told)}{ratio}"


def label(value: str, dimension: Dimension) -> str:
    """A value of a dimension as people say it."""
    if dimension is Dimension.TEAM:
        return SPECIAL.get(value, value or NOBODY)
    return value or (NO_SERVICE if dimension in OF_POOL else NOBODY)


def days_told(window: Window) -> str:
    """The days that a window touches ("1 to 21 Nov")."""
    first, last = window.start, window.end - INSTANT
    if first.date() == last.date():
        return f"{first.day} {first:%b}"
    month = "" if (first.year, first.month) == (last.year, last.month) else f" {first:%b}"
    return f"{first.day}{month} to {last.day} {last:%b}"


def day_told(at: datetime) -> str:
    return f"{at.day} {at:%b}"


def hours_told(microseconds: int) -> str:
    """Time of replicas, in hours ("12.5 h")."""
    return f"{microseconds / 3_600_000_000:,.1f} h"
