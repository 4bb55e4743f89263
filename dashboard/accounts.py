"""What the pages about money stand on: the ledger's accounts, opened once, and the time up to which they tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import streamlit as st

from controller.facts.account_reader import AccountReader, Statics, Window
from controller.facts.budgets import Anomaly
from controller.ledger.accounts.read import AccountReader as AccountTables
from controller.ledger.accounts.reader import LedgerAccounts
from controller.ledger.accounts.rows import SourceState
from controller.ledger.accounts.standing import Standing, standing
from controller.ledger.read import LedgerReader
from dashboard import look
from dashboard.clock import Clock
from dashboard.formats import short_hour
from dashboard.frame import framed, ledger_url

MONEY_REFRESH_S = 60.0
"""How often a page about money asks again: hours are accounted by the hour, and a month's questions take a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What a page may ask.

    standing    how far the accounts are
    sources     where usage records come from
    anomalies   those of which an hour is in the window; None: nobody looks for any
    """

    accounts: AccountReader
    standing: Callable[[], Standing]
    sources: Callable[[], Sequence[SourceState]]
    anomalies: Callable[[Window], Sequence[Anomaly]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The time in which the accounts speak.

    first           the first hour that they know
    until           to where they tell: the moment that a page calls now
    settled_until   up to where nothing changes any more but by corrections; None: nothing is settled yet
    """

    first: datetime
    until: datetime
    settled_until: datetime | None


Body = Callable[[Books, Told], None]


def accounted(title: str, body: Body) -> None:
    """A page about money: the head, then ``body``; or what to do while no hour is accounted."""
    framed(title, partial(_accounted, body))


def _accounted(body: Body, _reader: LedgerReader, clock: Clock) -> None:
    books = open_books(ledger_url())
    found = books.standing()
    if found.first is None or found.until is None:
        st.html(look.note("No hour is accounted yet.", _why_none(found)))
        return
    told = Told(first=found.first, until=min(clock.now, found.until), settled_until=found.settled_until)
    st.html(look.when(_told_until(told)))
    body(books, told)


def _told_until(told: Told) -> str:
    settled = f"settled to {short_hour(told.settled_until)}" if told.settled_until else "no hour settled yet"
    return f"Accounts from {short_hour(told.first)} to {short_hour(told.until)} UTC, {settled}"


def _why_none(found: Standing) -> str:
    if not found.measured:
        return "No replica was measured yet: money is accounted once pennyweight run sees one."
    return (
        "Replicas are measured and priced by the minute; the first full hour of them is accounted some minutes after "
        "its end. This page fills itself."
    )


@st.cache_resource(show_spinner=False)
def open_books(url: str) -> Books:
    """Without the fleet file, rows do not say which GPU or model they are of; no page needs it."""
    accounts = LedgerAccounts(url, Statics())
    return Books(
        accounts=accounts,
        standing=partial(standing, url),
        sources=AccountTables(url).sources,
        anomalies=accounts.anomalies,
    )
