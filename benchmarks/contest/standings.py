"""Where everybody stands on one trace: cost at equal attainment over its days, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.contest.bracket import ATTAINMENT, Known, Place
from benchmarks.contest.frontier import Cost, cost_at
from benchmarks.contest.results import Result
from controller.backtest.run import OURS
from controller.facts.missing import Missing, first_missing
from controller.simulate.score import Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """All runs on the days of one trace with one engine and one start-up time."""

    trace: str
    engine: str
    start_up_s: float
    hours: float
    results: tuple[Result, ...]

    @property
    def name(self) -> str:
        return f"{self.trace}, {self.engine}, start-up {self.start_up_s:.0f} s"

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(sorted({_place(one) for one in self.results}, key=lambda one: (one[0].day, one[1])))

    @property
    def names(self) -> tuple[str, ...]:
        """Ours first, the others as they were entered."""
        found = dict.fromkeys(one.task.entrant.name for one in self.results)
        return tuple(sorted(found, key=lambda name: name != OURS))

    def of(self, name: str, place: Place) -> list[Result]:
        """Its runs over the knob there. Ours as it ships is one of them: rules.QUANTILE_RATIO sees to that."""
        return [
            one
            for one in self.results
            if one.task.entrant.name == name and _place(one) == place and (name == OURS or one.task.share is not None)
        ]

    def costs(self, name: str, attainment: float) -> list[Cost | Missing]:
        """By place."""
        return [cost_at([one.point for one in self.of(name, place)], attainment) for place in self.places]

    def usd_per_day(self, name: str, attainment: float) -> Number:
        """The mean over days and seeds; Missing when it does not reach it on one of them."""
        found = self.costs(name, attainment)
        lost = first_missing(*found)
        if lost is not None:
            return lost
        return fmean(one.usd for one in found if isinstance(one, Cost)) * 24 / self.hours

    def best_opponent(self, attainment: float) -> str | Missing:
        """Who is cheapest over all days, beside ours."""
        costs = {name: self.usd_per_day(name, attainment) for name in self.names if name != OURS}
        reached = {name: usd for name, usd in costs.items() if not isinstance(usd, Missing)}
        if not reached:
            return Missing("best opponent", f"none reaches {attainment * 100:g} % on every day")
        return min(reached, key=lambda name: reached[name])

    def judged(self, name: str) -> list[Result]:
        """By place, the run that speaks for it: the cheapest that reached 99 %, else the one that came nearest."""
        chosen = []
        for place in self.places:
            runs = self.of(name, place)
            reached = [one for one in runs if one.attainment >= ATTAINMENT]
            if reached:
                chosen.append(min(reached, key=lambda one: one["usd"]))
            elif runs:
                chosen.append(max(runs, key=lambda one: one.attainment))
        return chosen

    def documented(self, name: str) -> list[Result]:
        """By place, exactly as documented; ours as it ships."""
        return [one for one in self.results if one.task.entrant.name == name and one.task.share is None]


def _place(result: Result) -> Place:
    return result.task.ground, result.task.seed


def arenas(results: Sequence[Result]) -> tuple[Arena, ...]:
    """The results without stress, by trace, engine, start-up time and length."""
    groups: dict[tuple[str, str, float, float], list[Result]] = {}
    for result in results:
        ground = result.task.ground
        if not result.task.stress:
            groups.setdefault((ground.trace, ground.engine, ground.start_up_s, ground.hours), []).append(result)
    return tuple(
        Arena(trace=trace, engine=engine, start_up_s=start_up_s, hours=hours, results=tuple(found))
        for (trace, engine, start_up_s, hours), found in sorted(groups.items())
    )


# --- beside the bracket ----------------------------------------------------------------------------------------------


def bound(arena: Arena, known: Known, which: str) -> Number:
    """Mean USD per day of the lower ("lower_usd") or upper bound over all days and seeds."""
    lost = [place for place in arena.places if place not in known]
    if lost:
        return Missing(which, f"not computed for {lost[0][0].name}")
    return fmean(float(getattr(known[place], which)) for place in arena.places) * 24 / arena.hours


def below_bound(results: Sequence[Result], known: Known) -> list[str]:
    """Runs that reached 99 % for less than anybody can: the simulator, the bill or the bound is wrong."""
    told = []
    for one in results:
        bounds = known.get(_place(one))
        if one.task.stress or bounds is None or one.attainment < ATTAINMENT:
            continue
        if one["usd"] < bounds.lower_usd * (1 - 1e-9):
            told.append(
                f"{one.task.entrant.name} on {one.task.ground.name}, seed {one.task.seed}: ${one['usd']:,.2f} is less "
                f"than the lower bound of ${bounds.lower_usd:,.2f}"
            )
    return told


# --- how sure --------------------------------------------------------------------------------------------------------

Dollars = NDArray[np.float64]
Places = NDArray[np.int64]

LEAST_DAYS = 4
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Ours over theirs, with its 95 % interval where there are days enough."""

    mean: float
    interval: tuple[float, float] | Missing

    @property
    def sure(self) -> bool:
        """Whether the interval excludes 1."""
        return not isinstance(self.interval, Missing) and not self.interval[0] <= 1 <= self.interval[1]


def cost_ratio(arena: Arena, opponent: str, attainment: float) -> Ratio | Missing:
    """What ours costs over what ``opponent`` does, paired by day and seed."""
    found = beside(arena, opponent, attainment)
    return found.why_not_all or ratio_of(found.by_day)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Ours and an opponent's costs in dollars, a list a day, of the seeds at which both reach it.

    why_not_all   None where that is all of them
    """

    by_day: Mapping[int, Sequence[tuple[float, float]]]
    pairs: int
    why_not_all: Missing | None

    @property
    def both(self) -> tuple[tuple[float, float], ...]:
        return tuple(pair for pairs in self.by_day.values() for pair in pairs)

    @property
    def cheaper(self) -> int:
        """Pairs on which ours is."""
        return sum(ours < theirs for ours, theirs in self.both)


def beside(arena: Arena, opponent: str, attainment: float) -> Beside:
    ours, theirs = arena.costs(OURS, attainment), arena.costs(opponent, attainment)
    by_day: dict[int, list[tuple[float, float]]] = {}
    for (ground, _), mine, other in zip(arena.places, ours, theirs, strict=True):
        if isinstance(mine, Cost) and isinstance(other, Cost):
            by_day.setdefault(ground.day, []).append((mine.usd, other.usd))
    return Beside(by_day=by_day, pairs=len(arena.places), why_not_all=first_missing(*ours, *theirs))


def ratio_of(by_day: Mapping[int, Sequence[tuple[float, float]]], seed: int = 0) -> Ratio:
    """Sum over sum, and its bootstrap in two stages: days are drawn with replacement, and of each the seeds again."""
    days = [np.array(pairs, dtype=np.float64) for pairs in by_day.values()]
    ours, theirs = np.sum([pairs.sum(axis=0) for pairs in days], axis=0)
    if len(days) < LEAST_DAYS:
        why = f"{len(days)} day{'s are' if len(days) > 1 else ' is'} too few; {LEAST_DAYS} at least"
        return Ratio(mean=float(ours / theirs), interval=Missing("interval", why))
    random = np.random.default_rng(seed)
    drawn = _drawn(days, random.integers(0, len(days), (RESAMPLES, len(days))), random)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.975))
    return Ratio(mean=float(ours / theirs), interval=(float(low), float(high)))


def _drawn(days: Sequence[Dollars], picked: Places, random: np.random.Generator) -> Dollars:
    """The sums of both by resample; ``picked``: its days. Each time that a day comes its seeds are drawn anew."""
    sums = np.zeros((len(picked), 2))
    for number, pairs in enumerate(days):
        resamples, _ = np.nonzero(picked == number)
        seeds = random.integers(0, len(pairs), (len(resamples), len(pairs)))
        np.add.at(sums, resamples, pairs[seeds].sum(axis=1))
    return sums


def mean_of(results: Sequence[Result], value: Callable[[Result], Number]) -> Number:
    """Over days and seeds; Missing when one is."""
    found = [value(one) for one in results]
    lost = first_missing(*found)
    if lost is not None or not found:
        return lost or Missing("value", "no run")
    return fmean(one for one in found if not isinstance(one, Missing))
