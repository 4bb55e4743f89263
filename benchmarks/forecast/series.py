"""Recorded traffic as requests/s per pass of 15 s, and per minute for what came before it.

Azure's counts of 10 s are split evenly between the passes that share them: real counts, a little smoothed. ServeGen
gives each client's mean rate and the coefficient of variation of its inter-arrival times per 10 minutes: arrivals are
drawn from the Gamma or Weibull distribution that has both (the file names the one that fitted; Poisson where neither
did), with a fixed seed. Its rates therefore change in steps of 10 minutes, which real traffic does not do.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import gamma, isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TRACES = Path(__file__).resolve().parents[1] / "traces"
PASS_S, WINDOW_S, DAY_S = 15.0, 600.0, 86_400.0
SEED = 1

SHAPES = np.linspace(0.2, 6.0, 600)
"""Weibull shapes, and below the coefficient of variation of each: from 15.8 down to 0.2."""
VARIATIONS = np.array([np.sqrt(gamma(1 + 2 / one) / gamma(1 + 1 / one) ** 2 - 1) for one in SHAPES])


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """``warm``: requests per ``warm_s`` seconds before; ``passes``: requests/s by pass after that, from ``start``."""

    name: str
    begin: datetime
    warm: Floats
    warm_s: float
    start: datetime
    passes: Floats


def rows(name: str) -> Iterator[dict[str, str]]:
    """The rows of a trace; exits with a sentence when it is not there."""
    path = TRACES / name
    if not path.is_file():
        raise SystemExit(f"{path} is not there: the traces come with the repository (benchmarks/traces); check it out")
    with gzip.open(path, "rt", newline="") as lines:
        yield from csv.DictReader(lines)


def azure(scored_days: float) -> Traffic:
    """Azure's conversation service, May 2024: two days learnt from, then ``scored_days`` (from Tuesday, 5 at most)."""
    counts = np.array([float(row["requests"]) for row in rows("azure2024_conv_10s.csv.gz")])[: 7 * 8640]
    passes = np.repeat(counts / 2, 2).reshape(-1, 3).sum(axis=1) / PASS_S  # halves of 5 s, three a pass
    begin = datetime(2024, 5, 12, tzinfo=UTC)
    return _split("Azure 2024, conversation", begin, passes, 2.0, scored_days)


def servegen(scored_days: float) -> Traffic:
    """Alibaba's large model, two weeks: the first learnt from as 10-minute means, then ``scored_days`` (7 at most)."""
    random = np.random.default_rng(SEED)
    cut_s, end_s = 7 * DAY_S, (7 + min(scored_days, 7.0)) * DAY_S
    warm = np.zeros(round(cut_s / WINDOW_S))
    passes = np.zeros(round((end_s - cut_s) / PASS_S))
    many = round(WINDOW_S / PASS_S)
    for row in rows("servegen_m_large_client_rates_10min.csv.gz"):
        at, rate = float(row["time_s"]), float(row["rate_rps"])
        if at < cut_s:
            warm[round(at / WINDOW_S)] += rate * WINDOW_S
        elif at < end_s:
            place = round((at - cut_s) / PASS_S)
            passes[place : place + many] += _drawn(random, rate, float(row["cv"] or 1), row["family"]) / PASS_S
    begin = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday; the file does not say which day it began
    start = datetime.fromtimestamp(begin.timestamp() + cut_s, UTC)
    return Traffic(name="ServeGen, m-large", begin=begin, warm=warm, warm_s=WINDOW_S, start=start, passes=passes)


SERIES: Mapping[str, Callable[[float], Traffic]] = {"azure": azure, "servegen": servegen}


def _split(name: str, begin: datetime, passes: Floats, learnt_days: float, scored_days: float) -> Traffic:
    cut = round(learnt_days * DAY_S / PASS_S)
    end = cut + round(scored_days * DAY_S / PASS_S)
    return Traffic(
        name=name,
        begin=begin,
        warm=passes[:cut] * PASS_S,
        warm_s=PASS_S,
        start=datetime.fromtimestamp(begin.timestamp() + cut * PASS_S, UTC),
        passes=passes[cut:end],
    )


def _drawn(random: np.random.Generator, rate: float, variation: float, family: str) -> Floats:
    """One client's arrivals by pass over one window."""
    variation = 1.0 if family == "Unfit" or not isfinite(variation) else max(variation, 0.2)
    expected = rate * WINDOW_S
    many = int(expected + 6 * (variation + 1) * np.sqrt(expected + 1) + 20)
    if family == "Weibull":
        shape = float(np.interp(-variation, -VARIATIONS, SHAPES))
        gaps = random.weibull(shape, many) / (rate * gamma(1 + 1 / shape))
    else:
        gaps = random.gamma(1 / variation**2, variation**2 / rate, many)
    arrivals = np.cumsum(gaps)
    inside = arrivals[arrivals < WINDOW_S]
    passes = round(WINDOW_S / PASS_S)
    return np.bincount((inside / PASS_S).astype(np.int64), minlength=passes)[:passes].astype(np.float64)
