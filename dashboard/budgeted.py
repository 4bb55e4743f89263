"""From budgets and anomalies to what their page draws and says. Pure; amounts are integer nanodollars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from controller.attribute.budgets import FAST_BURN, SLOW_BURN
from controller.facts.account_reader import BudgetState
from controller.facts.budgets import Anomaly, AtLimit, BudgetPhase
from dashboard.formats import UNKNOWN, counted, percent, short_hour
from dashboard.look import AMBER, BLUE, RED, Cell
from dashboard.money import DAY, INSTANT, card_money, money, signed
from dashboard.shaping import Point
from dashboard.spent import DRIVER_WORDS

BUDGET_HEADS = (
    ("Budget", ""),
    ("State", ""),
    ("Spent", "pw-num"),
    ("Even spend by now", "pw-num"),
    ("Expected at its end", "pw-num"),
    ("Speed, 1 h · 6 h", "pw-num"),
    ("Speed, 1 d · 3 d", "pw-num"),
    ("At the limit", ""),
)
"""The last one only where it is told."""

ANOMALY_HEADS = (
    ("Since (UTC)", ""),
    ("State", ""),
    ("Of", ""),
    ("Beyond the expected", "pw-num"),
    ("Cost, against expected", "pw-num"),
    ("Driver", "pw-wide"),
)

PHASES: Mapping[str, tuple[str, str, str]] = {
    BudgetPhase.OVER: ("over", "bad", RED),
    BudgetPhase.EXPECTED_OVER: ("expected to go over", "warn", AMBER),
    BudgetPhase.BURNING: ("spent too fast", "warn", AMBER),
    BudgetPhase.WITHIN: ("within", "good", BLUE),
}
"""The worst that is true of a budget, worst first: in words, its tag and its colour."""

AT_LIMIT: Mapping[str, str] = {
    AtLimit.ALERT: "somebody is told; nothing is held back",
    AtLimit.REFUSE_GROWTH: "no replica is added beyond the minimum",
    AtLimit.FORBID: "no replica is added on the variants or capacity that it forbids",
    AtLimit.CAP: "growth stops before it, at the rate that keeps it",
    "": "not told",
}
FAST, SLOW = ("1 h", "6 h"), ("1 d", "3 d")


def worst_first(budgets: Iterable[BudgetState]) -> list[BudgetState]:
    order = list(PHASES)
    return sorted(budgets, key=lambda one: (_place(order, one.state), -_used(one), one.name))


def _place(order: Sequence[str], state: str) -> int:
    return order.index(state) if state in order else len(order)


def _used(one: BudgetState) -> float:
    return one.spent_nanousd / one.limit_nanousd


def even_ratio(one: BudgetState, now: datetime) -> float:
    """The share of its period that has passed, which is what even spend would have used of it."""
    return min(1.0, max(0.0, (now - one.start) / (one.end - one.start)))


def budget_points(budgets: Sequence[BudgetState], now: datetime) -> list[Point]:
    return [_budget_point(one, now) for one in budgets]


def _budget_point(one: BudgetState, now: datetime) -> Point:
    p50, p90 = one.p50_nanousd, one.p90_nanousd
    known = p50 is not None and p90 is not None
    return {
        "name": one.name,
        "used": _used(one),
        "used_shown": f"{percent(_used(one))}: {money(one.spent_nanousd)} of {money(one.limit_nanousd)}",
        "even": even_ratio(one, now),
        "even_shown": f"{percent(even_ratio(one, now))} by now",
        "p50": None if p50 is None else p50 / one.limit_nanousd,
        "p90": None if p90 is None else p90 / one.limit_nanousd,
        "ahead_shown": f"{money(p50)} to {money(p90)} at its end" if known else UNKNOWN,
        "colour": PHASES.get(one.state, ("", "", BLUE))[2],
    }


def budget_table(budgets: Sequence[BudgetState], now: datetime) -> tuple[Heads, list[list[Cell]]]:
    """Heads and rows."""
    rows = [budget_row(one, now) for one in budgets]
    if any(one.at_limit for one in budgets):
        return BUDGET_HEADS, rows
    return BUDGET_HEADS[:-1], [row[:-1] for row in rows]


Heads = Sequence[tuple[str, str]]


def budget_row(one: BudgetState, now: datetime) -> list[Cell]:
    words, tag, _ = PHASES.get(one.state, (one.state, "", BLUE))
    even = round(one.limit_nanousd * even_ratio(one, now))
    return [
        Cell(text=one.name, sub=f"{scope_told(one)}, {_period(one)}", kind="pw-mid"),
        Cell(text=words, tag=tag, kind="pw-tight"),
        Cell(
            text=money(one.spent_nanousd),
            sub=f"{percent(_used(one))} of {card_money(one.limit_nanousd)}",
            kind="pw-num",
        ),
        Cell(text=card_money(even), sub=_against_even(one.spent_nanousd - even), kind="pw-num"),
        _expected(one),
        _speed(one, FAST, FAST_BURN),
        _speed(one, SLOW, SLOW_BURN),
        Cell(text=AT_LIMIT.get(one.at_limit, one.at_limit), kind="pw-mid"),
    ]


def scope_told(one: BudgetState) -> str:
    return "whole fleet" if one.scope == "fleet" else one.scope.replace("=", " ")


def _period(one: BudgetState) -> str:
    """Its last day, and how long it is."""
    last = one.end - INSTANT
    return f"{'week' if one.end - one.start <= 7 * DAY else 'month'} to {last.day} {last:%b}"


def _against_even(ahead: int) -> str:
    if not ahead:
        return "exactly as much was spent"
    return f"{card_money(abs(ahead))} {'more' if ahead > 0 else 'less'} was spent"


def _expected(one: BudgetState) -> Cell:
    if one.p50_nanousd is None or one.p90_nanousd is None:
        return Cell(text=UNKNOWN, why="a forecast takes some hours of accounts", kind="pw-num")
    tag = "warn" if one.p50_nanousd > one.limit_nanousd else ""
    ratio = percent(one.p50_nanousd / one.limit_nanousd)
    return Cell(
        text=card_money(one.p50_nanousd),
        sub=f"{ratio} of it; 9 in 10: at most {card_money(one.p90_nanousd)}",
        tag=tag,
        kind="pw-num",
    )


def _speed(one: BudgetState, windows: tuple[str, str], alarming: float) -> Cell:
    """Multiples of an even spend; too fast when both windows are above ``alarming``."""
    rates = [one.burn.get(window) for window in windows]
    if all(rate is None for rate in rates):
        return Cell(text=UNKNOWN, why=f"the accounts do not reach back {windows[0]}", kind="pw-num")
    too_fast = all(rate is not None and rate > alarming for rate in rates)
    told = " · ".join(UNKNOWN if rate is None else f"{rate:.1f}x" for rate in rates)
    return Cell(text=told, tag="warn" if too_fast else "", kind="pw-num")


def phases_counted(budgets: Iterable[BudgetState]) -> dict[str, int]:
    counts = dict.fromkeys(PHASES, 0)
    for one in budgets:
        counts[one.state] = counts.get(one.state, 0) + 1
    return counts


def newest_first(found: Iterable[Anomaly]) -> list[Anomaly]:
    """Those that go on before the others."""
    return sorted(found, key=lambda one: (one.ended is not None, -one.began.timestamp(), one.scope))


def anomaly_row(one: Anomaly) -> list[Cell]:
    hours = counted(one.hours, "hour")
    open_ = one.ended is None
    return [
        Cell(
            text=short_hour(one.began),
            sub=hours if open_ else f"{hours}, to {short_hour(one.ended or one.last)}",
            kind="pw-tight",
        ),
        Cell(text="goes on" if open_ else "ended", tag="bad" if open_ else "quiet", kind="pw-tight"),
        Cell(text="whole fleet" if one.scope == "fleet" else one.scope.replace("=", " "), kind="pw-tight"),
        Cell(text=signed(one.cost_nanousd), sub="so far" if open_ else "in all", kind="pw-num"),
        Cell(text=money(one.actual_nanousd), sub=f"expected {money(one.expected_nanousd)}", kind="pw-num"),
        _driver(one),
    ]


def _driver(one: Anomaly) -> Cell:
    if not one.driver:
        why = "it was not explained"
        return Cell(text=UNKNOWN, why=why, sub=why, kind="pw-wide")
    name, meaning = DRIVER_WORDS[one.driver]
    rest = ", ".join(f"{driver} {signed(amount)}" for driver, amount in one.by_driver.items())
    return Cell(text=f"{name}: {meaning}", sub=rest, kind="pw-wide")
