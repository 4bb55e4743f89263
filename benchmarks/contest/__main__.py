"""``python -m benchmarks.contest [play report ...]``: our policy and the autoscalers that people run.

    tune      the same budget of random settings for every opponent, on --tune-days; the best are in settings.json
    play      everybody's knob over the days that are judged
    finer     up to --budget runs more near 99 %, beside those that are kept, until two close bills enclose it
    stress    what goes wrong: short cases, everybody as documented or shipped
    bracket   the lower bound and the clairvoyant schedule of every day that is judged
    report    RESULTS.md, and the contest's section of BENCHMARKS.md

Without any: play and report. Every run is kept at once in --store; what is there already, made by the same code, is not
run again. The full protocol:

    python -m benchmarks.contest tune play finer stress bracket report \\
        --days 2,3,4,5,6 --start-ups 75,240,480 --seeds 5 --budget 8
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import product
from pathlib import Path

from benchmarks.contest import report
from benchmarks.contest.bracket import Bounds, BoundsFile, bracket_with
from benchmarks.contest.cases import ENGINES, Ground, workload
from benchmarks.contest.play import WEIGHT_OF_OURS, Asked, Contest, Sweep, first_share
from benchmarks.contest.players import MAIN, PLAYERS, documented
from benchmarks.contest.results import Store, Task
from benchmarks.contest.standings import below_bound
from benchmarks.contest.stress import HOURS, STRESSES
from benchmarks.contest.tune import FROZEN, KNOB_RUNS, Frozen, Search, freeze, frozen
from controller.backtest.run import OURS
from controller.facts.missing import Missing

ACTIONS = ("tune", "play", "finer", "stress", "bracket", "report")
STORE = Path(__file__).parent / "runs.jsonl"


class NothingPlayedError(Exception):
    """There is no run to report on, and an earlier report shall not be lost for that."""


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    actions = args.actions or ["play", "report"]
    mistakes = _mistakes(args)
    if mistakes:
        print("\n".join(mistakes), file=sys.stderr)
        return 2
    store = Store(args.store, any_code=args.any_code)
    if store.stale:
        print(f"{store.stale} runs of {args.store} were made by other code and are not used (--any-code uses them)")
    try:
        for action in (one for one in ACTIONS if one in actions):
            _DO[action](args, store)
    except NothingPlayedError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped; {len(store.results)} runs are kept in {args.store}, the same command goes on from there")
        return 130
    told = below_bound(store.results, BoundsFile(args.bounds).known)
    print("\n".join(told), file=sys.stderr)
    return 1 if told else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.contest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("actions", nargs="*", help=f"any of {', '.join(ACTIONS)}")
    parser.add_argument("--traces", type=_words, default=["azure2024", "servegen"])
    parser.add_argument("--days", type=_whole, default=[3], help="days of the traces, counted from 0 (default 3)")
    parser.add_argument("--tune-days", type=_whole, default=[1], help="other days, for tuning (default 1)")
    parser.add_argument("--engines", type=_words, default=["70b-2xh100"], help=f"of {', '.join(ENGINES)}")
    parser.add_argument("--start-ups", type=_numbers, default=[240.0], help="seconds (default 240)")
    parser.add_argument("--opponents", type=_words, default=list(MAIN), help="names, or all")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 1 .. N (default 1)")
    parser.add_argument("--hours", type=float, default=24.0, help="of each day (default 24); 1 for a first look")
    parser.add_argument("--budget", type=int, default=5, help="runs over a knob, beside the default (default 5)")
    parser.add_argument("--rounds", type=int, default=4, help="of the clairvoyant schedule's search (default 4)")
    parser.add_argument("--settings", type=int, default=60, help="settings that tuning may try (default 60)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default 2)")
    parser.add_argument("--store", type=Path, default=STORE)
    parser.add_argument("--bounds", type=Path, default=STORE.with_name("bounds.jsonl"))
    parser.add_argument("--frozen", type=Path, default=FROZEN, help="what tuning found")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="the report (default RESULTS.md)")
    parser.add_argument("--no-section", action="store_true", help="leave BENCHMARKS.md as it is")
    parser.add_argument("--any-code", action="store_true", help="use runs that other code made, too")
    return parser


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _whole(text: str) -> list[int]:
    return [int(word) for word in _words(text)]


def _numbers(text: str) -> list[float]:
    return [float(word) for word in _words(text)]


def _mistakes(args: argparse.Namespace) -> list[str]:
    """All at once."""
    known = {
        "action": (args.actions, ACTIONS),
        "engine": (args.engines, ENGINES),
        "opponent": (args.opponents, ("all", *PLAYERS)),
        "trace": (args.traces, ("azure2024", "servegen")),
    }
    told = [
        f"there is no {what} {name!r}; there are {', '.join(names)}"
        for what, (given, names) in known.items()
        for name in given
        if name not in names
    ]
    both = sorted(set(args.days) & set(args.tune_days))
    if "tune" in args.actions and both:
        told.append(f"day {', '.join(map(str, both))} is both tuned and judged on: choose other --tune-days")
    if not told:
        told += _absent(args)
    least = {"seeds": args.seeds, "budget": args.budget, "settings": args.settings, "jobs": args.jobs}
    return told + [f"--{name} is {value}: 1 is the least" for name, value in least.items() if value < 1]


def _absent(args: argparse.Namespace) -> list[str]:
    """Days that a trace does not have."""
    told = []
    for ground in _grounds(args, sorted({*args.days, *args.tune_days}), [0.0]):
        try:
            workload(ground, seed=1)
        except ValueError as error:
            told.append(f"{ground.trace} has no day {ground.day}: {error}")
    return told


def _names(args: argparse.Namespace) -> list[str]:
    chosen = list(PLAYERS) if "all" in args.opponents else [OURS, *args.opponents]
    return list(dict.fromkeys(chosen))


def _grounds(args: argparse.Namespace, days: Sequence[int], start_ups: Sequence[float]) -> list[Ground]:
    return [
        Ground(trace=trace, day=day, engine=engine, start_up_s=start_up_s, hours=args.hours)
        for trace, engine, start_up_s, day in product(args.traces, args.engines, start_ups, days)
    ]


def _tune(args: argparse.Namespace, store: Store) -> None:
    """The opponents; ours plays with the settings that it ships. One start-up time is enough: the first asked for."""
    grounds = _grounds(args, args.tune_days, args.start_ups[:1])
    searches = [
        Search(player=PLAYERS[name], grounds=grounds, budget=args.settings, first=0.5)
        for name in _names(args)
        if name != OURS
    ]
    asked = [(search.asked(), float(search.runs)) for search in searches]
    Contest(store, args.jobs, sum(cost for _, cost in asked)).run(asked)
    freeze(searches, args.frozen)
    print(f"{args.frozen}: {args.settings} settings each, {KNOB_RUNS} values of the knob, {len(grounds)} grounds")


def _play(args: argparse.Namespace, store: Store) -> None:
    _contest(args, store, _sweeps(args, store))


def _finer(args: argparse.Namespace, store: Store) -> None:
    _contest(args, store, [sweep.finer(store) for sweep in _sweeps(args, store)])


def _contest(args: argparse.Namespace, store: Store, sweeps: Sequence[Sweep]) -> None:
    Contest(store, args.jobs, sum(one.weight for one in sweeps)).run([(one.asked(), one.weight) for one in sweeps])


def _sweeps(args: argparse.Namespace, store: Store) -> list[Sweep]:
    tuned = frozen(args.frozen)
    return [
        Sweep(
            ground=ground,
            name=name,
            seed=seed,
            budget=args.budget,
            tuned=tuned.settings.get(name, {}),
            first=first_share(store, name, tuned.shares, (ground, seed)),
        )
        for ground in _grounds(args, args.days, args.start_ups)
        for seed in range(1, args.seeds + 1)
        for name in _names(args)
    ]


def _bracket(args: argparse.Namespace, store: Store) -> None:
    """Slow: the search for the clairvoyant schedule replays every day 8 times, and up to 6 times a round."""
    bounds = BoundsFile(args.bounds)
    places = [
        place
        for place in product(_grounds(args, args.days, args.start_ups), range(1, args.seeds + 1))
        if place not in bounds.known
    ]
    with ProcessPoolExecutor(args.jobs) as pool:
        running = {pool.submit(bracket_with(args.rounds), *place): place for place in places}
        for number, future in enumerate(as_completed(running), start=1):
            place, found = running[future], future.result()
            told = str(found)
            if not isinstance(found, Missing):
                bounds.add(place, Bounds(lower_usd=found[0], upper_usd=found[1]))
                told = f"${found[0]:,.2f} to ${found[1]:,.2f}"
            print(f"[{number}/{len(places)}] {place[0].name}, seed {place[1]}: {told}", file=sys.stderr, flush=True)


def _stress(args: argparse.Namespace, store: Store) -> None:
    grounds = [replace(one, hours=min(HOURS, one.hours)) for one in _grounds(args, args.days[:1], args.start_ups[:1])]
    tasks = [
        Task(ground=ground, entrant=documented(name), seed=1, stress=stress)
        for ground, stress, name in product(grounds, STRESSES, _names(args))
        if name != "static"  # a constant fleet has no default
    ]
    costs = [WEIGHT_OF_OURS if task.entrant.name == OURS else 1.0 for task in tasks]
    Contest(store, args.jobs, sum(costs)).run([(_once(task), cost) for task, cost in zip(tasks, costs, strict=True)])


def _once(task: Task) -> Asked:
    yield task


def _judged(args: argparse.Namespace, tuned: Frozen, task: Task) -> bool:
    """Not a tuning run, nor one with settings that are no longer the frozen ones, nor a first look of an hour."""
    if task.ground.day in args.tune_days or task.ground.hours != args.hours or task.entrant.name not in PLAYERS:
        return False
    if task.share is None:
        return True
    player = PLAYERS[task.entrant.name]
    return task.entrant == player.entrant(task.share, tuned.settings.get(player.name, {}))


def _nothing(args: argparse.Namespace, store: Store) -> str:
    """Why, and what fills the store."""
    stale = f" ({store.stale} made by other code, which --any-code uses)" if store.stale else ""
    return (
        f"{args.store} holds no run of these days, hours and settings{stale}: {args.out} and {report.BENCHMARKS} stay"
        " as they are. `python -m benchmarks.contest play` with the same options makes some"
    )


def _report(args: argparse.Namespace, store: Store) -> None:
    tuned = frozen(args.frozen)
    known = BoundsFile(args.bounds).known
    results = [one for one in store.results if one.task.stress or _judged(args, tuned, one.task)]
    if not results:
        raise NothingPlayedError(_nothing(args, store))
    command = f"python -m benchmarks.contest {shlex.join(sys.argv[1:])}".strip()
    args.out.write_text(report.results_text(results, known, command), encoding="utf-8")
    print(args.out)
    if all(one.task.stress for one in results):
        print(f"{report.BENCHMARKS} stays as it is: only stress cases were played")
    elif not args.no_section:
        text = report.BENCHMARKS.read_text(encoding="utf-8")
        section = report.section_text(results, known, command)
        report.BENCHMARKS.write_text(report.with_section(text, section), encoding="utf-8")
        print(report.BENCHMARKS)


_DO = {"tune": _tune, "play": _play, "finer": _finer, "stress": _stress, "bracket": _bracket, "report": _report}

if __name__ == "__main__":
    sys.exit(main())
