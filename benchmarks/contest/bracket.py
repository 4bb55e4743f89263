"""Between what nobody can undercut and what a schedule that knew the future costs: both are kept in a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.contest.cases import Ground, stage, workload
from controller.facts.missing import Missing
from controller.simulate.workload.blocks import BlockWorkload, Floats

ATTAINMENT = 0.99

Place = tuple[Ground, int]
"""A day and a seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """USD of one ground with one seed, at ATTAINMENT."""

    lower_usd: float
    upper_usd: float


Bracket = Callable[[Ground, int], tuple[float, float] | Missing]
"""(lower, upper) in USD of a ground with a seed."""

Known = Mapping[Place, Bounds]


def bracket_with(rounds: int) -> Bracket:
    """The programme's bound, and the schedule that a search of so many rounds finds."""
    return partial(_bracket, rounds)


def _bracket(rounds: int, ground: Ground, seed: int) -> tuple[float, float] | Missing:
    from controller.backtest.bracket import lower_usd, upper_usd  # scipy is optional: playing does not need it

    on, requests = stage(ground, seed), workload(ground, seed)
    lower = lower_usd(on, requests, ATTAINMENT)
    upper = upper_usd(on, requests, seed, per_minute(requests), ATTAINMENT, lambda: None, rounds=rounds)
    return upper if isinstance(upper, Missing) else (lower, upper)


def per_minute(requests: BlockWorkload) -> Floats:
    """How many come in each minute."""
    counts = np.zeros(int(np.ceil((requests.end_s - requests.start_s) / 60)))
    for part in requests.blocks():
        places = ((part.arrival_s - requests.start_s) / 60).astype(np.int64)
        inside = places[(places >= 0) & (places < len(counts))]
        counts += np.bincount(inside, minlength=len(counts))
    return counts


class BoundsFile:
    """What was computed before is not computed again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[Place, Bounds] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                read = json.loads(line)
                self._known[Ground(**read["ground"]), read["seed"]] = Bounds(**read["bounds"])

    @property
    def known(self) -> Known:
        return self._known

    def add(self, place: Place, bounds: Bounds) -> None:
        ground, seed = place
        self._known[place] = bounds
        line = json.dumps({"ground": asdict(ground), "seed": seed, "bounds": asdict(bounds)}, sort_keys=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
