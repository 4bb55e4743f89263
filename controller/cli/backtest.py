"""The command that rehearses policies on a trace: backtest."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from controller.backtest.as_json import backtest_json
from controller.backtest.asked import STDOUT, Asked, read
from controller.backtest.comparison import Comparison
from controller.backtest.gate import Failed
from controller.backtest.mistakes import Mistakes
from controller.backtest.prepared import Prepared, prepared
from controller.backtest.results import Backtest, standings
from controller.backtest.runs import Program, Scores, Shares
from controller.backtest.words import usd, verdict
from controller.clock import utc_now
from controller.simulate.score import RunScore

if TYPE_CHECKING:
    from controller.backtest.bracket import Bracket

GATE_FAILED = 1
LINE_EVERY_S = 10.0
"""Of what has no line a run. A guess: a log that stands still for longer looks stuck."""
DEFAULT_FLEET = Path("fleet.yaml")


def backtest(arguments: argparse.Namespace) -> int:
    """Play, show, write. 1 when the gate fails, or when a result proves the simulator wrong."""
    mistakes = Mistakes(arguments.wrong)
    asked = read(arguments, mistakes, DEFAULT_FLEET)
    with _progress(SpinnerColumn(), TextColumn("{task.description}")) as progress:
        progress.add_task("reading the trace", total=None)
        ready = prepared(asked, mistakes, utc_now())
    console = Console(stderr=asked.json == STDOUT, highlight=False)
    console.print(_setting(ready))
    console.print()
    try:
        found = _found(ready, _played(ready), arguments.typed)
        if asked.bracket:
            bounds = _bracket(ready)
            found = replace(found, lower_usd=bounds.lower_usd, upper_usd=bounds.upper_usd)
    except KeyboardInterrupt:
        print("pennyweight: stopped before the end; nothing is told or written", file=sys.stderr)
        raise
    console.print(Comparison(found))
    failed = asked.gate.check(standings(found)[0]) if asked.gate else ()
    _write(asked, found, failed, console)
    _tell_gate(asked, found, failed, console)
    return GATE_FAILED if failed or verdict(found).warnings else 0


# --- before ----------------------------------------------------------------------------------------------------------


def _setting(ready: Prepared) -> Table:
    """What is rehearsed, so that nobody has to guess which defaults were taken."""
    asked, played = ready.asked, ready.played
    names = ", ".join(str(path) for path in asked.policies)
    seeds = f"seed {asked.seeds[0]}" if len(asked.seeds) == 1 else f"seeds {asked.seeds[0]} to {asked.seeds[-1]}"
    rows = {
        "policy": f"{names}; against {', '.join(asked.against) or 'nobody'}; {seeds}",
        "trace": f"{played.name}: {played.told}",
        "fleet": ready.fleet_told,
        "engine": ready.rented.engine_told,
        "capacity": ready.reach_told,
        "price": ready.rented.price_told,
        "start-up": ready.start_up_told,
        **ready.perils_told,
        "safety": ready.safety_told,
        "warm-up": played.warm_up_told,
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, told in rows.items():
        table.add_row(name, Text(told))
    return table


# --- while it runs ---------------------------------------------------------------------------------------------------


def _played(ready: Prepared) -> tuple[RunScore, ...]:
    """The scores in the program's order. A terminal sees a bar; a log gets a line a run."""
    program = Program(stage=ready.stage, workloads=ready.played.workloads, entrants=ready.entrants)
    total = len(program.runs)
    columns = (TextColumn("{task.description}"), BarColumn(24), TimeElapsedColumn(), TextColumn("left"))
    found: dict[int, RunScore] = {}
    with _progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task(_said(0, total), total=total)

        def look(shares: Shares) -> None:
            progress.update(task, completed=sum(shares))

        with Scores(program, ready.asked.jobs, look) as scores:
            for place, score in scores:
                found[place] = score
                progress.update(task, description=_said(len(found), total))
                if progress.disable:
                    progress.console.print(_line(len(found), total, score), soft_wrap=True)
    return tuple(found[place] for place in sorted(found))


def _bracket(ready: Prepared) -> Bracket:
    """A spinner that counts the replays."""
    from controller.backtest.bracket import bracket_of  # scipy is optional

    played = ready.played
    with _progress(SpinnerColumn(), TextColumn("{task.description}")) as progress:
        task = progress.add_task("lower bound", total=None)
        replays = count(1)

        line = _Now(progress)
        line.say("bracket: lower bound, then a clairvoyant schedule in some 50 replays")

        def told() -> None:
            said = f"clairvoyant schedule, replay {next(replays)} of some 50"
            progress.update(task, description=said)
            line.say(f"bracket: {said}")

        return bracket_of(
            ready.stage,
            played.workloads,
            played.per_minute,
            ready.slo.attainment_ratio,
            told,
            least=min(one.policy.replicas.min_replicas for one in ready.entrants if one.policy is not None),
        )


class _Now:
    """A line now and then where nobody sees a bar: a log shows that it goes on."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._next_s = progress, 0.0

    def say(self, line: str) -> None:
        if self._progress.disable and monotonic() >= self._next_s:
            self._progress.console.print(line, soft_wrap=True)
            self._next_s = monotonic() + LINE_EVERY_S


def _progress(*columns: ProgressColumn) -> Progress:
    """On stderr, gone when it is done, and disabled where nobody watches."""
    console = Console(stderr=True, highlight=False)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _said(done: int, total: int) -> str:
    return f"{done} of {total} runs done" if total > 1 else "1 run"


def _line(done: int, total: int, score: RunScore) -> str:
    return f"{done} of {total}: {score.controller}, seed {score.seed}: {usd(score.usd)}, took {score.wall_s:.1f} s"


# --- afterwards ------------------------------------------------------------------------------------------------------


def _found(ready: Prepared, runs: tuple[RunScore, ...], typed: list[str]) -> Backtest:
    rented = ready.rented
    return Backtest(
        trace=ready.played.name,
        description=f"{ready.played.told}; warm-up: {ready.played.warm_up_told}",
        engine=f"{rented.replica_told}; {rented.engine_told}",
        slo=ready.slo,
        price=rented.price_told,
        start_up=ready.start_up_told,
        runs=runs,
        command=f"pennyweight {shlex.join(typed)}",
        made_at=utc_now(),
        notes=ready.notes,
        reach=ready.reach_told,
        most_replicas=ready.stage.policy.replicas.max_replicas,
        perils="; ".join(ready.perils_told.values()),
        short=ready.played.short,
        safety=ready.safety_told,
    )


def _write(asked: Asked, found: Backtest, failed: tuple[Failed, ...], console: Console) -> None:
    if asked.report is not None:
        from controller.backtest.report.write import write_report  # matplotlib is optional, and slow to load

        for path in write_report(found, asked.report):
            console.print(f"report: {path}" if path == asked.report else f"        {path}", soft_wrap=True)
    else:
        console.print(Text("Plots, and the reasons of every controller: --report out.html", style="dim"))
    if asked.json is None:
        return
    text = backtest_json(found, asked.gate, failed)
    if asked.json == STDOUT:
        sys.stdout.write(text)
    else:
        Path(asked.json).write_text(text, encoding="utf-8")
        console.print(f"json: {asked.json}", soft_wrap=True)


def _tell_gate(asked: Asked, found: Backtest, failed: tuple[Failed, ...], console: Console) -> None:
    """Last, where a log is looked at first."""
    if asked.gate is None:
        return
    name = standings(found)[0].name
    if not failed:
        console.print(Text(f'gate passed for {name}: "{asked.gate.text}" does not hold', style="bold green"))
        return
    console.print(Text(f"gate FAILED for {name}:", style="bold red"))
    for one in failed:
        console.print(Text(f"  {one}"))
