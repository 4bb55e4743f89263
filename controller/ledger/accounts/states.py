"""How far hours are: what both who settles and who reads must know."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from controller.ledger.accounts.tables import HourStateRow
from controller.ledger.tables import table

OPEN, SETTLED = "open", "settled"


def settled_through(connection: Connection) -> int | None:
    """The last settled hour: all before it are too. None: there is none."""
    states = table(HourStateRow).c
    last: int | None = connection.scalar(select(func.max(states.hour)).where(states.state == SETTLED))
    return last
