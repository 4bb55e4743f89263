"""How good a service's forecasts were lately, per horizon."""

from __future__ import annotations

from controller.estimate.demand.state import HORIZONS_S, PROBABILITIES, DemandState
from controller.facts.demand import ForecastAccuracy
from controller.facts.missing import Missing, ratio


def accuracy(state: DemandState, service: str) -> tuple[ForecastAccuracy, ...]:
    """Over the forecasts that came due, those of 12 hours ago counting half. Missing until one has, or while nothing
    arrives."""
    return tuple(
        ForecastAccuracy(
            service=service,
            horizon_s=horizon,
            scored=int(scored),
            error_ratio=_ratio("forecast error", off, actual, int(scored)),
            bias_ratio=_ratio("forecast bias", bias, actual, int(scored)),
            coverage_ratio={p: hit / weight for p, hit in zip(PROBABILITIES, covered, strict=True)} if scored else {},
        )
        for horizon, scored, (weight, off, bias, actual, *covered) in zip(
            HORIZONS_S, state.record.scored, state.record.sums.tolist(), strict=True
        )
    )


def _ratio(what: str, part: float, whole: float, scored: int) -> float | Missing:
    return ratio(what, part, whole) if scored else Missing(what, "no forecast at this horizon has come due yet")
