"""The tables of the accounts. Times are whole minutes or hours since 1970 UTC, money is nanodollars."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from controller.facts.accounts import PARTS
from controller.ledger.tables import Base, Prose, UtcDateTime

PART_COLUMNS = tuple(f"{part.value}_nanousd" for part in PARTS)
TOKEN_COLUMNS = ("uncached", "cached", "output", "requests")
LINE_COLUMNS = (*PART_COLUMNS, *TOKEN_COLUMNS)
"""What a line of an identity counts; all of it adds up over any rows."""

COST_COLUMNS = ("list_nanousd", "contracted_nanousd", "billed_nanousd")
"""Beside the effective cost, which is the sum of the parts. NULL: nobody knows."""

CAPACITY_COLUMNS = (*PART_COLUMNS, *COST_COLUMNS, "gpu_us", "covered_us", "unpriced_us", "energy_j", *TOKEN_COLUMNS)
USAGE_COLUMNS = (
    "requests",
    "uncached",
    "cached",
    "output",
    "uncached_sq",
    "cached_cross",
    "output_context",
    "cached_responses",
)

ALL_POOLS = 0
"""In the place of a pool: summed over all of them."""


class PartColumns(SQLModel):
    """What a cost went into; the parts add up to it."""

    prefill_nanousd: int = Field(sa_type=BigInteger)
    cached_nanousd: int = Field(sa_type=BigInteger)
    decode_nanousd: int = Field(sa_type=BigInteger)
    unmeasured_nanousd: int = Field(sa_type=BigInteger)
    idle_warm_nanousd: int = Field(sa_type=BigInteger)
    idle_unscheduled_nanousd: int = Field(sa_type=BigInteger)
    idle_stuck_nanousd: int = Field(sa_type=BigInteger)
    idle_stranded_nanousd: int = Field(sa_type=BigInteger)
    overhead_starting_nanousd: int = Field(sa_type=BigInteger)
    overhead_draining_nanousd: int = Field(sa_type=BigInteger)
    overhead_swapping_nanousd: int = Field(sa_type=BigInteger)
    overhead_interrupted_nanousd: int = Field(sa_type=BigInteger)


class TokenColumns(SQLModel):
    """Tokens and requests: an engine's where capacity is told, the records' where identities are."""

    uncached: int = Field(sa_type=BigInteger)
    cached: int = Field(sa_type=BigInteger)
    output: int = Field(sa_type=BigInteger)
    requests: int = Field(sa_type=BigInteger)


class CapacityColumns(SQLModel):
    """The three other costs, and time: microseconds of GPUs, of the replica, and of it without a price."""

    list_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    contracted_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    billed_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    gpu_us: int = Field(sa_type=BigInteger)
    covered_us: int = Field(sa_type=BigInteger)
    unpriced_us: int = Field(sa_type=BigInteger)
    energy_j: float | None = None


class PoolRow(Base, table=True):
    """Replicas of one price. Id 0 is nobody's: it means all pools."""

    __tablename__ = "pool"
    id: int = Field(primary_key=True)
    service: str
    variant: str
    capacity_type: str


class SeatRow(Base, table=True):
    """A place in the fleet: a replica as it is bought, on a node; ``replica`` "" is committed and unused.

    commitment   what covers it, "" for what none covers: a replica that one covers in part has two seats
    """

    __tablename__ = "seat"
    id: int = Field(primary_key=True)
    service: str
    variant: str
    replica: str
    capacity_type: str
    node: str
    commitment: str
    pool: int


class IdentityRow(Base, table=True):
    """Who asked. 1 to 6 are the ledger's own, see ``dictionaries.OWN``."""

    __tablename__ = "identity"
    id: int = Field(primary_key=True)
    team: str
    tenant: str
    feature: str
    environment: str
    api_key: str


class WorkRateRow(Base, table=True):
    """What a token took from ``at`` on: hours are split as they were known then."""

    __tablename__ = "work_rate"
    service: str = Field(primary_key=True)
    variant: str = Field(primary_key=True)
    at: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    prefill_s_per_token: float
    prefill_s_per_square: float
    cached_s_per_cross: float
    cached_s_per_token: float
    decode_s_per_token: float
    decode_s_per_context: float
    mean_uncached: float
    mean_cached: float
    mean_output: float
    basis: str
    band_ratio: float
    uncached_cv: float


class UsageMinuteRow(Base, table=True):
    """What usage records say of one minute and identity. Sums of products, so that any rate can weigh them later.

    uncached_sq        sum of u^2 over requests with u uncached, h cached and o output tokens, p = u + h
    cached_cross       sum of 2 h u
    output_context     sum of o (2 p + o)
    cached_responses   answers without an engine: in no other column
    """

    __tablename__ = "usage_minute"
    minute: int = Field(primary_key=True)
    service: str = Field(primary_key=True)
    variant: str = Field(primary_key=True)
    identity: int = Field(primary_key=True)
    requests: int = Field(sa_type=BigInteger)
    uncached: int = Field(sa_type=BigInteger)
    cached: int = Field(sa_type=BigInteger)
    output: int = Field(sa_type=BigInteger)
    uncached_sq: int = Field(sa_type=BigInteger)
    cached_cross: int = Field(sa_type=BigInteger)
    output_context: int = Field(sa_type=BigInteger)
    cached_responses: int = Field(sa_type=BigInteger)


class UsageSeenRow(Base, table=True):
    """A record that was counted: the two halves of its digest, below the hour in which it started."""

    __tablename__ = "usage_seen"
    hour: int = Field(primary_key=True)
    a: int = Field(primary_key=True, sa_type=BigInteger)
    b: int = Field(primary_key=True, sa_type=BigInteger)


class UsageHourRow(Base, table=True):
    """Records that touch an hour, and how many of them its newest revision has seen: more came late."""

    __tablename__ = "usage_hour"
    hour: int = Field(primary_key=True)
    source: str = Field(primary_key=True)
    records: int = Field(sa_type=BigInteger)
    settled_records: int = Field(sa_type=BigInteger)


class UsageSourceRow(Base, table=True):
    """Where records come from. ``watermark``: how far a source that is polled was read.

    beyond_cap   records whose identity is told apart no more, because there are too many
    """

    __tablename__ = "usage_source"
    source: str = Field(primary_key=True)
    watermark_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    watermark_id: str
    read_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    records: int = Field(sa_type=BigInteger)
    duplicates: int = Field(sa_type=BigInteger)
    refused: int = Field(sa_type=BigInteger)
    tokens: int = Field(sa_type=BigInteger)
    beyond_cap: int = Field(sa_type=BigInteger)


class UsageRefusedRow(Base, table=True):
    """How many records of a source were refused on a day (since 1970, when they came), and for what."""

    __tablename__ = "usage_refused"
    source: str = Field(primary_key=True)
    day: int = Field(primary_key=True)
    reason: str = Field(primary_key=True)
    records: int = Field(sa_type=BigInteger)


class CostMinuteRow(PartColumns, Base, table=True):
    """What a pool's minute cost, by part."""

    __tablename__ = "cost_minute"
    minute: int = Field(primary_key=True)
    pool: int = Field(primary_key=True)
    priced_us: int = Field(sa_type=BigInteger)
    unpriced_us: int = Field(sa_type=BigInteger)


class CostHourRow(PartColumns, CapacityColumns, TokenColumns, Base, table=True):
    """What a seat's hour cost, by part; corrections are rows of a higher revision, to be added."""

    __tablename__ = "cost_hour"
    hour: int = Field(primary_key=True)
    seat: int = Field(primary_key=True)
    revision: int = Field(primary_key=True)


class AllocationHourRow(PartColumns, TokenColumns, Base, table=True):
    """Whose a pool's hour was; corrections are rows of a higher revision, to be added."""

    __tablename__ = "allocation_hour"
    hour: int = Field(primary_key=True)
    pool: int = Field(primary_key=True)
    identity: int = Field(primary_key=True)
    revision: int = Field(primary_key=True)


class HourStateRow(Base, table=True):
    """How far an hour is. A settled one is never rewritten.

    state              "open" or "settled"
    revision           of its newest correction; 0: none
    worked_at          when revision 0 was worked out; ``settled_at``: when that was for the last time
    method             how it was split, in a few words
    note               what there is to know, "": nothing; such as the source that was not waited for any longer
    measured_nanousd   sum of its replica minutes, as its newest revision found them
    cost_nanousd       what revision 0 cost: measured, with commitments applied
    """

    __tablename__ = "hour_state"
    hour: int = Field(primary_key=True)
    state: str
    revision: int
    worked_at: datetime = Field(sa_type=UtcDateTime)
    settled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    method: str
    note: str = Field(sa_type=Prose)
    measured_nanousd: int = Field(sa_type=BigInteger)
    cost_nanousd: int = Field(sa_type=BigInteger)
    engine_uncached: int = Field(sa_type=BigInteger)
    engine_cached: int = Field(sa_type=BigInteger)
    engine_output: int = Field(sa_type=BigInteger)
    engine_requests: int = Field(sa_type=BigInteger)
    logged_uncached: int = Field(sa_type=BigInteger)
    logged_cached: int = Field(sa_type=BigInteger)
    logged_output: int = Field(sa_type=BigInteger)
    logged_requests: int = Field(sa_type=BigInteger)


class AllocationRevisionRow(Base, table=True):
    """Why an hour was corrected after it was settled. ``cost_nanousd``: by how much its cost changed, mostly 0."""

    __tablename__ = "allocation_revision"
    hour: int = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    posted_at: datetime = Field(sa_type=UtcDateTime)
    why: str = Field(sa_type=Prose)
    source: str
    cost_nanousd: int = Field(sa_type=BigInteger)


class SpendRow(PartColumns, TokenColumns, Base, table=True):
    """Sums of ``allocation_hour``, by ``cubes.POOLED`` … ``start``: hours since 1970; ``grain``: as many hours.

    scope 0   by identity, over all pools (pool 0)
    scope 1   by pool and identity; of hours it is ``allocation_hour`` itself
    scope 2   by pool, over all identities (identity 0)
    scope 3   by pool and team, which goes by the first of its identities; not of hours
    """

    __tablename__ = "spend"
    grain: int = Field(primary_key=True)
    scope: int = Field(primary_key=True)
    start: int = Field(primary_key=True)
    pool: int = Field(primary_key=True)
    identity: int = Field(primary_key=True)


class CapacitySpendRow(PartColumns, CapacityColumns, TokenColumns, Base, table=True):
    """Sums of ``cost_hour``."""

    __tablename__ = "capacity_spend"
    grain: int = Field(primary_key=True)
    start: int = Field(primary_key=True)
    seat: int = Field(primary_key=True)
