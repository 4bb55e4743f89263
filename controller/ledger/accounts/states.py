"""How far hours are: what both who settles and who reads must know."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from sqlalchemy import Connection, func, select

from controller.ledger.accounts.billed_tables import BillingPeriodRow
from controller.ledger.accounts.hours import hour_of
from controller.ledger.accounts.tables import HourStateRow
from controller.ledger.tables import PassRow, table

MONTH = "%Y-%m"
OPEN, SETTLED = "open", "settled"


def settled_through(connection: Connection) -> int | None:
    """The last settled hour: all before it are too. None: there is none."""
    states = table(HourStateRow).c
    last: int | None = connection.scalar(select(func.max(states.hour)).where(states.state == SETTLED))
    return last


def closed_months(connection: Connection) -> dict[str, datetime]:
    """When each month ("2026-10") was closed; others are open."""
    months = table(BillingPeriodRow).c
    rows = connection.execute(select(months.month, months.closed_at)).mappings()
    return {row["month"]: row["closed_at"] for row in rows}


def is_after_close(closed: Mapping[str, datetime], of: date, posted_at: datetime) -> bool:
    """Whether what was posted then is a correction: the month of that day was closed before."""
    at = closed.get(f"{of:{MONTH}}")
    return at is not None and posted_at > at


def open_hours(connection: Connection, first: int, last: int) -> int:
    """Hours from ``first`` to ``last``, without ``last``, that have ended by the newest pass and are not settled.

    Before the first hour that was worked out there is none.
    """
    states, through = table(HourStateRow).c, settled_through(connection)
    now = connection.scalar(select(func.max(table(PassRow).c.at)))
    begun, worked = connection.execute(select(func.min(states.hour), func.max(states.hour))).one()
    if begun is None:
        return 0
    ended = max(worked, -1 if now is None else hour_of(now))
    waiting: int = min(last, ended) - max(first, begun, -1 if through is None else through + 1)
    return max(0, waiting)
