"""The pass sees lost replicas, orders that wait and several variants as a real fleet would show them, and its decisions
reach the variant that they are about."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.readings import Observation, Phase
from controller.simulate.buying import Kind, Lot
from controller.simulate.failures import Failures
from controller.simulate.shell import EPOCH, Seat, SimulatedShell
from controller.simulate.spot import SpotMarket
from controller.simulate.startup import StartUp
from controller.simulate.world import World

SEAT = Seat(service="chat", variant="h100", gpus_per_replica=2, capacity_type=CapacityType.ON_DEMAND)


@pytest.fixture
def kinds(bench: Any) -> tuple[Kind, ...]:
    """h100 on spot, then l4 reserved and on demand."""
    spot = Lot(type=CapacityType.SPOT, usd_per_replica_hour=4.0)
    reserved = Lot(type=CapacityType.RESERVED, usd_per_replica_hour=1.0, replicas=1)
    demand = Lot(type=CapacityType.ON_DEMAND, usd_per_replica_hour=2.0)
    one = Kind(name="h100", spec=bench.CLOCKWORK, start_up=StartUp.fixed(60.0), lots=(spot,), gpus_per_replica=2)
    return one, replace(one, name="l4", lots=(reserved, demand), gpus_per_replica=1)


def market(*runs: tuple[float, float]) -> SpotMarket:
    return SpotMarket(start_s=0.0, end_s=900.0, up={"a": np.array(runs)}, notice_s=100.0)


def shell_of(world: World) -> SimulatedShell:
    return SimulatedShell(world, SEAT, elapsed_s=lambda: 0.0)


def phases(seen: Observation, variant: str = "h100") -> dict[str, Phase]:
    states = seen.replicas["chat", variant]
    assert not isinstance(states, Missing)
    return {state.replica: state.phase for state in states}


def details(seen: Observation) -> list[str]:
    return [state.detail for states in seen.replicas.values() if not isinstance(states, Missing) for state in states]


def test_a_warned_replica_drains_with_its_notice_then_is_gone(bench: Any, kinds: tuple[Kind, ...]) -> None:
    rows = [(150.0, 10, 20_000, 0)]  # 200 s: still busy at the deadline
    world = bench.world(rows, 600.0, kinds=kinds, spot=market((0.0, 300.0)))
    shell, told = shell_of(world), []
    for at_s in (190.0, 210.0, 225.0, 310.0):
        world.advance(at_s)
        told.append(phases(shell.observe(shell.now)))
    assert told == [{"r1": Phase.READY}, {"r1": Phase.DRAINING}, {"r1": Phase.DRAINING}, {}]


def test_a_crash_is_told_once_and_its_reason_with_it(bench: Any) -> None:
    world = bench.world([], 9000.0, seed=1, failures=Failures(mean_s=100.0))
    shell = shell_of(world)
    while not world.losses:
        world.advance(world.now_s + 15.0)
    seen, after = shell.observe(shell.now), shell.observe(shell.now)
    assert (phases(seen), phases(after)) == ({"r1": Phase.FAILED}, {})
    assert details(seen) == ["crashed"]
    assert seen.targets == ()


def test_what_was_dismissed_before_it_was_lost_has_not_failed(bench: Any) -> None:
    world = bench.world([(0.0, 10, 30_000, 0)], 9000.0, seed=1, failures=Failures(mean_s=100.0))
    shell = shell_of(world)
    world.advance(1.0)
    world.dismiss(["r1"], "no longer wanted")
    while not world.losses:
        world.advance(world.now_s + 15.0)
    assert phases(shell.observe(shell.now)) == {}


def test_a_start_that_fails_is_seen_starting_and_then_failed(bench: Any) -> None:
    world = bench.world([], 600.0, initial_replicas=0, failures=Failures(failed_start_ratio=1.0))
    shell = shell_of(world)
    world.order(1, "one")
    world.advance(59.0)
    seen = shell.observe(shell.now)
    assert phases(seen) == {"r1": Phase.STARTING}
    assert seen.engines["http://r1.simulated"] == Missing("metrics", "the replica is starting")
    world.advance(75.0)
    assert details(shell.observe(shell.now)) == ["failed to start"]


def test_an_order_that_waits_for_capacity_is_starting_since_it_was_placed(bench: Any, kinds: tuple[Kind, ...]) -> None:
    world = bench.world([], 600.0, kinds=kinds, spot=market((300.0, 900.0)), initial_replicas=0)
    shell = shell_of(world)
    world.advance(15.0)
    world.order(1, "one", "h100")
    for at_s, phase in ((30.0, Phase.STARTING), (330.0, Phase.STARTING), (375.0, Phase.READY)):
        world.advance(at_s)
        seen = shell.observe(shell.now)
        (state,) = seen.replicas["chat", "h100"]
        assert state.phase is phase
        ready = timedelta(seconds=360.0)
        assert state.since - EPOCH == (ready if phase is Phase.READY else timedelta(seconds=15.0))
    assert [target.replica for target in seen.targets] == ["r1"]


def test_every_variant_has_its_prices_and_every_replica_says_how_it_was_bought(
    bench: Any, kinds: tuple[Kind, ...]
) -> None:
    world = bench.world([], 600.0, kinds=kinds, spot=market((0.0, 900.0)))
    world.order(2, "two", "l4")
    shell = shell_of(world)
    prices = {key[1:]: price for key, price in shell.prices(shell.now).items()}
    assert {key: getattr(price, "usd_per_gpu_hour", None) for key, price in prices.items()} == {
        ("h100", CapacityType.SPOT): 2.0,
        ("l4", CapacityType.RESERVED): 1.0,
        ("l4", CapacityType.ON_DEMAND): 2.0,
    }
    seen = shell.observe(shell.now)
    assert [(one.variant, one.labels["capacity_type"]) for one in seen.targets] == [
        ("h100", "spot"),
        ("l4", "reserved"),
        ("l4", "on_demand"),
    ]
    assert set(phases(seen)) == {"r1"}
    assert set(phases(seen, "l4")) == {"r2", "r3"}
