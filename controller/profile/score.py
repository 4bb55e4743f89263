"""How well the fitted model says what was measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from controller.facts.missing import Missing, known
from controller.facts.performance import RequestShape
from controller.facts.profile import Number, Predicted, ProfilePoint, StepFit
from controller.profile.fit import Fitted
from controller.profile.plan import CONCURRENCY
from controller.profile.predict import BY_KIND


def predicted(fitted: Fitted | Missing, point: ProfilePoint, shape: RequestShape | Missing) -> Predicted | Missing:
    """What the fitted model says of the point's load and its requests' lengths."""
    if isinstance(fitted, Missing):
        return fitted
    if isinstance(shape, Missing):
        return shape
    load = point.load if point.kind == CONCURRENCY else point.requests / point.window_s  # as many as chance sent
    return BY_KIND[point.kind](fitted.step, fitted.overhead_s, shape, load)


def scored(fitted: Fitted, points: Sequence[ProfilePoint], observations: int) -> StepFit:
    """The fit with its errors over ``points``, whose predictions are its own. Throughput is no check of it where the
    arrivals decide it."""
    checks = [one for one in points if one.checks]
    points = [one for one in points if not one.checks]
    looped = [one for one in points if one.kind == CONCURRENCY]
    return StepFit(
        step=fitted.step,
        overhead_s=fitted.overhead_s,
        coefficients=fitted.coefficients,
        observations=observations,
        tpot_error_ratio=_tpot_error(points),
        throughput_error_ratio=_mape(
            "throughput error", [(one.output_tokens_per_s, _said(one).output_tokens_per_s) for one in points]
        ),
        ttft_error_ratio=_ttft_error(looped),
        checked_tpot_error_ratio=_tpot_error(checks),
        checked_ttft_error_ratio=_ttft_error(checks),
    )


def _tpot_error(points: Sequence[ProfilePoint]) -> Number:
    return _mape("TPOT error", [(one.tpot.mean, _said(one).tpot_s) for one in points])


def _ttft_error(points: Sequence[ProfilePoint]) -> Number:
    return _mape("TTFT error", [(one.ttft.mean, _said(one).ttft_s) for one in points])


def _said(point: ProfilePoint) -> Predicted:
    if isinstance(point.predicted, Missing):
        return Predicted(ttft_s=point.predicted, tpot_s=point.predicted, output_tokens_per_s=point.predicted)
    return point.predicted


def error_ratio(measured: Number, predicted: Number) -> Number:
    """|predicted - measured| / measured."""
    if isinstance(measured, Missing):
        return measured
    if isinstance(predicted, Missing):
        return predicted
    return abs(predicted / measured - 1) if measured > 0 else Missing("error", "nothing was measured")


def _mape(what: str, pairs: Sequence[tuple[Number, Number]]) -> Number:
    errors = known(error_ratio(measured, predicted) for measured, predicted in pairs)
    return sum(errors) / len(errors) if errors else Missing(what, "no point to compare")
