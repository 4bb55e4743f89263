"""Numbers for names: pools, seats and identities are integers in the accounts, and named once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, select

from controller.facts.accounts import (
    ADJUSTMENT,
    IDLE_OWN,
    OTHER,
    OVERHEAD_OWN,
    SHARED,
    UNATTRIBUTED,
    Identity,
    Pool,
)
from controller.facts.fleet import CapacityType
from controller.ledger.accounts.bulk import writing
from controller.ledger.accounts.tables import IdentityRow, PoolRow, SeatRow
from controller.ledger.tables import Base, table
from controller.ledger.upsert import INSERTS

Key = tuple[str | int, ...]

OWN: Mapping[Identity, int] = {
    UNATTRIBUTED: 1,
    IDLE_OWN: 2,
    OVERHEAD_OWN: 3,
    OTHER: 4,
    SHARED: 5,
    ADJUSTMENT: 6,
}
"""The ledger's own identities. The migration inserts them."""

MOST_IDENTITIES = 10_000
"""How many are told apart when nobody sets it. A guess: a dashboard of more is read by nobody, and a client that sends
a new identity with every request must not fill the ledger."""

IDENTITY_COLUMNS = ("team", "tenant", "feature", "environment", "api_key")
POOL_COLUMNS = ("service", "variant", "capacity_type")
SEAT_COLUMNS = ("service", "variant", "replica", "capacity_type", "node", "commitment", "pool")


class Dictionary:
    """One table of names. What was ever given a number keeps it, so numbers are remembered."""

    def __init__(self, row: type[Base], columns: Sequence[str], *, most: int | None = None, beyond: int = 0) -> None:
        """``most``: beyond so many entries, new names get the number ``beyond``, and are not remembered."""
        self._row = row
        self._columns = tuple(columns)
        self._most = most
        self._beyond = beyond
        self._known: dict[Key, int] = {}

    def ids(self, engine: Engine, keys: Sequence[Key]) -> list[int]:
        """The number of each of ``keys``. New ones are written in a transaction of their own, which nothing undoes."""
        unknown = {key for key in keys if key not in self._known}
        if unknown:
            self._learn(engine, unknown)
        return [self._known.get(key, self._beyond) for key in keys]

    def _learn(self, engine: Engine, unknown: set[Key]) -> None:
        with writing(engine, "name what is new", "nothing was counted; it is tried again") as connection:
            self._known.update(self.read(connection))
            new = sorted(unknown - self._known.keys())
            if self._most is not None:
                new = new[: max(0, self._most - len(self._known))]
            if not new:
                return
            insert = INSERTS[connection.dialect.name](table(self._row)).on_conflict_do_nothing()
            connection.execute(insert, [dict(zip(self._columns, key, strict=True)) for key in new])
            self._known.update(self.read(connection))

    def read(self, connection: Connection) -> dict[Key, int]:
        """The whole table."""
        columns = table(self._row).c
        rows = connection.execute(select(*(columns[name] for name in self._columns), columns.id))
        return {tuple(row[:-1]): row[-1] for row in rows}


def identities(most: int = MOST_IDENTITIES) -> Dictionary:
    return Dictionary(IdentityRow, IDENTITY_COLUMNS, most=most, beyond=OWN[OTHER])


def pools() -> Dictionary:
    return Dictionary(PoolRow, POOL_COLUMNS)


def seats() -> Dictionary:
    """A seat's key ends with its pool's number."""
    return Dictionary(SeatRow, SEAT_COLUMNS)


def identity_key(identity: Identity) -> Key:
    return (identity.team, identity.tenant, identity.feature, identity.environment, identity.api_key)


def pool_key(pool: Pool) -> Key:
    return (pool.service, pool.variant, pool.capacity_type.value)


def identities_by_id(connection: Connection) -> dict[int, Identity]:
    known = identities().read(connection)
    return {number: _identity(key) for key, number in known.items()}


def pools_by_id(connection: Connection) -> dict[int, Pool]:
    return {number: _pool(key) for key, number in pools().read(connection).items()}


class SeatNamed(NamedTuple):
    """A seat by its names."""

    pool: Pool
    replica: str
    node: str
    commitment: str


def seats_by_id(connection: Connection) -> dict[int, SeatNamed]:
    found = {}
    for key, number in seats().read(connection).items():
        service, variant, replica, capacity_type, node, commitment, _pool_id = key
        pool = _pool((service, variant, capacity_type))
        found[number] = SeatNamed(pool, str(replica), str(node), str(commitment))
    return found


def _identity(key: Iterable[str | int]) -> Identity:
    team, tenant, feature, environment, api_key = map(str, key)
    return Identity(team=team, tenant=tenant, feature=feature, environment=environment, api_key=api_key)


def _pool(key: Iterable[str | int]) -> Pool:
    service, variant, capacity_type = map(str, key)
    return Pool(service=service, variant=variant, capacity_type=CapacityType(capacity_type))
