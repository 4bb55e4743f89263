"""What the accounts' reader hands out: frozen values. Money is nanodollars; parts are in the order of PARTS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from controller.attribute.apportion import Ints
from controller.facts.accounts import PARTS, Identity, Pool, Tokens
from controller.facts.usage import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """One row of a table: what ``key`` cost from ``start`` to ``end``."""

    start: datetime
    end: datetime
    key: tuple[str, ...]
    parts: tuple[int, ...]
    tokens: Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationTable:
    """Sums by step of time and by the dimensions ``by``, as columns; rows ascend by step and key.

    steps     start and end of each, in order
    keys      values of ``by``; ``step`` and ``key`` hold places in ``steps`` and ``keys``
    sums      n x 16: the parts, then the tokens that were logged (uncached, cached, output, requests)
    """

    by: tuple[str, ...]
    steps: Sequence[tuple[datetime, datetime]]
    keys: Sequence[tuple[str, ...]]
    step: Ints
    key: Ints
    sums: Ints

    @property
    def cost_nanousd(self) -> int:
        """Of everything."""
        return int(self.sums[:, : len(PARTS)].sum())

    def rows(self) -> Iterator[Sum]:
        columns = (self.step.tolist(), self.key.tolist(), self.sums.tolist())
        for step, key, sums in zip(*columns, strict=True):
            start, end = self.steps[step]
            yield Sum(
                start=start,
                end=end,
                key=self.keys[key],
                parts=tuple(sums[: len(PARTS)]),
                tokens=tokens(sums[len(PARTS) :]),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class HourLine:
    """One line of one hour. ``posted_at``: None, or when this correction was added to it; ``after_close``: and whether
    its month was closed by then."""

    start: datetime
    end: datetime
    pool: Pool
    identity: Identity
    revision: int
    parts: tuple[int, ...]
    tokens: Tokens
    posted_at: datetime | None = None
    after_close: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatSum:
    """A place in the fleet from ``start`` to ``end``; ``pool.service`` "" is committed capacity that nobody used.

    What a commitment covers of a place is a row of its own, with ``commitment``.

    list_nanousd …   None: nobody knows. The effective cost is the sum of the parts
    gpu_us           GPU-microseconds; ``unpriced_us`` microseconds of the seat that are in no cost here
    energy_j         None: not measured
    """

    start: datetime
    end: datetime
    pool: Pool
    replica: str
    node: str
    parts: tuple[int, ...]
    list_nanousd: int | None
    contracted_nanousd: int | None
    billed_nanousd: int | None
    gpu_us: int
    covered_us: int
    unpriced_us: int
    energy_j: float | None
    tokens: Tokens
    commitment: str = ""

    @property
    def effective_nanousd(self) -> int:
        return sum(self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class HourState:
    """How far an hour is, see ``tables.HourStateRow``. ``unexplained``: tokens that engines counted and nobody told."""

    hour: datetime
    state: str
    revision: int
    settled_at: datetime | None
    method: str
    note: str
    cost_nanousd: int
    engine: Tokens
    logged: Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """Why an hour was corrected after it was settled."""

    hour: datetime
    revision: int
    posted_at: datetime
    why: str
    source: str
    cost_nanousd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedFor:
    """How many records of a source were refused for a reason, and the last day it happened (UTC)."""

    reason: Reason
    records: int
    last: date


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """Where usage records come from, and what came. ``refused_for``: the reasons, the most frequent first."""

    source: str
    watermark_at: datetime | None
    watermark_id: str
    read_at: datetime | None
    records: int
    duplicates: int
    refused: int
    tokens: int
    beyond_cap: int
    refused_for: tuple[RefusedFor, ...] = ()


def tokens(values: Sequence[int]) -> Tokens:
    """``values`` in the order of ``attribute.tables.TOKENS``."""
    uncached, cached, output, requests = values
    return Tokens(uncached=uncached, cached=cached, output=output, requests=requests)


Filter = Mapping[str, str]
"""A dimension and the one value that is wanted."""
