"""From the accounts' rows to what the page of spending draws and says. Pure; amounts are integer nanodollars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from controller.attribute.bridge import DRIVERS, Bridge
from controller.attribute.spend_forecast import forecast
from controller.attribute.spending import spending
from controller.facts.account_reader import (
    OF_IDENTITY,
    AllocationRow,
    BudgetState,
    Dimension,
    Window,
    added_tokens,
)
from controller.facts.accounts import Tokens
from controller.facts.budgets import SpendForecast
from controller.facts.missing import Missing
from controller.facts.money import usd
from dashboard.formats import UNKNOWN
from dashboard.look import Cell
from dashboard.money import (
    DAY,
    INSTANT,
    MEANINGS,
    SPECIAL,
    Span,
    Split,
    changed,
    day_told,
    every_token,
    label,
    millions,
    money,
    share,
    signed,
    split,
)
from dashboard.shaping import Point

MOST_ROWS = 15
"""Of a table of teams; the rest is one row. A guess at a screen."""

OTHERS = "all others"

DRIVER_WORDS = {
    "price": ("Price", "a GPU-hour cost more or less than before"),
    "volume": ("Volume", "more or fewer tokens were asked for"),
    "mix": ("Mix", "the work ran on other models, GPUs, or ways of buying them"),
    "efficiency": ("Efficiency", "the same work took more or fewer GPU-hours, idle ones included"),
}
"""The four drivers of a change, and what each means."""

BASES = {
    "": "the budget's own forecast",
    "week": "the level of the last days and the pattern of the week",
    "day": "the level of the last days and the pattern of the day",
    "flat": "the level of the last hours",
}
"""What is taken to go on."""

WHO_HEADS = (
    ("Cost", "pw-num"),
    ("Share", "pw-num"),
    ("Against before", "pw-num"),
    ("Work", "pw-num"),
    ("Idle", "pw-num"),
    ("Overhead", "pw-num"),
    ("Requests", "pw-num"),
    ("Million tokens", "pw-num"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one value of a dimension cost. ``value``: None where several are together."""

    label: str
    value: str | None
    special: str = ""
    this: Split = field(default_factory=Split)
    last: int = 0
    tokens: Tokens = field(default_factory=Tokens)


def lines_by(this: Iterable[AllocationRow], last: Iterable[AllocationRow], dimension: Dimension) -> list[Line]:
    """By the values of ``dimension``, dearest first. Lines that are no team's stay apart and come last.

    The rows are by team and ``dimension``.
    """
    found: dict[tuple[str, str], Line] = {}
    for row in this:
        key = _key(row, dimension)
        found[key] = _more(found.get(key) or _line(key, dimension), row)
    for row in last:
        key = _key(row, dimension)
        was = found.get(key) or _line(key, dimension)
        found[key] = replace(was, last=was.last + sum(row.parts))
    known = [one for one in found.values() if one.this.cost or one.last or one.tokens != Tokens()]
    return sorted(known, key=lambda one: (bool(one.special), -one.this.cost, -one.last, one.label))


def _key(row: AllocationRow, dimension: Dimension) -> tuple[str, str]:
    """(line that is no team's or "", value)."""
    team = row.identity.team
    if team in SPECIAL and dimension in OF_IDENTITY:
        return team, team
    if dimension in OF_IDENTITY:
        return "", str(getattr(row.identity, dimension))
    if row.pool is None:
        return "", ""
    named = (row.pool.service, row.pool.variant) if dimension is Dimension.VARIANT else (getattr(row.pool, dimension),)
    return "", "/".join(one for one in named if one)


def _line(key: tuple[str, str], dimension: Dimension) -> Line:
    special, value = key
    return Line(label=label(value, Dimension.TEAM if special else dimension), value=value, special=special)


def _more(was: Line, row: AllocationRow) -> Line:
    return replace(was, this=was.this + split(row.parts), tokens=added_tokens(was.tokens, row.tokens))


def topped(lines: Sequence[Line], most: int = MOST_ROWS) -> list[Line]:
    """The dearest, one line of all others, and those that are no team's."""
    named, special = [one for one in lines if not one.special], [one for one in lines if one.special]
    if len(named) > most + 1:
        rest = named[most:]
        named = [*named[:most], _together(f"{OTHERS} ({len(rest)})", rest)]
    return [*named, *special]


def total(lines: Sequence[Line]) -> Line:
    return _together("Total", lines)


def _together(name: str, lines: Sequence[Line]) -> Line:
    tokens = Tokens()
    for one in lines:
        tokens = added_tokens(tokens, one.tokens)
    return Line(
        label=name,
        value=None,
        this=sum((one.this for one in lines), Split()),
        last=sum(one.last for one in lines),
        tokens=tokens,
    )


def who_row(
    one: Line, whole: int, link: Callable[[str], str], *, unpriced: bool = False, compared: bool = True
) -> list[Cell]:
    """``link``: where a value leads, "" for nowhere. ``unpriced``: some replica has no price. ``compared``:
    something is known of the period before."""
    leads = "" if one.value is None or one.special else link(one.value)
    meaning = MEANINGS.get(one.special, "")
    counted = one.tokens != Tokens()
    against = changed(one.this.cost, one.last) if one.this.cost or one.last else ""
    return [
        Cell(text=one.label, link=leads, sub=meaning, kind="pw-tight"),
        _cost(one, unpriced=unpriced),
        Cell(text=share(one.this.cost, whole), kind="pw-num"),
        Cell(text=against if compared else "-", kind="pw-num"),
        *(_amount(part) for part in (one.this.work, one.this.idle, one.this.overhead)),
        Cell(text=f"{one.tokens.requests:,}" if counted else "-", kind="pw-num"),
        Cell(text=millions(every_token(one.tokens)) if counted else "-", kind="pw-num"),
    ]


def _cost(one: Line, *, unpriced: bool) -> Cell:
    """Tokens that cost nothing ran where no price is known."""
    if unpriced and not one.this.cost and one.tokens != Tokens():
        return Cell(text=UNKNOWN, why="no price is known for the replicas that it used", kind="pw-num")
    return Cell(text=money(one.this.cost), kind="pw-num")


def _amount(nanousd: int) -> Cell:
    return Cell(text=money(nanousd) if nanousd else "-", kind="pw-num")


def by_day(rows: Iterable[AllocationRow]) -> list[tuple[datetime, Split]]:
    """Of rows asked for by the day, oldest first."""
    days: dict[datetime, Split] = {}
    for row in rows:
        days[row.start] = days.get(row.start, Split()) + split(row.parts)
    return sorted(days.items())


Days = Sequence[tuple[datetime, Split]]


def day_points(days: Days) -> list[Point]:
    """What a stacked chart draws, a row a day and a kind."""
    rows: list[Point] = []
    for start, one in days:
        for order, (name, amount) in enumerate((("work", one.work), ("idle", one.idle), ("overhead", one.overhead))):
            rows.append(
                {
                    "day": day_told(start),
                    "name": name,
                    "order": order,
                    "usd": usd(amount),
                    "shown": f"{money(amount)} of {money(one.cost)}",
                }
            )
    return rows


def summed_points(days: Days, window: Window) -> list[Point]:
    """Money spent since the window began, at the end of each of its days; the last day may not be over."""
    inside = [(start, one) for start, one in days if window.start <= start < window.end]
    if not inside:
        return []
    whole = 0
    rows = [_point(window.start, inside[0][0], 0)]
    for start, one in inside:
        whole += one.cost
        rows.append(_point(window.start, min(start + DAY, window.end), whole))
    return rows


def _point(since: datetime, at: datetime, nanousd: int) -> Point:
    return {"x": (at - since) / DAY, "value": usd(nanousd), "shown": money(nanousd), "when": day_told(at - INSTANT)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What a period will have cost at its end. ``basis``: what is taken to go on; "" when a budget's forecast is it."""

    p50: int
    p90: int
    basis: str = ""


def ahead(
    hours: Sequence[AllocationRow], now: datetime, due: datetime, spent_nanousd: int, budget: BudgetState | None
) -> Ahead | Missing:
    """The fleet's budget has its forecast already; without one it is made here, of the ``hours`` of late."""
    if budget is not None and budget.p50_nanousd is not None and budget.p90_nanousd is not None:
        return Ahead(p50=budget.p50_nanousd, p90=budget.p90_nanousd)
    made = _forecast(hours, now, due)
    if isinstance(made, Missing):
        return made
    return Ahead(p50=spent_nanousd + made.p50_nanousd, p90=spent_nanousd + made.p90_nanousd, basis=made.basis)


def _forecast(hours: Sequence[AllocationRow], now: datetime, due: datetime) -> SpendForecast | Missing:
    if not hours:
        return Missing("spend forecast", "no hour of the last weeks has a cost")
    began, until = min(row.start for row in hours), max(row.end for row in hours)
    return forecast(spending(hours, began, min(until, now)), now, due)


def ahead_points(found: Ahead, over: Span, spent_nanousd: int) -> list[Point]:
    """A straight way from now to the end: the forecast is of the end alone."""
    ends = ((over.window.end, spent_nanousd, spent_nanousd), (over.whole.end, found.p50, found.p90))
    return [
        {
            **_point(over.window.start, at, p50),
            "low": usd(p50),
            "high": usd(p90),
            "shown": f"{money(p50)} to {money(p90)}" if p50 != p90 else money(p50),
        }
        for at, p50, p90 in ends
    ]


def level_points(nanousd: int, over: Span) -> list[Point]:
    """The same amount from the beginning to the end."""
    return [_point(over.whole.start, at, nanousd) for at in (over.whole.start, over.whole.end)]


def fleet_budget(budgets: Iterable[BudgetState], whole: Window) -> BudgetState | None:
    """The budget of the whole fleet in just this period, the smallest when there are several."""
    mine = [one for one in budgets if one.scope == "fleet" and (one.start, one.end) == (whole.start, whole.end)]
    return min(mine, key=lambda one: one.limit_nanousd, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One bar of a waterfall, from ``low`` to ``high``. ``tone``: "total", "more" or "less"."""

    name: str
    low: int
    high: int
    told: str
    tone: str


def steps_between(bridge: Bridge, last: int, names: tuple[str, str]) -> list[Step]:
    """From the last period's cost to this one's, by driver. ``names`` of the two."""
    steps = [Step(name=names[0], low=0, high=last, told=money(last), tone="total")]
    level = last
    for driver in DRIVERS:
        amount = getattr(bridge, driver)
        low, high = sorted((level, level + amount))
        tone = "more" if amount > 0 else "less"
        steps.append(Step(name=DRIVER_WORDS[driver][0], low=low, high=high, told=signed(amount), tone=tone))
        level += amount
    return [*steps, Step(name=names[1], low=0, high=level, told=money(level), tone="total")]


def axis_from(steps: Sequence[Step]) -> int:
    """Where the waterfall's axis begins: at nothing, unless changes would be too small to be seen, or go below it."""
    lowest, highest = min(one.low for one in steps[1:-1]), max(one.high for one in steps)
    moved = highest - lowest
    return max(0, lowest - 2 * moved) if moved < highest / 4 else min(0, lowest)


def step_points(steps: Sequence[Step], axis: int) -> list[Point]:
    return [
        {
            "name": one.name,
            "low": usd(max(one.low, axis)),
            "high": usd(max(one.high, axis)),
            "told": one.told,
            "tone": one.tone,
        }
        for one in steps
    ]
