"""``python -m benchmarks.bursts``: a day of unannounced bursts, our policy beside fleets that never change.

Two kinds of traffic, thirty hours each, of which the first six are the forecaster's, drawn with a fixed seed:

azure-code   the hour of Azure's code completion (2023, real requests), repeated, each time from another moment of it on
bunches      2 requests/s, and twelve times an hour, on average, a bunch of some 40 requests/s for 20 s; lengths of
             Azure's conversations (2023)

A fleet of a size that is chosen afterwards is the best that can be done where the past says nothing of the next
minutes, and nobody knows its size beforehand.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from controller.__main__ import main as pennyweight

TRACES = Path(__file__).resolve().parents[1] / "traces"
SEED = 7
HOURS, WARM_UP_HOURS = 30, 6
FLEETS = {"azure-code": (5, 6, 7, 8, 9, 10), "bunches": (4, 8, 12, 16, 20, 24)}
ATTAINMENTS = ("95%", "99%", "99.9%")

QUIET_PER_S, BUNCH_PER_S, BUNCH_S, BUNCHES_PER_HOUR = 2.0, 40.0, 20.0, 12.0
"""Made up, to be worse than what is recorded: more than half of the requests come in a fifteenth of the time."""

ENGINE = ("--model", "llama-3.1-70b", "--gpu", "H100-80GB-SXM", "--gpus-per-replica", "2", "--usd-per-gpu-hour", "6")
RUN = ("--from", f"{WARM_UP_HOURS}h", "--start-up", "240", "--against", "none", "--json", "-")

HEAD = ("arrival_s", "prompt_tokens", "output_tokens")

Row = tuple[float, str, str]
"""Arrival in seconds, prompt tokens, output tokens."""


def recorded(name: str) -> list[Row]:
    with gzip.open(TRACES / f"{name}.csv.gz", "rt", newline="") as lines:
        return [(float(row[HEAD[0]]), row[HEAD[1]], row[HEAD[2]]) for row in csv.DictReader(lines)]


def repeated(rows: Sequence[Row], hours: float, random: Random) -> Iterator[Row]:
    """``rows`` again and again until ``hours`` are full, each time turned round to begin somewhere else."""
    long_s = rows[-1][0] + 1.0
    start_s = 0.0
    while start_s < hours * 3600:
        begin_s = random.random() * long_s
        turned = sorted(((at - begin_s) % long_s, prompt, output) for at, prompt, output in rows)
        yield from ((start_s + at, prompt, output) for at, prompt, output in turned if start_s + at < hours * 3600)
        start_s += long_s


def arrivals(per_s: float, from_s: float, until_s: float, random: Random) -> Iterator[float]:
    """Of a Poisson process."""
    at_s = from_s + random.expovariate(per_s)
    while at_s < until_s:
        yield at_s
        at_s += random.expovariate(per_s)


def bunched(rows: Sequence[Row], hours: float, random: Random) -> list[Row]:
    """Requests of ``rows``, drawn; each bunch of another size, a gamma variable of shape 2."""
    end_s = hours * 3600
    moments = list(arrivals(QUIET_PER_S, 0.0, end_s, random))
    for start_s in list(arrivals(BUNCHES_PER_HOUR / 3600, 0.0, end_s, random)):
        per_s = random.gammavariate(2.0, BUNCH_PER_S / 2)
        moments += arrivals(per_s, start_s, min(start_s + BUNCH_S, end_s), random)
    lengths = random.choices(rows, k=len(moments))
    return [(at_s, prompt, output) for at_s, (_, prompt, output) in zip(sorted(moments), lengths, strict=True)]


def traffic(name: str) -> Iterable[Row]:
    if name == "bunches":
        return bunched(recorded("azure2023_conv"), HOURS, Random(SEED))
    return repeated(recorded("azure2023_code"), HOURS, Random(SEED))


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


def written(folder: Path, name: str) -> Path:
    path = folder / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        writer.writerows((f"{at:.3f}", *lengths) for at, *lengths in traffic(name))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traffic", nargs="*", default=list(FLEETS), help=f"of {', '.join(FLEETS)} (default: both)")
    chosen = parser.parse_args().traffic
    if unknown := sorted(set(chosen) - set(FLEETS)):
        parser.error(f"there is no traffic {', '.join(unknown)}; there are {', '.join(FLEETS)}")
    with TemporaryDirectory() as named:
        folder = Path(named)
        for name in chosen:
            trace = written(folder, name)
            print(f"\n{name}\n\n| fleet | a day | inside | worst 5 min | changes |\n|---|---:|---:|---:|---:|")
            for attainment in ATTAINMENTS:
                print(
                    f"| ours, asked for {attainment} | {played(folder, trace, policy(attainment, 1, 60))}", flush=True
                )
            for count in FLEETS[name]:
                print(f"| {count} replicas | {played(folder, trace, policy('99%', count, count))}", flush=True)


if __name__ == "__main__":
    main()
