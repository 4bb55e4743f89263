"""Our costs against a bill: the difference becomes dated adjustments. What was accounted is never overwritten.

How a bill's charges find what we accounted, for every day and each of the four costs:

    resource     its resource id is one of ours (an instance, a node)
    offer        its instance type is one of ours, on spot or not; what no resource id told apart meets here
    commitment   its commitment is one of ours: fees, and what was not used of it
    account      the rest. Only where the account holds nothing but this fleet; elsewhere it is not ours to explain

On-demand and reserved usage meet as one: which of two equal instances a discount fell on differs from bill to bill.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256

from controller.attribute.apportion import largest_remainder
from controller.attribute.charges import (
    Adjustment,
    AdjustmentLine,
    Bill,
    BillLine,
    ChargeKind,
    Cost,
    Estimated,
    Reconciled,
)
from controller.facts.accounts import ADJUSTMENT, Identity, Pool
from controller.facts.fleet import CapacityType
from controller.facts.money import nanousd

DAY = timedelta(days=1)

MEETS: Mapping[ChargeKind, tuple[str, ...]] = {
    ChargeKind.USAGE: ("resource", "offer"),
    ChargeKind.FEE: ("commitment",),
    ChargeKind.UNUSED: ("commitment",),
    ChargeKind.TAX: ("resource", "offer", "commitment"),
    ChargeKind.CREDIT: ("resource", "offer", "commitment"),
    ChargeKind.REFUND: ("resource", "offer", "commitment"),
}
"""Where a charge looks for what it is for, in this order; then the account."""


@dataclass(frozen=True, slots=True)
class _Key:
    """What a charge and an estimate have in common."""

    day: date
    until: date
    about: str
    name: str
    commitment: str = ""

    def text(self, provider: str, pool: Pool | None) -> str:
        where = f"{pool.service}/{pool.variant}/{pool.capacity_type}" if pool else ""
        return f"{provider}|{self.day}|{self.until}|{self.about}|{self.name}|{where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """Where a key should end: our estimate, and by how much the bill differs."""

    key: _Key
    pool: Pool | None
    cost: Cost
    estimated: int
    billed: int


def reconciled(
    bill: Bill,
    estimated: Iterable[Estimated],
    posted: Sequence[Adjustment],
    now: datetime,
    *,
    whole_account: bool = False,
    tolerance_nanousd: int = 0,
) -> Reconciled:
    """The adjustments that make our costs say what ``bill`` says, on top of those ``posted`` before.

    A bill that was posted already changes nothing. A newer one of the same days posts the difference: after it, the
    adjustments add up to what it alone would have posted. ``tolerance_nanousd``: a key that differs by no more is left.
    """
    meeting = _Meeting(bill, [one for one in estimated if bill.tells(one.day, one.day + DAY)], whole_account)
    earlier = [one for one in posted if one.key.partition("|")[0] == bill.provider]
    held = _told_more(bill, meeting, earlier)
    known = any(one.bill == bill.sha256 for one in earlier)
    return Reconciled(
        adjustments=() if known else tuple(_posted_anew(bill, meeting, earlier, now, tolerance_nanousd, held)),
        matched=meeting.billed_totals(),
        estimated=meeting.estimated_totals(),
        outside=meeting.outside,
        waiting=meeting.waiting,
        left_alone=tuple(sorted({*meeting.not_billed, *held})),
    )


def adjustment_lines(
    adjustment: Adjustment, effective_nanousd: Mapping[tuple[date, Pool, Identity], int]
) -> tuple[AdjustmentLine, ...]:
    """Who bears ``adjustment``: those who bore the effective cost of its days and pool, in proportion.

    One for a commitment or the account falls on all pools. Where nobody bore anything it has a line of its own.
    """
    weights = {
        where: cost
        for where, cost in effective_nanousd.items()
        if adjustment.day <= where[0] < adjustment.until and cost > 0 and adjustment.pool in (None, where[1])
    }
    if not weights:
        weights_of: dict[tuple[date, Pool | None, Identity], int] = {(adjustment.day, adjustment.pool, ADJUSTMENT): 1}
    else:
        weights_of = {where: weights[where] for where in sorted(weights)}
    parts = largest_remainder(adjustment.amount_nanousd, list(weights_of.values()))
    return tuple(
        AdjustmentLine(adjustment=adjustment.id, day=day, pool=pool, identity=identity, amount_nanousd=part)
        for (day, pool, identity), part in zip(weights_of, parts, strict=True)
        if part
    )


class _Meeting:
    """Charges and estimates of the bill's days, by what they have in common."""

    def __init__(self, bill: Bill, estimated: Sequence[Estimated], whole_account: bool) -> None:
        self.charges: dict[_Key, list[BillLine]] = defaultdict(list)
        self.ours: dict[_Key, list[Estimated]] = defaultdict(list)
        self.outside = Decimal(0)
        self.waiting = Decimal(0)
        self._whole = whole_account
        self._estimate(bill, estimated)
        for line in bill.lines:
            self._charge(bill, line)
        if whole_account:
            self._gather(bill)
        self.not_billed = {key.text(bill.provider, None) for key in self.ours if key not in self.charges}
        told = [cost for cost in Cost if any(line.amount(cost) is not None for line in bill.lines)]
        self.targets = self._targets(told)

    def _targets(self, told: Sequence[Cost]) -> list[_Target]:
        """Where every key that the bill speaks of should end, by pool and each cost that it tells."""
        return [
            target
            for key, lines in sorted(self.charges.items(), key=lambda item: (item[0].day, item[0].about, item[0].name))
            for cost in told
            if (amount := _billed(lines, cost)) is not None
            for target in _by_pool(key, cost, amount, self.ours.get(key, []))
        ]

    def billed_totals(self) -> Mapping[Cost, int]:
        return {cost: sum(one.billed for one in self.targets if one.cost is cost) for cost in Cost}

    def estimated_totals(self) -> Mapping[Cost, int]:
        return {cost: sum(one.estimated for one in self.targets if one.cost is cost) for cost in Cost}

    def _estimate(self, bill: Bill, estimated: Sequence[Estimated]) -> None:
        """Our side: by resource where the bill names it that day, else by offer."""
        named = {
            (line.day, line.resource_id) for line in bill.lines if line.resource_id and line.until - line.day == DAY
        }
        for one in estimated:
            if (one.day, one.resource_id) in named:
                self.ours[_resource(one.day, one.resource_id)].append(one)
            elif one.offer.partition("/")[0] != bill.provider:
                continue
            elif one.pool is None:
                self.ours[_commitment(bill, one.commitment)].append(one)
            else:
                spot = one.pool.capacity_type is CapacityType.SPOT
                self.ours[_offer(one.day, one.offer, spot)].append(one)

    def _charge(self, bill: Bill, line: BillLine) -> None:
        if not bill.tells(line.day, line.until):
            self.waiting += line.billed or 0
            return
        found = next((key for key in _keys(bill, line) if key in self.ours), None)
        if found is None and self._whole:
            found = _account(bill)
        if found is None:
            self.outside += line.billed or 0
        else:
            self.charges[found].append(line)

    def _gather(self, bill: Bill) -> None:
        """In an account of ours alone, what the bill does not name and what we cannot place are the same thing."""
        account = _account(bill)
        for key in [key for key in self.ours if key not in self.charges]:
            self.ours[account].extend(self.ours.pop(key))
        if account in self.ours:
            self.charges.setdefault(account, [])


def _resource(day: date, name: str) -> _Key:
    return _Key(day, day + DAY, "resource", name)


def _offer(day: date, offer: str, spot: bool) -> _Key:
    return _Key(day, day + DAY, "offer", f"{offer}{', spot' if spot else ', on demand or committed'}")


def _commitment(bill: Bill, name: str) -> _Key:
    return _Key(bill.first, bill.until, "commitment", name, commitment=name)


def _account(bill: Bill) -> _Key:
    return _Key(bill.first, bill.until, "account", "")


def _keys(bill: Bill, line: BillLine) -> list[_Key]:
    """Where a charge may belong, the most exact first. Seats are accounted by the day, commitments by the bill."""
    keys = {"commitment": _commitment(bill, line.commitment)} if line.commitment else {}
    if line.until - line.day == DAY:
        if line.resource_id:
            keys["resource"] = _resource(line.day, line.resource_id)
        if line.offer:
            keys["offer"] = _offer(line.day, line.offer, line.spot)
    return [keys[about] for about in MEETS[line.kind] if about in keys]


def _billed(lines: Sequence[BillLine], cost: Cost) -> int | None:
    """None when one of the lines does not say: a part of a cost is not the cost."""
    amounts = [line.amount(cost) for line in lines]
    if any(amount is None for amount in amounts):
        return None
    return nanousd(sum((amount for amount in amounts if amount is not None), Decimal(0)))


def _by_pool(key: _Key, cost: Cost, billed: int, ours: Sequence[Estimated]) -> list[_Target]:
    """A charge over the pools of the seats it is for, in proportion to what we accounted for each."""
    estimates: dict[Pool | None, int] = {}
    for one in ours:
        pool = one.pool if key.about in ("resource", "offer") else None
        estimates[pool] = estimates.get(pool, 0) + one.nanousd.get(cost, 0)
    pools = sorted(estimates, key=lambda pool: (pool is None, pool)) or [None]
    weights = [max(estimates.get(pool, 0), 0) for pool in pools]
    shares = largest_remainder(billed, weights if sum(weights) else [1] * len(pools))
    return [
        _Target(key=key, pool=pool, cost=cost, estimated=estimates.get(pool, 0), billed=share)
        for pool, share in zip(pools, shares, strict=True)
    ]


def _told_more(bill: Bill, meeting: _Meeting, earlier: Sequence[Adjustment]) -> set[str]:
    """Keys of several days of which an earlier bill told days that this one does not: what it said stands."""
    standing: dict[tuple[str, Cost], int] = defaultdict(int)
    for one in earlier:
        if one.until > bill.first and one.day < bill.until and not bill.tells(one.day, one.until):
            standing[one.key, one.cost] += one.amount_nanousd
    wider = {key.split("|", 3)[3] for (key, _), amount in standing.items() if amount}
    keys = {target.key.text(bill.provider, target.pool) for target in meeting.targets}
    return {key for key in keys if key.split("|", 3)[3] in wider}


def _posted_anew(
    bill: Bill, meeting: _Meeting, earlier: Sequence[Adjustment], now: datetime, tolerance: int, held: set[str]
) -> list[Adjustment]:
    """What is wanted, less what is posted; and what was posted under keys of which this bill says nothing, back."""
    so_far: dict[tuple[str, Cost], int] = defaultdict(int)
    latest: dict[tuple[str, Cost], Adjustment] = {}
    for one in earlier:
        if bill.tells(one.day, one.until):
            so_far[one.key, one.cost] += one.amount_nanousd
            latest[one.key, one.cost] = one
    made = []
    for target in meeting.targets:
        where = (target.key.text(bill.provider, target.pool), target.cost)
        wanted = target.billed - target.estimated
        wanted = 0 if abs(wanted) <= tolerance or where[0] in held else wanted
        amount = wanted - so_far.pop(where, 0)
        if amount:
            made.append(_adjustment(bill, target, amount, now))
    taken_back = [_taken_back(bill, latest[where], amount, now) for where, amount in so_far.items() if amount]
    return [*made, *taken_back]


def _adjustment(bill: Bill, target: _Target, amount: int, now: datetime) -> Adjustment:
    key = target.key.text(bill.provider, target.pool)
    name = f"{target.key.about} {target.key.name}".strip()
    return Adjustment(
        id=_id(bill, key, target.cost),
        bill=bill.sha256,
        posted_at=now,
        key=key,
        day=target.key.day,
        until=target.key.until,
        pool=target.pool,
        commitment=target.key.commitment,
        cost=target.cost,
        amount_nanousd=amount,
        estimated_nanousd=target.estimated,
        billed_nanousd=target.billed,
        why=f"{bill.source}: {name}: the bill says ${target.billed / 1e9:,.2f}, we said ${target.estimated / 1e9:,.2f}",
    )


def _taken_back(bill: Bill, earlier: Adjustment, amount: int, now: datetime) -> Adjustment:
    return replace(
        earlier,
        id=_id(bill, earlier.key, earlier.cost),
        bill=bill.sha256,
        posted_at=now,
        amount_nanousd=-amount,
        billed_nanousd=earlier.estimated_nanousd,
        why=f"{bill.source}: this bill does not name it any more; the earlier adjustment is taken back",
    )


def _id(bill: Bill, key: str, cost: Cost) -> str:
    return sha256(f"{bill.sha256}\0{key}\0{cost}".encode()).hexdigest()
