"""Settled hours worked out again from their minutes, read only: what is there must come of them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, Engine, func, select

from controller.attribute.rules import Rules
from controller.attribute.settle import correction, settled
from controller.attribute.tables import HourLines
from controller.facts.accounts import PARTS, Identity, Pool
from controller.ledger.accounts import bulk, costing, dictionaries, lines
from controller.ledger.accounts.hours import hour_of, shown, time_of
from controller.ledger.accounts.inputs import Found, Names, found, hour_seen
from controller.ledger.accounts.states import SETTLED
from controller.ledger.accounts.tables import HourStateRow
from controller.ledger.accounts.verify import SHOWN, Difference
from controller.ledger.engine import reader_engine
from controller.ledger.tables import ReplicaMinuteRow, table

RulesAt = Callable[[datetime], Rules]
"""The sharing rules in force at an hour's start."""


@dataclass(slots=True)
class Again:
    """What came of it.

    hours         that were worked out again
    left_out      settled hours whose minutes or records are forgotten, or that wait for late records to be split
    differences   at most SHOWN; ``more`` are not listed
    """

    hours: int = 0
    left_out: int = 0
    differences: list[Difference] = field(default_factory=list)
    more: int = 0

    def add(self, different: list[Difference]) -> None:
        room = SHOWN - len(self.differences)
        self.differences += different[:room]
        self.more += max(0, len(different) - room)


def worked_again(
    url: str, rules: RulesAt, start: datetime | None = None, end: datetime | None = None
) -> Iterator[Again]:
    """After every hour from ``start`` to ``end`` what came of it so far; all hours without them. Raises LedgerError."""
    engine = reader_engine(url)
    try:
        names, so_far = Names(engine, engine), Again()
        for hour in _settled_hours(engine, start, end):
            with bulk.writing(engine, "work an hour out again", "nothing was changed") as connection:
                seen = found(connection, hour)
                if not _has_everything(connection, seen):
                    so_far.left_out += 1
                    continue
                costs = costing.kept(connection, seen)
                was = lines.lines_of(connection, hour)
                pools, who = dictionaries.pools_by_id(connection), dictionaries.identities_by_id(connection)
            result = settled(hour_seen(seen, names, rules(time_of(hour)), costs.applied, costs.empty))
            so_far.hours += 1
            so_far.add(list(_differences(hour, was, result.lines, pools, who)))
            yield so_far
        yield so_far
    finally:
        engine.dispose()


def _settled_hours(engine: Engine, start: datetime | None, end: datetime | None) -> list[int]:
    states = table(HourStateRow).c
    query = select(states.hour).where(states.state == SETTLED)
    query = query if start is None else query.where(states.hour >= hour_of(start))
    query = query if end is None else query.where(states.hour < hour_of(end))
    with bulk.writing(engine, "read the accounts", "nothing was changed") as connection:
        return list(connection.scalars(query.order_by(states.hour)))


def _has_everything(connection: Connection, seen: Found) -> bool:
    """Its minutes and records are kept, and it was split by all of them."""
    state = seen.state or {}
    minutes = table(ReplicaMinuteRow).c.minute
    kept = connection.scalar(
        select(func.count()).where(minutes >= time_of(seen.hour), minutes < time_of(seen.hour + 1))
    )
    forgotten = (state["measured_nanousd"] and not kept) or (state["logged_requests"] and not seen.records)
    return not forgotten and not seen.fresh


def _differences(
    hour: int, was: HourLines, now: HourLines, pools: dict[int, Pool], who: dict[int, Identity]
) -> Iterator[Difference]:
    before = dict(zip(zip(was.pool.tolist(), was.identity.tolist(), strict=True), was.parts.tolist(), strict=True))
    change = correction(was, now)
    rows = zip(change.pool.tolist(), change.identity.tolist(), change.parts.tolist(), strict=True)
    for pool, identity, moved in rows:
        had = before.get((pool, identity), [0] * len(PARTS))
        for part, one, by in zip(PARTS, had, moved, strict=True):
            if by:
                yield Difference(
                    where=f"hour {shown(hour)}, pool {_pool(pools[pool])}, identity {_whose(who[identity])}",
                    part=part,
                    unit="nanodollars",
                    one="in the ledger",
                    other="worked out again",
                    one_sum=one,
                    other_sum=one + by,
                )


def _pool(pool: Pool) -> str:
    return f"{pool.service}/{pool.variant}/{pool.capacity_type}"


def _whose(who: Identity) -> str:
    return "/".join(name or "-" for name in (who.team, who.tenant, who.feature, who.environment, who.api_key))
