"""Our own pass in a world where spot capacity comes and goes and replicas break: whatever it decides, every request ends
once and every dollar is somebody's."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.backtest.choice import case_for
from controller.backtest.ours import rehearse_policy
from controller.catalog.load import find_gpu, find_model
from controller.decide.rules import Behaviour, ReplicaRule, ServicePolicy, Targets
from controller.facts.fleet import Capacity, CapacityType, EngineKind, Fleet, Service, Variant
from controller.facts.slo import LatencyTarget, Slo
from controller.simulate.arrivals import Requests
from controller.simulate.buying import Kind, Lot
from controller.simulate.failures import Failures
from controller.simulate.score import RunScore
from controller.simulate.scoring import scored
from controller.simulate.shell import Seat
from controller.simulate.spot import SpotDraw, SpotZone
from controller.simulate.startup import StartUp
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100
from controller.simulate.workload.traced import TracedWorkload
from controller.simulate.world import Case, Judge, World

SPEC = replace(LLAMA_70B_FP8_2XH100, token_budget=384, max_sequences=128)
RESERVED, ON_DEMAND, SPOT = CapacityType.RESERVED, CapacityType.ON_DEMAND, CapacityType.SPOT
LOTS = ((RESERVED, 4.0, 1), (SPOT, 2.0, None), (ON_DEMAND, 6.0, 4))
LASTS_S = 900.0


def workload() -> TracedWorkload:
    """Fifteen minutes at what one and a half replicas carry."""
    random = np.random.default_rng(3)
    at_s = np.sort(random.uniform(0, LASTS_S, 6000))
    lengths = (random.integers(low, high, len(at_s)).astype(np.int32) for low, high in ((100, 2000), (10, 300)))
    prompts, outputs = lengths
    nothing = np.zeros(len(at_s), np.int32)
    return TracedWorkload(Requests(arrival_s=at_s, prompt_tokens=prompts, output_tokens=outputs, cached_tokens=nothing))


WORKLOAD = workload()


def policy() -> ServicePolicy:
    return ServicePolicy(
        service="chat",
        source="by hand",
        slo=Slo(ttft=LatencyTarget(quantile=0.95, seconds=2.0), tpot=LatencyTarget(quantile=0.95, seconds=0.05)),
        replicas=ReplicaRule(
            min_replicas=1,
            max_replicas=6,
            targets=Targets(queue_depth=10.0),
            scale_up=Behaviour(stabilization_s=0.0),
            scale_down=Behaviour(stabilization_s=60.0),
        ),
        spot_allowed=True,
    )


def fleet() -> Fleet:
    gpu, model = find_gpu("H100-SXM"), find_model("llama-3.1-70b")
    assert gpu is not None
    assert model is not None
    variant = Variant(
        service="chat",
        name="h100",
        gpu=gpu,
        gpus_per_replica=2,
        quantization="fp8",
        kv_cache_dtype="fp8",
        engine=EngineKind.VLLM,
        capacity=tuple(Capacity(type=kind, replicas=some, usd_per_gpu_hour=usd / 2) for kind, usd, some in LOTS),
        token_budget=SPEC.token_budget,
        max_sequences=SPEC.max_sequences,
    )
    return Fleet(services={"chat": Service(name="chat", model=model, variants={"h100": variant})})


def case(failures: Failures, spot: SpotDraw) -> Case:
    start_up = StartUp.around(60.0)
    lots = tuple(Lot(type=kind, usd_per_replica_hour=usd, replicas=some) for kind, usd, some in LOTS)
    return Case(
        name="by hand",
        spec=SPEC,
        start_up=start_up,
        judge=Judge.of(policy().slo),
        usd_per_replica_hour=6.0,
        initial_replicas=2,
        kinds=(Kind(name="h100", spec=SPEC, start_up=start_up, lots=lots, gpus_per_replica=2),),
        failures=failures,
        spot=spot,
    )


def played(failures: Failures, up_s: float, notice_s: float, seed: int) -> tuple[World, RunScore]:
    zones = tuple(SpotZone(name=name, region="x", mean_up_s=up_s, mean_down_s=200.0) for name in "ab")
    on = case(failures, SpotDraw(zones=zones, notice_s=notice_s))
    world = World(case_for(on, policy()), WORKLOAD.again(), seed)
    seat = Seat(service="chat", variant="h100", gpus_per_replica=2, capacity_type=ON_DEMAND)
    ticks = count()
    rehearse_policy(world, fleet(), policy(), seat, interval_s=15.0, elapsed_s=lambda: float(next(ticks)))
    return world, scored(world, "ours", seed)


@settings(max_examples=12)
@given(
    mean_s=st.floats(200, 20_000),
    failed=st.floats(0, 0.3),
    up_s=st.floats(100, 2000),
    notice_s=st.sampled_from([0.0, 30.0, 120.0]),
    seed=st.integers(0, 1000),
)
def test_requests_and_dollars_are_conserved(
    mean_s: float, failed: float, up_s: float, notice_s: float, seed: int
) -> None:
    world, score = played(Failures(mean_s=mean_s, failed_start_ratio=failed), up_s, notice_s, seed)
    assert score.requests == 6000 == score.finished + score.dropped
    assert score.within_slo <= score.finished
    assert score.usd == pytest.approx(sum(one.usd for one in score.paid))
    assert score.series.usd.sum() == pytest.approx(score.usd)
    assert score.usd_of(RESERVED) >= 0.999 * 4.0 * (world.end_s - world.start_s) / 3600
    assert score.interruptions + score.failures <= len(world.losses)


def test_the_same_seed_befalls_it_alike_and_it_starts_others_in_their_place() -> None:
    peril = (Failures(mean_s=600.0), 300.0, 30.0)
    (_, one), (world, again), (_, other) = (played(*peril, seed) for seed in (5, 5, 6))
    assert (one.usd, one.moves, one.lost, one.interruptions) == (
        again.usd,
        again.moves,
        again.lost,
        again.interruptions,
    )
    assert (one.usd, one.lost) != (other.usd, other.lost)
    assert one.interruptions + one.failures > 0
    assert len(world.stock.places) > world.case.initial_replicas, "what is lost is replaced"
