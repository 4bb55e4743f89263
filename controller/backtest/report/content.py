"""What both kinds of page say: the figures' table and the method, as plain text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.backtest.results import Backtest, Standing, standings, worth_showing
from controller.backtest.words import UNKNOWN, change, count, many, mark, shown_spread, span
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
    ("held", "passes held"),
    ("usd_reserved", "reserved"),
    ("usd_on_demand", "on demand"),
    ("usd_spot", "spot"),
)
"""In the table's order, with their headings."""


HOW_IT_RAN = "replica_hours"
"""From here on the quantities stand in a table of their own: one of all is wider than a page."""


def quantities(backtest: Backtest) -> list[tuple[str, str]]:
    """Those that say anything about its runs; of what nobody measured, only the reason is told."""
    everybody = standings(backtest)
    return [
        (name, heading)
        for name, heading in QUANTITIES
        if worth_showing(backtest, name) and not all(isinstance(one.value(name), Missing) for one in everybody)
    ]


WORDS = (
    (
        "regret",
        "the bill above that of a schedule that knew the future and kept the SLO; of who kept it too",
    ),
    (
        "within SLO",
        "share of requests that met both latency targets; dropped and unfinished ones met neither. Rounded down",
    ),
    ("within TTFT", "share of requests whose own time to first token kept its target; no percentile"),
    ("within TPOT", "share of requests whose own mean time per output token kept its target; no percentile"),
    ("worst 5 min", "the lowest share of any five minutes that saw at least 20 requests"),
    ("idle", "share of the billed replica time without a running request; starting counts"),
    ("moves", "changes of the number of replicas that were ordered"),
    ("reversals", "moves that undo one of the ten minutes before"),
    ("forecast error", "mean error of the forecast at the time that a new replica takes to start"),
    ("pass", "wall time of one decision"),
    ("interruptions", "spot replicas that were warned that they would be taken away"),
    ("failures", "replicas that crashed or failed to start"),
    ("requests lost", "requests that a replica had when it was lost: sent again, and counted as missed"),
    ("passes held", "passes in which safety rules held back, or cut, what the policy had decided"),
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
    """One controller; ``cells`` are those after its name."""

    name: str
    met: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """One table. ``judged``: its second column says who kept the SLO, before the rows' cells."""

    title: str
    judged: bool
    headings: tuple[str, ...]
    rows: tuple[Row, ...]


def figures(backtest: Backtest) -> tuple[Figures, Figures]:
    """What everybody cost and kept, and how they ran."""
    everybody, shown = standings(backtest), quantities(backtest)
    order = [name for name, _ in QUANTITIES]
    first = [one for one in shown if order.index(one[0]) < order.index(HOW_IT_RAN)]
    second = shown[len(first) :]
    kept = tuple(
        Row(one.name, one.met, (_against(one, everybody[0]), *(_cell(one, name) for name, _ in first)))
        for one in everybody
    )
    ran = tuple(Row(one.name, one.met, tuple(_cell(one, name) for name, _ in second)) for one in everybody)
    return (
        Figures("Cost and service", True, ("against first", *(heading for _, heading in first)), kept),
        Figures("How it ran", False, tuple(heading for _, heading in second), ran),
    )


def _against(one: Standing, first: Standing) -> Cell:
    if one is first:
        return Cell("first")
    return Cell(change(one.usd / first.usd - 1)) if first.usd else Cell(UNKNOWN, why="the first cost nothing")


def _cell(one: Standing, quantity: str) -> Cell:
    found = one.value(quantity)
    if isinstance(found, Missing):
        return Cell(mark(found), why=found.why)
    return Cell(*shown_spread(quantity, found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of the method: a paragraph for everybody, the particulars of this run, and remarks."""

    title: str
    told: str
    rows: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


REPLAYED = (
    "A recorded load was played again, request by request, to a simulated fleet of inference servers: every request"
    " at its moment and with its number of tokens. Beside it ran one controller, the program that decides how many"
    " replicas (copies of the server) are rented. This was done once for each controller; all of them met the same"
    " requests, the same servers and the same prices, so that a difference between two rows is a difference between"
    " two controllers. pennyweight is the very code that decides in production; the others were written again from"
    " their documentation and play with the defaults that it gives."
)
JUDGED = (
    "The bill is the time for which replicas were rented, from the order to the end, times their price. A request is"
    " in time when it kept every latency target itself: how long it waited for its first token, and how long each"
    " further token took, as the mean of that one request. What was dropped, lost or never finished was not in time."
    " The SLO, which is the promise to users, is kept when the wanted share of all requests was in time."
)
ASSUMED = (
    "These were not measured in this run, and the figures are as good as they are. An engine works in steps: the more"
    " tokens and requests a step has, the longer it takes, and that is how waiting comes about here."
)
LEFT_OUT = (
    "Whatever is not named above took no time and never went wrong. Read a difference of a few percent as none; and"
    " nothing here says how a service behaves at hours or loads that are not in the trace."
)
ALWAYS_LEFT_OUT = (
    "The way from client to engine (network, HTTP, tokenizer) takes no time. Real answers begin milliseconds later.",
    "What the answers are worth: a cheaper precision of the weights looks only cheaper and faster.",
    "A market without GPUs, where nothing is bought on spot: every order is filled, at a price that does not change.",
)


def method(backtest: Backtest) -> list[Section]:
    """How the figures were made, for who pays and for who runs it: enough to doubt them, and to make them again."""
    return [
        Section(title="What was replayed", told=REPLAYED, rows=_said(_replayed(backtest))),
        Section(
            title="How it was judged",
            told=JUDGED,
            rows=_said((("SLO", f"{backtest.slo_text}."), ("Best possible", _bounds(backtest)))),
        ),
        Section(title="What is assumed", told=ASSUMED, rows=_said(_assumed(backtest))),
        Section(
            title="What was not simulated, and what else to know",
            told=LEFT_OUT,
            notes=(*ALWAYS_LEFT_OUT, *backtest.notes),
        ),
        Section(title="To make it again", told="", rows=_said(_made(backtest))),
    ]


def _said(rows: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in rows if text)


def _replayed(backtest: Backtest) -> Iterable[tuple[str, str]]:
    yield "Trace", f"{backtest.trace}, {span(backtest.hours)}: {backtest.description}"
    yield "Amount", _simulated(backtest.runs[0])
    seeds = f"{many(len(backtest.seeds), 'seed')}: {', '.join(map(str, backtest.seeds))}. "
    chance = "A seed is a throw of the dice for all that is left to chance, such as how long each start took."
    several = " Figures are means; the plots over time and the decisions show each controller's first."
    yield "Chance", seeds + chance + (several if len(backtest.seeds) > 1 else "")


def _assumed(backtest: Backtest) -> Iterable[tuple[str, str]]:
    yield "Speed", backtest.engine
    yield "Capacity", backtest.reach
    yield "Price", backtest.price
    yield (
        "Start-up",
        f"{backtest.start_up}, from the order of a replica to its first answer" if backtest.start_up else "",
    )
    yield "Safety", backtest.safety
    yield "Mishaps", backtest.perils or "none: no replica fails and none is taken away"


def _made(backtest: Backtest) -> Iterable[tuple[str, str]]:
    yield "Command", backtest.command
    yield "Made at", f"{backtest.made_at:%Y-%m-%d %H:%M:%S} UTC" if backtest.made_at else ""


def _simulated(run: RunScore) -> str:
    tokens = f"{count(run.prompt_tokens)} prompt and {count(run.output_tokens)} output tokens"
    what = f"{many(run.requests, 'request')}, {tokens}, {many(run.preemptions, 'preemption')}"
    return f"{what}, in {many(len(run.series.time_s), 'control interval')} ({run.controller}, seed {run.seed})"


def _bounds(backtest: Backtest) -> str:
    bounds = (("lower bound", backtest.lower_usd), ("schedule that knew the future", backtest.upper_usd))
    if all(isinstance(value, Missing) for _, value in bounds):
        return "not worked out; --bracket does"
    told = "; ".join(
        f"{name} {f'unknown, {value.why}' if isinstance(value, Missing) else f'${value:,.2f}'}"
        for name, value in bounds
    )
    times = backtest.upper_to_lower
    return told if isinstance(times, Missing) else f"{told}, {times:.4g} times as much"


def words(backtest: Backtest) -> list[tuple[str, str]]:
    """What the headings mean, of those that are shown."""
    shown = {heading for _, heading in quantities(backtest)}
    hidden = {heading for _, heading in QUANTITIES} - shown
    return [(heading, meaning) for heading, meaning in WORDS if heading not in hidden]


def unknowns(backtest: Backtest) -> list[str]:
    """Why something is unknown: once a heading and reason, with whose it is."""
    everybody, told = standings(backtest), dict[str, list[str]]()
    for name, heading in QUANTITIES:
        for one in everybody if worth_showing(backtest, name) else ():
            found = one.value(name)
            if isinstance(found, Missing):
                told.setdefault(f"{mark(found)} {heading}: {found.why}", []).append(one.name)
    return [
        reason if len(names) == len(everybody) else f"{reason} ({', '.join(names)})" for reason, names in told.items()
    ]
