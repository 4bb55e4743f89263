"""What every page shares: the ledger it reads, the clock, and a friendly page when there is nothing to read yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import streamlit as st

from controller.documents import sentence
from controller.errors import LedgerError
from controller.facts.safety import Stop
from controller.ledger.read import LedgerReader
from dashboard import look
from dashboard.clock import Clock, clock

LEDGER_VARIABLE = "PENNYWEIGHT_LEDGER"
DEFAULT_LEDGER = "sqlite:///pennyweight.db"

REFRESH_S = 5.0
"""How often a page asks again. A guess: the demo's passes are about as far apart, and asking costs milliseconds."""

NEXT_STEPS = f"""
**What to do next**

- Try it without any GPU: `make demo` starts an emulated fleet, and this dashboard with it.
- Measure your own fleet: `pennyweight run --fleet fleet.yaml`. Its ledger is what `ledger:` names there.
- The dashboard reads the ledger that the environment variable `{LEDGER_VARIABLE}` names
  (default `{DEFAULT_LEDGER}`, in the folder it was started from).

This page looks again every few seconds and fills itself.
"""

Body = Callable[[LedgerReader, Clock], None]


def framed(title: str, body: Body) -> None:
    """A page: the head, then ``body``, or what to do when there is no ledger to read."""
    st.html(look.CSS)
    st.title(title, anchor=False)
    try:
        reader = _reader(ledger_url())
        last = reader.last_pass()
        if last is None:
            _nothing("The ledger is there, and no pass has been recorded in it yet.")
            return
        time = clock(last.at, _wall())
        st.html(look.when(time.shown))
        if time.warning:
            st.html(look.note("Stale.", time.warning, "warn"))
        if banner := stopped(reader.stops(), time.now):
            st.html(banner)
        body(reader, time)
    except LedgerError as error:
        _nothing(sentence(f"The ledger could not be read: {error}"))


def stopped(stops: Sequence[Stop], now: datetime) -> str:
    """A loud note for each stop that is on: who, since when, why, and what lifts it. On every page."""
    return "".join(
        look.note("STOPPED.", f"{one}. Nothing of it is touched; lifted by: {one.lift}", "bad")
        for one in stops
        if one.holds(now)
    )


def ledger_url() -> str:
    """The ledger that the pages read."""
    return os.environ.get(LEDGER_VARIABLE) or DEFAULT_LEDGER


def _nothing(what: str) -> None:
    st.html(look.note("Nothing to show yet.", what))
    st.markdown(NEXT_STEPS)


@st.cache_resource(show_spinner=False)
def _reader(url: str) -> LedgerReader:
    return LedgerReader(url)


def _wall() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the outermost shell: compared with the ledger's own time, see clock.py
