"""What both kinds of page say: the figures' table and the method, as plain text."""

from __future__ import annotations

from dataclasses import dataclass

from controller.backtest.results import Backtest, Standing, standings, worth_showing
from controller.backtest.words import UNKNOWN, change, count, shown_spread, span
from controller.facts.missing import Missing
from controller.simulate.score import RunScore

QUANTITIES = (
    ("cost", "cost"),
    ("cost_per_day", "a day"),
    ("regret", "regret"),
    ("attainment", "within SLO"),
    ("attainment_ttft", "within TTFT"),
    ("attainment_tpot", "within TPOT"),
    ("worst_five_minutes", "worst 5 min"),
    ("dropped", "dropped"),
    ("unfinished", "unfinished"),
    ("replica_hours", "replica-hours"),
    ("idle", "idle"),
    ("moves_per_day", "moves a day"),
    ("reversals_per_day", "reversals a day"),
    ("forecast_error", "forecast error"),
    ("pass", "pass"),
    ("interruptions", "interruptions"),
    ("failures", "failures"),
    ("lost", "requests lost"),
    ("usd_reserved", "reserved"),
    ("usd_on_demand", "on demand"),
    ("usd_spot", "spot"),
)
"""In the table's order, with their headings."""


def quantities(backtest: Backtest) -> list[tuple[str, str]]:
    """Those that say anything about its runs."""
    return [(name, heading) for name, heading in QUANTITIES if worth_showing(backtest, name)]


def headings(backtest: Backtest) -> tuple[str, ...]:
    return ("controller", "SLO", "against first", *(heading for _, heading in quantities(backtest)))


WORDS = (
    ("regret", "the bill above that of a schedule that knew the future and kept the SLO"),
    (
        "within SLO",
        "share of requests that met both latency targets; dropped and unfinished ones met neither. Rounded down",
    ),
    ("worst 5 min", "the lowest share of any five minutes that saw at least 20 requests"),
    ("idle", "share of the billed replica time without a running request; starting counts"),
    ("reversals", "moves that undo one of the ten minutes before"),
    ("forecast error", "mean error of the forecast at the time that a new replica takes to start"),
    ("pass", "wall time of one decision"),
    ("interruptions", "spot replicas that were warned that they would be taken away"),
    ("failures", "replicas that crashed or failed to start"),
    ("requests lost", "requests that a replica had when it was lost: sent again, and counted as missed"),
    ("reserved", "paid for, used or not; part of the cost, as on demand and spot are"),
)
"""What the headings mean."""


@dataclass(frozen=True, slots=True)
class Cell:
    """``ranged``: over the seeds; ``why``: the reason where the value is unknown."""

    mean: str
    ranged: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One controller; ``cells`` are those after "SLO"."""

    name: str
    met: bool
    cells: tuple[Cell, ...]


def rows(backtest: Backtest) -> list[Row]:
    everybody, shown = standings(backtest), quantities(backtest)
    return [
        Row(one.name, one.met, (_against(one, everybody[0]), *(_cell(one, quantity) for quantity, _ in shown)))
        for one in everybody
    ]


def _against(one: Standing, first: Standing) -> Cell:
    if one is first:
        return Cell("first")
    return Cell(change(one.usd / first.usd - 1)) if first.usd else Cell(UNKNOWN, why="the first cost nothing")


def _cell(one: Standing, quantity: str) -> Cell:
    found = one.value(quantity)
    if isinstance(found, Missing):
        return Cell(UNKNOWN, why=found.why)
    return Cell(*shown_spread(quantity, found))


def method(backtest: Backtest) -> list[tuple[str, str]]:
    """How the figures were made: enough to make them again."""
    first = backtest.runs[0]
    seeds = ", ".join(map(str, backtest.seeds))
    several = (
        " The plots over time and the decisions show the first of each controller." if len(backtest.seeds) > 1 else ""
    )
    told = [
        ("Trace", f"{backtest.trace}, {span(backtest.hours)}: {backtest.description}"),
        ("SLO", backtest.slo_text),
        ("Engine", backtest.engine),
        ("Price", backtest.price),
        ("Start-up", backtest.start_up),
        ("Seeds", f"{seeds}.{several}"),
        ("Simulated", _simulated(first)),
        ("Bounds", _bounds(backtest)),
        ("Made with", backtest.command),
        ("Made at", f"{backtest.made_at:%Y-%m-%d %H:%M:%S} UTC" if backtest.made_at else ""),
    ]
    return [(name, text) for name, text in told if text]


def _simulated(run: RunScore) -> str:
    tokens = f"{count(run.prompt_tokens)} prompt and {count(run.output_tokens)} output tokens"
    what = f"{count(run.requests)} requests, {tokens}, {count(run.preemptions)} preemptions"
    return f"{what}, in {len(run.series.time_s):,} control intervals ({run.controller}, seed {run.seed})"


def _bounds(backtest: Backtest) -> str:
    bounds = (("lower bound", backtest.lower_usd), ("clairvoyant schedule", backtest.upper_usd))
    return "; ".join(
        f"{name} {f'unknown, {value.why}' if isinstance(value, Missing) else f'${value:,.2f}'}"
        for name, value in bounds
    )


def words(backtest: Backtest) -> list[tuple[str, str]]:
    """What the headings mean, of those that are shown."""
    hidden = {heading for name, heading in QUANTITIES if not worth_showing(backtest, name)}
    return [(heading, meaning) for heading, meaning in WORDS if heading not in hidden]


def unknowns(backtest: Backtest, found: list[Row]) -> list[str]:
    """Why there are question marks: once a heading and reason, with whose they are."""
    told: dict[str, list[str]] = {}
    for row in found:
        for heading, cell in zip(headings(backtest)[2:], row.cells, strict=True):
            if cell.why:
                told.setdefault(f"{heading}: {cell.why}", []).append(row.name)
    return [reason if len(names) == len(found) else f"{reason} ({', '.join(names)})" for reason, names in told.items()]
