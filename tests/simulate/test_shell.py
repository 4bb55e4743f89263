"""The very pass that runs in production, in a simulated world: it reads, decides and acts, and the world obeys later."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import numpy as np
import pytest

from controller.catalog.gpus import find_gpu
from controller.catalog.models import find_model
from controller.decide.rules import Behaviour, ReplicaRule, ServicePolicy, Targets
from controller.facts.decisions import Because, OutcomeKind
from controller.facts.fleet import Capacity, CapacityType, EngineKind, Fleet, Mode, Service, Variant
from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.facts.readings import Counter, EngineReading, Gauge, Phase
from controller.facts.slo import LatencyTarget, Slo
from controller.loop import Plan, Running, one_pass
from controller.simulate.score import RunScore
from controller.simulate.scoring import scored
from controller.simulate.shell import Seat, SimulatedShell
from controller.simulate.startup import StartUp
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100
from controller.simulate.world import World

SPEC = replace(LLAMA_70B_FP8_2XH100, token_budget=384, max_sequences=128)
INTERVAL_S, STALENESS_S = 15.0, 7.5
SEAT = Seat(service="chat", variant="h100", gpus_per_replica=2, capacity_type=CapacityType.ON_DEMAND)


@pytest.fixture(scope="module")
def plan() -> Plan:
    """One service with a latency promise, and a queue that decides until looking ahead knows enough."""
    variant = Variant(
        service="chat",
        name="h100",
        gpu=find_gpu("H100-80GB-SXM"),
        gpus_per_replica=2,
        quantization="fp8",
        kv_cache_dtype="fp8",
        engine=EngineKind.VLLM,
        capacity=(Capacity(type=CapacityType.ON_DEMAND, usd_per_gpu_hour=3.6),),
        token_budget=SPEC.token_budget,
        max_sequences=SPEC.max_sequences,
    )
    service = Service(name="chat", model=find_model("llama-3.1-70b"), variants={"h100": variant})
    policy = ServicePolicy(
        service="chat",
        source="by hand",
        slo=Slo(ttft=LatencyTarget(quantile=0.99, seconds=2.0), tpot=LatencyTarget(quantile=0.99, seconds=0.05)),
        replicas=ReplicaRule(
            min_replicas=1,
            max_replicas=6,
            targets=Targets(queue_depth=5.0),
            scale_up=Behaviour(stabilization_s=0.0),
            scale_down=Behaviour(stabilization_s=60.0),
        ),
    )
    return Plan(
        fleet=Fleet(services={"chat": service}),
        policies={"chat": policy},
        mode=Mode.ACT,
        interval_s=INTERVAL_S,
        rate_window_s=60.0,
    )


WAVE = ((0.0, 300.0, 2.0), (300.0, 720.0, 12.0), (720.0, 1500.0, 2.0))
"""From, to, requests/s: about half of what one replica carries, more than two carry, and half of one again."""


def wave(bench: Any, seed: int = 0) -> World:
    """25 minutes with start-ups of 60 s and more."""
    random = np.random.default_rng(11)
    arrivals = [np.sort(random.uniform(begin, end, round((end - begin) * rate))) for begin, end, rate in WAVE]
    rows = [
        (at_s, int(random.integers(200, 2500)), int(random.integers(20, 220)), 0)
        for at_s in np.concatenate(arrivals).tolist()
    ]
    made: World = bench.world(rows, 1500.0, seed=seed, spec=SPEC, start_up=StartUp.around(80.0))
    return made


def play(world: World, plan: Plan) -> tuple[list[PassResult], RunScore]:
    """Every pass of the run, and its score."""
    ticks = count()
    shell = SimulatedShell(world, SEAT, elapsed_s=lambda: float(next(ticks)))
    running, results = Running(), []
    while world.now_s < world.end_s:
        began_s = world.now_s
        result, running = one_pass(shell, plan, running, shell.now)
        results.append(result)
        world.advance(began_s + STALENESS_S)
        shell.settle()
        world.advance(began_s + INTERVAL_S)
    world.close()
    return results, scored(world, "ours", 0)


@pytest.fixture(scope="module")
def runs(bench: Any, plan: Plan) -> list[tuple[list[PassResult], RunScore]]:
    """The wave with seeds 0, 0 again, and 1."""
    return [play(wave(bench, seed), plan) for seed in (0, 0, 1)]


def test_a_wave_is_seen_followed_and_let_go(runs: Any) -> None:
    results, score = runs[0]
    assert len(results) == 100
    assert all(result.problems == () for result in results)
    assert score.requests == score.finished
    assert score.series.ready.max() > 1
    assert score.series.current[-1] < score.series.current.max()
    moved = [decision for result in results for decision in result.decisions if not decision.holds]
    assert [(one.before, one.after) for one in score.moves] == [(one.current, one.desired) for one in moved]
    assert all(move.reason == f"{one.because}: {one.detail}" for move, one in zip(score.moves, moved, strict=True))
    assert {outcome.kind for result in results for outcome in result.outcomes} == {OutcomeKind.DONE}


def test_a_decision_takes_effect_after_the_staleness(runs: Any) -> None:
    results, score = runs[0]
    moving = [any(not one.holds for one in result.decisions) for result in results]
    decided_s = [index * INTERVAL_S for index, moves in enumerate(moving) if moves]
    assert [move.at_s for move in score.moves] == pytest.approx([at_s + STALENESS_S for at_s in decided_s])


def test_the_same_seed_gives_the_same_run_and_another_seed_other_start_ups(runs: Any) -> None:
    (first, one), (again, same), (_, other) = runs
    assert [result.decisions for result in first] == [result.decisions for result in again]
    assert (one.usd, one.within_slo, one.moves) == (same.usd, same.within_slo, same.moves)
    assert (one.series.waiting == same.series.waiting).all()
    assert (other.series.ready != one.series.ready).any()


def test_what_it_observes_is_the_fleet_as_it_is(bench: Any) -> None:
    world = bench.world([(0.5 * number, 500, 100, 0) for number in range(100)], 60.0, spec=SPEC, initial_replicas=2)
    shell = SimulatedShell(world, SEAT, elapsed_s=lambda: 0.0)
    shell.observe(shell.now)
    world.advance(15.0)
    world.order(1, "one more")
    world.dismiss(["r1"], "one fewer")
    seen = shell.observe(shell.now)
    phases = {state.replica: state.phase for state in known(seen.replicas["chat", "h100"])}
    assert phases == {"r1": Phase.DRAINING, "r2": Phase.READY, "r3": Phase.STARTING}
    assert seen.engines["http://r3.simulated"] == Missing("metrics", "the replica is starting")
    reading = seen.engines["http://r2.simulated"]
    assert isinstance(reading, EngineReading)
    assert reading.window_s == 15.0
    assert reading.gauge(Gauge.RUNNING) == world.fleet.level("r2").running
    counted = [seen.engines[f"http://{name}.simulated"] for name in ("r1", "r2")]
    assert sum(one.counters[Counter.OUTPUT_TOKENS] for one in counted if isinstance(one, EngineReading)) == sum(
        world.fleet.tally(name).generation_tokens for name in ("r1", "r2")
    )
    assert isinstance(seen.gpus["chat", "h100"], Missing)
    assert shell.now == seen.at
    since = {state.replica: state.since for state in known(seen.replicas["chat", "h100"])}
    assert since["r3"] - since["r2"] == timedelta(seconds=15)


def known(states: Any) -> Any:
    assert not isinstance(states, Missing)
    return states


def test_what_it_costs_is_what_the_world_bills(bench: Any) -> None:
    shell = SimulatedShell(bench.world([], 60.0), SEAT, elapsed_s=lambda: 0.0)
    (price,) = shell.prices(shell.now).values()
    assert not isinstance(price, Missing)
    assert price.usd_per_gpu_hour == pytest.approx(7.2 / 2)


def test_victims_that_went_by_themselves_are_not_dismissed_again(bench: Any, plan: Plan) -> None:
    world = wave(bench)
    shell = SimulatedShell(world, SEAT, elapsed_s=lambda: 0.0)
    result, _ = one_pass(shell, plan, Running(), shell.now)
    world.order(2, "by hand")
    world.advance(200.0)
    decision = replace(result.decisions[0], current=3, desired=1, because=Because.LIMIT, victims=("r2", "r3"))
    shell.act(decision, shell.now)
    world.dismiss(["r2"], "by somebody else")
    shell.settle()
    assert [one.name for one in world.alive] == ["r1"]
    assert [(before, after) for _, before, after, _ in world.tape.moves] == [(1, 3), (3, 2), (2, 1)]


def test_a_service_at_zero_is_woken_by_what_waits_at_the_router(bench: Any, plan: Plan) -> None:
    chat = plan.policies["chat"]
    to_zero = replace(plan, policies={"chat": replace(chat, replicas=replace(chat.replicas, min_replicas=0))})
    rows = [(float(at_s), 400, 40, 0) for at_s in (*range(240), *range(1500, 2100))]
    world = bench.world(rows, 2100.0, spec=SPEC, start_up=StartUp.fixed(30.0))
    results, score = play(world, to_zero)
    ready = score.series.ready.tolist()
    assert min(ready) == 0
    assert ready[-1] > 0
    woken = next(one for result in results for one in result.decisions if one.signal == "gateway_waiting")
    assert (woken.current, woken.desired) == (0, 1)
    assert score.dropped == 0
