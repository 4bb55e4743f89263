"""The last page: every decision with its sentence, its numbers, its money and what became of it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from controller.facts.decisions import Because, Decision, OutcomeKind
from controller.ledger.queries import RecordedDecision
from controller.ledger.read import LedgerReader
from dashboard import look
from dashboard.clock import Clock
from dashboard.formats import short_moment, words
from dashboard.frame import REFRESH_S, framed
from dashboard.look import Cell
from dashboard.shaping import decisive_numbers, money_change

EVERY = "All services"
LOOKED_AT = 5_000
"""The newest decisions that the reason filter searches. A guess: some days of moves, some hours of holds."""

SHOWN = (50, 200, 1_000)

TONES = {
    OutcomeKind.DONE: "good",
    OutcomeKind.ALREADY: "good",
    OutcomeKind.ADVISED: "busy",
    OutcomeKind.REFUSED: "warn",
    OutcomeKind.FAILED: "bad",
    OutcomeKind.UNKNOWN: "warn",
}

HEADS = (
    ("At (UTC)", ""),
    ("Service", ""),
    ("Decision", ""),
    ("Reason, and the numbers that decided", "pw-wide"),
    ("Cost, before → after", "pw-num"),
    ("Outcome", "pw-mid"),
)


@st.fragment(run_every=REFRESH_S)
def page() -> None:
    framed("Decision log", _body)


def _body(reader: LedgerReader, _clock: Clock) -> None:
    left, middle, right, most = st.columns([2, 4, 2, 1.4], vertical_alignment="bottom")
    service = left.selectbox("Service", [EVERY, *reader.services()], key="log_service")
    reasons = middle.multiselect(
        "Reasons", list(Because), format_func=words, placeholder="Every reason", key="log_reasons"
    )
    moves_only = right.toggle("Moves only", value=True, key="log_moves", help="Leaves out decisions that hold.")
    limit = most.selectbox("Show at most", SHOWN, key="log_most")
    found = reader.decisions(
        None if service == EVERY else service,
        limit=LOOKED_AT if reasons else limit,
        moves_only=moves_only,
    )
    chosen = [one for one in found if not reasons or one.decision.because in reasons][:limit]
    if not chosen:
        st.html(look.note("No decision to show.", _why_none(moves_only, reasons)))
        return
    st.html(look.table(HEADS, [_row(one) for one in chosen]))
    if len(chosen) == limit:
        st.caption(f"The newest {limit}; there may be older ones.")


def _why_none(moves_only: bool, reasons: Sequence[Because]) -> str:
    if moves_only:
        return "Nothing moved; switch off “Moves only” to see why everything was held."
    return "None has these reasons." if reasons else "None was recorded yet: in mode observe nothing is decided."


def _row(one: RecordedDecision) -> list[Cell]:
    made = one.decision
    return [
        Cell(text=short_moment(made.at), kind="pw-tight"),
        Cell(text=made.service, link=f"service?service={made.service}", sub=made.variant, kind="pw-name"),
        _change(made),
        Cell(text=f"{words(made.because)}: {made.detail}", sub=decisive_numbers(one), kind="pw-wide"),
        Cell(text=money_change(one), kind="pw-num pw-fold"),
        _outcome(one),
    ]


def _change(made: Decision) -> Cell:
    if made.holds:
        return Cell(text=f"hold at {made.current}", tag="quiet", kind="pw-tight")
    if made.change:
        return Cell(text=f"⟳ {made.change}", tag="busy", sub=f"{made.current} replicas", kind="pw-tight")
    arrow, tone = ("▲", "busy") if made.desired > made.current else ("▼", "good")
    removed = f"removes {', '.join(made.victims)}" if made.victims else ""
    return Cell(text=f"{arrow} {made.current} → {made.desired}", tag=tone, sub=removed, kind="pw-mid")


def _outcome(one: RecordedDecision) -> Cell:
    if one.decision.holds:
        return Cell(text="nothing to do")
    if one.outcome is None:
        return Cell(text="not known yet", tag="warn", sub=f"mode {one.mode}")
    return Cell(text=str(one.outcome.kind), tag=TONES[one.outcome.kind], sub=one.outcome.detail)
