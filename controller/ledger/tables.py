"""The tables, one class each. The schema itself is made by the migrations; a test holds the two equal.

Times are UTC-aware. Units end the names. NULL in a measured column means that it could not be had: never zero.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from sqlalchemy import BigInteger, Dialect, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import Field, SQLModel


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: TIMESTAMPTZ on PostgreSQL; on SQLite ISO 8601 in UTC, of one width, so that text sorts by time."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime]:
        native = TIMESTAMP(timezone=True) if dialect.name == "postgresql" else Text()
        return cast("TypeEngine[datetime]", dialect.type_descriptor(native))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the ledger keeps UTC-aware times, found {value} without a zone")
        in_utc = value.astimezone(UTC)
        return in_utc if dialect.name == "postgresql" else in_utc.isoformat(timespec="microseconds")

    def process_result_value(self, value: datetime | str | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


class Prose(TypeDecorator[str]):
    """Text from outside: what PostgreSQL cannot store (NUL, lone surrogates) must not keep a pass from the ledger."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isprintable() and value.isascii()):
            return value
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


class Base(SQLModel):
    """Own metadata: another SQLModel program in the same process is no concern of ours.

    Rows are written and read as SQL: the validators of sixty tables, which nobody asks, would take every command with a
    ledger a tenth of a second.
    """

    metadata = MetaData()
    model_config = {"defer_build": True}


class PassRow(Base, table=True):
    """One pass of a fleet's daemon. ``duration_s`` is NULL until its outcomes are recorded."""

    __tablename__ = "passes"
    at: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    fleet: str = Field(primary_key=True)
    mode: str
    services: int
    replicas: int
    duration_s: float | None = None


class PassProblemRow(Base, table=True):
    """What went wrong in a pass."""

    __tablename__ = "pass_problem"
    at: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    fleet: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    problem: str = Field(sa_type=Prose)


class ReplicaMinuteRow(Base, table=True):
    """One replica's minute, summed over the passes that fell into it; ``replica`` "" is committed capacity nobody used.

    X_s of a phase      seconds spent in it; ``covered_s`` is their sum: seconds that passes looked back on
    missing_s           of these, seconds in which the engine could not be read, and the last reason
    tokens, requests    increases; NULL when no pass of the minute could read the counter
    X_integral, X_s     level x seconds, and the seconds it was known for: their quotient is the time-weighted mean
    cost_nanousd        effective, of the priced seconds; NULL when none was priced; ``unpriced_s`` counts the others
    list_nanousd …      the three other costs of them; NULL: nobody knows
    prefill_s, decode_s   seconds that its requests spent in each phase, as the engine counts them
    """

    __tablename__ = "replica_minute"
    minute: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    service: str = Field(primary_key=True)
    variant: str = Field(primary_key=True)
    replica: str = Field(primary_key=True)
    capacity_type: str = Field(primary_key=True)
    gpus: int
    ready_s: float
    starting_s: float
    draining_s: float
    failed_s: float
    covered_s: float
    missing_s: float
    missing_why: str = Field(sa_type=Prose)
    prompt_tokens: float | None = None
    cached_prompt_tokens: float | None = None
    output_tokens: float | None = None
    requests: float | None = None
    rejections: float | None = None
    preemptions: float | None = None
    running_integral: float | None = None
    running_s: float
    queue_depth_integral: float | None = None
    queue_depth_s: float
    kv_cache_ratio_integral: float | None = None
    kv_cache_ratio_s: float
    mfu_ratio_integral: float | None = None
    mfu_ratio_s: float
    energy_j: float | None = None
    cost_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    unpriced_s: float
    list_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    contracted_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    billed_nanousd: int | None = Field(default=None, sa_type=BigInteger)
    node: str = ""
    prefill_s: float | None = None
    decode_s: float | None = None
    engine_steps: float | None = None


class ServiceMinuteRow(Base, table=True):
    """One minute of a service (``variant`` ""), of one of its variants, or of a whole fleet (``service`` "" and the
    fleet's name, which is "" where a ledger has one, as ``variant``).

    Latencies, queue depth and KV-cache use are the minute's highest, everything else its last known value.
    """

    __tablename__ = "service_minute"
    minute: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    service: str = Field(primary_key=True)
    variant: str = Field(primary_key=True)
    replicas_current: int
    replicas_ready: int
    replicas_desired: int | None = None
    gpus: int
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    ttft_p99_s: float | None = None
    tpot_p50_s: float | None = None
    tpot_p95_s: float | None = None
    tpot_p99_s: float | None = None
    e2e_p95_s: float | None = None
    queue_time_p95_s: float | None = None
    queue_depth: float | None = None
    running: float | None = None
    kv_cache_ratio: float | None = None
    prefix_hit_ratio: float | None = None
    acceptance_ratio: float | None = None
    mfu_ratio: float | None = None
    mbu_ratio: float | None = None
    gpu_utilization_ratio: float | None = None
    power_w: float | None = None
    joules_per_token: float | None = None
    requests_per_s: float | None = None
    rejections_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    output_tokens_per_s: float | None = None
    usd_per_hour: float | None = None
    usd_per_million_output_tokens: float | None = None
    usd_per_million_tokens: float | None = None
    output_tokens_per_usd: float | None = None
    tokens_per_usd: float | None = None


class CounterMarkRow(Base, table=True):
    """How far one fleet's daemon has counted one counter of one target."""

    __tablename__ = "counter_mark"
    fleet: str = Field(primary_key=True)
    target_url: str = Field(primary_key=True)
    series: str = Field(primary_key=True)
    started_s: float | None = None
    value: float
    at: datetime = Field(sa_type=UtcDateTime)


class GapRow(Base, table=True):
    """Time in which a fleet's daemon did not watch, and why."""

    __tablename__ = "gap"
    started_at: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    ended_at: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    fleet: str = Field(primary_key=True)
    why: str = Field(sa_type=Prose)


class FleetServiceRow(Base, table=True):
    """Whose a service is: each belongs to one fleet at a time."""

    __tablename__ = "fleet_service"
    service: str = Field(primary_key=True)
    fleet: str
    since: datetime = Field(sa_type=UtcDateTime)


class FleetAccountRow(Base, table=True):
    """What a fleet file says of the accounts, a digest a key: fleets on one ledger should say the same."""

    __tablename__ = "fleet_account"
    fleet: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    digest: str


class FleetCapacityRow(Base, table=True):
    """How capacity is bought, as its fleet file says: one daemon settles the hours of all fleets."""

    __tablename__ = "fleet_capacity"
    service: str = Field(primary_key=True)
    variant: str = Field(primary_key=True)
    capacity_type: str = Field(primary_key=True)
    offer: str
    commitment: str


class LeadershipRow(Base, table=True):
    """A term of one fleet: which daemon led it from when on."""

    __tablename__ = "leadership"
    fleet: str = Field(primary_key=True)
    epoch: int = Field(primary_key=True, sa_type=BigInteger)
    holder: str
    since: datetime | None = Field(default=None, sa_type=UtcDateTime)


class DecisionRow(Base, table=True):
    """One decision. An unknown cost is NULL, the columns beside it say what is missing and why; ``epoch``: of the term
    that it was made in, NULL where nobody else could lead."""

    __tablename__ = "decision"
    id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    mode: str
    service: str
    variant: str
    replicas_current: int
    replicas_ready: int
    replicas_desired: int
    replicas_wanted: int
    because: str
    detail: str = Field(sa_type=Prose)
    signal: str
    usd_per_hour_before: float | None = None
    usd_per_hour_before_missing: str | None = Field(default=None, sa_type=Prose)
    usd_per_hour_before_why: str | None = Field(default=None, sa_type=Prose)
    usd_per_hour_after: float | None = None
    usd_per_hour_after_missing: str | None = Field(default=None, sa_type=Prose)
    usd_per_hour_after_why: str | None = Field(default=None, sa_type=Prose)
    epoch: int | None = Field(default=None, sa_type=BigInteger)
    change: str = ""


class DecisionNumberRow(Base, table=True):
    """A number that decided; NULL when it is not a number."""

    __tablename__ = "decision_number"
    decision_id: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    value: float | None = None


class DecisionVictimRow(Base, table=True):
    """A replica that a decision removes, first to go first."""

    __tablename__ = "decision_victim"
    decision_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    replica: str


class ActionRow(Base, table=True):
    """The intent of a decision that does not hold: written before anything is touched. ``epoch`` as the decision's."""

    __tablename__ = "action"
    decision_id: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    epoch: int | None = Field(default=None, sa_type=BigInteger)


class OutcomeRow(Base, table=True):
    """What became of an action."""

    __tablename__ = "outcome"
    decision_id: str = Field(primary_key=True)
    service: str
    variant: str
    kind: str
    detail: str = Field(sa_type=Prose)
    at: datetime = Field(sa_type=UtcDateTime)


class AlertEventRow(Base, table=True):
    """A message that people were sent."""

    __tablename__ = "alert_event"
    at: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    service: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    phase: str = Field(primary_key=True)
    severity: str
    condition: str
    summary: str = Field(sa_type=Prose)
    remedy: str = Field(sa_type=Prose)
    since: datetime = Field(sa_type=UtcDateTime)


class AlertStateRow(Base, table=True):
    """Where one alert is."""

    __tablename__ = "alert_state"
    service: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    phase: str
    since: datetime = Field(sa_type=UtcDateTime)
    last_sent: datetime | None = Field(default=None, sa_type=UtcDateTime)
    cleared_since: datetime | None = Field(default=None, sa_type=UtcDateTime)


class PauseRow(Base, table=True):
    """An operator's pause; ``resumed_at`` is NULL while it lasts."""

    __tablename__ = "pause"
    service: str = Field(primary_key=True)
    since: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    paused_by: str
    reason: str = Field(sa_type=Prose)
    resumed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    resumed_by: str | None = None


def table(row: type[Base]) -> Table:
    """The Core table behind ``row``: passes are written and read in bulk, without ORM objects."""
    return Base.metadata.tables[str(row.__tablename__)]
