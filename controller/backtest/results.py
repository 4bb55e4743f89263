"""What a backtest found: its runs, and where each controller stands over its seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import floor, log10

from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing, mapped, ratio
from controller.facts.slo import LatencyTarget, Slo
from controller.simulate.score import Number, RunScore

_NO_LOWER = Missing("lower bound", "the lower bound was not asked for; --bracket asks for it")
_NO_UPPER = Missing("clairvoyant schedule", "the clairvoyant schedule was not asked for; --bracket asks for it")

NOT_COMPARED = Missing("regret", "the SLO was not kept, as the schedule kept it: two bills for different things")

HOURS_PER_DAY = 24.0
DAYS_PER_YEAR = 365.0
ROUNDING = 1e-9
"""Two sums of the same dollars may differ by so much, relatively."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """Several controllers on one trace. The first run's controller is the one that the others are compared with.

    trace, description       its name, and what is in it
    price, start_up          in words: "$4.40 per replica and hour, billed by the second", "240 s, ±20 %"
    lower_usd, upper_usd     no controller can be cheaper than the one; a clairvoyant schedule costs the other
    engine                   in words: what a replica is, and where its speed comes from
    command                  what was typed
    made_at                  shown in the reports; None = left out, so that equal runs give equal files
    reach                    in words: what a replica carries, and how many the busiest minute needs; "": not told
    most_replicas            that the policy allows; 0: not told
    notes                    known limits and whatever else a reader must know
    perils                   what might go wrong in it, in words; "": nothing
    safety                   the kernel's rules in front of our policy, in words; "": not told
    short                    that less was replayed than was asked for, in words; "": all of it was
    """

    trace: str
    description: str
    slo: Slo
    price: str
    start_up: str
    runs: tuple[RunScore, ...]
    lower_usd: Number = _NO_LOWER
    upper_usd: Number = _NO_UPPER
    engine: str = ""
    reach: str = ""
    most_replicas: int = 0
    command: str = ""
    made_at: datetime | None = None
    notes: tuple[str, ...] = ()
    perils: str = ""
    safety: str = ""
    short: str = ""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("a backtest needs at least one run")

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({run.seed for run in self.runs}))

    @property
    def hours(self) -> float:
        return self.runs[0].hours

    @property
    def upper_to_lower(self) -> Number:
        """How many times the bound the clairvoyant schedule costs: the best possible is between the two."""
        return ratio("upper_to_lower", self.upper_usd, self.lower_usd)

    @property
    def slo_text(self) -> str:
        """The SLO as people say it."""
        asked = (
            _target("its time to first token", self.slo.ttft),
            _target("its mean time per output token", self.slo.tpot),
        )
        within = " and ".join(part for part in asked if part) or "no latency target"
        return f"{self.slo.attainment_ratio * 100:.4g} % of requests, each with {within}"


def _target(what: str, target: LatencyTarget | None) -> str:
    return f"{what} at most {latency(target.seconds)}" if target else ""


def latency(seconds: float) -> str:
    """5 s, 250 ms."""
    return f"{plain(seconds)} s" if seconds >= 1 else f"{plain(seconds * 1000)} ms"


def plain(value: float, digits: int = 3) -> str:
    """1,230 of 1234.5, 0.0123 of 0.01234: to so many digits, as people write it."""
    if not value:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    text = f"{rounded:,.{max(0, digits - 1 - floor(log10(abs(rounded))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One quantity over the seeds."""

    mean: float
    low: float
    high: float


def spread(values: Sequence[Number]) -> Spread | Missing:
    """Mean and range; Missing when any value is."""
    lost = next((value for value in values if isinstance(value, Missing)), None)
    if lost is not None:
        return lost
    numbers = [value for value in values if not isinstance(value, Missing)]
    return Spread(mean=sum(numbers) / len(numbers), low=min(numbers), high=max(numbers))


# --- what is measured ------------------------------------------------------------------------------------------------


def _per_day(run: RunScore, amount: float) -> Number:
    return ratio("days", amount, run.hours / HOURS_PER_DAY)


def _share(run: RunScore, met: int) -> Number:
    return met / run.requests if run.requests else Missing("attainment", "no request arrived")


def _regret(run: RunScore, backtest: Backtest) -> Number:
    return mapped(ratio("regret", run.usd, backtest.upper_usd), lambda over: over - 1.0)


Quantity = Callable[[RunScore, Backtest], Number]

QUANTITIES: Mapping[str, Quantity] = {
    "cost": lambda run, _: run.usd,
    "cost_per_day": lambda run, _: _per_day(run, run.usd),
    "regret": _regret,
    "attainment": lambda run, _: run.attainment_ratio,
    "attainment_ttft": lambda run, _: _share(run, run.within_ttft),
    "attainment_tpot": lambda run, _: _share(run, run.within_tpot),
    "worst_five_minutes": lambda run, _: run.worst_five_minutes_ratio,
    "dropped": lambda run, _: run.dropped,
    "unfinished": lambda run, _: run.requests - run.finished - run.dropped,
    "replica_hours": lambda run, _: run.replica_hours,
    "idle": lambda run, _: run.idle_ratio,
    "moves": lambda run, _: len(run.moves),
    "moves_per_day": lambda run, _: _per_day(run, len(run.moves)),
    "reversals_per_day": lambda run, _: _per_day(run, run.reversals),
    "forecast_error": lambda run, _: run.forecast_error_ratio,
    "pass": lambda run, _: run.pass_s,
    "ttft_p50": lambda run, _: run.ttft_p50_s,
    "ttft_p99": lambda run, _: run.ttft_p99_s,
    "tpot_p50": lambda run, _: run.tpot_p50_s,
    "tpot_p99": lambda run, _: run.tpot_p99_s,
    "interruptions": lambda run, _: run.interruptions,
    "failures": lambda run, _: run.failures,
    "lost": lambda run, _: run.lost,
    "held": lambda run, _: run.held,
    "usd_reserved": lambda run, _: run.usd_of(CapacityType.RESERVED),
    "usd_on_demand": lambda run, _: run.usd_of(CapacityType.ON_DEMAND),
    "usd_spot": lambda run, _: run.usd_of(CapacityType.SPOT),
}
"""By the names that ``--fail-if`` uses: USD, shares of 1, counts, hours, seconds. ``unfinished``: still running at the
end; ``lost``: cut off when a replica was lost; ``held``: passes in which safety rules held back what was decided."""

WHERE_ANY = ("interruptions", "failures", "lost", "held", "usd_reserved", "usd_on_demand", "usd_spot")
"""Shown only where there are any; dollars by how they were spent only where that is in more than one way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One controller, with one set of settings, over its seeds."""

    name: str
    backtest: Backtest
    runs: tuple[RunScore, ...]

    def value(self, quantity: str) -> Spread | Missing:
        return spread([self.of(run, quantity) for run in self.runs])

    def of(self, run: RunScore, quantity: str) -> Number:
        """Of one of its runs. Whoever missed the SLO has no regret: it would read as better than knowing the future."""
        found = QUANTITIES[quantity](run, self.backtest)
        return NOT_COMPARED if quantity == "regret" and not isinstance(found, Missing) and not self.met else found

    @property
    def usd(self) -> float:
        """The mean bill."""
        return sum(run.usd for run in self.runs) / len(self.runs)

    @property
    def attainment(self) -> Number:
        return mapped(self.value("attainment"), lambda found: found.mean)

    @property
    def met(self) -> bool:
        """Whether the SLO was kept, by the mean over the seeds. A run without requests has kept nothing."""
        found = self.attainment
        return not isinstance(found, Missing) and found >= self.backtest.slo.attainment_ratio

    @property
    def seeds_short(self) -> int:
        """Seeds whose own attainment fell short."""
        wanted = self.backtest.slo.attainment_ratio
        own = [run.attainment_ratio for run in self.runs]
        return sum(isinstance(value, Missing) or value < wanted for value in own)

    @property
    def below_bound(self) -> bool:
        """Cheaper than the lower bound, although the SLO was kept: the simulator or the bound is wrong."""
        lower = self.backtest.lower_usd
        return self.met and not isinstance(lower, Missing) and self.usd < lower * (1 - ROUNDING)


def worth_showing(backtest: Backtest, quantity: str) -> bool:
    """Whether ``quantity`` says anything about these runs."""
    if quantity not in WHERE_ANY:
        return True
    if quantity.startswith("usd_"):
        several = {one.type for run in backtest.runs for one in run.paid}
        return len(several) > 1 and CapacityType(quantity.removeprefix("usd_")) in several
    return any(QUANTITIES[quantity](run, backtest) for run in backtest.runs)


def standings(backtest: Backtest) -> tuple[Standing, ...]:
    """The controllers in the order of their first runs. One that ran with several settings is told apart by them."""
    groups: dict[tuple[str, tuple[tuple[str, float], ...]], list[RunScore]] = {}
    for run in backtest.runs:
        groups.setdefault((run.controller, tuple(sorted(run.settings.items()))), []).append(run)
    swept = [controller for controller, _ in groups]
    return tuple(
        Standing(
            name=_label(controller, settings) if swept.count(controller) > 1 else controller,
            backtest=backtest,
            runs=tuple(runs),
        )
        for (controller, settings), runs in groups.items()
    )


def _label(controller: str, settings: tuple[tuple[str, float], ...]) -> str:
    told = ", ".join(f"{name}={value:g}" for name, value in settings)
    return f"{controller} ({told})" if told else f"{controller} (defaults)"
