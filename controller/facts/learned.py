"""What the controller learned and expects: kept by the ledger so that a restart forgets nothing, shown and exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.facts.demand import Demand, Forecast, ForecastAccuracy
from controller.facts.missing import Missing
from controller.facts.performance import ReplicaCapacity

StateKey = tuple[str, str, str]
"""(kind, service, variant); kinds: "demand" and "shape" (variant ""), "step", "start_up", "trim", "phases" and
"profile"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Everything learned, as of one pass.

    states      by kind, service and variant: what an estimator needs to go on after a restart, JSON text of its own
                making; whoever keeps it does not look inside
    accuracy    how good the forecasts were lately, by service and horizon
    forecasts   by service, horizons ascending
    capacity    by (service, variant): what one replica carries inside the SLO
    demand      by service: what arrives now
    """

    states: Mapping[StateKey, str] = field(default_factory=dict)
    accuracy: tuple[ForecastAccuracy, ...] = ()
    forecasts: Mapping[str, tuple[Forecast, ...]] = field(default_factory=dict)
    capacity: Mapping[tuple[str, str], ReplicaCapacity | Missing] = field(default_factory=dict)
    demand: Mapping[str, Demand] = field(default_factory=dict)
