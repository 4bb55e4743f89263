"""What we accounted for a day, as a bill can be held against it, and who bore it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date

from controller.attribute.charges import Cost, Estimated
from controller.facts.account_reader import AllocationRow, Purchase, SeatRow
from controller.facts.accounts import Identity, Pool


def estimates(
    day: date,
    seats: Iterable[SeatRow],
    fees: Iterable[Purchase],
    *,
    references: Mapping[str, str],
    offers: Mapping[str, str],
) -> Iterator[Estimated]:
    """Of one day. ``references``: by our id of a commitment its id on the bill; ``offers``: what it is for; ``fees``:
    those of the day.

    What is committed and unused, and the fees, are the commitment's. Of these only the effective and the billed cost
    are held against a bill: what a fee would cost at list prices, every provider says in its own way. A shared cost has
    no offer, and meets no bill.
    """
    for seat in seats:
        unused = not seat.service and bool(seat.commitment)
        yield Estimated(
            day=day,
            pool=None if unused else seat.pool,
            nanousd=_effective_and_billed(seat) if unused else _known(seat),
            resource_id=seat.node,
            offer=seat.offer,
            commitment=references.get(seat.commitment, seat.commitment) if unused else "",
        )
    for fee in fees:
        yield Estimated(
            day=day,
            pool=None,
            nanousd={Cost.EFFECTIVE: 0, Cost.BILLED: fee.billed_nanousd},
            offer=offers.get(fee.commitment, ""),
            commitment=references.get(fee.commitment, fee.commitment),
        )


def borne(day: date, lines: Iterable[AllocationRow]) -> dict[tuple[date, Pool, Identity], int]:
    """The effective cost of each pool and identity."""
    found: dict[tuple[date, Pool, Identity], int] = {}
    for line in lines:
        if line.pool is not None:
            where = (day, line.pool, line.identity)
            found[where] = found.get(where, 0) + sum(line.parts)
    return found


def _known(seat: SeatRow) -> dict[Cost, int]:
    costs = {
        Cost.LIST: seat.list_nanousd,
        Cost.CONTRACTED: seat.contracted_nanousd,
        Cost.EFFECTIVE: seat.effective_nanousd,
        Cost.BILLED: seat.billed_nanousd,
    }
    return {cost: amount for cost, amount in costs.items() if amount is not None}


def _effective_and_billed(seat: SeatRow) -> dict[Cost, int]:
    return {Cost.EFFECTIVE: seat.effective_nanousd, Cost.BILLED: seat.billed_nanousd or 0}
