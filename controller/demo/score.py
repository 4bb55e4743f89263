"""What a run has cost and achieved so far, added up from its passes: nothing shown at its end was typed in."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from controller.facts.estimates import Estimate
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.passes import PassResult

HISTORY = 60
"""Passes in the little chart: as wide as a narrow terminal has room for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Requests as their clients saw them. ``within_slo`` of ``finished``; a dropped one is a miss."""

    finished: int = 0
    within_slo: int = 0
    dropped: int = 0
    output_tokens: int = 0

    @property
    def attainment_ratio(self) -> float | Missing:
        asked = self.finished + self.dropped
        return self.within_slo / asked if asked else Missing("attainment", "no request has finished")


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFleet:
    """What a fleet that never changes would have cost, had it been bought for the run's busiest moment."""

    replicas: int
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The run so far. ``unpriced``: passes in which something had no price, so the money is too low."""

    began_at: datetime | None = None
    at: datetime | None = None
    passes: int = 0
    usd: float = 0.0
    usd_per_hour: float = 0.0
    unpriced: int = 0
    peak_desired: int = 0
    replica_hours: float = 0.0
    replica_usd_per_hour: Mapping[CapacityType, float] = field(default_factory=dict)
    committed: int = 0
    moves: int = 0
    failed_actions: int = 0
    desired_history: tuple[int, ...] = ()
    served: Served = field(default_factory=Served)

    def after(self, result: PassResult, served: Served) -> Score:
        """The score with one more pass. What is rented now is paid since the last pass, as the ledger has it: what was
        started then came right after it."""
        hours = (result.at - self.at).total_seconds() / 3600 if self.at else 0.0
        desired = sum(decision.desired for decision in result.decisions)
        costs = result.estimates.costs
        priced = [(one.capacity_type, one.usd_per_hour) for one in costs if not isinstance(one.usd_per_hour, Missing)]
        usd_per_hour = sum(usd for _, usd in priced)
        failed = sum(outcome.kind in ("failed", "unknown") for outcome in result.outcomes)
        return replace(
            self,
            began_at=self.began_at or result.at,
            at=result.at,
            passes=self.passes + 1,
            usd=self.usd + usd_per_hour * hours,
            usd_per_hour=usd_per_hour,
            unpriced=self.unpriced + (len(priced) < len(costs)),
            peak_desired=max(self.peak_desired, desired),
            replica_hours=self.replica_hours + len(costs) * hours,
            replica_usd_per_hour={**self.replica_usd_per_hour, **dict(priced)},
            committed=max(self.committed, _committed(result)),
            moves=self.moves + sum(outcome.kind == "done" for outcome in result.outcomes),
            failed_actions=self.failed_actions + failed,
            desired_history=(*self.desired_history, desired)[-HISTORY:],
            served=served,
        )

    @property
    def hours(self) -> float:
        return (self.at - self.began_at).total_seconds() / 3600 if self.at and self.began_at else 0.0

    @property
    def output_tokens_per_usd(self) -> float | Missing:
        if self.usd <= 0:
            return Missing("tokens per dollar", "nothing has been spent yet")
        return self.served.output_tokens / self.usd

    def static(self) -> StaticFleet | Missing:
        """As many replicas as were ever wanted at once, from the first pass to the last, at the run's own prices:
        committed capacity first, the rest at the dearest price that the run paid."""
        prices = self.replica_usd_per_hour
        if not prices or self.unpriced:
            return Missing("the static fleet's cost", "some capacity of this run had no price")
        reserved = prices.get(CapacityType.RESERVED)
        committed = min(self.committed, self.peak_desired) if reserved is not None else 0
        rate = committed * (reserved or 0.0) + (self.peak_desired - committed) * max(prices.values())
        return StaticFleet(replicas=self.peak_desired, usd=rate * self.hours)


def _committed(result: PassResult) -> int:
    return Tally(cost.capacity_type for cost in result.estimates.costs)[CapacityType.RESERVED]


def service_estimate(result: PassResult) -> Estimate:
    """The demo has one service."""
    return next(iter(result.estimates.services.values()))


def sparkline(values: Sequence[int]) -> str:
    """Counts as a row of little bars, the highest as tall as the line."""
    top = max(values, default=0)
    return "".join("▁▂▃▄▅▆▇█"[round(value / top * 7)] if top else "▁" for value in values)
