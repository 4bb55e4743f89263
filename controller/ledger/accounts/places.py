"""Seats as reports show them: what they cost, with what the fleet file and the minutes say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import Connection, func, select

from controller.facts.account_reader import HOUR, SeatRow, Statics
from controller.facts.prices import PriceKey
from controller.ledger.accounts.quotes import price_dates
from controller.ledger.accounts.rows import SeatSum
from controller.ledger.tables import DecisionRow, ReplicaMinuteRow, table

Place = tuple[str, str, str, str, str]
"""service, variant, replica, capacity type, node"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen in an hour: model FLOP/s utilisation by place, the last decision by (service, variant), and of when
    the price was that held then."""

    mfu: Mapping[Place, float] = field(default_factory=dict)
    decisions: Mapping[tuple[str, str], str] = field(default_factory=dict)
    priced: Mapping[PriceKey, date] = field(default_factory=dict)


def seen_in(connection: Connection, hour: datetime) -> Seen:
    """Of the hour that begins then, as far as its minutes and decisions are kept."""
    minutes = table(ReplicaMinuteRow).c
    place = (minutes.service, minutes.variant, minutes.replica, minutes.capacity_type, minutes.node)
    mean = func.sum(minutes.mfu_ratio_integral) / func.sum(minutes.mfu_ratio_s)
    read = (minutes.minute >= hour, minutes.minute < hour + HOUR, minutes.mfu_ratio_s > 0)
    measured = connection.execute(
        select(*place, mean).where(*read, minutes.mfu_ratio_integral.is_not(None)).group_by(*place)
    )
    decided = table(DecisionRow).c
    made = connection.execute(
        select(decided.service, decided.variant, decided.id)
        .where(decided.at >= hour, decided.at < hour + HOUR)
        .order_by(decided.at, decided.id)
    )
    return Seen(
        mfu={tuple(row[:-1]): float(row[-1]) for row in measured},
        decisions={(service, variant): name for service, variant, name in made},
        priced=price_dates(connection, hour + HOUR),
    )


def seat_row(one: SeatSum, static: Statics, seen: Seen) -> SeatRow:
    """``one`` in full."""
    pool = one.pool
    said = static.of(pool.service, pool.variant)
    return SeatRow(
        start=one.start,
        end=one.end,
        service=pool.service,
        variant=pool.variant,
        replica=one.replica,
        capacity_type=pool.capacity_type,
        parts=one.parts,
        list_nanousd=one.list_nanousd,
        contracted_nanousd=one.contracted_nanousd,
        billed_nanousd=one.billed_nanousd,
        gpu_us=one.gpu_us,
        node=one.node,
        unpriced_us=one.unpriced_us,
        offer=said.offers.get(pool.capacity_type, ""),
        zone=said.zone,
        gpu=said.gpu,
        gpus=said.gpus,
        model=said.model,
        quantization=said.quantization,
        commitment=one.commitment,
        price_as_of=seen.priced.get((pool.service, pool.variant, pool.capacity_type)),
        mfu=seen.mfu.get((pool.service, pool.variant, one.replica, str(pool.capacity_type), one.node)),
        decision=seen.decisions.get((pool.service, pool.variant), ""),
        tokens=one.tokens,
    )
