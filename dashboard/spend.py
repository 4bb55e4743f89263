"""The page for whoever pays: what was spent, what will be, why it changed, by whom, and what a token costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from controller.attribute.unit_costs import Basis, by_kind, unit_costs, utilization
from controller.facts.account_reader import HOUR, AllocationRow, BudgetState, Dimension, SeatRow, Window
from controller.facts.missing import Missing
from controller.report.cells import Asked
from controller.report.query import Report, report
from dashboard import look
from dashboard.accounts import MONEY_REFRESH_S, Books, Told, accounted
from dashboard.bars import growing, stacked, waterfall
from dashboard.believed import UNATTRIBUTED_LIMIT
from dashboard.formats import UNKNOWN, counted, percent, short_hour
from dashboard.frame import ledger_url
from dashboard.look import Card
from dashboard.money import (
    DAY,
    PRICES,
    RECORDS,
    SPECIAL,
    Shown,
    Span,
    Spent,
    card_money,
    changed,
    day_told,
    days_told,
    label,
    money,
    signed,
    span,
    spent,
    split,
    unit_money,
    unpriced_told,
    whole_parts,
    whole_tokens,
)
from dashboard.priced import SAVING_HEADS, UNIT_HEADS, saving_row, unit_rows
from dashboard.spent import (
    BASES,
    DRIVER_WORDS,
    WHO_HEADS,
    Ahead,
    Days,
    Line,
    ahead,
    ahead_points,
    axis_from,
    by_day,
    day_points,
    fleet_budget,
    level_points,
    lines_by,
    step_points,
    steps_between,
    summed_points,
    topped,
    total,
    who_row,
)

HISTORY = 35 * DAY
"""What a forecast looks back on."""

BY = {
    Dimension.TEAM: "Team",
    Dimension.FEATURE: "Feature",
    Dimension.TENANT: "Tenant",
    Dimension.SERVICE: "Service",
    Dimension.VARIANT: "Variant",
}
ALL_TEAMS, ALL_SERVICES = "All teams", "All services"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What the whole page stands on, read once a minute. ``days``: of this period and all of the one before."""

    seats: Sequence[SeatRow]
    last: Spent
    found: Report
    days: Days
    hours: Sequence[AllocationRow]
    budgets: Sequence[BudgetState]


@st.fragment(run_every=MONEY_REFRESH_S)
def page() -> None:
    accounted("Spend", _body)


def _body(books: Books, told: Told) -> None:
    shown = st.segmented_control("Period", list(Shown), default=Shown.THIS_MONTH, key="spend_period")
    shown = Shown(shown or Shown.THIS_MONTH)
    over = span(shown, told.until)
    if told.first >= over.window.end:
        said = f"The accounts begin on {short_hour(told.first)} UTC; nothing is known of {days_told(over.window)}."
        st.html(look.note("Nothing is known of this period.", said))
        return
    seen = _picture(ledger_url(), over, told.until, books)
    budget = fleet_budget(seen.budgets, over.whole)
    due = _due(seen, over, told, budget) if shown.running else None
    st.html(look.cards(_cards(seen, shown, told, due, budget)))
    _warnings(seen, over, told)
    if spent(seen.seats).why:
        return
    _over_time(seen, over, due, budget)
    _why(seen, over, told)
    _who(books, over, unpriced=any(one.unpriced_us for one in seen.seats))
    _tokens(seen)


def _due(seen: Picture, over: Span, told: Told, budget: BudgetState | None) -> Ahead | Missing:
    if why := spent(seen.seats).why:
        return Missing("spend forecast", why)
    return ahead(seen.hours, told.until, over.whole.end, seen.found.total.cost_nanousd, budget)


@st.cache_data(ttl=MONEY_REFRESH_S, max_entries=8, show_spinner=False)
def _picture(ledger: str, over: Span, now: object, _books: Books) -> Picture:
    """``ledger`` and ``now`` name what was asked, for the cache."""
    asked = _books.accounts
    until = over.window.end
    return Picture(
        seats=tuple(asked.seats(over.window)),
        last=spent(asked.seats(over.last)),
        found=report(asked, over.window, over.last, Asked()),
        days=by_day(asked.lines(Window(start=over.before.start, end=until), (), {}, DAY)),
        hours=tuple(asked.lines(Window(start=until - HISTORY, end=until), (), {}, HOUR)),
        budgets=tuple(asked.budgets(until)),
    )


def _cards(
    seen: Picture, shown: Shown, told: Told, due: Ahead | Missing | None, budget: BudgetState | None
) -> list[Card]:
    over, whole = span(shown, told.until), spent(seen.seats)
    return [
        Card(
            label=f"Spent, {days_told(over.window)}",
            value=whole.told(),
            sub=f"to {short_hour(over.window.end)} UTC; idle and overhead are in it",
            why=whole.why,
        ),
        _last_card(seen, over, told, shown),
        _due_card(seen, over, due),
        _budget_card(budget, seen, due),
        _work_card(seen),
        _output_card(seen),
    ]


def _last_card(seen: Picture, over: Span, told: Told, shown: Shown) -> Card:
    name = f"The {shown.period} before, {days_told(over.last)}"
    if told.first >= over.last.end:
        return Card(label=name, value=UNKNOWN, why=f"the accounts begin on {short_hour(told.first)}")
    if seen.last.why:
        return Card(label=name, value=UNKNOWN, why=seen.last.why)
    part = f"; known from {short_hour(told.first)} only" if told.first > over.last.start else ""
    moved = changed(seen.found.total.cost_nanousd, seen.last.nanousd, card_money)
    return Card(label=name, value=card_money(seen.last.nanousd), sub=f"now {moved}{part}")


def _due_card(seen: Picture, over: Span, due: Ahead | Missing | None) -> Card:
    if due is None and spent(seen.seats).why:
        return Card(label="A day, on average", value=UNKNOWN, why=spent(seen.seats).why)
    if due is None:
        days = max(1, (over.window.end - over.window.start) // DAY)
        return Card(label="A day, on average", value=card_money(seen.found.total.cost_nanousd // days))
    name = f"Expected by the end of {day_told(over.whole.end - DAY)}"
    if isinstance(due, Missing):
        return Card(label=name, value=UNKNOWN, why=due.why)
    return Card(
        label=name,
        value=card_money(due.p50),
        sub=f"as likely more as less (P50); 9 in 10: at most {card_money(due.p90)}",
    )


def _budget_card(budget: BudgetState | None, seen: Picture, due: Ahead | Missing | None) -> Card:
    if budget is None:
        parts = counted(len(seen.budgets), "budget")
        more = f"{parts} of parts of it: see Budgets" if seen.budgets else "see Budgets for how to set one"
        return Card(label="Budget of the fleet", value="none set", sub=more)
    used = percent(budget.spent_nanousd / budget.limit_nanousd)
    expected = f", {percent(due.p50 / budget.limit_nanousd)} expected" if isinstance(due, Ahead) else ""
    return Card(label="Budget of the fleet", value=card_money(budget.limit_nanousd), sub=f"{used} spent{expected}")


def _work_card(seen: Picture) -> Card:
    parts = whole_parts(seen.seats)
    ratio, halves = utilization(by_kind(parts)), split(parts)
    if isinstance(ratio, Missing):
        return Card(label="Share that bought work", value=UNKNOWN, why=ratio.why)
    sub = f"idle {card_money(halves.idle)}, overhead {card_money(halves.overhead)}"
    return Card(label="Share that bought work", value=percent(float(ratio)), sub=sub)


def _output_card(seen: Picture) -> Card:
    unit = unit_costs(by_kind(whole_parts(seen.seats)), whole_tokens(seen.seats), Basis.ALLOCATION).output
    if isinstance(unit, Missing):
        return Card(label="Per 1M output tokens", value=UNKNOWN, why=unit.why)
    return Card(label="Per 1M output tokens", value=unit_money(float(unit)), sub="with its idle and overhead")


def _warnings(seen: Picture, over: Span, told: Told) -> None:
    notes = []
    if told_of := unpriced_told(seen.seats):
        notes.append(look.note("Price unknown:", f"{told_of}. {PRICES}", "warn"))
    lost = seen.found.unattributed
    if not isinstance(lost, Missing) and lost > UNATTRIBUTED_LIMIT:
        said = f"{percent(float(lost))} of the work's cost is explained by no usage record: see Accounting."
        notes.append(look.note("Unattributed.", said, "warn"))
    if said := _bills(seen):
        notes.append(look.note("Bills differ from our estimates:", said))
    if over.window.start < told.first < over.window.end:
        said = f"The accounts begin on {short_hour(told.first)} UTC; what was spent before is in no number here."
        notes.append(look.note("Not from the beginning.", said))
    if notes:
        st.html("".join(notes))


def _bills(seen: Picture) -> str:
    costs: dict[str, int] = {}
    for (_, cost), amount in seen.found.adjustments.items():
        costs[cost] = costs.get(cost, 0) + amount
    told = ", ".join(f"{cost} cost {signed(amount)}" for cost, amount in sorted(costs.items()) if amount)
    return f"{told}. These adjustments are in no number here." if told else ""


def _over_time(seen: Picture, over: Span, due: Ahead | Missing | None, budget: BudgetState | None) -> None:
    st.subheader("Spent so far, and what is expected" if due else "Spent, day by day", anchor=False)
    this, last = summed_points(seen.days, over.window), summed_points(seen.days, over.before)
    length = max((over.whole.end - over.whole.start) / DAY, (over.before.end - over.before.start) / DAY)
    coming = ahead_points(due, over, seen.found.total.cost_nanousd) if isinstance(due, Ahead) else []
    level = level_points(budget.limit_nanousd, over) if budget else []
    names = (f"this period ({days_told(over.window)})", f"the one before ({days_told(over.before)})")
    st.vega_lite_chart(growing(this, last, coming, level, names, int(length)))
    said = "Dollars since the first day of the period (UTC), idle and overhead included."
    if isinstance(due, Ahead):
        said += f" Expected from {BASES.get(due.basis, due.basis)}; in nine of ten cases no more than P90."
    elif isinstance(due, Missing):
        said += f" Nothing can be expected yet: {due.why}."
    st.caption(said)


def _why(seen: Picture, over: Span, told: Told) -> None:
    st.subheader("Why it is not what it was", anchor=False)
    if told.first >= over.last.end or not seen.last.nanousd:
        said = f"Nothing is known to have been spent from {days_told(over.last)}: there is nothing to compare with yet."
        st.html(look.note("No comparison.", said))
        return
    bridge = seen.found.total.bridge
    steps = steps_between(bridge, seen.last.nanousd, (days_told(over.last), days_told(over.window)))
    axis = axis_from(steps)
    st.vega_lite_chart(waterfall(step_points(steps, axis), axis / 1e9))
    begins = f" The axis begins at {money(axis)}, so that the changes can be seen." if axis > 0 else ""
    if told.first > over.last.start:
        begins += f" The period before is known from {short_hour(told.first)} on only."
    words = "; ".join(f"{name}: {meaning}" for name, meaning in DRIVER_WORDS.values())
    st.caption(f"{words}. The four add up to the difference to the last nanodollar.{begins}")


def _who(books: Books, over: Span, *, unpriced: bool) -> None:
    st.subheader("Who and what it was spent on", anchor=False)
    where = _filters(books, over, st.columns([2, 2, 4]))
    usual = Dimension.FEATURE if Dimension.TEAM in where else Dimension.TEAM
    by = st.segmented_control("By", list(BY), format_func=BY.__getitem__, default=usual, key="spend_by") or usual
    dims = tuple(dict.fromkeys((Dimension.TEAM, by)))
    accounts = books.accounts
    lines = lines_by(accounts.lines(over.window, dims, where), accounts.lines(over.last, dims, where), by)
    if not lines:
        st.html(look.note("Nothing was spent on this.", "Choose another team or service above."))
        return
    days = by_day(accounts.lines(over.window, (), where, DAY))
    st.vega_lite_chart(stacked(day_points(days)))
    st.caption(
        "Dollars a day (UTC), by what they bought. Work: tokens were computed. Idle: ready and unused. "
        "Overhead: starting, draining, swapping, interrupted."
    )
    _table(lines, by, where, unpriced=unpriced)


def _table(lines: Sequence[Line], by: Dimension, where: Mapping[Dimension, str], *, unpriced: bool) -> None:
    whole = total(lines)
    shown = [*topped(lines), *([whole] if len(lines) > 1 else [])]
    link = _link(by, where)
    compared = bool(whole.last)
    rows = [who_row(one, whole.this.cost, link, unpriced=unpriced, compared=compared) for one in shown]
    st.html(look.table(((BY[by], ""), *WHO_HEADS), rows))
    if not where and all(one.special or not one.value for one in lines) and by is Dimension.TEAM:
        st.html(look.note("No usage record says who asked.", RECORDS))
    st.caption(
        "Against: the same days of the period before. Requests and tokens: as usage records tell them, which split the "
        "cost and never set it; unattributed: what the engines counted beyond."
    )


def _filters(books: Books, over: Span, places: Sequence[DeltaGenerator]) -> dict[Dimension, str]:
    where: dict[Dimension, str] = {}
    every_one = {Dimension.TEAM: ALL_TEAMS, Dimension.SERVICE: ALL_SERVICES}
    for place, (dim, every) in zip(places, every_one.items(), strict=False):
        known = _values(books, over, dim)
        asked = st.query_params.get(str(dim), "")
        first = known.index(asked) + 1 if asked in known else 0
        names = {"": every, **{one: label(one, dim) for one in known}}
        picked = place.selectbox(BY[dim], list(names), index=first, format_func=names.__getitem__, key=f"spend_{dim}")
        if picked:
            where[dim] = picked
    return where


def _values(books: Books, over: Span, dim: Dimension) -> list[str]:
    """What there is to choose, the dearest first; the lines that are no team's last."""
    costs: dict[str, int] = {}
    for row in books.accounts.lines(over.window, (dim,), {}):
        value = row.identity.team if dim is Dimension.TEAM else row.pool.service if row.pool else ""
        costs[value] = costs.get(value, 0) + sum(row.parts)
    return sorted((one for one in costs if one), key=lambda one: (one in SPECIAL, -costs[one], one))


def _link(by: Dimension, where: Mapping[Dimension, str]) -> Callable[[str], str]:
    """Where a name in the table leads: the same page, of it alone."""

    def leads(value: str) -> str:
        if not value or by not in (Dimension.TEAM, Dimension.SERVICE):
            return ""
        return "spend?" + urlencode({str(dim): one for dim, one in {**where, by: value}.items()})

    return leads


def _tokens(seen: Picture) -> None:
    st.subheader("What tokens truly cost, by service and variant", anchor=False)
    if rows := unit_rows(seen.seats):
        st.html(look.table(UNIT_HEADS, rows))
        st.caption(
            "Dollars per million tokens as the engines counted them, idle and overhead included: these are the numbers "
            "to hold against the price of a bought token. Work alone: what it would be on a fleet that is never idle."
        )
    else:
        st.html(look.note("No service.", "Nothing served in this period."))
    st.subheader("What was saved", anchor=False)
    dearest = sorted((one for one in seen.found.savings if one.nanousd), key=lambda one: -one.nanousd)
    if not dearest:
        said = "It takes an hour with cached prompt tokens, and a variant whose capacity is known."
        st.html(look.note("No saving is known.", said))
        return
    st.html(look.table(SAVING_HEADS, [saving_row(one) for one in dearest]))
    st.caption("Estimates, each against the baseline that it names; they overlap, and are in no sum on this page.")
