"""What an hour's seats cost: as it accrued, then with commitments applied; or as it was settled before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from sqlalchemy import Connection

from controller.attribute.commitments import Applied, CoveredLine, UsageLine, applied, may_cover
from controller.attribute.covered import Piece, cut
from controller.attribute.settle import SeatCosts
from controller.attribute.tables import EFFECTIVE, SeatHours
from controller.facts.accounts import Pool
from controller.facts.commitments import Bought, Commitment, CommitmentHour, CommitmentKind
from controller.facts.fleet import CapacityType
from controller.facts.prices import FourCosts
from controller.ledger.accounts import dictionaries, lines
from controller.ledger.accounts.hours import HOUR, time_of
from controller.ledger.accounts.inputs import COST_NAMES, TIMES, Found, Names, SeatName
from controller.ledger.accounts.tables import CAPACITY_COLUMNS, PART_COLUMNS

Charges = Callable[[Found], Mapping[SeatName, SeatCosts]]
"""What fixed costs add to an hour, by seat; see ``attribute.settle.HourSeen.applied``."""

BuyingOf = Callable[[Pool], Bought]

PLACE = ("service", "variant", "replica", "capacity_type", "node")
PHASES = tuple(name for name in TIMES.values() if name not in ("missing_s", "unpriced_s"))
Nullable = Sequence[int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """What one commitment covers of a place."""

    place: SeatName
    commitment: str
    costs: SeatCosts
    gpu_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentSums:
    """An hour of a commitment, with what the ledger keeps beside it, see ``billed_tables.CommitmentHourRow``."""

    commitment: Commitment
    hour: CommitmentHour
    upfront_nanousd: int
    eligible_on_demand_nanousd: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Costing:
    """What becomes of the costs that accrued.

    applied    by place and commitment ("" for what has none): what replaces them; unused commitments are places too
    covered    parts of places that are seats of their own
    unused     GPU-microseconds of the commitments' unused places
    empty      places that stand empty under a commitment: it tells what they cost
    unpriced   microseconds without a price, of places whose costs are replaced or what is left of them
    sums       None: they stay as they are kept
    """

    applied: Mapping[tuple[SeatName, str], SeatCosts] = field(default_factory=dict)
    covered: Sequence[Covered] = ()
    unused: Mapping[str, int] = field(default_factory=dict)
    empty: frozenset[SeatName] = frozenset()
    unpriced: Mapping[SeatName, int] = field(default_factory=dict)
    sums: Sequence[CommitmentSums] | None = ()


@dataclass(slots=True)
class _Place:
    """One place's hour, summed over its minutes. ``costs`` by COSTS, of the priced time."""

    gpu_us: int = 0
    covered_us: int = 0
    unpriced_us: int = 0
    energy_j: float | None = None
    costs: list[int] = field(default_factory=lambda: [0] * len(COST_NAMES))
    known: list[bool] = field(default_factory=lambda: [True] * len(COST_NAMES))

    def add(self, gpus: int, phases: Sequence[float], unpriced_s: float, joules: float | None, costs: Nullable) -> None:
        watched = sum(_us(seconds) for seconds in phases)
        self.gpu_us += gpus * watched
        self.covered_us += watched
        self.unpriced_us += _us(unpriced_s)
        if joules is not None:
            self.energy_j = (self.energy_j or 0.0) + joules
        for at, cost in enumerate(costs):
            self.costs[at] += cost or 0
            self.known[at] &= cost is not None

    @property
    def amounts(self) -> SeatCosts:
        """The effective cost is told as far as there is one."""
        first, second, _, billed = (cost if known else None for cost, known in zip(self.costs, self.known, strict=True))
        return first, second, self.costs[EFFECTIVE], billed


def fresh(found: Found, commitments: Sequence[Commitment], bought: BuyingOf, charges: Charges) -> Costing:
    """The hour's costs with ``commitments`` applied to them, and with ``charges``."""
    fixed = {(place, ""): costs for place, costs in charges(found).items()}
    start = time_of(found.hour)
    here = [one for one in commitments if one.start < start + HOUR and one.end > start]
    if not here:
        return Costing(applied=fixed)
    known = {one.id: one for one in here}
    places = _places(found)
    usage = [_usage(place, seen, bought, known) for place, seen in places.items() if place[2] and seen.gpu_us]
    done = applied(start, usage, here)
    unused = [one for one in done.commitments if one.unused_nanousd or one.unused_units]
    return Costing(
        applied=fixed | dict(_changed(done, known)) | dict(_unused(unused)),
        covered=[one for line in done.lines for one in _covers(line)],
        unused={one.commitment: _unused_gpu_us(one) for one in unused},
        empty=frozenset(place for place in places if not place[2] and place[0] and _named(place, bought, known)),
        unpriced=_unpriced(done, places),
        sums=[_sums(known[one.commitment], one, usage) for one in done.commitments],
    )


def kept(connection: Connection, found: Found) -> Costing:
    """The hour's costs as they are in its lines: records that come late change whose they are, not how much."""
    names = dictionaries.seats_by_id(connection)
    settled = {names[seat]: row for seat, row in lines.seat_rows_of(connection, found.hour).items()}
    sums: dict[SeatName, list[SeatCosts]] = {}
    for name, row in settled.items():
        if name.pool.service or not name.commitment:
            sums.setdefault(_place(name), []).append(_amounts(row))
    places = _places(found)
    applied = {
        (place, ""): _together(amounts)
        for place, amounts in sums.items()
        if place not in places or _together(amounts) != places[place].amounts
    }
    unused = {name.commitment: (name, row) for name, row in settled.items() if _is_unused(name)}
    return Costing(
        applied=applied | {(_place(name), under): _amounts(row) for under, (name, row) in unused.items()},
        covered=[
            Covered(place=_place(name), commitment=name.commitment, costs=_amounts(row), gpu_us=_column(row, "gpu_us"))
            for name, row in settled.items()
            if name.commitment and not _is_unused(name) and _column(row, "gpu_us")
        ],
        unused={under: _column(row, "gpu_us") for under, (_, row) in unused.items()},
        empty=frozenset(place for place, seen in places.items() if place not in sums and not place[2]),
        unpriced={_place(name): _column(row, "unpriced_us") for name, row in settled.items() if not name.commitment},
        sums=None,
    )


def placed(seats: SeatHours, costing: Costing, names: Names) -> SeatHours:
    """``seats`` with a seat for every part that a commitment covers, and the time of what is unused."""
    under, _ = names.seats([one.place for one in costing.covered], [one.commitment for one in costing.covered])
    of, _ = names.seats([one.place for one in costing.covered])
    pieces = [
        Piece(seat=seat, of=whole, costs=one.costs, gpu_us=one.gpu_us)
        for seat, whole, one in zip(under, of, costing.covered, strict=True)
    ]
    unpriced = dict(zip(names.seats(list(costing.unpriced))[0], costing.unpriced.values(), strict=True))
    made = cut(seats, pieces, unpriced)
    empty = [unused_place(name) for name in costing.unused]
    ids, _ = names.seats([place for place, _ in empty], [name for _, name in empty])
    time = dict(zip(ids, costing.unused.values(), strict=True))
    pairs = zip(made.seat.tolist(), made.gpu_us.tolist(), strict=True)
    return replace(made, gpu_us=np.array([time.get(seat, gpu_us) for seat, gpu_us in pairs], dtype=np.int64))


def _places(found: Found) -> dict[SeatName, _Place]:
    """By place. The quarter of an hour before the hour is not of it."""
    columns, start = found.replicas, time_of(found.hour)

    def together(names: Sequence[str]) -> Iterable[Any]:
        return zip(*(columns[name] for name in names), strict=True)

    rows = zip(
        columns["minute"], together(PLACE), columns["gpus"], together(PHASES), columns["unpriced_s"],
        columns["energy_j"], together(COST_NAMES), strict=True,
    )  # fmt: skip
    places: dict[SeatName, _Place] = {}
    for minute, place, *values in rows:
        if minute >= start:
            places.setdefault(place, _Place()).add(*values)
    return places


def _named(place: SeatName, bought: BuyingOf, known: Mapping[str, Commitment]) -> str:
    """The commitment that the place's capacity names, "" when none of that name is in force."""
    name = bought(_pool(place)).commitment
    return name if name in known else ""


def _usage(place: SeatName, seen: _Place, bought: BuyingOf, known: Mapping[str, Commitment]) -> UsageLine:
    """Capacity that names a commitment accrued at the commitment's price: what of it the commitment does not cover
    costs as on demand."""
    list_, contracted, effective, billed = seen.amounts
    named = _named(place, bought, known)
    costs = FourCosts(list_=list_, contracted=contracted, effective=effective, billed=billed)
    if named:
        costs = FourCosts(list_=list_, contracted=list_, effective=list_, billed=list_)
    return UsageLine(
        key=place,
        service=place[0],
        variant=place[1],
        capacity_type=CapacityType(place[3]),
        gpu_us=seen.gpu_us,
        costs=costs,
        offer=bought(_pool(place)).offer,
        commitment=named,
        energy_j=seen.energy_j,
    )


def _changed(done: Applied, known: Mapping[str, Commitment]) -> Iterable[tuple[tuple[SeatName, str], SeatCosts]]:
    for line in done.lines:
        if line.covers or line.usage.commitment in known:
            costs = line.costs
            covered = sum(cover.effective_nanousd for cover in line.covers)
            effective = covered + (line.rest.effective or 0)
            yield (_key(line), ""), (costs.list_, costs.contracted, effective, costs.billed)


def _unused(hours: Iterable[CommitmentHour]) -> Iterable[tuple[tuple[SeatName, str], SeatCosts]]:
    for one in hours:
        billed = one.unused_nanousd if one.kind is CommitmentKind.OWNED else 0
        yield unused_place(one.commitment), (None, one.unused_nanousd, one.unused_nanousd, billed)


def unused_place(commitment: str) -> tuple[SeatName, str]:
    """Where what nobody used of it is told."""
    return ("", "", commitment, CapacityType.RESERVED.value, ""), commitment


def _covers(line: CoveredLine) -> Iterable[Covered]:
    for cover in line.covers:
        costs = (cover.list_nanousd, cover.contracted_nanousd, cover.effective_nanousd, cover.billed_nanousd)
        yield Covered(place=_key(line), commitment=cover.commitment, costs=costs, gpu_us=cover.gpu_us)


def _unpriced(done: Applied, places: Mapping[SeatName, _Place]) -> dict[SeatName, int]:
    """What is not covered and has no price keeps its share of the time without one."""
    found = {}
    for line in done.lines:
        place, left = places[_key(line)], line.usage.gpu_us - line.covered_gpu_us
        time = place.covered_us if line.rest.effective is None else place.unpriced_us
        if line.covers or line.usage.commitment:
            found[_key(line)] = time * left // line.usage.gpu_us
    return found


def _sums(commitment: Commitment, hour: CommitmentHour, usage: Sequence[UsageLine]) -> CommitmentSums:
    begins = hour.hour <= commitment.start < hour.hour + HOUR
    listed = [line.costs.list_ for line in usage if may_cover(commitment, line)]
    return CommitmentSums(
        commitment=commitment,
        hour=hour,
        upfront_nanousd=commitment.upfront_nanousd if begins and commitment.kind is not CommitmentKind.OWNED else 0,
        eligible_on_demand_nanousd=None if None in listed else sum(one for one in listed if one is not None),
    )


def _unused_gpu_us(one: CommitmentHour) -> int:
    return 0 if one.kind is CommitmentKind.SAVINGS_PLAN else one.unused_units


def _key(line: CoveredLine) -> SeatName:
    return cast(SeatName, line.usage.key)


def _pool(place: SeatName) -> Pool:
    return Pool(service=place[0], variant=place[1], capacity_type=CapacityType(place[3]))


def _place(name: dictionaries.SeatNamed) -> SeatName:
    return name.pool.service, name.pool.variant, name.replica, name.pool.capacity_type.value, name.node


def _is_unused(name: dictionaries.SeatNamed) -> bool:
    return bool(name.commitment) and not name.pool.service


def _amounts(row: Sequence[Any]) -> SeatCosts:
    named = dict(zip(CAPACITY_COLUMNS, row, strict=True))
    effective = sum(named[part] for part in PART_COLUMNS)
    return named["list_nanousd"], named["contracted_nanousd"], effective, named["billed_nanousd"]


def _column(row: Sequence[Any], name: str) -> int:
    return int(row[CAPACITY_COLUMNS.index(name)])


def _together(amounts: Sequence[SeatCosts]) -> SeatCosts:
    first, second, effective, billed = (
        None if None in column else sum(one for one in column if one is not None)
        for column in zip(*amounts, strict=True)
    )
    return first, second, effective, billed


def _us(seconds: float) -> int:
    """As ``inputs`` rounds them."""
    return round(seconds * 1e6)
