"""Months that are closed: what is posted to them from then on is a correction, and their costs stay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from controller.errors import LedgerError
from controller.ledger.accounts import bulk
from controller.ledger.accounts.billed_tables import BillingPeriodRow
from controller.ledger.accounts.hours import hour_of, shown
from controller.ledger.accounts.states import MONTH, settled_through
from controller.ledger.engine import writer_engine
from controller.ledger.tables import table
from controller.ledger.upsert import insert_new

THEN = "the month is as open as it was"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """``before``: it was closed already, then and by whom it says."""

    month: str
    at: datetime
    by: str
    before: bool = False


def close(url: str, month: datetime, by: str, now: datetime) -> Closed:
    """Closes the month that begins at ``month``. LedgerError before its last hour is settled; then nothing changes."""
    name, following = f"{month:{MONTH}}", (month + timedelta(days=32)).replace(day=1)
    engine = writer_engine(url)
    try:
        with bulk.writing(engine, f"close {name}", THEN) as connection:
            _settled(connection, name, following)
            row = {"month": name, "closed_at": now, "closed_by": by}
            new = insert_new(connection, BillingPeriodRow, row)
            found = next(one for one in _months(connection) if one.month == name)
    finally:
        engine.dispose()
    return Closed(month=name, at=found.at, by=found.by, before=not new)


def closed(url: str) -> tuple[Closed, ...]:
    """Every month that is, the oldest first."""
    engine = writer_engine(url)
    try:
        with bulk.writing(engine, "read the closed months", "nothing was changed") as connection:
            return tuple(_months(connection))
    finally:
        engine.dispose()


def _settled(connection: Connection, name: str, end: datetime) -> None:
    through, last = settled_through(connection), hour_of(end) - 1
    if through is None or through < last:
        how_far = "none of its hours is" if through is None else f"the accounts are settled through {shown(through)}"
        raise LedgerError(f"{name} cannot be closed before its last hour is settled: {how_far}; {THEN}")


def _months(connection: Connection) -> list[Closed]:
    rows = table(BillingPeriodRow)
    return [
        Closed(month=row["month"], at=row["closed_at"], by=row["closed_by"])
        for row in connection.execute(select(rows).order_by(rows.c.month)).mappings()
    ]
