"""The lower bound is what can be worked out by hand, moves the right way, and no run gets below it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.facts.performance import StepModel
from controller.simulate.bracket.bound import SHARES, Bound, Load, load_of, lower_bound, tightest, work_s
from controller.simulate.bracket.clairvoyant import Schedule, clairvoyant
from controller.simulate.rivals import rehearse
from controller.simulate.score import RunScore
from controller.simulate.scoring import scored
from controller.simulate.startup import StartUp
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100, EngineSpec
from controller.simulate.workload.lengths import Lengths
from controller.simulate.workload.rates import RateTrace, RateWorkload
from controller.simulate.world import Case, Judge, World


def load(work: list[float], *, window: int = 0, late_s: float = 0.0) -> Load:
    return Load(windows=(window,), work_s=np.array([work], np.float64), late_s=late_s)


def bound(one: Load, **changes: Any) -> Bound:
    given = {"start_up_min_s": 120.0, "usd_per_replica_hour": 60.0, "initial_replicas": 0, **changes}
    return lower_bound(one, **given)


def slots(one: Bound) -> float:
    return one.replica_hours * 60


def test_constant_work_costs_its_share_of_the_replicas_that_are_there() -> None:
    assert slots(bound(load([30.0] * 10), initial_replicas=1)) == pytest.approx(5.0)


def test_a_burst_that_nobody_was_there_for_costs_a_start_up_as_well() -> None:
    burst = load([0.0] * 5 + [60.0] + [0.0] * 4)
    assert slots(bound(burst)) == pytest.approx(1 + 2)
    assert bound(burst).usd == pytest.approx(3.0)


def test_a_later_deadline_lets_one_replica_do_what_needed_two() -> None:
    burst = [0.0] * 5 + [120.0] + [0.0] * 4
    assert slots(bound(load(burst))) == pytest.approx(2 * 3)
    assert slots(bound(load(burst, window=1))) == pytest.approx(2 + 2)


def test_what_may_be_late_is_served_late_but_is_served() -> None:
    steady = [60.0] * 5 + [120.0] + [60.0] * 4
    assert slots(bound(load(steady), initial_replicas=1, start_up_min_s=0.0)) == pytest.approx(11.0)
    allowed = load([60.0] * 5 + [120.0] + [60.0] * 4, late_s=60.0)
    assert slots(bound(allowed, initial_replicas=1, start_up_min_s=0.0)) == pytest.approx(11.0)


@pytest.mark.parametrize("longer_s", [0.0, 60.0, 240.0, 600.0])
def test_a_longer_start_up_never_makes_it_cheaper(longer_s: float) -> None:
    waves = load([float(10 + 50 * (slot % 20 < 8)) for slot in range(100)])
    assert (
        bound(waves, start_up_min_s=longer_s, initial_replicas=1).usd
        >= bound(waves, initial_replicas=1, start_up_min_s=0.0).usd - 1e-9
    )


def test_every_way_of_sharing_the_steps_is_a_bound_and_the_largest_is_taken(bench: Any) -> None:
    requests = bench.requests([(1.0, 1000, 200, 100), (2.0, 50, 1, 0)])
    spec = replace(LLAMA_70B_FP8_2XH100, token_budget=512, max_sequences=128)
    by = {shared_by: work_s(requests, spec, shared_by) for shared_by in SHARES}
    for work in by.values():
        assert (work >= spec.step.per_prefill_token_s * np.array([900, 50])).all()
    bounds = [bound(load([float(by[shared_by].sum())]), initial_replicas=1) for shared_by in SHARES]
    assert tightest(bounds).usd == max(one.usd for one in bounds)


def test_with_speculation_a_request_costs_no_more_than_its_steps(bench: Any) -> None:
    requests = bench.requests([(0.0, 100, 101, 0)])
    spec = replace(LLAMA_70B_FP8_2XH100, draft_tokens=4, acceptance_ratio=1.0, token_budget=8192)
    read = sum(100 + 5 * step for step in range(20))
    step = spec.step
    least = step.per_prefill_token_s * 100 + step.per_prefill_pair_s * 100**2 + step.per_kv_token_s * read
    kv_cache = least + 20 * step.per_sequence_s + step.base_s * read / spec.kv_capacity_tokens
    assert work_s(requests, spec, "kv_cache") == pytest.approx(kv_cache)


def test_where_the_host_is_slower_than_the_gpu_its_tokens_are_the_bound(bench: Any) -> None:
    requests = bench.requests([(0.0, 20, 500, 0)])
    quick = StepModel(base_s=3e-3, per_sequence_s=1e-5, per_kv_token_s=2e-8, per_prefill_token_s=1e-5)
    spec = replace(LLAMA_70B_FP8_2XH100, step=quick, token_budget=8192)
    by = {shared_by: float(work_s(requests, spec, shared_by)[0]) for shared_by in SHARES}
    assert max(by, key=lambda name: by[name]) == "host"
    assert by["host"] == pytest.approx(20e-5 + 2e-8 * (499 * 20 + 499 * 498 / 2) + 499 / 15_000)


def test_work_that_has_longer_than_the_run_costs_its_own_time(bench: Any) -> None:
    requests = bench.requests([(10.0, 500, 8000, 0)])
    one = load_of([requests], LLAMA_70B_FP8_2XH100, Judge(ttft_s=2.0, tpot_s=0.05), 0.99, (0.0, 120.0), "kv_cache")
    assert bound(one).replica_hours * 3600 == pytest.approx(float(one.work_s.sum()))


@pytest.mark.parametrize("judge", [Judge(ttft_s=2.0, tpot_s=None), Judge(ttft_s=None, tpot_s=0.05)])
def test_without_one_of_the_targets_there_is_no_deadline(bench: Any, judge: Judge) -> None:
    requests = bench.requests([(1.0, 500, 1, 0), (2.0, 500, 90, 0)])
    one = load_of([requests], LLAMA_70B_FP8_2XH100, judge, 0.99, (0.0, 600.0), "kv_cache")
    assert one.windows == (10,)
    assert bound(one).replica_hours * 3600 == pytest.approx(float(one.work_s.sum()))


def test_long_prompts_have_the_same_deadline_unless_they_have_their_own(bench: Any) -> None:
    requests = bench.requests([(1.0, 9000, 1, 0)])
    judge = Judge(ttft_s=200.0, tpot_s=0.05, long_prompt_tokens=8000)
    for own_s, window in ((None, 4), (400.0, 7)):
        one = replace(judge, long_ttft_s=own_s)
        assert load_of([requests], LLAMA_70B_FP8_2XH100, one, 0.99, (0.0, 900.0), "host").windows == (window,)


def test_the_least_fleet_is_billed_even_while_it_starts_but_not_beyond_the_end() -> None:
    nothing = load([0.0] * 10)
    assert slots(bound(nothing, initial_replicas=1, min_replicas=1)) == pytest.approx(9)
    assert slots(bound(nothing, initial_replicas=1, min_replicas=2)) == pytest.approx(18)


def test_what_is_still_late_at_the_end_costs_its_time_and_no_launch() -> None:
    burst = load([0.0] * 9 + [6000.0], late_s=6000.0)
    assert slots(bound(burst, initial_replicas=1)) == pytest.approx(100)


Toy = tuple[list[int], list[int], int, int, int]
"""Arrivals and ready replicas by slot; start-up and window in slots; replicas at the start."""


@settings(max_examples=80)
@given(
    st.integers(1, 12).flatmap(
        lambda size: st.tuples(
            st.lists(st.integers(0, 4), min_size=size, max_size=size),
            st.lists(st.integers(0, 4), min_size=size, max_size=size),
            st.integers(0, 4),
            st.integers(0, 3),
            st.integers(0, 3),
        )
    )
)
def test_no_feasible_schedule_of_whole_replicas_is_below_the_bound(toy: Toy) -> None:
    """A replica does two requests of 30 s a slot, first come first served; after the last slot the rest is worked off."""
    arrivals, wanted, delta, window, initial = toy
    ready, before = [], initial
    for slot, count in enumerate(wanted):  # nobody is ready before a start-up has gone by
        before = min(count, before) if slot < delta else count
        ready.append(before)
    queue: list[int] = []
    late = 0
    for slot, count in enumerate(ready):
        queue += [slot] * arrivals[slot]
        served, queue = queue[: 2 * count], queue[2 * count :]
        late += sum(slot - came > window for came in served)
    rises = sum(max(0, after - one) for one, after in zip([initial, *ready], ready, strict=False))
    bill = sum(ready) + delta * rises + len(queue) / 2
    one = load([30.0 * count for count in arrivals], window=window, late_s=30.0 * (late + len(queue)))
    assert slots(bound(one, start_up_min_s=60.0 * delta, initial_replicas=initial)) <= bill + 1e-6


SMALL = EngineSpec(
    model_name="small",
    step=StepModel(base_s=0.02, per_sequence_s=1e-4, per_kv_token_s=1e-8, per_prefill_token_s=1e-4),
    kv_capacity_tokens=100_000,
    token_budget=512,
    max_sequences=64,
)
JUDGE = Judge(ttft_s=2.0, tpot_s=0.1)


@pytest.fixture(scope="module")
def world_of() -> Any:
    counts = np.array([120.0] * 60 + [360.0] * 60 + [120.0] * 60)
    rates = RateTrace(start_s=0.0, bin_s=10.0, requests=counts)
    workload = RateWorkload(rates, Lengths.fixed(400, 60), seed=1)
    case = Case(
        name="hill",
        spec=SMALL,
        start_up=StartUp.fixed(60.0),
        judge=JUDGE,
        usd_per_replica_hour=4.0,
        initial_replicas=2,
    )

    class Made:
        arrivals_per_s = counts.reshape(-1, 6).mean(axis=1) / 10

        def replay(self, wanted: Any) -> RunScore:
            world = World(case, workload.again(), 1)
            rehearse(world, Schedule(wanted, start_s=0.0, lead_s=60.0), "clairvoyant")
            return scored(world, "clairvoyant", 1)

        def lower(self, alpha: float) -> float:
            bounds = []
            for shared_by in SHARES:
                one = load_of(workload.again().blocks(), SMALL, JUDGE, alpha, (0.0, 1800.0), shared_by)
                bounds.append(bound(one, start_up_min_s=60.0, usd_per_replica_hour=4.0, initial_replicas=2))
            return tightest(bounds).usd

    return Made()


@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
def test_no_run_that_reaches_the_attainment_is_below_the_bound(world_of: Any, replicas: int) -> None:
    score = world_of.replay(np.full(30, replicas))
    attained = score.within_slo / score.requests
    assert score.usd >= world_of.lower(attained) * (1 - 1e-9)


def test_the_clairvoyant_schedule_reaches_the_attainment_for_less_than_a_constant_fleet(world_of: Any) -> None:
    found = clairvoyant(world_of.arrivals_per_s, world_of.replay, alpha=0.99, capacity_per_s=15.0, least=1, rounds=4)
    assert found.score.within_slo >= 0.99 * found.score.requests
    constant = next(
        score
        for score in (world_of.replay(np.full(30, count)) for count in range(1, 12))
        if score.within_slo >= 0.99 * score.requests
    )
    assert world_of.lower(0.99) <= found.score.usd < constant.usd
