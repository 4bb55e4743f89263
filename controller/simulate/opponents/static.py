"""A constant fleet: what most people run, and what every autoscaler must beat."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from controller.simulate.opponents.clock import clipped
from controller.simulate.opponents.contender import Build, Contender, Knob, Range
from controller.simulate.sight import Opponent, Sight, Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticSettings:
    """``sync_s`` only says how often it is asked; it never changes its mind."""

    replicas: int
    min_replicas: int
    max_replicas: int
    sync_s: float = 60.0


@dataclass(slots=True)
class Static:
    """Always as many."""

    settings: StaticSettings

    @property
    def sync_s(self) -> float:
        return self.settings.sync_s

    def desired(self, sight: Sight) -> int:
        return clipped(self.settings.replicas, self.settings.min_replicas, self.settings.max_replicas)

    def wish(self) -> Wish:
        return Wish("a constant fleet", self.settings.replicas)


def replicas_at_quantile(demand_per_s: NDArray[np.float64], capacity_per_s: float, quantile: float) -> int:
    """ceil(that quantile of the demand / what one replica carries), at least 1.

    ``ValueError`` without a demand or a capacity.
    """
    if not len(demand_per_s):
        raise ValueError("no demand to size a fleet for")
    if not capacity_per_s > 0:
        raise ValueError(f"a replica that carries {capacity_per_s} requests/s serves no demand")
    return max(1, ceil(float(np.quantile(demand_per_s, quantile)) / capacity_per_s))


def replicas_for_peak(demand_per_s: NDArray[np.float64], capacity_per_s: float) -> int:
    """Enough for the busiest interval of the series."""
    return replicas_at_quantile(demand_per_s, capacity_per_s, 1.0)


def replicas_for_p95(demand_per_s: NDArray[np.float64], capacity_per_s: float) -> int:
    """Enough in 95 % of the intervals."""
    return replicas_at_quantile(demand_per_s, capacity_per_s, 0.95)


def _static(build: Build) -> Opponent:
    return Static(
        StaticSettings(
            replicas=round(build.settings["replicas"]), min_replicas=build.min_replicas, max_replicas=build.max_replicas
        )
    )


def _static_full(build: Build) -> Opponent:
    return Static(
        StaticSettings(replicas=build.max_replicas, min_replicas=build.min_replicas, max_replicas=build.max_replicas)
    )


STATIC = Contender(
    name="static",
    documentation="",
    translation="a constant count; peak and p95 sizes come from replicas_for_peak and replicas_for_p95",
    knob=Knob(name="replicas", values=Range(low=1, high=40, kind="whole"), dearer="higher"),
    defaults={"replicas": 1.0},
    build=_static,
    documented=_static_full,
)
