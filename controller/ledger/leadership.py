"""The fence: which daemon led when, and the refusal of whatever an earlier one still writes.

A daemon that was stopped or cut off does not know it: it may wake in the midst of a pass, long after another one began.
What it writes carries its epoch, and is refused in the same transaction once a higher one is recorded.
"""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import Connection, delete, insert, select, text

from controller.errors import LedgerError
from controller.facts.leadership import Term
from controller.ledger.claim import lock_number
from controller.ledger.tables import LeadershipRow, table

FENCE = "/fence"
"""Of the lock on PostgreSQL that a term begins under, and that everything fenced shares; no fleet can have it."""

STALLED = "5s"
"""A transaction in which nothing happens for so long is ended by PostgreSQL: its daemon was stopped in the midst of it,
and the next one waits for it. A guess: between two statements of a pass lie milliseconds."""


def newest_term(connection: Connection, fleet: str) -> Term | None:
    """The term of the highest epoch; None before the first."""
    columns = table(LeadershipRow).c
    newest = select(table(LeadershipRow)).where(columns.fleet == fleet).order_by(columns.epoch.desc()).limit(1)
    row = connection.execute(newest).mappings().first()
    return None if row is None else Term(epoch=row["epoch"], holder=row["holder"], since=row["since"])


def enter(connection: Connection, fleet: str, term: Term) -> None:
    """Record that ``term`` has begun; doing it twice is doing it once. LedgerError when it is not the newest."""
    _alone(connection, fleet)
    newest = newest_term(connection, fleet)
    if newest is not None and (newest.epoch, newest.holder) == (term.epoch, term.holder):
        return
    if newest is not None and newest.epoch >= term.epoch:
        raise LedgerError(_fenced(newest, term.epoch))
    row = {"fleet": fleet, "epoch": term.epoch, "holder": term.holder, "since": term.since}
    connection.execute(insert(table(LeadershipRow)), [row])


def enter_next(connection: Connection, fleet: str, term: Term) -> Term:
    """``term`` with the next free epoch, recorded. Its own epoch does not matter."""
    _alone(connection, fleet)
    newest = newest_term(connection, fleet)
    entered = Term(epoch=0 if newest is None else newest.epoch + 1, holder=term.holder, since=term.since)
    enter(connection, fleet, entered)
    return entered


def prove(connection: Connection, fleet: str) -> None:
    """Write something, and take it back: what can be read may lie on a full disk, or on a replica that takes no
    writes."""
    tried = {"fleet": f"{fleet}/{uuid4().hex}", "epoch": 0, "holder": "", "since": None}  # no fleet's name has a slash
    connection.execute(insert(table(LeadershipRow)), [tried])
    connection.execute(delete(table(LeadershipRow)).where(table(LeadershipRow).c.fleet == tried["fleet"]))


def check(connection: Connection, fleet: str, epoch: int | None) -> None:
    """Nobody leads after ``epoch``, nor begins to before this transaction ends. LedgerError otherwise.

    None: whoever writes has no epoch, because nobody can be in their place: commands and tests.
    """
    if epoch is None:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{STALLED}'"))
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": lock_number(fleet + FENCE)})
    newest = newest_term(connection, fleet)
    if newest is not None and newest.epoch > epoch:
        raise LedgerError(_fenced(newest, epoch))


def _alone(connection: Connection, fleet: str) -> None:
    """SQLite's writer already is, from BEGIN IMMEDIATE on."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock_number(fleet + FENCE)})


def _fenced(newest: Term, epoch: int) -> str:
    return f"fenced off: {newest}, this daemon's epoch was {epoch}; nothing was written"
