"""``python -m benchmarks.simulator [fleet week policy other]``: how fast the simulator is. All of it: about 5 minutes.

fleet    20 replicas of a 70B model on two H100s, three busy hours in the shape of Azure's week, through the whole
         simulated world: engines step by step, the bill, every request judged
week     Azure's whole week, every one of its 27.3 million requests, under an autoscaler that people run today
policy   one day under our own policy: every pass reads, forecasts and decides as in production
other    vllm-sr-sim on the first requests of ``fleet``, and ours once more on the very same

All of it is one process and one thread that computes all the time, so its CPU time is what it takes on a core of its
own: rates are per minute of CPU time, and other work on the machine matters little. The first call, which compiles or
loads compiled code, is not counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from benchmarks.contest.cases import stage, workload
from benchmarks.simulator.other import NotInstalledError, beside
from benchmarks.simulator.trace import THURSDAY, WEEK, busy_hours
from controller.backtest.run import OURS, Entrant, Stage, play
from controller.facts.missing import Missing
from controller.simulate.arrivals import Requests
from controller.simulate.score import RunScore
from controller.simulate.workload.blocks import BlockWorkload
from controller.simulate.workload.traced import TracedWorkload

REPLICAS = 20
LOAD = 0.7
"""Of what the fleet carries inside the SLO: busy, not collapsed."""

FLEET_HOURS = 3.0
OTHER_REQUESTS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One run and what it cost."""

    score: RunScore
    wall_s: float
    cpu_s: float

    def row(self, what: str, note: str = "") -> str:
        return _row(what, self.score.requests, self.wall_s, self.cpu_s, note)


def timed(there: Stage, come: BlockWorkload, entrant: Entrant) -> Timed:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    score = play(there, come, entrant, seed=1)
    return Timed(score=score, wall_s=time.perf_counter() - wall_s, cpu_s=time.process_time() - cpu_s)


@cache
def _there() -> Stage:
    """The stage of Thursday; the compiled code is loaded by a first run of five minutes."""
    there = stage(THURSDAY)
    for name in ("static", OURS):
        play(there, busy_hours(1 / 12, 1.0), Entrant(name=name), seed=1)
    return there


def _busy() -> BlockWorkload:
    return busy_hours(FLEET_HOURS, LOAD * REPLICAS * _there().profile.requests_per_s)


def _static(come: BlockWorkload) -> Timed:
    """A fleet of REPLICAS that nobody scales."""
    there = _there()
    there = replace(there, case=replace(there.case, initial_replicas=REPLICAS))
    return timed(there, come, Entrant(name="static", settings={"replicas": float(REPLICAS)}))


def fleet() -> list[str]:
    done = _static(_busy())
    return [done.row(f"{REPLICAS} replicas, {FLEET_HOURS:g} busy hours", _attained(done.score))]


def week() -> list[str]:
    _there()
    done = timed(stage(WEEK), workload(WEEK, seed=1), Entrant(name="skyserve"))
    most = int(done.score.series.current.max())
    return [done.row("Azure's week under skyserve", f"up to {most} replicas, {_attained(done.score)}")]


def policy() -> list[str]:
    done = timed(_there(), workload(THURSDAY, seed=1), Entrant(name=OURS))
    pass_s = done.score.pass_s
    each = str(pass_s) if isinstance(pass_s, Missing) else f"{1000 * pass_s:.1f} ms a pass"
    most = int(done.score.series.current.max())
    return [done.row("Azure's Thursday under our policy", f"up to {most} replicas, {each}, {_attained(done.score)}")]


def other() -> list[str]:
    come = _busy()
    some = _first(come, OTHER_REQUESTS)
    ours = _static(TracedWorkload(some))
    rows = [ours.row(f"{REPLICAS} replicas, the first {OTHER_REQUESTS:,}", "Pennyweight")]
    try:
        theirs = beside(_there().case.spec, REPLICAS, some)
    except NotInstalledError as error:
        return [*rows, f"| {error} | | | | | |"]
    wall_s, cpu_s = float(theirs["wall_s"]), float(theirs["cpu_s"])
    note = f"vllm-sr-sim {theirs['version']}, {int(theirs['finished']):,} finished"
    rows.append(_row("the same requests", int(theirs["requests"]), wall_s, cpu_s, note))
    return [*rows, f"| ratio | | | {cpu_s / ours.cpu_s:.0f} x | | |"]


def _first(come: BlockWorkload, count: int) -> Requests:
    """The first ``count`` requests."""
    found = come.again().until(come.end_s)
    return found.before(float(found.arrival_s[count]))[0]


def _attained(score: RunScore) -> str:
    ratio = score.attainment_ratio
    return str(ratio) if isinstance(ratio, Missing) else f"{100 * ratio:.1f} % within the SLO"


def _row(what: str, requests: int, wall_s: float, cpu_s: float, note: str) -> str:
    per_minute = 60e-6 * requests / cpu_s
    return f"| {what} | {requests:,} | {wall_s:.1f} | {cpu_s:.2f} | {per_minute:.1f} | {note} |"


PARTS: Mapping[str, Callable[[], list[str]]] = {"fleet": fleet, "week": week, "policy": policy, "other": other}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.simulator", description="how fast the simulator is")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which measurements (default: all)")
    arguments = parser.parse_args()
    print("| what | requests | wall s | CPU s | million requests/CPU min | |")
    print("|---|---:|---:|---:|---:|---|")
    for part in arguments.parts or PARTS:
        print("\n".join(PARTS[part]()), flush=True)


if __name__ == "__main__":
    main()
