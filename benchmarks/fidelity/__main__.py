"""``python -m benchmarks.fidelity [--keep FOLDER] [published profile play compare]``: how true the simulator is.

published   what others measured end to end on large GPUs, beside the simulator: half a minute, and nothing is needed
profile     our own ``pennyweight profile`` measures a real vLLM process and fits its step model
play        traces of other lengths are played against that process, each as often as --repeats says
compare     the same requests, as they were really sent, in the simulator; tables

The last three need `make live-engine` once, and a quiet machine: two cores are just enough for the engine and its
clients. About 15 minutes. With --keep what was measured stays in a folder, and parts can be done again; what was played
while other programs were busy does not count, and what counts is not played twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

from benchmarks.fidelity.clients import Served, play
from benchmarks.fidelity.compare import tables
from benchmarks.fidelity.engine import MAX_MODEL_LEN, MAX_SEQUENCES, TOKEN_BUDGET, engine
from benchmarks.fidelity.published import table
from benchmarks.fidelity.simulated import simulated
from benchmarks.fidelity.traces import CASES, capacity_per_s, trace
from controller.facts.missing import Missing, known
from controller.facts.profile import Profile, StepFit
from controller.simulate.stepmodel import EngineSpec

PARTS = ("published", "profile", "play", "compare")

PROFILE = (
    *("--concurrency", "1,2,4,8,16", "--prompt-tokens", "32,128,384", "--output-tokens", "48"),
    *("--duration", "10s", "--warm-up", "2s", "--closed-loop-only"),
)
"""Arrivals at random are what is played afterwards."""

MOST_OTHERS_CORES = 0.1
"""A play during which other programs used more of the machine is no measurement of the engine and is played again,
whatever came of it. A guess: 5 % of two cores."""

TRIES = 2
"""Plays of one trace, for a quiet one."""


def measure(folder: Path, url: str) -> None:
    command = [sys.executable, "-m", "controller", "profile", url, *PROFILE, "--out", str(folder / "profile.json")]
    subprocess.run(command, check=True)


def fitted(folder: Path) -> tuple[StepFit, EngineSpec]:
    """What profile said of the engine, and the engine with the limits that it was started with."""
    profile = Profile.from_json((folder / "profile.json").read_text(encoding="utf-8"))
    if isinstance(profile.fit, Missing):
        raise RuntimeError(f"nothing was fitted: {profile.fit.why}")
    engines = [one.engine for one in profile.points if not isinstance(one.engine, Missing)]
    spec = EngineSpec(
        model_name=profile.model,
        step=profile.fit.step,
        kv_capacity_tokens=int(max(known(one.kv_capacity_tokens for one in engines))),
        token_budget=TOKEN_BUDGET,
        max_sequences=MAX_SEQUENCES,
        max_model_len=MAX_MODEL_LEN,
    )
    return profile.fit, spec


def play_all(folder: Path, url: str, engine_pid: int, seeds: int, repeats: int) -> None:
    """Every case with every seed, then all of it once more."""
    capacity = capacity_per_s(fitted(folder)[0].step, MAX_SEQUENCES)
    print(f"capacity by the profile: {capacity:.2f} requests/s", flush=True)
    for repeat, case, seed in product(range(repeats), CASES, range(1, seeds + 1)):
        file = folder / f"played-{list(CASES).index(case)}-{seed}-{repeat}.json"
        for _ in range(TRIES):
            if file.exists():
                break
            come = trace(case, capacity, seed)
            served = asyncio.run(play(url, come, case=case, seed=seed, repeat=repeat, engine_pid=engine_pid))
            quiet = served.others_cores <= MOST_OTHERS_CORES
            if quiet:
                file.write_text(json.dumps(asdict(served)), encoding="utf-8")
            said = f"{case}, seed {seed}: {len(come)} requests, others used {served.others_cores:.2f} cores"
            print(said + ("" if quiet else ": does not count"), flush=True)


def played(folder: Path) -> Iterator[Served]:
    for file in sorted(folder.glob("played-*.json")):
        yield Served(**json.loads(file.read_text(encoding="utf-8")))


def compare(folder: Path) -> str:
    fit, spec = fitted(folder)
    by_case: dict[str, list[tuple[Served, Served]]] = {}
    for served in played(folder):
        by_case.setdefault(served.case, []).append((served, simulated(served, fit, spec)))
    return tables(by_case)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.fidelity", description="how true the simulator is")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to do (default: all)")
    parser.add_argument("--keep", type=Path, help="folder for what was measured (default: none)")
    parser.add_argument("--seeds", type=int, default=3, help="traces of each case (default 3)")
    parser.add_argument("--repeats", type=int, default=2, help="plays of each trace (default 2)")
    arguments = parser.parse_args()
    parts = arguments.parts or PARTS
    if "published" in parts:
        print(table(), flush=True)
    if set(parts) != {"published"}:
        against_vllm(parts, arguments)


def against_vllm(parts: Sequence[str], arguments: argparse.Namespace) -> None:
    """What is measured here, on a real engine."""
    with tempfile.TemporaryDirectory(prefix="fidelity-") as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if "profile" in parts or "play" in parts:
            with engine(folder.resolve()) as (url, pid):
                if "profile" in parts:
                    measure(folder, url)
                if "play" in parts:
                    play_all(folder, url, pid, arguments.seeds, arguments.repeats)
        if "compare" in parts:
            print(compare(folder))


if __name__ == "__main__":
    main()
