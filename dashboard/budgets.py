"""The page of what may be spent: every budget against its even spend and its forecast, and cost out of the ordinary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import streamlit as st

from controller.attribute.budgets import FAST_BURN, SLOW_BURN
from controller.facts.account_reader import BudgetState, Window
from controller.facts.budgets import BudgetPhase
from dashboard import look
from dashboard.accounts import MONEY_REFRESH_S, Books, Told, accounted
from dashboard.bars import budgets as budget_bars
from dashboard.budgeted import (
    ANOMALY_HEADS,
    anomaly_row,
    budget_points,
    budget_table,
    newest_first,
    phases_counted,
    worst_first,
)
from dashboard.formats import counted
from dashboard.look import Card

LOOKED_BACK = timedelta(days=30)
"""Anomalies of a month: older ones are in the books."""

EXAMPLE = """
account:
  budgets:
    - {name: fleet, monthly_usd: 20000}
    - {name: search, scope: {team: search}, monthly_usd: 12000, thresholds: [50%, 80%, 100%]}
    - {name: chat, scope: {service: chat}, weekly_usd: 5000, at_limit: refuse_growth}
"""
"""For the fleet file; at_limit is for budgets of one service or of the whole fleet."""


@st.fragment(run_every=MONEY_REFRESH_S)
def page() -> None:
    accounted("Budgets", _body)


def _body(books: Books, told: Told) -> None:
    found = worst_first(books.accounts.budgets(told.until))
    if found:
        st.html(look.cards(_cards(found)))
        _budgets(found, told)
    else:
        _how()
    _anomalies(books, told)


def _how() -> None:
    st.html(look.note("No budget is set.", "Write one in the fleet file; it counts from the period's first day on."))
    st.code(EXAMPLE.strip(), language="yaml")
    st.caption(
        "A budget can be of any team, tenant, feature, environment, service, variant or capacity type, or of the whole "
        "fleet. At its limit it can alert, refuse growth, forbid variants or capacity, or cap spending."
    )


def _cards(found: Sequence[BudgetState]) -> list[Card]:
    many = phases_counted(found)
    return [
        _card("Over the limit", found, BudgetPhase.OVER, many, "bad"),
        _card("Expected to go over", found, BudgetPhase.EXPECTED_OVER, many, "warn"),
        _card("Spent too fast", found, BudgetPhase.BURNING, many, "warn"),
        _card("Within", found, BudgetPhase.WITHIN, many, ""),
    ]


def _card(name: str, found: Sequence[BudgetState], phase: BudgetPhase, many: Mapping[str, int], tone: str) -> Card:
    mine = ", ".join(one.name for one in found if one.state == phase)
    return Card(
        label=name,
        value=f"{many[phase]} of {counted(len(found), 'budget')}",
        sub=mine,
        tone=tone if many[phase] else "",
    )


def _budgets(found: Sequence[BudgetState], told: Told) -> None:
    st.subheader("How much of each is spent, and what is expected", anchor=False)
    st.vega_lite_chart(budget_bars(budget_points(found, told.until)))
    st.caption(
        "Share of each budget. Bar: spent so far. Black mark: even spend by now. Pale band: expected at the period's "
        "end, from P50 (as likely more as less) to P90 (in nine of ten cases no more). Red line: the limit. Red bars "
        "are over it; amber ones are expected to go over, or are spent too fast."
    )
    heads, rows = budget_table(found, told.until)
    st.html(look.table(heads, rows) + look.unknowns(rows))
    st.caption(
        "Spent holds the idle and overhead of its scope. Speed: spend in the last hours or days as a multiple of an "
        "even spend: at 1.0x a budget is used up exactly at its period's end. Too fast: above "
        f"{FAST_BURN:g}x over both 1 and 6 hours, or above {SLOW_BURN:g}x over both 1 and 3 days."
    )


def _anomalies(books: Books, told: Told) -> None:
    """Left out where nobody looks for any."""
    if books.anomalies is None:
        return
    st.subheader("Cost out of the ordinary, in the last 30 days", anchor=False)
    found = newest_first(books.anomalies(Window(start=told.until - LOOKED_BACK, end=told.until)))
    if not found:
        said = "No hour cost much more or less than the same hours of the weeks before."
        st.html(look.note("None.", said))
        return
    going = sum(one.ended is None for one in found)
    said = "One goes on" if going == 1 else f"{going} go on" if going else "None goes on"
    st.html(look.table(ANOMALY_HEADS, [anomaly_row(one) for one in found]))
    st.caption(
        f"{said}. Expected: the median of the same hour of "
        "the weeks before. Driver: what moved it most, held against those hours."
    )
