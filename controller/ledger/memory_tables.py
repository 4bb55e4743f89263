"""The tables of what each service's next decision needs from the past: they hold nothing but the newest memory."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field

from controller.ledger.tables import Base, UtcDateTime


class ServiceMemoryRow(Base, table=True):
    """What one service's next decision needs from the past; its lists are in the tables below."""

    __tablename__ = "service_memory"
    service: str = Field(primary_key=True)
    live_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    idle_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    foreign_until: datetime | None = Field(default=None, sa_type=UtcDateTime)


class RecommendationRow(Base, table=True):
    """What the signals wanted at one moment."""

    __tablename__ = "recommendation"
    service: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    wanted: int


class ScaleEventRow(Base, table=True):
    """A change that was acted on."""

    __tablename__ = "scale_event"
    service: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    variant: str
    replicas_before: int
    replicas_after: int


class GivenUpRow(Base, table=True):
    """A replica whose start failed."""

    __tablename__ = "given_up"
    service: str = Field(primary_key=True)
    replica: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)


class LostReplicaRow(Base, table=True):
    """A replica that had served and then ended by itself."""

    __tablename__ = "lost_replica"
    service: str = Field(primary_key=True)
    replica: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)


class ReadyReplicaRow(Base, table=True):
    """A replica that was ready at the last pass."""

    __tablename__ = "ready_replica"
    service: str = Field(primary_key=True)
    replica: str = Field(primary_key=True)
    since: datetime = Field(sa_type=UtcDateTime)


class ExpectedReplicasRow(Base, table=True):
    """The count that a variant was last set to."""

    __tablename__ = "expected_replicas"
    service: str = Field(primary_key=True)
    variant: str = Field(primary_key=True)
    replicas: int


class SpotRecordRow(Base, table=True):
    """How often spot of a variant was lost in one failure domain."""

    __tablename__ = "spot_record"
    service: str = Field(primary_key=True)
    variant: str = Field(primary_key=True)
    domain: str = Field(primary_key=True)
    replica_hours: float
    losses: float
    at: datetime = Field(sa_type=UtcDateTime)
    lost_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
