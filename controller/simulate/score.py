"""What one simulated run cost and achieved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing

Number = float | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The run over time, one value a control interval (``time_s``: its end). All arrays have the same length.

    arrivals_per_s              float64
    ready, current              int32; current counts starting replicas too
    waiting                     int32, in queues and at the router, at the end of the interval
    within_slo, judged          int32: of ``judged`` requests that arrived in it, so many met the SLO
    usd                         float64, billed in the interval
    """

    time_s: NDArray[np.float64]
    arrivals_per_s: NDArray[np.float64]
    ready: NDArray[np.int32]
    current: NDArray[np.int32]
    waiting: NDArray[np.int32]
    within_slo: NDArray[np.int32]
    judged: NDArray[np.int32]
    usd: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One change of the desired count, with the reason that the controller gave."""

    at_s: float
    before: int
    after: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """What one variant cost, bought in one way. ``variant`` "": the only one."""

    variant: str
    type: CapacityType
    replica_hours: float
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScore:
    """One controller on one trace with one seed. Requests that were dropped, lost or not finished miss the SLO.

    attainment is per request over the whole run; ``worst_five_minutes_ratio`` the lowest of any 5 minutes (by arrival)
    that saw at least 20 requests
    idle_ratio       share of billed replica time without any running request, starting included
    reversals        moves that undo a move of the 10 minutes before
    settings         what was swept or tuned, by name
    paid             the bill by variant and way of buying; reserved capacity is paid for unused too
    interruptions    spot replicas that were warned that they would be taken away
    failures         replicas that crashed or failed to start
    lost             requests that a replica had when it was lost: they were sent again, and count as missed
    held             passes in which safety rules held back or cut what was decided
    """

    controller: str
    trace: str
    seed: int
    settings: Mapping[str, float] = field(default_factory=dict)
    hours: float
    usd: float
    replica_hours: float
    requests: int
    finished: int
    dropped: int
    within_slo: int
    within_ttft: int
    within_tpot: int
    worst_five_minutes_ratio: Number
    ttft_p50_s: Number
    ttft_p99_s: Number
    tpot_p50_s: Number
    tpot_p99_s: Number
    prompt_tokens: int
    output_tokens: int
    preemptions: int
    moves: tuple[Move, ...]
    reversals: int
    idle_ratio: float
    forecast_error_ratio: Number
    pass_s: Number
    wall_s: float
    series: Series
    paid: tuple[Paid, ...] = ()
    interruptions: int = 0
    failures: int = 0
    lost: int = 0
    held: int = 0

    def usd_of(self, kind: CapacityType) -> float:
        """What was paid for capacity of that kind."""
        return sum(one.usd for one in self.paid if one.type is kind)

    @property
    def attainment_ratio(self) -> Number:
        return self.within_slo / self.requests if self.requests else Missing("attainment", "no request arrived")
