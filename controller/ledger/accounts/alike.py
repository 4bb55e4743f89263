"""Whether the fleets of one ledger say the same of the accounts that they share: digests, a fleet and key."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, insert, select

from controller.ledger.accounts.store import Store
from controller.ledger.claim import is_claimed
from controller.ledger.tables import FleetAccountRow, table


class Alike(Store):
    """What the file of ``fleet`` says, beside what the others' say."""

    def __init__(self, url: str, fleet: str) -> None:
        super().__init__(url)
        self._fleet = fleet
        self._kept: Mapping[str, str] | None = None

    def keep(self, digests: Mapping[str, str]) -> None:
        """In the place of what was kept of this fleet. LedgerError."""
        if digests == self._kept:
            return
        rows = [{"fleet": self._fleet, "key": key, "digest": value} for key, value in sorted(digests.items())]
        kept = table(FleetAccountRow)
        with self._writing("keep what the fleet file says", "it is kept in the next round") as connection:
            connection.execute(delete(kept).where(kept.c.fleet == self._fleet))
            if rows:
                connection.execute(insert(kept), rows)
        self._kept = dict(digests)

    def differing(self) -> dict[str, tuple[str, ...]]:
        """By fleet whose daemon runs now, the keys that both files have and that say something else. LedgerError."""
        mine, other = table(FleetAccountRow), table(FleetAccountRow).alias()
        query = (
            select(other.c.fleet, other.c.key)
            .join(mine, (mine.c.key == other.c.key) & (mine.c.digest != other.c.digest))
            .where(mine.c.fleet == self._fleet, other.c.fleet != self._fleet)
            .order_by(other.c.fleet, other.c.key)
        )
        with self._reading("compare the fleets") as connection:
            found: dict[str, tuple[str, ...]] = {}
            for row in connection.execute(query):
                found[row.fleet] = (*found.get(row.fleet, ()), row.key)
        return {fleet: keys for fleet, keys in found.items() if is_claimed(self._engine, fleet)}
