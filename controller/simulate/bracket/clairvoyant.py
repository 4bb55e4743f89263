"""U: a schedule made with tomorrow's paper, and feasible because it was replayed. The optimum lies between L and it.

First as many replicas a slot as the slot's own demand asks for at one capacity for all, the highest that reaches the
attainment. Then a search by blocks of ten minutes: a replica less where few would miss for it, one more where many do,
every step replayed, kept only when the attainment still holds and the bill is smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.simulate.score import RunScore
from controller.simulate.sight import Sight

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

SLOT_S = 60.0
BLOCK_SLOTS = 10

Replay = Callable[[Counts], RunScore]
"""The score of a schedule: ready replicas wanted, by slot."""


class Schedule:
    """Plays a schedule in a simulated world. Whoever is needed within a start-up is ordered now, or kept."""

    def __init__(self, wanted: Counts, *, start_s: float, lead_s: float) -> None:
        self._wanted, self._start_s = wanted, start_s
        self._lead = int(np.ceil(lead_s / SLOT_S))

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
    arrivals_per_s: Floats, replay: Replay, *, alpha: float, capacity_per_s: float, least: int, rounds: int = 12
) -> Clairvoyant:
    """The cheapest schedule found that reaches ``alpha``. ValueError when even a quarter of the capacity is too much.

    arrivals_per_s   by slot
    capacity_per_s   where to start looking: requests/s of one replica
    """
    search = _Search(replay, alpha)
    low, high = capacity_per_s / 4, capacity_per_s * 1.5  # what is surely enough, what surely is not
    wanted = _sized(arrivals_per_s, low, least)
    if not search.tried(wanted):
        raise ValueError(f"no schedule reaches {alpha:.1%}: at {low:.2f} requests/s a replica too many requests miss")
    for _ in range(7):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if search.tried(_sized(arrivals_per_s, middle, least)) else (low, middle)
    stale = 0
    for number in range(rounds):
        stale = 0 if search.traded(least, share=0.3 / (1 + number % 4)) else stale + 1
        if stale == 3:
            break
    return Clairvoyant(wanted=search.best, score=search.score, replays=search.replays)


def _sized(arrivals_per_s: Floats, capacity_per_s: float, least: int) -> Counts:
    """Enough for each slot and the one after it: what is cut in a slot is missed in the next."""
    ahead = np.maximum(arrivals_per_s, np.append(arrivals_per_s[1:], arrivals_per_s[-1]))
    wanted: Counts = np.maximum(np.ceil(ahead / capacity_per_s).astype(np.int64), least)
    return wanted


class _Search:
    """The best schedule so far."""

    def __init__(self, replay: Replay, alpha: float) -> None:
        self._replay, self._alpha = replay, alpha
        self.replays = 0

    best: Counts
    score: RunScore

    def tried(self, wanted: Counts) -> bool:
        """Whether ``wanted`` reaches the attainment; the best so far is kept."""
        score = self._scored(wanted)
        if _slack(score, self._alpha) < 0:
            return False
        if not hasattr(self, "score") or score.usd < self.score.usd:
            self.best, self.score = wanted, score
        return True

    def traded(self, least: int, share: float) -> bool:
        """One more replica where most miss, one fewer in ``share`` of the blocks where fewest do; then as many of these
        as the attainment allows. Whether that was cheaper."""
        before = self.score.usd
        misses = _misses(self.score, len(self.best))
        more = self.best.copy()
        for block in np.argsort(-misses)[: max(1, round(0.03 * len(misses)))]:
            more[_slots(int(block), len(more))] += 1
        for start in (more, self.best):
            base = self._scored(start)
            calm = _misses(base, len(start))
            chosen = [int(block) for block in np.argsort(calm)[: max(1, round(share * len(calm)))]]
            trial = _fewer(start, chosen, least)
            cost = _misses(self._scored(trial), len(start)) - calm
            cost[:-1] += np.maximum(cost[1:], 0)  # what a block cannot serve, the next one misses too
            kept, slack = [], _slack(base, self._alpha)
            for block in sorted(chosen, key=lambda one: cost[one]):
                slack -= max(float(cost[block]), 0.0)
                if slack < 0:
                    break
                kept.append(block)
            self.tried(_fewer(start, kept, least))
        return self.score.usd < before

    def _scored(self, wanted: Counts) -> RunScore:
        self.replays += 1
        return self._replay(wanted)


def _fewer(wanted: Counts, blocks: list[int], least: int) -> Counts:
    fewer = wanted.copy()
    for block in blocks:
        fewer[_slots(block, len(wanted))] -= 1
    return np.maximum(fewer, least)


def _slots(block: int, slots: int) -> slice:
    return slice(block * BLOCK_SLOTS, min((block + 1) * BLOCK_SLOTS, slots))


def _slack(score: RunScore, alpha: float) -> float:
    """Requests that may still miss."""
    return score.within_slo - alpha * score.requests


def _misses(score: RunScore, slots: int) -> Floats:
    """By block: requests that arrived in it and missed."""
    series = score.series
    start_s = series.time_s[0] - (series.time_s[1] - series.time_s[0] if len(series.time_s) > 1 else SLOT_S)
    blocks = ((series.time_s - start_s - 1e-6) / (SLOT_S * BLOCK_SLOTS)).astype(np.int64)
    count = -(-slots // BLOCK_SLOTS)
    missed = (series.judged - series.within_slo).astype(np.float64)
    return np.bincount(np.minimum(blocks, count - 1), weights=missed, minlength=count).astype(np.float64)
