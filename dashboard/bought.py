"""From places and commitments to what their tables say: four costs side by side, and what was promised. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.facts.account_reader import CommitmentUse, SeatRow
from controller.facts.commitments import CommitmentKind
from controller.facts.fleet import CapacityType
from dashboard.formats import UNKNOWN, percent
from dashboard.look import Cell
from dashboard.money import hours_told, money, signed

COST_HEADS = (
    ("Bought as", ""),
    ("List", "pw-num"),
    ("Contracted", "pw-num"),
    ("Effective", "pw-num"),
    ("Billed", "pw-num"),
    ("GPU-hours", "pw-num"),
    ("Saved against list", "pw-num"),
)
COMMITMENT_HEADS = (
    ("Commitment", ""),
    ("Cost", "pw-num"),
    ("Utilisation", "pw-num"),
    ("Unused", "pw-num"),
    ("Coverage", "pw-num"),
    ("Effective savings rate", "pw-num"),
    ("Saves against on demand", "pw-num"),
    ("Ends", "pw-num"),
)
BOUGHT = {
    CapacityType.ON_DEMAND: "On demand",
    CapacityType.SPOT: "Spot",
    CapacityType.RESERVED: "Committed",
}
KINDS = {
    CommitmentKind.RESERVED_INSTANCE: "reserved instances",
    CommitmentKind.SAVINGS_PLAN: "savings plan",
    CommitmentKind.CAPACITY_BLOCK: "capacity block",
    CommitmentKind.OWNED: "own hardware",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The four of one way of buying. None: some of it is unknown, as ``unpriced_us`` of the effective one is."""

    name: str
    list_: int | None
    contracted: int | None
    effective: int
    billed: int | None
    gpu_us: int
    unpriced_us: int

    @property
    def none_known(self) -> bool:
        return bool(self.unpriced_us) and not self.effective


def four_costs(seats: Sequence[SeatRow]) -> list[Costs]:
    """By way of buying, and together."""
    kinds = [kind for kind in BOUGHT if any(one.capacity_type is kind for one in seats)]
    found = [_costs(BOUGHT[kind], [one for one in seats if one.capacity_type is kind]) for kind in kinds]
    return [*found, _costs("Total", seats)] if len(found) > 1 else found


def _costs(name: str, seats: Sequence[SeatRow]) -> Costs:
    return Costs(
        name=name,
        list_=_known([one.list_nanousd for one in seats]),
        contracted=_known([one.contracted_nanousd for one in seats]),
        effective=sum(one.effective_nanousd for one in seats),
        billed=_known([one.billed_nanousd for one in seats]),
        gpu_us=sum(one.gpu_us for one in seats),
        unpriced_us=sum(one.unpriced_us for one in seats),
    )


def _known(amounts: Sequence[int | None]) -> int | None:
    """Unknown in part is unknown."""
    known = [one for one in amounts if one is not None]
    return sum(known) if len(known) == len(amounts) else None


def costs_row(one: Costs) -> list[Cell]:
    unpriced = f"without {hours_told(one.unpriced_us)} of no known price" if one.unpriced_us else ""
    effective = UNKNOWN if one.none_known else money(one.effective)
    why = unpriced if one.none_known else ""
    return [
        Cell(text=one.name, kind="pw-tight"),
        *(_cost(amount) for amount in (one.list_, one.contracted)),
        Cell(text=effective, why=why, sub="" if why else unpriced, kind="pw-num"),
        _cost(one.billed),
        Cell(text=f"{one.gpu_us / 3_600_000_000:,.0f}", kind="pw-num"),
        _saved(one),
    ]


def _cost(amount: int | None) -> Cell:
    return Cell(text=money(amount), why="unknown for some of it" if amount is None else "", kind="pw-num")


def _saved(one: Costs) -> Cell:
    """Effective savings rate: (list - effective) / list."""
    if one.list_ is None or one.unpriced_us:
        return Cell(text=UNKNOWN, why="a price is unknown", kind="pw-num")
    if one.list_ <= 0:
        return Cell(text="-", kind="pw-num")
    return Cell(
        text=percent((one.list_ - one.effective) / one.list_), sub=signed(one.list_ - one.effective), kind="pw-num"
    )


def commitment_row(one: CommitmentUse) -> list[Cell]:
    used = one.used_nanousd / one.amortised_nanousd if one.amortised_nanousd else None
    return [
        Cell(text=one.id, sub=KINDS[one.kind], kind="pw-tight"),
        Cell(text=money(one.amortised_nanousd), kind="pw-num"),
        Cell(text=percent(used) if used is not None else "-", kind="pw-num"),
        Cell(text=money(one.unused_nanousd), tag="warn" if one.unused_nanousd > 0 else "", kind="pw-num"),
        _covers(one),
        *_earns(one),
        Cell(text=f"{one.end.day} {one.end:%b %Y}", kind="pw-num"),
    ]


PRICE_UNKNOWN = "an on-demand price is unknown"


def _covers(one: CommitmentUse) -> Cell:
    covers, could = one.covered_on_demand_nanousd, one.eligible_on_demand_nanousd
    if covers is None or could is None:
        return Cell(text=UNKNOWN, why=PRICE_UNKNOWN, kind="pw-num")
    return Cell(text=percent(covers / could) if could > 0 else "-", kind="pw-num")


def _earns(one: CommitmentUse) -> list[Cell]:
    """The effective savings rate, and what it is in dollars."""
    covers, could = one.covered_on_demand_nanousd, one.eligible_on_demand_nanousd
    if covers is None:
        return [Cell(text=UNKNOWN, why=PRICE_UNKNOWN, kind="pw-num") for _ in range(2)]
    saves = covers - one.amortised_nanousd
    rate = Cell(text=percent(saves / could), kind="pw-num") if could else Cell(text="-", kind="pw-num")
    if could is None:
        rate = Cell(text=UNKNOWN, why=PRICE_UNKNOWN, kind="pw-num")
    return [rate, Cell(text=signed(saves), tag="bad" if saves < 0 else "", kind="pw-num")]
