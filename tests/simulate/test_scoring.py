"""A score says what happened: how many were served well, in the worst five minutes too, and how steady the fleet was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from controller.facts.missing import Missing
from controller.simulate.score import Move
from controller.simulate.scoring import LEAST_REQUESTS, reversals, scored
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100
from controller.simulate.world import Judge, World


def closed(world: World) -> World:
    world.advance(world.end_s)
    world.close()
    return world


def steady(start_s: float, end_s: float, per_s: float, output: int = 5) -> list[tuple[float, int, int, int]]:
    count = round((end_s - start_s) * per_s)
    return [(start_s + number / per_s, 10, output, 0) for number in range(count)]


def test_a_world_that_goes_on_has_no_score_yet(bench: Any) -> None:
    world = bench.world([], 60.0)
    world.advance(60.0)
    with pytest.raises(ValueError, match="close the world"):
        scored(world, "static", 0)


# --- the worst five minutes


def test_the_worst_five_minutes_are_the_worst_wherever_they_begin(bench: Any) -> None:
    # One request a second; from 400 s to 460 s nobody serves: those are dropped, the rest is served at once.
    world = bench.world(steady(0.0, 1200.0, 1.0), 1200.0)
    world.advance(400.0)
    world.scale_to(0, "an outage")
    world.advance(430.0)
    world.order(1, "again")  # ready at 490 s: who came in the 88 s before 488 s waited for more than two seconds
    score = scored(closed(world), "by hand", 0)
    missed = 490 - 400 - 2
    assert score.within_slo == pytest.approx(1200 - missed, abs=2)
    assert score.worst_five_minutes_ratio == pytest.approx(1 - missed / 300, abs=2 / 300)


def test_five_quiet_minutes_are_not_judged(bench: Any) -> None:
    rows = [*steady(0.0, 300.0, 1.0), *((1000.0 + number, 10, 5000, 0) for number in range(LEAST_REQUESTS - 1))]
    slow = bench.world(rows, 2000.0, judge=Judge(ttft_s=2.0, tpot_s=0.005), initial_replicas=2)
    assert scored(closed(slow), "by hand", 0).worst_five_minutes_ratio == 0.0
    rows = [(at_s, prompt, 1 if at_s < 300 else output, 0) for at_s, prompt, output, _ in rows]
    fast = bench.world(rows, 2000.0, judge=Judge(ttft_s=2.0, tpot_s=0.005), initial_replicas=2)
    score = scored(closed(fast), "by hand", 0)
    assert (score.worst_five_minutes_ratio, score.requests - score.within_slo) == (1.0, LEAST_REQUESTS - 1)


@pytest.mark.parametrize(
    ("rows", "end_s", "why"),
    [
        ([(1.0, 10, 5, 0)] * 30, 240.0, "shorter than five minutes"),
        ([(1.0, 10, 5, 0)] * 19, 600.0, "no five minutes saw 20"),
    ],
)
def test_too_little_to_judge_is_missing_with_a_reason(bench: Any, rows: Any, end_s: float, why: str) -> None:
    worst = scored(closed(bench.world(rows, end_s)), "by hand", 0).worst_five_minutes_ratio
    assert isinstance(worst, Missing)
    assert why in worst.why


def test_without_a_request_every_ratio_and_quantile_is_missing(bench: Any) -> None:
    score = scored(closed(bench.world([], 600.0)), "by hand", 0)
    for number in (score.attainment_ratio, score.ttft_p99_s, score.tpot_p50_s, score.worst_five_minutes_ratio):
        assert isinstance(number, Missing)


# --- moves


def moves(*steps: tuple[float, int, int]) -> list[Move]:
    return [Move(at_s=at, before=before, after=after, reason="") for at, before, after in steps]


@pytest.mark.parametrize(
    ("made", "undone"),
    [
        ([], 0),
        (moves((0, 1, 2), (60, 2, 3)), 0),
        (moves((0, 1, 2), (600, 2, 1)), 1),
        (moves((0, 1, 2), (601, 2, 1)), 0),
        (moves((0, 3, 2), (60, 2, 3), (120, 3, 2)), 2),
        (moves((0, 1, 2), (60, 2, 3), (120, 3, 1)), 1),
        (moves((0, 1, 3), (500, 3, 4), (1000, 4, 3), (1700, 3, 4)), 1),
    ],
)
def test_a_reversal_undoes_a_move_of_the_ten_minutes_before(made: list[Move], undone: int) -> None:
    assert reversals(made) == undone


# --- idleness, latencies


def test_the_idle_share_is_billed_time_without_work_start_up_included(bench: Any) -> None:
    world = bench.world([(10.0, 10, 3000, 0)], 200.0)  # 30 s of work
    world.advance(100.0)
    world.order(1, "for nothing")  # 100 s, 60 of them starting
    assert scored(closed(world), "by hand", 0).idle_ratio == pytest.approx(1 - 30 / 300)


def test_latency_quantiles_are_those_of_all_requests_to_a_bin(bench: Any) -> None:
    random = np.random.default_rng(5)
    rows = list(
        zip(
            np.sort(random.random(4000) * 600).tolist(),
            random.integers(1, 3000, 4000).tolist(),
            random.integers(2, 200, 4000).tolist(),
            [0] * 4000,
            strict=True,
        )
    )
    score = scored(closed(bench.world(rows, 600.0, spec=LLAMA_70B_FP8_2XH100, initial_replicas=2)), "by hand", 0)
    alone = bench.world(rows, 600.0, spec=LLAMA_70B_FP8_2XH100, initial_replicas=2).fleet
    parts = [alone.advance(600.0, bench.requests(rows)), alone.advance(2000.0, bench.requests([]))]
    ttft_s, tpot_s = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ttft_s", "tpot_s"))
    for measured, exact_s in (
        (score.ttft_p50_s, np.quantile(ttft_s, 0.5)),
        (score.ttft_p99_s, np.quantile(ttft_s, 0.99)),
        (score.tpot_p50_s, np.quantile(tpot_s, 0.5)),
        (score.tpot_p99_s, np.quantile(tpot_s, 0.99)),
    ):
        assert measured == pytest.approx(float(exact_s), rel=0.012)


def test_answers_of_one_token_have_no_time_per_token(bench: Any) -> None:
    score = scored(closed(bench.world([(1.0, 10, 1, 0)] * 30, 60.0)), "by hand", 0)
    assert isinstance(score.tpot_p50_s, Missing)
    assert score.ttft_p50_s == pytest.approx(0.01, rel=0.012)
    assert score.within_tpot == 30


@pytest.mark.parametrize("value", [0.0, 0.2])
def test_what_was_measured_is_told_even_when_it_is_nothing(bench: Any, value: float) -> None:
    score = scored(closed(bench.world([], 30.0)), "by hand", 0, forecast_error_ratio=value, pass_s=value)
    assert (score.forecast_error_ratio, score.pass_s) == (value, value)


def test_what_was_not_measured_is_missing(bench: Any) -> None:
    score = scored(closed(bench.world([], 30.0)), "by hand", 0)
    assert isinstance(score.forecast_error_ratio, Missing)
    assert isinstance(score.pass_s, Missing)
