"""The columns in which an hour is settled: arrays of equal length, one class a table. Money is integer nanodollars,
time integer microseconds, minutes are whole ones since 1970; ids are the ledger's. NaN in a float column: not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from controller.attribute.apportion import Floats, Ints
from controller.facts.accounts import IDLE, OVERHEAD, PARTS, SHARED, STRANDED, WORK, Identity, Part, Pool
from controller.facts.fleet import CapacityType

Flags = NDArray[np.bool_]

COSTS = ("list", "contracted", "effective", "billed")
EFFECTIVE = COSTS.index("effective")
TOKENS = ("uncached", "cached", "output", "requests")
AT = {part: place for place, part in enumerate(PARTS)}
WORKED = [AT[part] for part in WORK]
IDLED = [AT[part] for part in IDLE]
OVERHEADS = [AT[part] for part in OVERHEAD]
MEASURED = (Part.PREFILL, Part.CACHED, Part.DECODE)
"""Work of which it is known for which tokens, in the order of the first three of TOKENS."""

UNATTRIBUTED_ID, IDLE_ID, OVERHEAD_ID, OTHER_ID, SHARED_ID, ADJUSTMENT_ID = range(1, 7)
"""The ledger's first identities: facts.accounts.UNATTRIBUTED, IDLE_OWN, OVERHEAD_OWN, OTHER, SHARED, ADJUSTMENT."""

MINUTES_PER_HOUR = 60
MICROSECONDS_PER_MINUTE = 60_000_000


class SeatKind(StrEnum):
    """What a seat's cost is for."""

    REPLICA = "replica"
    UNUSED = "unused"  # committed, and no replica uses it
    STRANDED = "stranded"  # GPUs of a rented node that no replica can use
    SHARED = "shared"  # a fixed cost that is nobody's alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A place that costs: a replica, or what stands in the place of its name. ``pool``: its id."""

    service: str
    variant: str
    replica: str
    capacity_type: CapacityType
    pool: int
    node: str = ""

    @property
    def kind(self) -> SeatKind:
        if self.variant == SHARED.team:
            return SeatKind.SHARED
        if self.replica == STRANDED:
            return SeatKind.STRANDED
        return SeatKind.REPLICA if self.service and self.replica else SeatKind.UNUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What the ids mean. ``identities`` hold one of only its name for every team that a rule names."""

    seats: Mapping[int, Seat]
    pools: Mapping[int, Pool]
    identities: Mapping[int, Identity]


@dataclass(frozen=True, slots=True)
class Columns:
    """Arrays of one length."""

    def __post_init__(self) -> None:
        lengths = {
            one.name: len(getattr(self, one.name)) for one in fields(self) if _is_column(getattr(self, one.name))
        }
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")

    def taken(self, places: NDArray[Any]) -> Self:
        """The rows at ``places`` (indices or a mask)."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return type(self)(**{name: value[places] if _is_column(value) else value for name, value in values.items()})


def _is_column(value: object) -> bool:
    return isinstance(value, np.ndarray)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaMinuteSeen(Columns):
    """The minutes of an hour's seats, at most one row a seat and minute.

    costs, known   four costs (COSTS) and whether each is known at all; an unknown one is 0
    unpriced_us    time without an effective price: the cost is of the rest
    …_us           time in each phase; ``missing_us`` of them the engine could not be read
    uncached …     the engine's counters; ``prefill_s``, ``decode_s`` its requests' phase seconds, wall time
    swapping       another variant of the service was drained or stopped for a decision around then
    replaces_interrupted   it stands in for a spot replica that was interrupted
    """

    seat: Ints
    pool: Ints
    minute: Ints
    costs: Ints
    known: Flags
    unpriced_us: Ints
    starting_us: Ints
    ready_us: Ints
    draining_us: Ints
    failed_us: Ints
    missing_us: Ints
    uncached: Floats
    cached: Floats
    output: Floats
    requests: Floats
    running: Floats
    queue_depth: Floats
    prefill_s: Floats
    decode_s: Floats
    energy_j: Floats
    gpus: Ints
    swapping: Flags
    replaces_interrupted: Flags

    @property
    def cost(self) -> Ints:
        """Effective."""
        effective: Ints = self.costs[:, EFFECTIVE]
        return effective

    @property
    def covered_us(self) -> Ints:
        return self.starting_us + self.ready_us + self.draining_us + self.failed_us

    @property
    def tokens(self) -> Floats:
        """n x 4 (TOKENS)."""
        return np.column_stack((self.uncached, self.cached, self.output, self.requests))

    @classmethod
    def empty(cls) -> ReplicaMinuteSeen:
        return cls(**{one.name: np.zeros(_SHAPES.get(one.name, 0), dtype=_TYPES[one.name]) for one in fields(cls)})


_FLAGS = ("known", "swapping", "replaces_interrupted")
_FLOATS = (
    *("uncached", "cached", "output", "requests", "running", "queue_depth", "prefill_s", "decode_s"),
    "energy_j",
)
_SHAPES: Mapping[str, tuple[int, ...]] = {"costs": (0, len(COSTS)), "known": (0, len(COSTS))}
_TYPES: Mapping[str, type[np.generic]] = {
    one.name: np.bool_ if one.name in _FLAGS else np.float64 if one.name in _FLOATS else np.int64
    for one in fields(ReplicaMinuteSeen)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSeen(Columns):
    """Sums of usage records by minute, place and identity. Answers from a gateway's own cache are not in them.

    place            index into ``places``: (service, variant), the variant "" where the source does not know it
    uncached_sq      of u²; ``cached_cross`` of 2 h u; ``output_context`` of o (2 p + o): see facts.accounts.WorkRate
    """

    minute: Ints
    place: Ints
    identity: Ints
    requests: Ints
    uncached: Ints
    cached: Ints
    output: Ints
    uncached_sq: Ints
    cached_cross: Ints
    output_context: Ints
    places: Sequence[tuple[str, str]]

    @property
    def tokens(self) -> Ints:
        """n x 4 (TOKENS)."""
        return np.column_stack((self.uncached, self.cached, self.output, self.requests))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatHours(Columns):
    """By seat: parts (n x 12), the four costs and whether each is known, time, energy (NaN: not known), the engine's
    tokens (n x 4). The effective cost is the sum of the parts."""

    seat: Ints
    parts: Ints
    costs: Ints
    known: Flags
    gpu_us: Ints
    covered_us: Ints
    unpriced_us: Ints
    energy_j: Floats
    tokens: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMinutes(Columns):
    """By pool and minute, ascending: parts (n x 12), the engines' tokens (n x 4), time watched, time unpriced."""

    pool: Ints
    minute: Ints
    parts: Ints
    tokens: Ints
    covered_us: Ints
    unpriced_us: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolHours(Columns):
    """The same by pool alone; ``pool`` ascends."""

    pool: Ints
    parts: Ints
    tokens: Ints
    covered_us: Ints
    unpriced_us: Ints

    def places(self, pools: Ints) -> Ints:
        """The row of each of ``pools``, which must be there."""
        places: Ints = np.searchsorted(self.pool, pools)
        return places


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteLines(Columns):
    """Amounts of one part that one identity bears in one pool's minute; several rows may be of the same."""

    pool: Ints
    minute: Ints
    identity: Ints
    part: Ints
    nanousd: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class HourLines(Columns):
    """By pool and identity: parts (n x 12) and logged tokens (n x 4), ascending, no line twice, none all zero."""

    pool: Ints
    identity: Ints
    parts: Ints
    tokens: Ints

    @property
    def cost(self) -> Ints:
        cost: Ints = self.parts.sum(axis=1)
        return cost

    @property
    def work(self) -> Ints:
        """The usage basis: without idle and overhead."""
        work: Ints = self.parts[:, WORKED].sum(axis=1)
        return work
