"""``python -m benchmarks.forecast [azure servegen]``: accuracy, coverage and cost of the demand forecasts.

Every pass of 15 s is observed; every minute a forecast is made for the mean of the minute that begins 75, 240, 480 and
900 s later, and scored against it. Beside it: the last pass, the last minute, and the same minute of the day before
(where a day before it was drawn or recorded at this resolution). WAPE is the sum of absolute errors over the sum of
actual values. ``--libraries`` compares with forecasting libraries instead: see ``libraries.py``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from benchmarks.forecast import libraries
from benchmarks.forecast.series import DAY_S, PASS_S, SERIES, Floats, Traffic
from controller.estimate.demand.forecast import forecasts
from controller.estimate.demand.history import state_from_history
from controller.estimate.demand.observe import observed
from controller.estimate.demand.state import DemandState

HORIZONS_S = (75.0, 240.0, 480.0, 900.0)
BANDS = (0.5, 0.9, 0.95, 0.99)
MINUTE = round(60 / PASS_S)
FOUR_WEEKS = 28 * 1440


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was forecast: by minute, horizon and band; ``made``: how many passes had gone by; ``spent_s``: CPU."""

    made: list[int]
    bands: Floats
    spent_s: float
    state: DemandState


def run(traffic: Traffic) -> Run:
    """Observes every pass; forecasts at every full minute."""
    state = state_from_history(traffic.begin, traffic.warm_s, traffic.warm)
    made, rows = [], []
    began = time.process_time()
    for number, rate in enumerate(traffic.passes.tolist(), start=1):
        now = traffic.start + timedelta(seconds=PASS_S * number)
        state = observed(state, now, rate)
        if number % MINUTE == 0:
            made.append(number)
            rows.append([[one.quantiles[band] for band in BANDS] for one in forecasts(state, now, HORIZONS_S)])
    return Run(made=made, bands=np.array(rows), spent_s=time.process_time() - began, state=state)


def accuracy_rows(traffic: Traffic, done: Run) -> list[str]:
    """One row of the table a horizon."""
    sums = np.concatenate(([0.0], np.cumsum(traffic.passes)))
    found = []
    for place, horizon_s in enumerate(HORIZONS_S):
        ahead = round(horizon_s / PASS_S)
        made = np.array([one for one in done.made if one + ahead + MINUTE <= len(traffic.passes)])
        actual = (sums[made + ahead + MINUTE] - sums[made + ahead]) / MINUTE
        bands = done.bands[: len(made), place]
        day_before = made + ahead - round(DAY_S / PASS_S)
        seasonal = np.where(day_before >= 0, (sums[day_before + MINUTE] - sums[day_before]) / MINUTE, np.nan)
        rivals = (traffic.passes[made - 1], (sums[made] - sums[made - MINUTE]) / MINUTE, seasonal)
        errors = " | ".join(f"{_wape(actual, one):.2f}" for one in (bands[:, 0], *rivals))
        bias = 100 * float((bands[:, 0] - actual).sum() / actual.sum())
        covered = " | ".join(f"{100 * float((actual <= bands[:, one]).mean()):.1f}" for one in (1, 2, 3))
        width = float((bands[:, 2] / bands[:, 0]).mean())
        found.append(f"| {traffic.name} | {horizon_s:.0f} | {errors} | {bias:+.2f} | {covered} | {width:.2f} |")
    return found


def _wape(actual: Floats, forecast: Floats) -> float:
    known = ~np.isnan(forecast)
    return 100 * float(np.abs(actual - forecast)[known].sum() / actual[known].sum())


def costs(state: DemandState, start: datetime, passes: int) -> str:
    """CPU of one observation and three forecasts, of one core, and of four weeks of minutes."""
    rates = np.random.default_rng(1).poisson(60 * 30.0, passes) / 60
    began = time.process_time()
    for number, rate in enumerate(rates.tolist(), start=1):
        now = start + timedelta(seconds=PASS_S * number)
        state = observed(state, now, rate)
        forecasts(state, now, HORIZONS_S[:3])
    each_s = (time.process_time() - began) / passes
    began = time.process_time()
    state_from_history(datetime(2026, 1, 5, tzinfo=UTC), 60.0, np.full(FOUR_WEEKS, 1800.0))
    loaded_s = time.process_time() - began
    return (
        f"One observation and three forecasts: {1000 * each_s:.2f} ms of CPU (minutes' scoring included), so "
        f"{500 * each_s:.2f} s for 500 services. Four weeks of minutes: {loaded_s:.2f} s."
    )


def main(given: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(given)
    found = {name: SERIES[name](arguments.days) for name in arguments.series or SERIES}
    if arguments.libraries:
        return _libraries(list(found.values()), arguments.moments)
    _accuracy(list(found.values()))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.forecast", description="accuracy and cost of demand forecasts")
    parser.add_argument("series", nargs="*", choices=[*SERIES, []], help="which traffic (default: all)")
    parser.add_argument("--days", type=float, default=7.0, help="days to score (Azure has 5, ServeGen 7)")
    parser.add_argument("--libraries", action="store_true", help="beside forecasting libraries, 240 s ahead")
    parser.add_argument("--moments", type=int, default=2000, help="at which libraries are asked (default 2000)")
    return parser


def _libraries(traffics: Sequence[Traffic], moments: int) -> int:
    lacking = libraries.missing_packages()
    if lacking:
        print(f"not installed: {', '.join(lacking)}\n{libraries.INSTALL}", file=sys.stderr)
        return 2
    print(libraries.HEADINGS, flush=True)
    for traffic in traffics:
        for row in libraries.rows(traffic, moments):
            print(row, flush=True)
    return 0


def _accuracy(traffics: Sequence[Traffic]) -> None:
    print(
        "| traffic | horizon s | WAPE % | last pass | last minute | day before | bias % | P90 | P95 | P99 | P95/P50 |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for traffic in traffics:
        done = run(traffic)
        print("\n".join(accuracy_rows(traffic, done)), flush=True)
    print("\n" + costs(done.state, traffic.start + timedelta(seconds=PASS_S * len(traffic.passes)), 2000))


if __name__ == "__main__":
    sys.exit(main())
