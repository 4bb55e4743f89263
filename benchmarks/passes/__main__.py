"""``python -m benchmarks.passes [SERVICES ...]``: what a pass takes, from what was read to its outcomes.

Every service has ten replicas with the readings of a simulated vLLM; forecasting, deciding, the safety kernel and
the ledger (SQLite, on disk) are those of production. Reading engines is measured by ``benchmarks.scrape``. Each size
runs in a process of its own, so its peak memory is its own. Below the table: where a service's time goes, and what of
the memory is libraries.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import ParamSpec, TypeVar

from benchmarks.passes.elsewhere import simulated
from benchmarks.passes.multiplied import made
from controller import loop
from controller.daemon import collect_seldom
from controller.ledger.write import Ledger
from controller.loop import Running, one_pass

P = ParamSpec("P")
T = TypeVar("T")

SIZES = (125, 250, 500)
REPLICAS = 10
WARM_UP = 24
"""Passes that are not counted: six minutes, until forecasters and step models have something to go on."""

KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one pass. ``peak_bytes``: of the process, with what was made up for it (the simulated fleet is in another); of
    that ``idle_bytes`` before there was any fleet: libraries. ``stages_s``: CPU seconds by stage."""

    replicas: int
    decisions: int
    cpu_s: float
    most_cpu_s: float
    wall_s: float
    peak_bytes: float
    idle_bytes: float
    problems: int
    stages_s: dict[str, float]

    def row(self, services: int) -> str:
        return (
            f"| {services} | {self.replicas:,} | {self.cpu_s:.2f} | {self.most_cpu_s:.2f} | {self.wall_s:.2f} "
            f"| {self.cpu_s / services * 1e3:.2f} | {self.peak_bytes / 1e6:,.0f} | {self.idle_bytes / 1e6:,.0f} "
            f"| {self.problems} |"
        )


STAGES = {
    "estimate": "rolling up",
    "_look_ahead": "looking ahead",
    "_screened": "deciding",
    "_record_and_act": "ledger",
    "_record_outcomes": "ledger",
}
"""Functions of ``controller.loop``, and what they are part of. Acting is nothing here."""

DAEMON = "import controller.cli.run; print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
"""Its peak in KiB; what getrusage says would be our own peak, from before it was another program."""


class Stopwatch:
    """CPU seconds by stage: in this process, the functions of ``controller.loop`` that make them up are timed."""

    def __init__(self) -> None:
        self.spent_s = dict.fromkeys(STAGES.values(), 0.0)
        for name, stage in STAGES.items():
            setattr(loop, name, self._timed(stage, getattr(loop, name)))

    def _timed(self, stage: str, function: Callable[P, T]) -> Callable[P, T]:
        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            began_s = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.spent_s[stage] += time.process_time() - began_s

        return timed


def measured(services: int, passes: int) -> Cost:
    """``passes`` passes after the warm-up, in this process."""
    idle_bytes = _peak_bytes()
    with tempfile.TemporaryDirectory() as folder, simulated(REPLICAS) as one:
        ledger = Ledger.open(f"sqlite:///{Path(folder) / 'ledger.db'}")
        shell, plan = made(one, services, REPLICAS, ledger)
        collect_seldom()
        running, cpu, wall, replicas, decisions, problems = Running(), [], [], [], 0, 0
        watch = Stopwatch()
        for number in range(WARM_UP + passes):
            if number == WARM_UP:
                watch.spent_s = dict.fromkeys(STAGES.values(), 0.0)
            began_cpu_s, began_s = time.process_time(), time.perf_counter()
            result, running = one_pass(shell, plan, running, shell.now)
            spent_s = time.process_time() - began_cpu_s - shell.look_s
            if number >= WARM_UP:
                cpu.append(spent_s)
                wall.append(time.perf_counter() - began_s - shell.look_s)
                replicas.append(len(result.observation.targets))
                decisions, problems = decisions + len(result.decisions), problems + len(result.problems)
            shell.advance()
        ledger.close()
    return Cost(
        replicas=max(replicas),
        decisions=decisions,
        cpu_s=mean(cpu),
        most_cpu_s=max(cpu),
        wall_s=mean(wall),
        peak_bytes=_peak_bytes(),
        idle_bytes=idle_bytes,
        problems=problems,
        stages_s={stage: spent_s / passes for stage, spent_s in watch.spent_s.items()},
    )


def _peak_bytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.passes", description="what a pass over a large fleet takes")
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of services")
    parser.add_argument("--passes", type=int, default=20, help="passes to measure")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        logging.disable(logging.CRITICAL)
        print(json.dumps(asdict(measured(arguments.one, arguments.passes))))
        return
    head = (
        "services",
        "replicas",
        "CPU s/pass",
        "most",
        "wall s/pass",
        "CPU ms/service",
        "peak RSS MB",
        "idle",
        "problems",
    )
    print(f"| {' | '.join(head)} |")
    print(f"|{'---:|' * len(head)}")
    for size in arguments.sizes:
        command = [sys.executable, "-m", "benchmarks.passes", "--one", str(size), "--passes", str(arguments.passes)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        cost = Cost(**json.loads(done.stdout))
        print(cost.row(size), flush=True)
    stages_s = {**cost.stages_s, "the rest": cost.cpu_s - sum(cost.stages_s.values())}
    split = ", ".join(f"{stage} {spent_s / size * 1e3:.2f}" for stage, spent_s in stages_s.items())
    kib = int(subprocess.run([sys.executable, "-c", DAEMON], stdout=subprocess.PIPE, text=True, check=True).stdout)
    print(f"\nCPU ms a service, of {size}: {split}.")
    print(f"A daemon's own libraries: {kib * KIB / 1e6:,.0f} MB.")


if __name__ == "__main__":
    main()
