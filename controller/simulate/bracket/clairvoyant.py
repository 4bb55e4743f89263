"""U: a schedule made with tomorrow's paper, and feasible because it was replayed. The optimum lies between L and it.

First as many replicas a slot as the slot's own demand asks for at one capacity for all, for several capacities around
the highest that reaches the attainment. Then by blocks of ten minutes: every replay tells how many requests of each
block missed with the replicas that the block had, so the cheapest way through all blocks that spends the allowed misses
where they save most is a shortest path. It is replayed, which tells more; so do replays with one replica fewer, or one
more, in every third block of the best. Only what was replayed and reached the attainment counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from controller.simulate.bracket.blocks import BLOCK_SLOTS, Blocks
from controller.simulate.score import RunScore
from controller.simulate.sight import Sight

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

SLOT_S = 60.0

Replay = Callable[[Counts], RunScore]
"""The score of a schedule: ready replicas wanted, by slot."""


class Schedule:
    """Plays a schedule in a simulated world. Whoever is needed within a start-up is ordered now, or kept."""

    def __init__(self, wanted: Counts, *, start_s: float, lead_s: float) -> None:
        self._wanted, self._start_s = wanted, start_s
        self._lead = ceil(lead_s / SLOT_S)

    @property
    def sync_s(self) -> float:
        return SLOT_S

    def desired(self, sight: Sight) -> int:
        slot = min(int((sight.at_s - self._start_s) / SLOT_S + 1e-6), len(self._wanted) - 1)
        return int(self._wanted[slot : slot + self._lead + 1].max())


@dataclass(frozen=True, slots=True, kw_only=True)
class Clairvoyant:
    """The best schedule found, its score, and how many replays it took."""

    wanted: Counts
    score: RunScore
    replays: int


def clairvoyant(
    arrivals_per_s: Floats,
    replay: Replay,
    *,
    alpha: float,
    capacity_per_s: float,
    least: int,
    rounds: int = 12,
    lead_s: float = 0.0,
) -> Clairvoyant:
    """The cheapest schedule found that reaches ``alpha``: some ten replays, and five a round at most. ValueError when
    even a quarter of the capacity is too much.

    arrivals_per_s   by slot
    capacity_per_s   where to start looking: requests/s of one replica
    lead_s           how long before its slot the replay orders a replica
    """
    search = _Search(replay, alpha, least, Blocks(len(arrivals_per_s), ceil(lead_s / SLOT_S)))
    _size(search, arrivals_per_s, capacity_per_s)
    search.join()
    stale = 0
    for number in range(rounds):
        before = search.score.usd
        search.probe(-1 if number % 2 == 0 else 1)
        search.join()
        stale = 0 if search.score.usd < before * (1 - WORTH_RATIO) else stale + 1
        if stale == 3:
            break
    return Clairvoyant(wanted=search.best, score=search.score, replays=search.replays)


WORTH_RATIO = 5e-4
"""A round that saves less brought nothing. A guess: a tenth of what tells two controllers apart."""

FACTOR = 1.12
"""Between two capacities that are tried. A guess: about one replica in nine."""


def _size(search: _Search, arrivals_per_s: Floats, capacity_per_s: float) -> None:
    """Try capacities until one reaches the attainment and the next does not."""

    def reached(capacity: float) -> bool:
        return search.tried(_sized(arrivals_per_s, capacity, search.least))

    low, high, lowest = capacity_per_s, capacity_per_s, capacity_per_s / 4
    if reached(capacity_per_s):
        while high < 4 * capacity_per_s and reached(high := high * FACTOR):
            low = high
    else:
        step = FACTOR
        while high > lowest and not reached(low := max(lowest, high / step)):
            high, step = low, step * FACTOR
        if not hasattr(search, "score"):
            raise ValueError(
                f"no schedule reaches {search.alpha:.1%}: at {lowest:.2f} requests/s a replica too many requests miss"
            )
    while high > low * FACTOR * 1.01:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if reached(middle) else (low, middle)
    reached((low * high) ** 0.5)
    search.tried(_sized(arrivals_per_s, low, search.least, ahead=0))  # the blocks may choose from all of them


def _sized(arrivals_per_s: Floats, capacity_per_s: float, least: int, *, ahead: int = 1) -> Counts:
    """Enough for each slot and the next, as what is cut in a slot is missed in the next; ``ahead`` = 0: for itself."""
    most = np.maximum(arrivals_per_s, np.append(arrivals_per_s[ahead:], arrivals_per_s[len(arrivals_per_s) - ahead :]))
    wanted: Counts = np.maximum(np.ceil(most / capacity_per_s).astype(np.int64), least)
    return wanted


class _Search:
    """The best schedule so far, and what every replay told about the blocks."""

    best: Counts
    score: RunScore

    def __init__(self, replay: Replay, alpha: float, least: int, blocks: Blocks) -> None:
        self.alpha, self.least, self.replays = alpha, least, 0
        self._replay, self._blocks = replay, blocks
        self._trust = 1.0

    def tried(self, wanted: Counts) -> bool:
        """Whether ``wanted`` reaches the attainment; the best so far is kept."""
        score = self._scored(wanted)
        self._blocks.saw(wanted, _misses(score, len(wanted)))
        if score.within_slo < self.alpha * score.requests:
            return False
        if not hasattr(self, "score") or score.usd < self.score.usd:
            self.best, self.score = wanted, score
        return True

    def probe(self, more: int) -> None:
        """One replica more or fewer in every third block: what a block cannot serve, the two after it miss too."""
        start, usual = self.best, _misses(self.score, len(self.best))
        for phase in range(3):
            trial = start.copy()
            chosen = range(phase, self._blocks.count, 3)
            for block in chosen:
                trial[self._blocks.slots(block)] += more
            trial = np.maximum(trial, self.least)
            score = self._scored(trial)
            misses = _misses(score, len(trial))
            for block in chosen:
                after = slice(block + 1, block + 3)
                carried = float((misses[after] - usual[after]).sum())
                self._blocks.saw_one(trial, block, max(float(misses[block]) + carried, 0.0))
            if score.within_slo >= self.alpha * score.requests and score.usd < self.score.usd:
                self.best, self.score = trial, score

    def join(self) -> None:
        """The best of what is known of every block; what is expected is trusted as far as it came true before."""
        allowed = (1 - self.alpha) * self.score.requests
        for _ in range(2):
            wanted, expected = self._blocks.cheapest(allowed * self._trust)
            if np.array_equal(wanted, self.best):
                self._trust = min(self._trust * 1.1, 1.5)
                continue
            reached = self.tried(wanted)
            missed = float(self._last.requests - self._last.within_slo)
            self._trust = float(np.clip(max(expected, 1.0) / max(missed, 1.0), 0.5, 1.5)) * (1.0 if reached else 0.98)

    def _scored(self, wanted: Counts) -> RunScore:
        self.replays += 1
        self._last = self._replay(wanted)
        return self._last


def _misses(score: RunScore, slots: int) -> Floats:
    """By block: requests that arrived in it and missed."""
    series = score.series
    start_s = series.time_s[0] - (series.time_s[1] - series.time_s[0] if len(series.time_s) > 1 else SLOT_S)
    blocks = ((series.time_s - start_s - 1e-6) / (SLOT_S * BLOCK_SLOTS)).astype(np.int64)
    count = -(-slots // BLOCK_SLOTS)
    missed = (series.judged - series.within_slo).astype(np.float64)
    return np.bincount(np.minimum(blocks, count - 1), weights=missed, minlength=count).astype(np.float64)
