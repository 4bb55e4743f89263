"""Dynamo's planner by the arithmetic of its planner guide and its tests (components/src/dynamo/planner in
https://github.com/ai-dynamo/dynamo)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.simulate.opponents.dynamo import Aim, Dynamo, DynamoSettings, EngineModel, Trend
from controller.simulate.opponents.profile import ForwardPass, ReplicaProfile, StepPlane, plane_of
from controller.simulate.sight import Sight

MakeSight = Callable[..., Sight]
PLANE = StepPlane(base_s=0.010, per_prefill_token_s=10e-6, per_kv_token_s=0.1e-6)
ENGINE = EngineModel(plane=PLANE, token_budget=2000, max_sequences=256, kv_capacity_tokens=400_000, cached_ratio=0.0)


def test_the_plane_through_exact_steps_is_found() -> None:
    passes = tuple(
        ForwardPass(prefill_tokens=prompt, decode_kv_tokens=kv, step_s=PLANE.step_s(prompt, kv))
        for prompt in (0.0, 500.0, 2000.0)
        for kv in (0.0, 10_000.0, 100_000.0)
    )
    found = plane_of(passes)
    assert found.base_s == pytest.approx(0.010)
    assert found.per_prefill_token_s == pytest.approx(10e-6)
    assert found.per_kv_token_s == pytest.approx(0.1e-6)


def test_a_new_prompt_waits_for_the_queue_in_chunks_of_the_budget() -> None:
    # 3000 + 1000 tokens are two steps of 10 + 20 + 5 ms
    assert ENGINE.ttft_s(3000, 1000, 50_000) == pytest.approx(2 * 0.035)
    assert replace(ENGINE, cached_ratio=0.5).ttft_s(3000, 1000, 50_000) == pytest.approx(0.035)


def test_the_best_rate_is_the_largest_batch_inside_the_latencies_by_little_s_law() -> None:
    """I = 1000, O = 100: a batch of n computes 10 n prompt tokens a step over 1050 n KV tokens: 10 + 0.205 n ms."""
    best = ENGINE.best(1000, 100, ttft_s=10.0, itl_s=0.030)
    assert best.itl_s == pytest.approx(0.010 + 0.205e-3 * 97)
    assert best.requests_per_s == pytest.approx(97 / (100 * best.itl_s))


def test_the_budget_bounds_the_batch_that_it_can_supply() -> None:
    """2000 tokens a step keep O x 2000 / (I + O) = 181 sequences fed."""
    assert ENGINE.best(1000, 100, ttft_s=10.0, itl_s=10.0).itl_s == pytest.approx(0.010 + 0.205e-3 * 181)


def test_out_of_reach_is_a_batch_of_one() -> None:
    assert ENGINE.best(1000, 100, ttft_s=0.001, itl_s=0.001).itl_s == pytest.approx(0.010 + 0.205e-3)


def test_the_trend_is_followed_once_there_are_five_points() -> None:
    trend = Trend(1.0, 0.1, 10.0, 5)
    for value in (10.0, 20.0, 30.0, 40.0):
        trend.add(value)
        assert trend.next() == value
    for value in range(50, 1000, 10):
        trend.add(float(value))
    assert trend.next() == pytest.approx(1000.0, rel=0.01)


def planner(profile: ReplicaProfile, **settings: object) -> Dynamo:
    return Dynamo(DynamoSettings(profile=profile, max_replicas=20, **settings))  # type: ignore[arg-type]


def test_the_throughput_loop_divides_the_demand_by_an_engine_s_best_rate(
    sight: MakeSight, profile: ReplicaProfile
) -> None:
    dynamo = planner(profile, ttft_s=2.0)
    scales = [dynamo.desired(sight(at_s=15.0 * look, ready=2, arrivals_per_s=30.0)) for look in range(13)]
    assert scales[:12] == [2] * 12
    best = EngineModel(
        plane=plane_of(profile.passes),
        token_budget=profile.limits.token_budget,
        max_sequences=profile.limits.max_sequences,
        kv_capacity_tokens=profile.limits.kv_capacity_tokens,
        cached_ratio=0.0,
    ).best(1600, 110, ttft_s=2.0, itl_s=0.05)
    assert scales[12] == -(-30.0 // best.requests_per_s)
    assert best.requests_per_s == pytest.approx(profile.requests_per_s, rel=0.1)


@pytest.mark.parametrize(
    ("case", "aim", "kv", "waiting", "step"),
    [
        ("over a full cache, queue counted", Aim.THROUGHPUT, 0.95, 20, 1),
        ("between", Aim.THROUGHPUT, 0.7, 0, 0),
        ("under 60 %", Aim.THROUGHPUT, 0.5, 0, -1),
        ("for latency over 40 %", Aim.LATENCY, 0.41, 0, 1),
        ("for latency between", Aim.LATENCY, 0.2, 0, 0),
        ("for latency under 10 %", Aim.LATENCY, 0.05, 0, -1),
    ],
)
def test_the_load_loop_by_kv_cache(
    sight: MakeSight, profile: ReplicaProfile, case: str, aim: Aim, kv: float, waiting: int, step: int
) -> None:
    dynamo = planner(profile, throughput=False, load=True, aim=aim)
    assert dynamo.desired(sight(ready=3, kv_cache_ratio=kv, waiting=waiting)) == 3 + step


@pytest.mark.parametrize(
    ("case", "kv", "waiting", "step"),
    [
        ("every engine's queue takes longer than the target", 0.05, 40, 1),
        ("every engine's steps do", 0.99, 0, 0),  # 2 s of TTFT hold, 50 ms too: 411k tokens take 29 ms
        ("idle", 0.0, 0, -1),
        ("two can hold it, one could not: its cache would be full", 0.55, 0, 0),
    ],
)
def test_the_load_loop_by_latency(
    sight: MakeSight, profile: ReplicaProfile, case: str, kv: float, waiting: int, step: int
) -> None:
    dynamo = planner(profile, throughput=False, load=True, aim=Aim.SLA, ttft_s=2.0)
    assert dynamo.desired(sight(ready=2, kv_cache_ratio=kv, waiting=waiting)) == 2 + step


def test_one_engine_that_is_in_time_prevents_growth(sight: MakeSight, profile: ReplicaProfile) -> None:
    full = sight(ready=2, waiting=60)
    uneven = replace(full, replicas=(full.replicas[0], replace(full.replicas[1], waiting=0)))
    dynamo = planner(profile, throughput=False, load=True, aim=Aim.SLA, ttft_s=2.0)
    assert dynamo.desired(uneven) == 2


def test_a_change_under_way_is_waited_for(sight: MakeSight, profile: ReplicaProfile) -> None:
    dynamo = planner(profile, throughput=False, load=True, aim=Aim.SLA, ttft_s=2.0)
    assert dynamo.desired(sight(at_s=0.0, ready=2, waiting=60)) == 3
    assert dynamo.desired(sight(at_s=5.0, ready=2, starting=1, waiting=60)) == 3
    assert dynamo.desired(sight(at_s=10.0, ready=3, waiting=60)) == 4


def test_with_both_loops_throughput_is_the_floor_of_load(sight: MakeSight, profile: ReplicaProfile) -> None:
    dynamo = planner(profile, load=True, aim=Aim.SLA, ttft_s=2.0)
    scales, current = [], 6
    for look in range(40):
        current = dynamo.desired(sight(at_s=5.0 * look, ready=current, arrivals_per_s=2.5 * profile.requests_per_s))
        scales.append(current)
    assert scales[:6] == [5, 4, 3, 2, 1, 1]  # idle by its own looks
    assert scales[35:] == [1, 3, 3, 3, 3]  # until the other loop speaks, at 180 s
