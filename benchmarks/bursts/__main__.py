"""``python -m benchmarks.bursts``: a day of unannounced bursts, our policy beside fleets that never change.

The hour of Azure's code completion (2023, real requests), repeated for 30 hours, each time from another moment of it
on, drawn with a fixed seed; the first six hours are the forecaster's. A fleet of a size that is chosen afterwards is
the best that can be done where the past says nothing of the next minutes, and nobody knows its size beforehand.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from controller.__main__ import main as pennyweight

TRACE = Path(__file__).resolve().parents[1] / "traces" / "azure2023_code.csv.gz"
SEED = 7
HOURS, WARM_UP_HOURS = 30, 6
FLEETS = range(5, 11)
ATTAINMENTS = ("95%", "99%", "99.9%")

ENGINE = ("--model", "llama-3.1-70b", "--gpu", "H100-80GB-SXM", "--gpus-per-replica", "2", "--usd-per-gpu-hour", "6")
RUN = ("--from", f"{WARM_UP_HOURS}h", "--start-up", "240", "--against", "none", "--json", "-")

Row = tuple[float, str, str]
"""Arrival in seconds, prompt tokens, output tokens."""


def repeated(rows: Sequence[Row], hours: float, random: Random) -> Iterator[Row]:
    """``rows`` again and again until ``hours`` are full, each time turned round to begin somewhere else."""
    long_s = rows[-1][0] + 1.0
    start_s = 0.0
    while start_s < hours * 3600:
        begin_s = random.random() * long_s
        turned = sorted(((at - begin_s) % long_s, prompt, output) for at, prompt, output in rows)
        yield from ((start_s + at, prompt, output) for at, prompt, output in turned if start_s + at < hours * 3600)
        start_s += long_s


def policy(attainment: str, least: int, most: int) -> str:
    return (
        f"service: chat\nslo: {{ttft_p99: 2s, tpot_p99: 50ms, attainment: {attainment}}}\n"
        f"scaling: {{min_replicas: {least}, max_replicas: {most}}}\n"
    )


def played(folder: Path, trace: Path, text: str) -> str:
    """One row of the table."""
    path = folder / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        pennyweight(["backtest", "--trace", str(trace), "--policy", str(path), *ENGINE, *RUN])
    (found,) = json.loads(said.getvalue())["controllers"]
    mean = {name: found[name]["mean"] for name in ("cost", "attainment", "worst_five_minutes", "moves_per_day")}
    return (
        f"${mean['cost']:,.0f} | {100 * mean['attainment']:.2f} % | {100 * mean['worst_five_minutes']:.0f} % | "
        f"{mean['moves_per_day']:.0f} |"
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with gzip.open(TRACE, "rt", newline="") as lines:
        head, *found = list(csv.reader(lines))
    rows = [(float(at), prompt, output) for at, prompt, output in found]
    with TemporaryDirectory() as named:
        folder = Path(named)
        trace = folder / "bursts.csv"
        with trace.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            writer.writerows((f"{at:.3f}", *lengths) for at, *lengths in repeated(rows, HOURS, Random(SEED)))
        print("| fleet | a day | inside | worst 5 min | changes |\n|---|---:|---:|---:|---:|")
        for attainment in ATTAINMENTS:
            print(f"| ours, asked for {attainment} | {played(folder, trace, policy(attainment, 1, 60))}", flush=True)
        for count in FLEETS:
            print(f"| {count} replicas | {played(folder, trace, policy('99%', count, count))}", flush=True)


if __name__ == "__main__":
    main()
