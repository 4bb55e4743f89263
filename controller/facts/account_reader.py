"""The ledger's accounts as reports and answers read them: the protocol, and its rows. Money is integer nanodollars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from controller.facts.accounts import PARTS, Identity, Part, Pool, Tokens, WorkRate
from controller.facts.commitments import CommitmentKind
from controller.facts.fleet import CapacityType

HOUR = timedelta(hours=1)
NO_PARTS: tuple[int, ...] = (0,) * len(PARTS)


class Dimension(StrEnum):
    """By what cost can be told apart. ``kind`` is not a dimension of the reader: any row can be cut by it."""

    TEAM = "team"
    TENANT = "tenant"
    FEATURE = "feature"
    ENVIRONMENT = "environment"
    API_KEY = "api_key"
    SERVICE = "service"
    VARIANT = "variant"
    CAPACITY_TYPE = "capacity_type"
    REPLICA = "replica"
    NODE = "node"
    KIND = "kind"


OF_IDENTITY = (Dimension.TEAM, Dimension.TENANT, Dimension.FEATURE, Dimension.ENVIRONMENT, Dimension.API_KEY)
OF_POOL = (Dimension.SERVICE, Dimension.VARIANT, Dimension.CAPACITY_TYPE)
OF_SEAT = (Dimension.REPLICA, Dimension.NODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From ``start`` to ``end``, without ``end``. Both UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None or self.end <= self.start:
            raise ValueError(f"a window needs two times with zones, the second later; got {self.start} to {self.end}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRow:
    """What one identity's work, idle and overhead cost in one pool, from ``start`` to ``end``.

    pool        None: summed over all pools, because no dimension of pools was asked for
    parts       nanodollars of effective cost, one a Part, in the order of PARTS
    posted_at   None; or when this correction of a closed period was posted (parts may then be negative)
    """

    start: datetime
    end: datetime
    identity: Identity
    pool: Pool | None
    parts: tuple[int, ...]
    tokens: Tokens = field(default_factory=Tokens)
    posted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatRow:
    """One place in the fleet from ``start`` to ``end``: its four costs, its GPU time, and where it stood.

    A seat-hour that a commitment covers in part comes as two rows, the covered one with ``commitment``. Capacity that
    is committed and unused has no service, and the commitment's id for a replica; a shared item has its name there.

    parts            add up to the effective cost
    list_nanousd …   None: nobody knows
    gpu_us           GPU-microseconds: GPUs x time
    unpriced_us      microseconds of the seat without a price; their cost is unknown and in no number here
    offer            "provider/region/instance_type"; "" for hardware of one's own
    mfu              0..1, None when it was not measured
    decision         id of the last decision about it, "" when there was none
    """

    start: datetime
    end: datetime
    service: str
    variant: str
    replica: str
    capacity_type: CapacityType
    parts: tuple[int, ...]
    list_nanousd: int | None
    contracted_nanousd: int | None
    billed_nanousd: int | None
    gpu_us: int
    node: str = ""
    unpriced_us: int = 0
    offer: str = ""
    zone: str = ""
    gpu: str = ""
    gpus: int = 1
    model: str = ""
    quantization: str = ""
    commitment: str = ""
    price_as_of: date | None = None
    mfu: float | None = None
    decision: str = ""
    tokens: Tokens = field(default_factory=Tokens)

    @property
    def pool(self) -> Pool:
        return Pool(service=self.service, variant=self.variant, capacity_type=self.capacity_type)

    @property
    def effective_nanousd(self) -> int:
        return sum(self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentUse:
    """One commitment in one window. ``amortised`` = ``used`` + ``unused``.

    start, end                   of its term, not of the window
    covered_on_demand_nanousd    what the covered usage would have cost on demand
    eligible_on_demand_nanousd   the same of all usage that it could have covered, covered or not
                                 None: some on-demand price is unknown
    """

    id: str
    kind: CommitmentKind
    start: datetime
    end: datetime
    offer: str
    amortised_nanousd: int
    used_nanousd: int
    unused_nanousd: int
    covered_on_demand_nanousd: int | None
    eligible_on_demand_nanousd: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """A fee for a commitment, and the time that it buys. ``quantity_gpu_us``: 0 where dollars are committed."""

    commitment: str
    start: datetime
    end: datetime
    billed_nanousd: int
    quantity_gpu_us: int
    one_time: bool
    posted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentRow:
    """What a bill says beyond our estimate of one day. ``cost``: "list", "contracted", "effective" or "billed"."""

    id: str
    posted_at: datetime
    day: date
    identity: Identity
    pool: Pool | None
    cost: str
    amount_nanousd: int
    why: str
    offer: str = ""
    invoice: str = ""
    after_close: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """One budget in its running period. ``p50`` and ``p90``: the forecast at the period's end, None without one.

    at_limit   what happens when it is spent, one of facts.budgets.AtLimit; "" where nobody said
    burn       spend in the last hours as a multiple of an even one, by window ("1 h", "6 h", "1 d", "3 d"); a window
               that reaches back before the accounts is absent
    """

    name: str
    scope: str
    start: datetime
    end: datetime
    limit_nanousd: int
    spent_nanousd: int
    p50_nanousd: int | None
    p90_nanousd: int | None
    state: str
    at_limit: str = ""
    burn: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationSeen:
    """Tokens made per engine step with speculative decoding, and the draft's extra time per step as a share of it."""

    accepted_length: float
    draft_overhead_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What savings are worked out from, by (service, variant). ``baselines``: the rate at the unquantized precision."""

    rates: Mapping[tuple[str, str], WorkRate] = field(default_factory=dict)
    baselines: Mapping[tuple[str, str], WorkRate] = field(default_factory=dict)
    speculation: Mapping[tuple[str, str], SpeculationSeen] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantStatics:
    """What the fleet file says of one variant; "" where it does not.

    gpus     of one replica
    offers   "provider/region/instance_type" by the way it is bought
    zone     the availability zone, where all of its capacity is in one
    """

    gpu: str = ""
    gpus: int = 1
    model: str = ""
    quantization: str = ""
    offers: Mapping[CapacityType, str] = field(default_factory=dict)
    zone: str = ""


NOTHING_SAID = VariantStatics()


@dataclass(frozen=True, slots=True, kw_only=True)
class Statics:
    """What rows of the accounts say beside money, and the ledger does not know. By (service, variant).

    baselines     the rate at the unquantized precision, for variants beside which no unquantized one serves
    speculation   as ``Effects`` has it
    """

    variants: Mapping[tuple[str, str], VariantStatics] = field(default_factory=dict)
    baselines: Mapping[tuple[str, str], WorkRate] = field(default_factory=dict)
    speculation: Mapping[tuple[str, str], SpeculationSeen] = field(default_factory=dict)

    def of(self, service: str, variant: str) -> VariantStatics:
        return self.variants.get((service, variant), NOTHING_SAID)


class AccountReader(Protocol):
    """The accounts, read only. Answers come from settled hours where there are any."""

    def lines(
        self,
        window: Window,
        by: Sequence[Dimension],
        where: Mapping[Dimension, str],
        step: timedelta | None = None,
    ) -> Sequence[AllocationRow]:
        """Sums over ``window`` (or each ``step`` of it) by identity and pool dimensions; "" in those not asked for.

        Corrections are in the sums. Dimensions of seats and ``kind`` are not answered here.
        """
        ...

    def seats(self, window: Window) -> Sequence[SeatRow]:
        """Sums over ``window``, one row a seat and commitment."""
        ...

    def hour_lines(self, day: date) -> Iterable[AllocationRow]:
        """The day by hour, identity and pool, in order of hours; corrections of closed months as rows of their own."""
        ...

    def seat_hours(self, day: date) -> Iterable[SeatRow]:
        """The day by hour, seat and commitment, in order of hours."""
        ...

    def commitments(self, window: Window) -> Sequence[CommitmentUse]: ...

    def purchases(self, day: date) -> Sequence[Purchase]:
        """Fees posted on ``day``."""
        ...

    def adjustments(self, day: date) -> Sequence[AdjustmentRow]:
        """Of ``day``, whenever they were posted."""
        ...

    def budgets(self, at: datetime) -> Sequence[BudgetState]: ...

    def effects(self, window: Window) -> Effects: ...

    def open_hours(self, window: Window) -> int:
        """Hours of ``window`` that have ended and are not settled yet: their numbers may still change."""
        ...


def part_sum(parts: Sequence[int], of: Iterable[Part]) -> int:
    """Nanodollars in some of the parts."""
    return sum(parts[_PLACE[part]] for part in of)


_PLACE = {part: place for place, part in enumerate(PARTS)}


def added_parts(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def added_tokens(one: Tokens, other: Tokens) -> Tokens:
    return Tokens(
        uncached=one.uncached + other.uncached,
        cached=one.cached + other.cached,
        output=one.output + other.output,
        requests=one.requests + other.requests,
    )
