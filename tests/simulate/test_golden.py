"""One variant, bought on demand, nothing failing: the very figures that the simulator gave before it knew anything
else. A published result was made with them, and nothing that is added may move them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from controller.simulate.rivals import rehearse
from controller.simulate.score import RunScore
from controller.simulate.scoring import scored
from controller.simulate.sight import Sight
from controller.simulate.startup import StartUp
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100
from controller.simulate.world import Trouble

SPEC = replace(LLAMA_70B_FP8_2XH100, token_budget=384, max_sequences=128, kv_capacity_tokens=60_000)
LASTS_S = 3000.0


class ByDemand:
    """As many as two requests/s a replica and everything that waits ask for, from one to six."""

    sync_s = 20.0

    def desired(self, sight: Sight) -> int:
        return min(max(1, round(sight.arrivals_per_s / 2 + sight.waiting / 20)), 6)


@pytest.fixture(scope="module")
def score(bench: Any) -> RunScore:
    random = np.random.default_rng(5)
    waves = [np.sort(random.uniform(at, at + 600, n)) for at, n in ((0, 900), (600, 5400), (1200, 1200), (2400, 4000))]
    prompts, outputs = random.integers(50, 3000, 11_500).tolist(), random.integers(1, 400, 11_500).tolist()
    times = np.concatenate(waves).tolist()
    rows = [(at, prompt, output, prompt // 3) for at, prompt, output in zip(times, prompts, outputs, strict=True)]
    world = bench.world(
        rows,
        LASTS_S,
        seed=9,
        spec=SPEC,
        start_up=StartUp.around(90.0),
        initial_replicas=2,
        usd_per_replica_hour=8.8,
        trouble=Trouble(outage_s=(700.0, 760.0), slow_at_s=1500.0),
    )
    rehearse(world, ByDemand(), "by demand")
    return scored(world, "by demand", 9)


GOLDEN: dict[str, float] = {
    "usd": 17.891793829552615,
    "replica_hours": 2.033158389721888,
    "requests": 11500,
    "finished": 11500,
    "dropped": 0,
    "within_slo": 9265,
    "within_ttft": 9839,
    "within_tpot": 10382,
    "worst_five_minutes_ratio": 0.0,
    "ttft_p50_s": 0.19498445997580455,
    "ttft_p99_s": 107.1519305237607,
    "tpot_p50_s": 0.022130947096056376,
    "tpot_p99_s": 0.0716143410212902,
    "prompt_tokens": 17545651,
    "output_tokens": 2315137,
    "preemptions": 124,
    "reversals": 27,
    "idle_ratio": 0.25096704584320007,
    "series.arrivals_per_s": 79166.26666666666,
    "series.ready": 43357.0,
    "series.current": 52483.0,
    "series.waiting": 572824.0,
    "series.within_slo": 965786.0,
    "series.judged": 1187494.0,
    "series.usd": 1928.3876960220286,
    "moves": 30,
    "moved": 4735.0,
}


def told(score: RunScore) -> dict[str, float]:
    """Every number of a score. Of the series: sums, weighted by their places so that their order counts."""
    numbers = (
        *("usd", "replica_hours", "requests", "finished", "dropped", "within_slo", "within_ttft", "within_tpot"),
        *("worst_five_minutes_ratio", "ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "prompt_tokens"),
        *("output_tokens", "preemptions", "reversals", "idle_ratio"),
    )
    found = {name: getattr(score, name) for name in numbers}
    weights = np.arange(1, len(score.series.time_s) + 1)
    for name in ("arrivals_per_s", "ready", "current", "waiting", "within_slo", "judged", "usd"):
        found[f"series.{name}"] = float((getattr(score.series, name) * weights).sum())
    found["moves"] = len(score.moves)
    found["moved"] = sum(move.at_s * (move.after - move.before) for move in score.moves)
    return found


def test_a_run_without_anything_new_gives_the_figures_that_it_always_gave(score: RunScore) -> None:
    assert told(score) == pytest.approx(GOLDEN, rel=1e-12, abs=0)


def test_nothing_new_is_told_of_it(score: RunScore) -> None:
    (bill,) = score.paid
    assert (bill.usd, bill.replica_hours) == (score.usd, score.replica_hours)
    assert (score.interruptions, score.failures, score.lost) == (0, 0, 0)
