"""``python -m benchmarks.scrape [N ...]``: CPU, wall time and memory of one warm pass over N targets.

Beside it, in the same run and on the same targets, a real Prometheus server. Each target is one port that serves a full
vLLM 0.32 page whose values change with every scrape. CPU is user and system time of the process alone, so other
work on the machine matters little; each of our sizes runs in a fresh process, so its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.scrape.prometheus import Cost, measure

PAGE = Path(__file__).resolve().parents[2] / "tests" / "observe" / "recorded" / "vllm-0.32.0-v1-ngram-mfu.prom"
SIZES = (1000, 2000, 5000)


@contextmanager
def engines(count: int) -> Iterator[list[int]]:
    """``count`` engines in a process of their own; their ports."""
    command = [sys.executable, "-m", "benchmarks.scrape.engines", str(count), str(PAGE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise RuntimeError("the engines' process has no output")
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.communicate()


def ours(ports: list[int], passes: int) -> Cost:
    """Our cost, measured in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.scrape.passes", str(passes)]
    done = subprocess.run(command, input=json.dumps(ports), stdout=subprocess.PIPE, text=True, check=True)
    return Cost(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.scrape", description="one pass's cost beside Prometheus'")
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of targets")
    parser.add_argument("--passes", type=int, default=5, help="warm passes to measure (best and mean)")
    arguments = parser.parse_args()
    lines = len(PAGE.read_bytes().splitlines())
    print(f"{lines} lines a page, {PAGE.stat().st_size:,} bytes, mean of {arguments.passes} warm passes\n")
    print(
        "| targets | who | CPU s/pass | least | wall s/pass | peak RSS MB | CPU ms/target | failed | rejected lines |"
    )
    print("|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for size in arguments.sizes:
        with engines(size) as ports:
            mine = ours(ports, arguments.passes)
            print(mine.row(size, "Pennyweight"), flush=True)
            theirs = measure(ports, arguments.passes)
            print(theirs.row(size, "Prometheus"), flush=True)
            print(_ratio(size, mine, theirs), flush=True)


def _ratio(size: int, mine: Cost, theirs: Cost) -> str:
    if mine.failed or theirs.failed:
        return f"| {size:,} | no ratio: targets failed | | | | | | | |"
    cpu, memory = mine.cpu_s / theirs.cpu_s, mine.peak_mb / theirs.peak_mb
    return f"| {size:,} | ratio | {cpu:.2f} | | | {memory:.2f} | | | |"


if __name__ == "__main__":
    main()
