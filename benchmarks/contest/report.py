"""The contest's tables, in Markdown: RESULTS.md has them all, BENCHMARKS.md the part that decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.contest.bracket import ATTAINMENT, Bounds, Known, Place
from benchmarks.contest.frontier import Cost, Point, frontier
from benchmarks.contest.players import PLAYERS
from benchmarks.contest.results import Result
from benchmarks.contest.standings import Arena, Ratio, arenas, below_bound, bound, cost_ratio, mean_of
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


def day_table(arena: Arena, known: Known) -> str:
    """What 99 % costs on each day and seed, beside the bracket; the best opponent is the cheapest that played there."""
    by_name = {name: arena.costs(name, ATTAINMENT) for name in arena.names}
    names = [name for name, found in by_name.items() if any(isinstance(one, Cost) for one in found)]
    rows = []
    for number, (ground, seed) in enumerate(arena.places):
        there = {name: one for name in names if isinstance(one := by_name[name][number], Cost)}
        rows.append(
            [
                f"{ground.day}, {seed}",
                *_beside(there, known.get((ground, seed)), arena.hours),
                *_each(there, names, arena.hours),
            ]
        )
    headings = ["day, seed", "L", "U", "our regret", "ours beside the best opponent's", *names]
    return _table(headings, rows)


def _beside(there: Mapping[str, Cost], bounds: Bounds | None, hours: float) -> list[str]:
    """The bracket, and where ours stands between it and the best opponent."""
    ours = there.get(OURS)
    others = {name: one.usd for name, one in there.items() if name != OURS}
    best = min(others, key=lambda name: others[name], default="")
    beside = f"{change(ours.usd / others[best] - 1)} ({best})" if ours is not None and best else UNKNOWN
    if bounds is None:
        return [UNKNOWN, UNKNOWN, UNKNOWN, beside]
    regret = UNKNOWN if ours is None else change(ours.usd / bounds.upper_usd - 1)
    return [usd(bounds.lower_usd * 24 / hours), usd(bounds.upper_usd * 24 / hours), regret, beside]


def _each(there: Mapping[str, Cost], names: Sequence[str], hours: float) -> list[str]:
    return [
        f"{'≤ ' if there[name].below is None else ''}{usd(there[name].usd * 24 / hours)}" if name in there else "-"
        for name in names
    ]


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
