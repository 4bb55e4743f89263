"""``python -m benchmarks.forecast --libraries``: forecasting libraries beside ours, at the same moments.

Each is asked as a pass would ask it: given the minutes before, for the mean of the minute that begins 240 s later and
for its P95. It is fitted anew at every moment, since traffic moves within minutes; one is fitted an hour before and
carried forward, which is the cheapest that a library allows. Moments are drawn with a fixed seed from all minutes that
have two days of recorded minutes before them. CPU is that of the whole process, whatever threads a library starts.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from benchmarks.forecast.series import PASS_S, Floats, Traffic
from controller.estimate.demand.forecast import forecasts
from controller.estimate.demand.history import state_from_history
from controller.estimate.demand.observe import observed

PACKAGES = ("statsforecast", "statsmodels")
INSTALL = f"""\
--libraries needs {" and ".join(PACKAGES)}, which Pennyweight does not; install them where they disturb nobody:
    python3 -m venv /tmp/libraries && /tmp/libraries/bin/pip install {" ".join(PACKAGES)}
    /tmp/libraries/bin/python -m benchmarks.forecast --libraries"""

HORIZON_S, P95 = 240.0, 0.95
MINUTE_PASSES, DAY_MINUTES, HOUR_PASSES = round(60 / PASS_S), 1440, round(3600 / PASS_S)
STEPS = round(HORIZON_S / 60) + 1
"""The minute that begins ``HORIZON_S`` after now is this one of those to come."""

LEAST_MINUTES = 2 * DAY_MINUTES
"""What a model of the day needs: two of them."""

MOST_MINUTES = 5 * DAY_MINUTES
SEED = 1


class Model(Protocol):
    """As statsforecast's are."""

    def fit(self, y: Floats) -> object: ...
    def predict(self, h: int, level: list[int]) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """One way of asking a library.

    minutes    it is fitted to, the latest of those known; fewer while fewer are
    age        minutes ago; 0: now
    every      only every so many of the moments, where a fit takes long
    """

    name: str
    make: Callable[[], Model]
    minutes: int
    age: int = 0
    every: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """By moment; ``cpu_s``: what all of them took."""

    mean: Floats
    p95: Floats
    cpu_s: float

    def at(self, every: int) -> Foreseen:
        return Foreseen(mean=self.mean[::every], p95=self.p95[::every], cpu_s=self.cpu_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """``minutes``: requests/s by minute; ``moments``: how many of them are known when it is asked."""

    traffic: Traffic
    minutes: Floats
    moments: Sequence[int]

    @property
    def actual(self) -> Floats:
        found: Floats = self.minutes[np.array(self.moments) + STEPS - 1]
        return found


def question(traffic: Traffic, many: int) -> Question:
    """What came before at a coarser resolution than minutes is left out: repeated means have no noise to learn from."""
    warm = traffic.warm / traffic.warm_s if traffic.warm_s <= PASS_S else np.zeros(0)
    minutes = np.concatenate((warm, traffic.passes)).reshape(-1, MINUTE_PASSES).mean(axis=1)
    possible = np.arange(LEAST_MINUTES, len(minutes) - STEPS)
    chosen = np.random.default_rng(SEED).choice(possible, min(many, len(possible)), replace=False)
    return Question(traffic=traffic, minutes=minutes, moments=np.sort(chosen).tolist())


# --- ours ------------------------------------------------------------------------------------------------------------


def ours(asked: Question) -> Foreseen:
    """Observes every pass from the beginning. Its CPU is that of one observation and one forecast, as a pass needs."""
    traffic = asked.traffic
    state = state_from_history(traffic.begin, traffic.warm_s, traffic.warm)
    first = len(asked.minutes) - len(traffic.passes) // MINUTE_PASSES
    moments = set(asked.moments)
    rows, forecasting_s, began = [], 0.0, time.process_time()
    for number, rate in enumerate(traffic.passes.tolist(), start=1):
        now = traffic.start + timedelta(seconds=PASS_S * number)
        state = observed(state, now, rate)
        if number % MINUTE_PASSES == 0 and first + number // MINUTE_PASSES in moments:
            asked_s = time.process_time()
            (found,) = forecasts(state, now, (HORIZON_S,))
            forecasting_s += time.process_time() - asked_s
            rows.append((found.quantiles[0.5], found.quantiles[P95]))
    observing_s = (time.process_time() - began - forecasting_s) / len(traffic.passes)
    mean, p95 = np.array(rows).T
    return Foreseen(mean=mean, p95=p95, cpu_s=forecasting_s + observing_s * len(rows))


# --- theirs ----------------------------------------------------------------------------------------------------------


class _Damped:
    """statsmodels' state-space exponential smoothing with a damped trend."""

    def fit(self, y: Floats) -> object:
        model = import_module("statsmodels.tsa.exponential_smoothing.ets").ETSModel
        series = import_module("pandas").Series(y)  # its bands fail on an array
        self._many, self._fitted = len(y), model(series, error="add", trend="add", damped_trend=True).fit(disp=False)
        return self

    def predict(self, h: int, level: list[int]) -> Mapping[str, Any]:
        frame = self._fitted.get_prediction(self._many, self._many + h - 1)
        bounds = frame.pred_int(alpha=1 - level[0] / 100)
        return {"mean": frame.predicted_mean, f"hi-{level[0]}": np.asarray(bounds)[:, 1]}


def missing_packages() -> list[str]:
    return [name for name in PACKAGES if find_spec(name) is None]


def installed() -> tuple[Library, ...]:
    """What we would choose from. Windows: four hours, in which a trend is one; for one of them a day; for models of the
    day two days and five. AutoETS and AutoTheta know no season of 1,440."""
    models = import_module("statsforecast.models")
    four_h, slow = 240, 5
    return (
        Library(name="Naive", make=models.Naive, minutes=four_h),
        Library(name="SeasonalNaive, day", make=lambda: models.SeasonalNaive(DAY_MINUTES), minutes=LEAST_MINUTES),
        Library(name="Holt", make=models.Holt, minutes=four_h),
        Library(name="AutoETS", make=_ets(models), minutes=four_h),
        Library(name="AutoETS", make=_ets(models), minutes=DAY_MINUTES, every=slow),
        Library(name="AutoETS, fitted hourly", make=_ets(models), minutes=four_h, age=60),
        Library(name="AutoTheta", make=models.AutoTheta, minutes=four_h),
        Library(name="AutoARIMA", make=models.AutoARIMA, minutes=four_h, every=slow),
        Library(name="AutoCES", make=lambda: models.AutoCES(model="N"), minutes=four_h, every=slow),
        Library(name="MSTL, day", make=_mstl(models), minutes=LEAST_MINUTES, every=50),
        Library(name="MSTL, day", make=_mstl(models), minutes=MOST_MINUTES, every=100),
        Library(name="statsmodels' ETSModel, damped", make=_Damped, minutes=four_h, every=slow),
    )


def _ets(models: Any) -> Callable[[], Model]:
    return lambda: models.AutoETS(model="ZZN")


def _mstl(models: Any) -> Callable[[], Model]:
    return lambda: models.MSTL(season_length=[DAY_MINUTES], trend_forecaster=models.AutoETS(model="ZZN"))


def theirs(asked: Question, library: Library) -> Foreseen:
    """The first fit is not counted: it loads what is loaded once."""
    moments = asked.moments[:: library.every]
    _answer(library, asked.minutes[: moments[0]])
    found = [_answer(library, asked.minutes[:moment]) for moment in moments]
    mean, p95, cpu_s = np.array(found).T
    return Foreseen(mean=mean, p95=p95, cpu_s=float(cpu_s.sum()))


def _answer(library: Library, known: Floats) -> tuple[float, float, float]:
    """Mean, P95 and seconds of CPU. A fit that is used for longer is shared by the passes of that time."""
    model: Any = library.make()
    began = time.process_time()
    model.fit(known[: len(known) - library.age][-library.minutes :])
    fitted = time.process_time()
    level = [round(200 * P95 - 100)]  # a band of 90 % ends at the P95
    latest = known[-library.minutes :]
    found = model.forward(latest, h=STEPS, level=level) if library.age else model.predict(h=STEPS, level=level)
    done = time.process_time()
    shared = max(1, library.age * MINUTE_PASSES)
    mean, p95 = (float(np.asarray(found[name])[-1]) for name in ("mean", f"hi-{level[0]}"))
    return mean, p95, (fitted - began) / shared + done - fitted


# --- beside each other -----------------------------------------------------------------------------------------------

HEADINGS = (
    "| traffic | forecaster | minutes | moments | CPU ms | 500 services s | WAPE % | less ours | P95 % | P95 loss % "
    "| less ours |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def rows(traffic: Traffic, many: int) -> Iterator[str]:
    """One a forecaster, ours first."""
    warnings.simplefilter("ignore")  # of fits that did not converge: their forecasts are scored all the same
    asked = question(traffic, many)
    own = ours(asked)
    yield row(asked, Library(name="**ours**", make=_Damped, minutes=len(asked.minutes)), own, own)
    for library in installed():
        yield row(asked, library, theirs(asked, library), own)


def row(asked: Question, library: Library, found: Foreseen, own: Foreseen) -> str:
    """``own`` is counted at the moments of the other."""
    actual, beside = asked.actual[:: library.every], own.at(library.every)
    itself = found is own
    each_s = found.cpu_s / len(actual)
    cells = (
        asked.traffic.name,
        library.name,
        "all" if itself else f"{library.minutes:,}",
        f"{len(actual)}",
        f"{1000 * each_s:.2f}",
        f"{500 * each_s:.1f}",
        f"{wape(actual, found.mean):.2f}",
        "" if itself else less(actual, np.abs(actual - found.mean), np.abs(actual - beside.mean)),
        f"{100 * float((actual <= found.p95).mean()):.1f}",
        f"{loss(actual, found.p95):.2f}",
        "" if itself else less(actual, pinball(actual, found.p95), pinball(actual, beside.p95)),
    )
    return f"| {' | '.join(cells)} |"


def wape(actual: Floats, forecast: Floats) -> float:
    """Per cent."""
    return 100 * float(np.abs(actual - forecast).sum() / actual.sum())


def less(actual: Floats, theirs: Floats, ours: Floats) -> str:
    """The difference, per cent of the mean demand, with twice its standard error: the surprises are the same."""
    each = 100 * (theirs - ours) / actual.mean()
    return f"{each.mean():+.2f} ± {2 * each.std(ddof=1) / np.sqrt(len(each)):.2f}"


def loss(actual: Floats, p95: Floats) -> float:
    """Pinball loss of the P95, per cent of the mean demand: what a band is worth, coverage and width in one."""
    return 100 * float(pinball(actual, p95).sum() / actual.sum())


def pinball(actual: Floats, p95: Floats) -> Floats:
    return np.where(actual > p95, P95 * (actual - p95), (1 - P95) * (p95 - actual))
