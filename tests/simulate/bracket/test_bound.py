"""The lower bound is what can be worked out by hand, moves the right way, and no run gets below it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

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
