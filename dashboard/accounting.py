"""The page for whoever has to believe the numbers: what is explained, settled and tied together, and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from controller.facts.account_reader import AllocationRow, CommitmentUse, Dimension, SeatRow
from dashboard import look
from dashboard.accounts import MONEY_REFRESH_S, Books, Told, accounted
from dashboard.bars import KIND_COLOURS, costs, ratios
from dashboard.believed import (
    COVERED_HEADS,
    EXPLAINED_TOO_MUCH,
    SOURCE_HEADS,
    UNATTRIBUTED_LIMIT,
    WASTE_HEADS,
    Covered,
    covered,
    covered_row,
    difference,
    hours_in,
    source_row,
    together,
    unattributed_days,
    waste,
    waste_points,
    waste_row,
)
from dashboard.bought import COMMITMENT_HEADS, COST_HEADS, commitment_row, costs_row, four_costs
from dashboard.formats import UNKNOWN, counted, percent, short_hour
from dashboard.frame import ledger_url
from dashboard.look import Card
from dashboard.money import (
    DAY,
    PRICES,
    RECORDS,
    Shown,
    Span,
    card_money,
    days_told,
    hours_told,
    money,
    share,
    span,
    split,
    unpriced_told,
    whole_parts,
)

LIMIT = f"{UNATTRIBUTED_LIMIT * 100:g} %"
FOUR = (
    "List: the public price. Contracted: the negotiated one. Effective: what it truly cost, fees of commitments spread "
    "over their time; every other number on these pages. Billed: what the invoice of the period says. "
    "Saved against list: (list - effective) / list."
)
"""As FOCUS defines them."""

NOTHING_PRICED = "Nothing for which a price is known was spent in this period."
ASK = "Whoever calls these services sends no usage records, or only of some requests."


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What the page stands on, read once a minute. ``rows`` by team and service, ``days`` by team and day."""

    seats: Sequence[SeatRow]
    rows: Sequence[AllocationRow]
    days: Sequence[AllocationRow]
    commitments: Sequence[CommitmentUse]
    unsettled: int


@st.fragment(run_every=MONEY_REFRESH_S)
def page() -> None:
    accounted("Accounting: can it be believed?", _body)


def _body(books: Books, told: Told) -> None:
    shown = st.segmented_control("Period", list(Shown), default=Shown.THIS_MONTH, key="accounting_period")
    over = span(Shown(shown or Shown.THIS_MONTH), told.until)
    if told.first >= over.window.end:
        said = f"The accounts begin on {short_hour(told.first)} UTC; nothing is known of {days_told(over.window)}."
        st.html(look.note("Nothing is known of this period.", said))
        return
    seen = _picture(ledger_url(), over, told.until, books)
    found = covered(seen.seats, seen.rows)
    st.html(look.cards(_cards(seen, found, over, told)))
    _problems(seen, found)
    _unattributed(seen, found)
    _waste(seen)
    _costs(seen)
    _commitments(seen)
    _sources(books, told)
    _proof(seen)


@st.cache_data(ttl=MONEY_REFRESH_S, max_entries=8, show_spinner=False)
def _picture(ledger: str, over: Span, now: object, _books: Books) -> Picture:
    """``ledger`` and ``now`` name what was asked, for the cache."""
    asked, window = _books.accounts, over.window
    return Picture(
        seats=tuple(asked.seats(window)),
        rows=tuple(asked.lines(window, (Dimension.TEAM, Dimension.SERVICE), {})),
        days=tuple(asked.lines(window, (Dimension.TEAM,), {}, DAY)),
        commitments=tuple(asked.commitments(window)),
        unsettled=asked.open_hours(window),
    )


def _cards(seen: Picture, found: Sequence[Covered], over: Span, told: Told) -> list[Card]:
    return [
        _lost_card(together(found)),
        _explained_card(together(found)),
        _hours_card(seen, over, told),
        *_waste_cards(seen),
        _unpriced_card(seen),
    ]


def _lost_card(whole: Covered) -> Card:
    name = "Unattributed, of the work's cost"
    if whole.work <= 0:
        return Card(label=name, value=UNKNOWN, why="no work was paid for in this period")
    line = "under" if whole.lost <= UNATTRIBUTED_LIMIT * whole.work else "over"
    sub = f"{card_money(whole.lost)}; {line} the line of {LIMIT}"
    tone = "warn" if line == "over" else ""
    return Card(label=name, value=percent(whole.lost / whole.work), sub=sub, tone=tone)


def _explained_card(whole: Covered) -> Card:
    name = "Tokens explained by records"
    if whole.ratio is None:
        return Card(label=name, value=UNKNOWN, why="the engines counted no token in this period")
    return Card(label=name, value=percent(whole.ratio), sub="of those that the engines counted")


def _hours_card(seen: Picture, over: Span, told: Told) -> Card:
    hours = hours_in(over.window, told.first, told.until, seen.unsettled, told.settled_until)
    still = f"{counted(hours.open, 'hour')} open: late records may still move cost" if hours.open else "none is open"
    return Card(label="Hours settled", value=f"{hours.ended - hours.open:,} of {hours.ended:,}", sub=still)


def _waste_cards(seen: Picture) -> list[Card]:
    whole = split(whole_parts(seen.seats))
    if whole.cost <= 0:
        why = "nothing with a price was spent in this period"
        return [Card(label=name, value=UNKNOWN, why=why) for name in ("Idle", "Overhead")]
    return [
        Card(label=f"{name}, of all cost", value=share(amount, whole.cost), sub=f"{card_money(amount)}; {words}")
        for name, amount, words in (
            ("Idle", whole.idle, "ready and unused"),
            ("Overhead", whole.overhead, "starting, draining, lost"),
        )
    ]


def _unpriced_card(seen: Picture) -> Card:
    unpriced = sum(one.unpriced_us for one in seen.seats)
    sub = "its cost is in no number here" if unpriced else "every replica has a price"
    tone = "warn" if unpriced else ""
    return Card(label="Time without a price", value=hours_told(unpriced) if unpriced else "none", sub=sub, tone=tone)


def _problems(seen: Picture, found: Sequence[Covered]) -> None:
    notes = []
    if found and not any(one.logged for one in found):
        notes.append(look.note("No usage record came in this period.", RECORDS, "warn"))
    elif dark := [one for one in found if one.lost > UNATTRIBUTED_LIMIT * one.work]:
        said = ", ".join(f"{one.service} {percent(one.lost / one.work)} ({money(one.lost)})" for one in dark)
        notes.append(look.note(f"Over the line of {LIMIT}:", f"{said}. {ASK}", "warn"))
    for one in found:
        if one.ratio is not None and one.ratio > EXPLAINED_TOO_MUCH:
            said = (
                f"records tell of {one.logged:,} tokens and the engines counted {one.engine:,}. They may be of another "
                "fleet, or two sources may tell of the same requests. The cost is split exactly all the same."
            )
            notes.append(look.note(f"{one.service}:", said, "warn"))
    if told_of := unpriced_told(seen.seats):
        notes.append(look.note("Price unknown:", f"{told_of}. {PRICES}", "warn"))
    if notes:
        st.html("".join(notes))


def _unattributed(seen: Picture, found: Sequence[Covered]) -> None:
    st.subheader("Work that no usage record explains, day by day", anchor=False)
    points = unattributed_days(seen.days)
    if not points:
        st.html(look.note("No work.", "No replica computed a token for which a price is known in this period."))
    else:
        st.vega_lite_chart(ratios(points, UNATTRIBUTED_LIMIT))
        st.caption(
            f"Share of the cost of work, by day (UTC); idle and overhead are in neither side of it. Red line: {LIMIT}; "
            "above it a person must look."
        )
    if found:
        rows = [covered_row(one) for one in found]
        rows += [covered_row(together(found))] if len(found) > 1 else []
        st.html(look.table(COVERED_HEADS, rows) + look.unknowns(rows))
        st.caption("Tokens: prompt, cached prompt and output tokens together.")


def _waste(seen: Picture) -> None:
    st.subheader("Where money went that bought no token", anchor=False)
    found, whole = waste(seen.seats), sum(whole_parts(seen.seats))
    if not whole:
        st.html(look.note("Unknown.", NOTHING_PRICED))
        return
    if not any(amount for _, amount in found):
        st.html(look.note("Nothing.", "All that was spent in this period, as far as prices are known, bought work."))
        return
    st.vega_lite_chart(costs(waste_points(found), {one: KIND_COLOURS[one] for one in ("idle", "overhead")}))
    st.html(look.table(WASTE_HEADS, [waste_row(part, amount, whole) for part, amount in found if amount]))


def _costs(seen: Picture) -> None:
    st.subheader("The four costs, by how capacity was bought", anchor=False)
    if not seen.seats:
        st.html(look.note("Nothing was bought.", "No replica ran in this period."))
        return
    rows = [costs_row(one) for one in four_costs(seen.seats)]
    st.html(look.table(COST_HEADS, rows) + look.unknowns(rows))
    st.caption(FOUR)


def _commitments(seen: Picture) -> None:
    st.subheader("Commitments", anchor=False)
    if not seen.commitments:
        said = "Reserved instances, savings plans, capacity blocks and own hardware are told in the fleet file."
        st.html(look.note("None.", said))
        return
    dearest = sorted(seen.commitments, key=lambda one: -one.amortised_nanousd)
    rows = [commitment_row(one) for one in dearest]
    st.html(look.table(COMMITMENT_HEADS, rows) + look.unknowns(rows))
    st.caption(
        "Cost: the period's part of it, upfront fees spread over the term. Utilisation: the share of it that was used. "
        "Coverage: the share that it covers of all usage that it could, at on-demand prices. Saves: the covered usage "
        "on demand, less the whole commitment; below zero it lost money. Effective savings rate: that, of all usage "
        "that it could have covered."
    )


def _sources(books: Books, told: Told) -> None:
    st.subheader("Where usage records come from", anchor=False)
    found = books.sources()
    if not found:
        st.html(look.note("No source.", RECORDS))
        return
    st.html(look.table(SOURCE_HEADS, [source_row(one, told.until) for one in found]))
    st.caption(
        "Since the ledger began. Duplicates were told before and count once. Refused: too old, from the future, of a "
        "service that nobody knows, or not to be read."
    )


def _proof(seen: Picture) -> None:
    st.subheader("Does it balance?", anchor=False)
    off = difference(seen.seats, seen.rows)
    cost = sum(one.effective_nanousd for one in seen.seats)
    if not cost and not off:
        st.html(look.note("There is nothing to balance.", NOTHING_PRICED))
        return
    if off:
        said = (
            f"the capacity cost {money(cost)}, and what was handed to teams, idle and overhead differs by {off:+,} "
            "nanodollars. pennyweight ledger verify says in which hours."
        )
        st.html(look.note("It does not balance:", said, "bad"))
        return
    said = (
        f"The {money(cost)} that the capacity cost in this period are what was handed to teams, idle and overhead, to "
        "the nanodollar. pennyweight ledger verify proves it for every hour, pool and identity of the ledger."
    )
    st.html(look.note("It balances.", said))
