"""The tables of what was learned: forecasts, how good they were, what a replica carries, what estimators need."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field

from controller.ledger.tables import Base, Prose, UtcDateTime


class LearnedStateRow(Base, table=True):
    """What one estimator needs to go on after a restart: JSON text that only its maker reads."""

    __tablename__ = "learned_state"
    kind: str = Field(primary_key=True)
    service: str = Field(primary_key=True)
    variant: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    payload: str = Field(sa_type=Prose)


class ForecastRow(Base, table=True):
    """The newest forecast made in the five minutes from ``slot`` on. pNN in requests/s."""

    __tablename__ = "forecast"
    service: str = Field(primary_key=True)
    horizon_s: float = Field(primary_key=True)
    slot: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    made_at: datetime = Field(sa_type=UtcDateTime)
    due_at: datetime = Field(sa_type=UtcDateTime)
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    basis: str
    scored: int


class ForecastAccuracyRow(Base, table=True):
    """How good the forecasts were, as known last in ``hour``. ``coverage``: JSON, by probability."""

    __tablename__ = "forecast_accuracy"
    service: str = Field(primary_key=True)
    horizon_s: float = Field(primary_key=True)
    hour: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    scored: int
    error_ratio: float | None = None
    bias_ratio: float | None = None
    unknown_why: str = Field(sa_type=Prose)
    coverage: str


class CapacityRow(Base, table=True):
    """What one replica carries, as known last in ``hour``; the five columns after the band are its point of work."""

    __tablename__ = "capacity"
    service: str = Field(primary_key=True)
    variant: str = Field(primary_key=True)
    hour: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    at: datetime = Field(sa_type=UtcDateTime)
    requests_per_s: float | None = None
    unknown_why: str = Field(sa_type=Prose)
    binding: str
    source: str
    band_ratio: float | None = None
    running: float | None = None
    kv_cache_ratio: float | None = None
    busy_ratio: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
