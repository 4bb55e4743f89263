"""Bills that were imported, and what they change: adjustments that are added, never changed, and their lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, text

from controller.attribute.charges import Adjustment, AdjustmentLine, Bill, Cost
from controller.errors import LedgerError
from controller.facts import account_reader
from controller.facts.account_reader import Statics
from controller.facts.accounts import Pool
from controller.facts.money import nanousd
from controller.ledger.accounts import bulk, dictionaries
from controller.ledger.accounts.billed_tables import NO_POOL, AdjustmentLineRow, AdjustmentRow, BillRow
from controller.ledger.accounts.hours import date_of, day_of
from controller.ledger.accounts.states import closed_months, is_after_close
from controller.ledger.accounts.store import Store
from controller.ledger.tables import table
from controller.ledger.upsert import insert_new

BILL_KEY = 7_345_209_883
"""Of PostgreSQL's advisory lock: bills are posted one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A bill that was imported: what it said of everything in it. ``first`` to ``until``: the days it told in full."""

    provider: str
    source: str
    period: str
    sha256: str
    first: date
    until: date
    imported_at: datetime
    lines: int
    billed_nanousd: int
    effective_nanousd: int


class Bills(Store):
    """Of one ledger."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._pools = dictionaries.pools()
        self._identities = dictionaries.identities(most=2**31)

    def imported(self) -> tuple[Imported, ...]:
        """Every bill, the oldest first."""
        bills = table(BillRow)
        with self._reading("read the bills") as connection:
            rows = connection.execute(select(bills).order_by(bills.c.imported_at, bills.c.sha256)).mappings().all()
        return tuple(_imported(row) for row in rows)

    def posted(self, provider: str) -> tuple[Adjustment, ...]:
        """Adjustments by bills of ``provider``, the oldest first."""
        posts = table(AdjustmentRow)
        with self._reading("read what bills changed") as connection:
            pools = dictionaries.pools_by_id(connection)
            query = select(posts).where(posts.c.key.startswith(f"{provider}|", autoescape=True))
            rows = connection.execute(query.order_by(posts.c.posted_at, posts.c.id)).mappings().all()
        return tuple(_adjustment(row, pools) for row in rows)

    def post(
        self, bill: Bill, adjustments: Sequence[Adjustment], lines: Sequence[AdjustmentLine], now: datetime
    ) -> bool:
        """Keeps ``bill`` and adds what it changes, all or nothing. False: this bill was posted already, and nothing is
        added.

        LedgerError when the lines do not add up to the adjustments, or when somebody posted another bill of the
        provider since ``adjustments`` were worked out: they would count a difference twice.
        """
        _add_up(adjustments, lines)
        pools = self._pool_ids(adjustments, lines)
        identities = self._identity_ids(lines)
        with self._writing("post a bill", "nothing of it was posted") as connection:
            if bulk.on_postgresql(connection):
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": BILL_KEY})
            if not insert_new(connection, BillRow, _bill_row(bill, now)):
                return False
            _still_right(connection, bill.provider, adjustments)
            _insert(connection, adjustments, lines, pools, identities)
        return True

    def _pool_ids(self, adjustments: Sequence[Adjustment], lines: Sequence[AdjustmentLine]) -> dict[Pool | None, int]:
        named = sorted({one.pool for one in adjustments if one.pool} | {one.pool for one in lines if one.pool})
        ids = self._pools.ids(self._engine, [dictionaries.pool_key(pool) for pool in named])
        return {None: NO_POOL, **dict(zip(named, ids, strict=True))}

    def _identity_ids(self, lines: Sequence[AdjustmentLine]) -> Mapping[Any, int]:
        named = sorted({one.identity for one in lines})
        ids = self._identities.ids(self._engine, [dictionaries.identity_key(one) for one in named])
        return dict(zip(named, ids, strict=True))


def adjustments_of(connection: Connection, day: date, static: Statics) -> list[account_reader.AdjustmentRow]:
    """Of ``day``, whenever they were posted, by the time at which they were."""
    posts, lines = table(AdjustmentRow), table(AdjustmentLineRow)
    query = (
        select(posts, lines.c.pool.label("line_pool"), lines.c.identity, lines.c.amount_nanousd.label("amount"))
        .join(posts, posts.c.id == lines.c.adjustment)
        .where(lines.c.day == day_of(day))
        .order_by(posts.c.posted_at, posts.c.id, lines.c.pool, lines.c.identity)
    )
    rows = connection.execute(query).mappings().all()
    if not rows:
        return []
    pools, who = dictionaries.pools_by_id(connection), dictionaries.identities_by_id(connection)
    closed = closed_months(connection)
    return [
        account_reader.AdjustmentRow(
            id=row["id"],
            posted_at=row["posted_at"],
            day=day,
            identity=who[row["identity"]],
            pool=pools.get(row["line_pool"]),
            cost=row["cost"],
            amount_nanousd=row["amount"],
            why=row["why"],
            offer=_offer(row["key"], pools.get(row["line_pool"]), static),
            invoice=row["bill"][:16],
            after_close=is_after_close(closed, day, row["posted_at"]),
        )
        for row in rows
    ]


def _offer(key: str, pool: Pool | None, static: Statics) -> str:
    """Of the pool, as the fleet file has it; else what the bill names."""
    said = static.of(pool.service, pool.variant).offers.get(pool.capacity_type, "") if pool else ""
    about, name = key.split("|")[3:5]
    return said or (name.partition(" ")[0] if about == "offer" else "")


def _add_up(adjustments: Sequence[Adjustment], lines: Sequence[AdjustmentLine]) -> None:
    left = {one.id: one.amount_nanousd for one in adjustments}
    for line in lines:
        left[line.adjustment] = left.get(line.adjustment, 0) - line.amount_nanousd
    wrong = {name: amount for name, amount in left.items() if amount}
    if wrong:
        name, amount = sorted(wrong.items())[0]
        raise LedgerError(f"the lines of adjustment {name} miss {amount:,} nanodollars of it; nothing was posted")


def _still_right(connection: Connection, provider: str, adjustments: Sequence[Adjustment]) -> None:
    """With what is posted of its key, an adjustment ends at the bill's amount, or takes back all that was posted."""
    posts = table(AdjustmentRow).c
    query = select(posts.key, posts.cost, func.sum(posts.amount_nanousd))
    query = query.where(posts.key.startswith(f"{provider}|", autoescape=True)).group_by(posts.key, posts.cost)
    so_far = {(key, cost): int(amount) for key, cost, amount in connection.execute(query)}
    for one in adjustments:
        ends = so_far.get((one.key, one.cost.value), 0) + one.amount_nanousd
        if ends not in (one.billed_nanousd - one.estimated_nanousd, 0):
            raise LedgerError(
                "another bill was posted while this one was worked out, and would be counted twice with it; nothing of "
                "this one was posted: import it again"
            )


def _insert(
    connection: Connection,
    adjustments: Sequence[Adjustment],
    lines: Sequence[AdjustmentLine],
    pools: Mapping[Pool | None, int],
    identities: Mapping[Any, int],
) -> None:
    made = [_adjustment_row(one, pools) for one in adjustments]
    if made:
        connection.execute(insert(table(AdjustmentRow)), made)
    rows = [
        (line.adjustment, day_of(line.day), pools[line.pool], identities[line.identity], line.amount_nanousd)
        for line in lines
    ]
    columns = ("adjustment", "day", "pool", "identity", "amount_nanousd")
    bulk.insert(connection, "adjustment_line", columns, sorted(rows))


def _bill_row(bill: Bill, now: datetime) -> dict[str, Any]:
    return {
        "sha256": bill.sha256,
        "provider": bill.provider,
        "source": bill.source,
        "period": bill.period,
        "first_day": day_of(bill.first),
        "until_day": day_of(bill.until),
        "imported_at": now,
        "lines": len(bill.lines),
        "billed_nanousd": nanousd(bill.total(Cost.BILLED)),
        "effective_nanousd": nanousd(bill.total(Cost.EFFECTIVE)),
    }


def _imported(row: RowMapping) -> Imported:
    values = dict(row)
    first, until = date_of(values.pop("first_day")), date_of(values.pop("until_day"))
    return Imported(first=first, until=until, **values)


def _adjustment_row(one: Adjustment, pools: Mapping[Pool | None, int]) -> dict[str, Any]:
    return {
        "id": one.id,
        "bill": one.bill,
        "posted_at": one.posted_at,
        "key": one.key,
        "day": day_of(one.day),
        "until_day": day_of(one.until),
        "pool": pools[one.pool],
        "commitment": one.commitment,
        "cost": one.cost.value,
        "amount_nanousd": one.amount_nanousd,
        "estimated_nanousd": one.estimated_nanousd,
        "billed_nanousd": one.billed_nanousd,
        "why": one.why,
    }


def _adjustment(row: RowMapping, pools: Mapping[int, Pool]) -> Adjustment:
    values: dict[str, Any] = dict(row)
    day, until = date_of(values.pop("day")), date_of(values.pop("until_day"))
    pool, cost = pools.get(values.pop("pool")), Cost(values.pop("cost"))
    return Adjustment(**values, day=day, until=until, pool=pool, cost=cost)
