"""How far the accounts are: what to tell somebody who asks and finds nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, func, make_url, select

from controller.errors import LedgerError
from controller.ledger.accounts import bulk
from controller.ledger.accounts.hours import time_of
from controller.ledger.accounts.states import settled_through
from controller.ledger.accounts.tables import HourStateRow, UsageHourRow
from controller.ledger.engine import reader_engine
from controller.ledger.tables import ReplicaMinuteRow, table


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Of one ledger.

    measured        whether any replica was ever measured
    first, until    the hours that were accounted, from the start of the first to the end of the last; None: none were
    settled_until   up to where they are settled
    """

    measured: bool
    first: datetime | None = None
    until: datetime | None = None
    settled_until: datetime | None = None


def standing(url: str) -> Standing:
    """Raises LedgerError where there is no ledger with accounts; it says what to do."""
    path = make_url(url).database if url.startswith("sqlite") else None
    if path and not Path(path).exists():
        raise LedgerError(
            f"there is no ledger at {path} yet: `pennyweight run` makes it, and accounts every hour after its end"
        )
    engine = reader_engine(url)
    try:
        with bulk.reading(engine) as connection:
            return _standing(connection)
    finally:
        engine.dispose()


def newest_records(url: str) -> dict[str, datetime]:
    """By source the newest hour that one of its records touches, by its start. Raises LedgerError."""
    hours = table(UsageHourRow).c
    engine = reader_engine(url)
    try:
        with bulk.reading(engine) as connection:
            newest = select(hours.source, func.max(hours.hour)).group_by(hours.source)
            return {source: time_of(hour) for source, hour in connection.execute(newest)}
    finally:
        engine.dispose()


def _standing(connection: Connection) -> Standing:
    hours, through = table(HourStateRow).c.hour, settled_through(connection)
    first, last = connection.execute(select(func.min(hours), func.max(hours))).one()
    if first is None:
        minute = connection.scalar(select(table(ReplicaMinuteRow).c.minute).limit(1))
        return Standing(measured=minute is not None)
    return Standing(
        measured=True,
        first=time_of(first),
        until=time_of(last + 1),
        settled_until=None if through is None else time_of(through + 1),
    )
