"""The contest's tables, in Markdown: RESULTS.md has them all, BENCHMARKS.md the part that decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from benchmarks.contest.bracket import ATTAINMENT, Bounds, Known, Place
from benchmarks.contest.frontier import Cost, Point, frontier
from benchmarks.contest.players import PLAYERS
from benchmarks.contest.results import Result
from benchmarks.contest.standings import (
    LEAST_DAYS,
    RESAMPLES,
    Arena,
    Beside,
    Ratio,
    arenas,
    below_bound,
    beside,
    bound,
    cost_ratio,
    mean_of,
    ratio_of,
)
from benchmarks.contest.stress import STRESSES
from benchmarks.contest.sweep import TARGETS
from controller.backtest.run import OURS
from controller.backtest.words import UNKNOWN, change, milliseconds, percent, share, usd
from controller.facts.missing import Missing, mapped, ratio
from controller.simulate.score import Number

RESULTS = Path(__file__).parent / "RESULTS.md"
BENCHMARKS = Path(__file__).parent.parent.parent / "BENCHMARKS.md"
HEADING = "## The contest"

METHOD = f"""\
Every controller meets the same requests, engines, router, start-up times and scrapes that are 7.5 s old when
they take effect. A request is inside the SLO when it finished, its first token came within 2 s (5 s after a
prompt of more than 8,000 tokens) and its tokens within 50 ms on average. Bills run by the second from the order
of a replica to its end. Each controller has one knob; a few of its values are run (more of them near 99 %), and
the cost of an attainment is interpolated on the frontier, linearly in dollars over the logarithm of the share
missed. Ours is told step times that are wrong by up to 20 % a coefficient. Dollars are per day, means over days
and seeds. Regret is the cost over the clairvoyant schedule's, less 1; capture the share of the way from the
best static fleet to it. What a controller did beside is told of its cheapest run that reached {
    ATTAINMENT * 100:g} %, or of its best."""


PAIRS = f"""\
Our cost beside each opponent's, summed over the pairs of a day and a seed on which both reach it ("over": not all of
them, and days that are hard for one may be left out). In brackets 95 % of {RESAMPLES:,} resamples: days are drawn with
replacement, and of each day its seeds; fewer than {LEAST_DAYS} days have none."""


DAYS = f"Dollars at {ATTAINMENT * 100:g} % by day. L: lower bound, U: clairvoyant schedule, -: not run or not reached."


def _form(value: Number, form: Callable[[float], str]) -> str:
    return UNKNOWN if isinstance(value, Missing) else form(value)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False) -> str:
    """``words``: nothing to align by its last digit."""
    rule = ["---", *["---" if words else "---:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rule, *rows))


# --- cost ------------------------------------------------------------------------------------------------------------


def cost_table(arena: Arena, known: Known) -> str:
    """Who pays what for 95, 99 and 99.9 %; the cheapest at 99 % first."""
    upper = bound(arena, known, "upper_usd")
    static = arena.usd_per_day("static", ATTAINMENT)
    rows = []
    for name in sorted(arena.names, key=lambda one: _sortable(arena.usd_per_day(one, ATTAINMENT))):
        at_99 = arena.usd_per_day(name, ATTAINMENT)
        regret = mapped(ratio("regret", at_99, upper), lambda over: over - 1)
        plain = arena.documented(name)
        rows.append(
            [
                f"**{name}**" if name == OURS else name,
                *(_price(arena, name, target) for target in sorted(TARGETS)),
                _form(regret, change),
                _form(_capture(static, at_99, upper), percent),
                _form(mean_of(plain, lambda one: one["usd"] * 24 / arena.hours), usd),
                _form(mean_of(plain, lambda one: one.attainment), share),
            ]
        )
    headings = ["controller", "$ at 95 %", "$ at 99 %", "$ at 99.9 %", "regret", "capture", "$ as documented", "inside"]
    return _table(headings, rows)


def _price(arena: Arena, name: str, target: float) -> str:
    """The dollars; "≤" where even its cheapest run was better; how far it came; or on how many days it played."""
    found = arena.usd_per_day(name, target)
    played = sum(bool(arena.of(name, place)) for place in arena.places)
    if played < len(arena.places):
        return f"{played} of {len(arena.places)} played"
    if isinstance(found, Missing):
        best = min(max((one.attainment for one in arena.of(name, place)), default=0.0) for place in arena.places)
        return f"never ({share(best)})"
    open_ended = any(not isinstance(one, Missing) and one.below is None for one in arena.costs(name, target))
    return f"{'≤ ' if open_ended else ''}{usd(found)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Met:
    """What 99 % costs those who reach it on a day with one seed, or on the mean of its seeds; and the bracket there."""

    costs: Mapping[str, Cost]
    bounds: Bounds | None


def day_table(arena: Arena, known: Known) -> str:
    """What 99 % costs on each day and seed, and on a day's mean over its seeds, beside the bracket. The best opponent
    is the cheapest that played there."""
    days = _days(arena, known)
    names = [
        name for name in arena.names if any(name in met.costs for seeds in days.values() for met in seeds.values())
    ]
    rows = []
    for day, seeds in days.items():
        rows += [[f"{day}, {seed}", *_met_cells(met, names, arena.hours)] for seed, met in seeds.items()]
        if len(seeds) > 1:
            mean = _met_cells(_mean([*seeds.values()]), names, arena.hours)
            rows.append([f"**{cell}**" for cell in (f"{day}, mean", *mean)])
    headings = ["day, seed", "L", "U", "our regret", "ours beside the best opponent's", *names]
    return _table(headings, rows)


def _days(arena: Arena, known: Known) -> dict[int, dict[int, _Met]]:
    """By day and seed."""
    by_name = {name: arena.costs(name, ATTAINMENT) for name in arena.names}
    found: dict[int, dict[int, _Met]] = {}
    for number, (ground, seed) in enumerate(arena.places):
        costs = {name: one for name, costs in by_name.items() if isinstance(one := costs[number], Cost)}
        found.setdefault(ground.day, {})[seed] = _Met(costs=costs, bounds=known.get((ground, seed)))
    return found


def _mean(met: Sequence[_Met]) -> _Met:
    """Of who reached it with every seed; open below where one is."""
    names = [name for name in met[0].costs if all(name in one.costs for one in met)]
    bounds = [one.bounds for one in met if one.bounds is not None]
    return _Met(
        costs={name: _mean_cost([one.costs[name] for one in met]) for name in names},
        bounds=None
        if len(bounds) < len(met)
        else Bounds(lower_usd=fmean(one.lower_usd for one in bounds), upper_usd=fmean(one.upper_usd for one in bounds)),
    )


def _mean_cost(costs: Sequence[Cost]) -> Cost:
    dearest = min(costs, key=lambda one: one.below is not None)
    return replace(dearest, usd=fmean(one.usd for one in costs))


def _met_cells(met: _Met, names: Sequence[str], hours: float) -> list[str]:
    """The bracket, where ours stands between it and the best opponent, and everybody's dollars per day."""
    ours = met.costs.get(OURS)
    others = {name: one.usd for name, one in met.costs.items() if name != OURS}
    best = min(others, key=lambda name: others[name], default="")
    beside_best = f"{change(ours.usd / others[best] - 1)} ({best})" if ours is not None and best else UNKNOWN
    each = [_per_day_told(met.costs[name], hours) if name in met.costs else "-" for name in names]
    if met.bounds is None:
        return [UNKNOWN, UNKNOWN, UNKNOWN, beside_best, *each]
    regret = UNKNOWN if ours is None else change(ours.usd / met.bounds.upper_usd - 1)
    bracket = [usd(one * 24 / hours) for one in (met.bounds.lower_usd, met.bounds.upper_usd)]
    return [*bracket, regret, beside_best, *each]


def _per_day_told(cost: Cost, hours: float) -> str:
    return f"{'≤ ' if cost.below is None else ''}{usd(cost.usd * 24 / hours)}"


def _sortable(value: Number) -> float:
    return float("inf") if isinstance(value, Missing) else value


def _capture(static: Number, cost: Number, upper: Number) -> Number:
    if isinstance(static, Missing) or isinstance(cost, Missing) or isinstance(upper, Missing):
        return Missing("capture", "the static fleet, the cost or the clairvoyant schedule is not known")
    return ratio("capture", static - cost, static - upper)


def bracket_line(arena: Arena, known: Known) -> str:
    lower, upper = bound(arena, known, "lower_usd"), bound(arena, known, "upper_usd")
    if isinstance(lower, Missing) or isinstance(upper, Missing):
        return "The bracket (lower bound and clairvoyant schedule) is not computed for this case."
    return (
        f"Lower bound {usd(lower)}, clairvoyant schedule {usd(upper)} ({upper / lower:.3f} times it), per day, at "
        f"{ATTAINMENT * 100:g} %."
    )


def verdict(arena: Arena) -> str:
    """Ours beside the best opponent, at every attainment."""
    told = []
    for target in sorted(TARGETS):
        best = arena.best_opponent(target)
        if isinstance(best, Missing):
            told.append(f"{target * 100:g} %: {best.why}")
            continue
        found = cost_ratio(arena, best, target)
        words = f"no ratio ({found.why})" if isinstance(found, Missing) else _ratio(found)
        told.append(f"{target * 100:g} %: {words} of {best}'s")
    return f"Our cost at {'; '.join(told)}."


def pairs_table(arena: Arena) -> str:
    """Ours beside each opponent over all pairs of a day and a seed, at every attainment."""
    rows = []
    for name in (one for one in arena.names if one != OURS):
        at = {target: beside(arena, name, target) for target in sorted(TARGETS)}
        cheaper = f"{at[ATTAINMENT].cheaper} of {len(at[ATTAINMENT].both)}"
        rows.append([name, cheaper, *(_pairs_told(found) for found in at.values())])
    headings = ["ours beside", "cheaper at 99 % on", *(f"at {target * 100:g} %" for target in sorted(TARGETS))]
    return _table(headings, rows)


def _pairs_told(found: Beside) -> str:
    """-3.9 % (-5.8 to -1.8 %), over 6 of 8; no brackets where the days are too few."""
    if not found.both:
        return "no pair"
    ratio_there = ratio_of(found.by_day)
    over = "" if found.why_not_all is None else f", over {len(found.both)} of {found.pairs}"
    if isinstance(ratio_there.interval, Missing):
        return f"{change(ratio_there.mean - 1)}{over}"
    low, high = (change(bound - 1) for bound in ratio_there.interval)
    return f"{change(ratio_there.mean - 1)} ({low.removesuffix(' %')} to {high}){over}"


def _ratio(found: Ratio) -> str:
    if isinstance(found.interval, Missing):
        return f"{found.mean:.3f} (no interval: {found.interval.why})"
    low, high = found.interval
    return f"{found.mean:.3f} ({low:.3f} to {high:.3f}{', a win' if found.sure and found.mean < 1 else ''})"


# --- beside the cost -------------------------------------------------------------------------------------------------

Column = tuple[str, Callable[[Result], Number], Callable[[float], str]]


def _of_requests(name: str) -> Callable[[Result], Number]:
    return lambda one: ratio(name, one[name], one["requests"])


def _per_day(name: str) -> Callable[[Result], Number]:
    return lambda one: one[name] * 24 / one["hours"]


COLUMNS: Sequence[Column] = (
    ("inside", lambda one: one.attainment, share),
    ("TTFT", _of_requests("within_ttft"), share),
    ("TPOT", _of_requests("within_tpot"), share),
    ("worst 5 min", lambda one: one.number("worst_five_minutes_ratio"), share),
    ("dropped", lambda one: one["dropped"], lambda value: f"{value:,.0f}"),
    ("changes/day", _per_day("moves"), lambda value: f"{value:,.0f}"),
    ("reversals/day", _per_day("reversals"), lambda value: f"{value:,.0f}"),
    ("idle", lambda one: one["idle_ratio"], percent),
    ("forecast error", lambda one: one.number("forecast_error_ratio"), percent),
    ("pass", lambda one: one.number("pass_s"), milliseconds),
)


def _rows(groups: Mapping[str, Sequence[Result]]) -> list[list[str]]:
    return [
        [name, usd_of(runs), *(_form(mean_of(runs, value), form) for _, value, form in COLUMNS)]
        for name, runs in groups.items()
    ]


def usd_of(runs: Sequence[Result]) -> str:
    return _form(mean_of(runs, lambda one: one["usd"]), usd)


def behaviour_table(arena: Arena) -> str:
    groups = {name: arena.judged(name) for name in arena.names}
    return _table(["controller", "$ a run", *(name for name, _, _ in COLUMNS)], _rows(groups))


def frontier_table(arena: Arena) -> str:
    """Every controller's frontier of the first day and seed: what the cost at 99 % was interpolated on."""
    place = arena.places[0]
    rows = [
        [name, ", ".join(f"{share(point.attainment)} {usd(point.usd)}" for point in _line(arena, name, place))]
        for name in arena.names
    ]
    return _table(["controller", f"frontier of day {place[0].day}, seed {place[1]}"], rows, words=True)


def _line(arena: Arena, name: str, place: Place) -> tuple[Point, ...]:
    return frontier([one.point for one in arena.of(name, place)])


def stress_tables(results: Sequence[Result]) -> str:
    """By case, everybody as documented or shipped."""
    told = []
    for name, stress in STRESSES.items():
        runs = [one for one in results if one.task.stress == name]
        if runs:
            groups: dict[str, list[Result]] = {}
            for one in runs:
                groups.setdefault(f"{one.task.entrant.name} ({one.task.ground.trace})", []).append(one)
            headings = ["controller", "$ a run", *(column for column, _, _ in COLUMNS)]
            told.append(f"### {name}: {stress.told}\n\n{_table(headings, _rows(groups))}")
    return "\n\n".join(told)


# --- the files -------------------------------------------------------------------------------------------------------


def results_text(results: Sequence[Result], known: Known, command: str) -> str:
    """All of it."""
    parts = ["# The contest's results", f"    {command}", METHOD, *_warnings(results, known)]
    for arena in arenas(results):
        days = sorted({ground.day for ground, _ in arena.places})
        seeds = sorted({seed for _, seed in arena.places})
        parts += [
            f"## {arena.name}",
            f"Days {_listed(days)} of the trace, {arena.hours:g} h each; seeds {_listed(seeds)}.",
            bracket_line(arena, known),
            verdict(arena),
            cost_table(arena, known),
            PAIRS,
            pairs_table(arena),
            DAYS,
            day_table(arena, known),
            behaviour_table(arena),
            frontier_table(arena),
        ]
    stress = stress_tables(results)
    if stress:
        parts += ["## Stress", stress]
    knobs = [[name, player.knob] for name, player in PLAYERS.items()]
    parts += ["## The knobs", _table(["controller", "what is swept"], knobs, words=True)]
    return "\n\n".join(parts) + "\n"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def section_text(results: Sequence[Result], known: Known, command: str) -> str:
    """For BENCHMARKS.md."""
    parts = [HEADING, f"    {command}", METHOD, *_warnings(results, known)]
    for arena in arenas(results):
        days = len({ground.day for ground, _ in arena.places})
        seeds = len({seed for _, seed in arena.places})
        many = f"{days} day{'s' if days > 1 else ''}, {seeds} seed{'s' if seeds > 1 else ''}"
        parts += [
            f"### {arena.name} ({many})",
            f"{bracket_line(arena, known)} {verdict(arena)}",
            cost_table(arena, known),
            PAIRS,
            pairs_table(arena),
            DAYS,
            day_table(arena, known),
        ]
    parts.append("How each of them behaved, the frontiers and the stress cases: benchmarks/contest/RESULTS.md.")
    return "\n\n".join(parts) + "\n"


def _warnings(results: Sequence[Result], known: Known) -> list[str]:
    told = below_bound(results, known)
    return [f"**Something is wrong; do not use these figures:** {'; '.join(told)}."] if told else []


def with_section(text: str, section: str) -> str:
    """``text`` with its contest section replaced, or added at the end."""
    before, found, rest = text.partition(HEADING + "\n")
    if not found:
        return f"{text.rstrip()}\n\n{section}"
    _, more, after = rest.partition("\n## ")
    return before + section + (f"\n## {after}" if more else "")
