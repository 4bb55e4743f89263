"""What is asked of a service: now, and by forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controller.facts.missing import Missing
from controller.facts.performance import ReplicaCapacity, RequestShape
from controller.facts.unguarded import unguarded

Number = float | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What arrives at a service.

    requests_per_s    arrivals, those that wait and those that were rejected included
    waiting_requests  waiting for capacity now, over all replicas
    """

    requests_per_s: Number
    waiting_requests: Number
    shape: RequestShape | Missing


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Requests/s expected at ``at`` + ``horizon_s``.

    quantiles   by probability (0.5, 0.9, 0.95, 0.99 …), ascending; 0.5 is the point forecast
    basis       what the history supports: "level", "trend", "day" or "week"; "minutes": the last ones
                say nothing of the next, so what any minute lately was
    scored      how many of its own past forecasts at this horizon set the band; 0: the band is a stated guess
    """

    at: datetime
    horizon_s: float
    quantiles: Mapping[float, float]
    basis: str
    scored: int


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastAccuracy:
    """How good the forecasts of one service at one horizon were lately.

    error_ratio      mean |actual - forecast| / mean actual (WAPE)
    bias_ratio       mean (forecast - actual) / mean actual
    coverage_ratio   by probability: the share of actual values at or below that quantile
    """

    service: str
    horizon_s: float
    scored: int
    error_ratio: Number
    bias_ratio: Number
    coverage_ratio: Mapping[float, float] = field(default_factory=dict)


NOT_SEEN = Missing("usual_per_s", "no half day was seen yet")


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a service's next replicas must be ready for. Whatever is Missing leaves the decision to the reactive rules.

    forecasts    by horizon, ascending: enough to read any start-up time off
    capacity     by variant: what one replica carries
    start_up_s   by variant: from the order to ready, as seen lately, else as the fleet file or the table says
    usual_per_s  mean demand over the days seen so far, requests/s
    surges       where nothing foresees them: by share of the requests, they came while no more than so many requests/s
                 did, by the pass, over the last day; else empty
    """

    demand: Demand
    forecasts: tuple[Forecast, ...] = ()
    capacity: Mapping[str, ReplicaCapacity | Missing] = field(default_factory=dict)
    start_up_s: Mapping[str, float] = field(default_factory=dict)
    usual_per_s: Number = NOT_SEEN
    surges: Mapping[float, float] = field(default_factory=dict)
