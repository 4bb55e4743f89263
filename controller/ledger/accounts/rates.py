"""Work rates, kept so that an hour is split as it was known then, whenever it is worked out again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from operator import ge, lt
from typing import Any

from sqlalchemy import Column, Connection, Engine, Select, bindparam, delete, func, select

from controller.facts.accounts import WorkRate
from controller.ledger.accounts import bulk
from controller.ledger.accounts.hours import hour_of, time_of
from controller.ledger.accounts.tables import WorkRateRow
from controller.ledger.tables import table
from controller.ledger.upsert import replaced, upsert

MOVED_RATIO = 0.01
"""A coefficient that moved by less is the same: estimates tremble with every reading."""

DAILY = timedelta(days=1)
COEFFICIENTS = (
    "prefill_s_per_token",
    "prefill_s_per_square",
    "cached_s_per_cross",
    "cached_s_per_token",
    "decode_s_per_token",
    "decode_s_per_context",
)


def _one_each(pick: Callable[[Column[datetime]], Any], inside: Callable[[Any, Any], Any]) -> Select[Any]:
    """Of each variant the rate that ``pick`` takes from those whose time is ``inside`` "end"."""
    rates = table(WorkRateRow)
    wanted = (
        select(rates.c.service, rates.c.variant, pick(rates.c.at).label("at"))
        .where(inside(rates.c.at, bindparam("end")))
        .group_by(rates.c.service, rates.c.variant)
        .subquery()
    )
    same = (rates.c.service == wanted.c.service) & (rates.c.variant == wanted.c.variant)
    return select(rates).join(wanted, same & (rates.c.at == wanted.c.at))


FIRST_AFTER, LAST_BEFORE = _one_each(func.min, ge), _one_each(func.max, lt)
"""Built once: every hour that is settled asks both, and building them took a tenth of its time."""


def known_rates(connection: Connection, end: datetime) -> dict[tuple[str, str], WorkRate]:
    """By service and variant the newest before ``end``; where there is none, the first that was ever known."""
    found = [row for query in (FIRST_AFTER, LAST_BEFORE) for row in connection.execute(query, {"end": end}).mappings()]
    return {(row["service"], row["variant"]): WorkRate(**row) for row in found}


def keep_rates(engine: Engine, rates: Sequence[WorkRate]) -> int:
    """``add_rates`` in a transaction of its own."""
    with bulk.writing(engine, "keep work rates", "hours are split by the rates kept before") as connection:
        return add_rates(connection, rates)


def add_rates(connection: Connection, rates: Sequence[WorkRate]) -> int:
    """Keeps those that moved by more than MOVED_RATIO, whose basis changed, or that are a day old; how many.

    An hour is split by the last rate known in it, so one an hour is kept: it stands at the hour's start, and a newer
    one of the same hour takes its place.
    """
    moved = [rate for rate in rates if _moved(_newest(connection, rate), rate)]
    rows = [asdict(rate) | {"at": time_of(hour_of(rate.at))} for rate in moved]
    names = [column.name for column in table(WorkRateRow).columns if not column.primary_key]
    upsert(connection, WorkRateRow, rows, dict.fromkeys(names, replaced))
    return len(rows)


def forget_rates(connection: Connection, than: datetime) -> int:
    """Drops rates from before ``than``, but of each variant the one that held then; how many went."""
    kept = table(WorkRateRow)
    newer = kept.alias("newer")
    same = (newer.c.service == kept.c.service) & (newer.c.variant == kept.c.variant)
    later = select(newer.c.at).where(same, newer.c.at > kept.c.at, newer.c.at <= than).exists()
    return connection.execute(delete(kept).where(kept.c.at < than, later)).rowcount


def _newest(connection: Connection, rate: WorkRate) -> WorkRate | None:
    """The newest that is kept of the same variant: a look into the primary key, however many there are."""
    kept = table(WorkRateRow)
    same = (kept.c.service == rate.service) & (kept.c.variant == rate.variant)
    row = connection.execute(select(kept).where(same).order_by(kept.c.at.desc()).limit(1)).mappings().first()
    return None if row is None else WorkRate(**row)


def _moved(old: WorkRate | None, new: WorkRate) -> bool:
    if old is None or old.basis != new.basis or new.at - old.at >= DAILY:
        return True
    pairs = [(getattr(old, name), getattr(new, name)) for name in COEFFICIENTS]
    return any(abs(now - before) > MOVED_RATIO * abs(before) for before, now in pairs)
