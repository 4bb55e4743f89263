"""The tables of operators' stops, and of what the safety kernel must remember. All of it by fleet."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field

from controller.ledger.tables import Base, Prose, UtcDateTime


class StopRow(Base, table=True):
    """An operator's stop; ``lifted_at`` is NULL while it lasts, ``ends_at`` when it ends by itself."""

    __tablename__ = "stop"
    fleet: str = Field(primary_key=True)
    service: str = Field(primary_key=True)
    since: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    stopped_by: str
    reason: str = Field(sa_type=Prose)
    ends_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    lifted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    lifted_by: str | None = None


class StopElsewhereRow(Base, table=True):
    """A stop that the last pass found outside the ledger, such as in a file."""

    __tablename__ = "stop_elsewhere"
    fleet: str = Field(primary_key=True)
    source: str = Field(primary_key=True)
    service: str = Field(primary_key=True)
    since: datetime = Field(sa_type=UtcDateTime)
    stopped_by: str
    reason: str = Field(sa_type=Prose)
    unsure: int


class SafetyMoveRow(Base, table=True):
    """A step that was let through. ``replicas_before`` is NULL once it is known that all of it was done."""

    __tablename__ = "safety_move"
    fleet: str = Field(primary_key=True)
    decision_id: str = Field(primary_key=True)
    position: int
    at: datetime = Field(sa_type=UtcDateTime)
    service: str
    variant: str
    replicas: int
    usd_per_hour: float | None = None
    unwound: int
    replicas_before: int | None = None


class SafetyLossRow(Base, table=True):
    """A replica that was taken."""

    __tablename__ = "safety_loss"
    fleet: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    service: str
    variant: str
    replica: str
    at: datetime = Field(sa_type=UtcDateTime)
    domain: str
    spot: int


class SafetyStormRow(Base, table=True):
    """A spot storm that is on."""

    __tablename__ = "safety_storm"
    fleet: str = Field(primary_key=True)
    domain: str = Field(primary_key=True)
    since: datetime = Field(sa_type=UtcDateTime)
    last_at: datetime = Field(sa_type=UtcDateTime)
    ends_at: datetime = Field(sa_type=UtcDateTime)
    why: str = Field(sa_type=Prose)


class SafetyDampingRow(Base, table=True):
    """A service that does not shrink for a while, or did not until lately."""

    __tablename__ = "safety_damping"
    fleet: str = Field(primary_key=True)
    service: str = Field(primary_key=True)
    since: datetime = Field(sa_type=UtcDateTime)
    ends_at: datetime = Field(sa_type=UtcDateTime)
    hold_s: float
