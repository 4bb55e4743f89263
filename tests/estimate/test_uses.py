"""What every replica did and cost between two passes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.estimate.uses import replica_uses
from controller.estimate.windows import history_after
from controller.facts.fleet import Capacity, CapacityType
from controller.facts.missing import Missing
from controller.facts.prices import Price
from controller.facts.readings import Counter, Distribution, Phase, ReplicaState

RESERVED, ON_DEMAND, SPOT = CapacityType.RESERVED, CapacityType.ON_DEMAND, CapacityType.SPOT


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=8))
def test_costs_of_touching_intervals_add_up_to_the_nanodollar(world, steps_us) -> None:
    capacity = (Capacity(type=RESERVED, replicas=2), Capacity(type=ON_DEMAND))
    fleet = world.fleet(world.variant(*capacity))
    prices = world.prices({RESERVED: 1.234567891, ON_DEMAND: 6.88})
    observation = world.observation(world.busy())
    got = world.estimate(observation, fleet=fleet, prices=prices)

    def cost(start, end) -> int:
        uses = replica_uses(observation, got, start, end)
        assert {use.replica for use in uses} == {"r0", ""}
        return sum(use.cost_nanousd for use in uses)

    at, total = world.noon, 0
    for step in steps_us:
        then, at = at, at + timedelta(microseconds=step)
        total += cost(then, at)
    assert total == cost(world.noon, at)


def test_a_use_holds_this_passs_counts_and_not_the_windows(world) -> None:
    readings = [world.busy(age_s=15), world.busy()]
    observation = world.observation(readings[1], gpus=[world.gpu()])
    got = world.estimate(observation, history={readings[1].target.url: readings})
    (use,) = replica_uses(observation, got, world.noon - timedelta(seconds=15), world.noon)
    assert use.counts[Counter.OUTPUT_TOKENS] == 15_000.0
    assert (use.running, use.queue_depth, use.energy_j, use.missing, use.gpus) == (8.0, 2.0, 7500.0, "", 2)
    assert use.cost_nanousd == pytest.approx(8_000_000_000 * 15 / 3600, abs=1)


def test_a_use_of_an_unread_replica_without_a_price_says_so(world) -> None:
    target = world.target("r0")
    observation = replace(world.observation(targets=[target]), engines={target.url: Missing("engine", "refused")})
    got = world.estimate(observation, prices={})
    (use,) = replica_uses(observation, got, world.noon - timedelta(seconds=15), world.noon)
    assert (use.missing, use.cost_nanousd, use.running, dict(use.counts)) == ("refused", None, None, {})
    assert use.energy_j is None


def test_a_use_has_four_costs_its_node_and_what_the_engine_says_of_phases(world) -> None:
    phases = {
        Distribution.PREFILL_TIME_S: world.histogram((1.0, inf), (60, 0), 12.5),
        Distribution.DECODE_TIME_S: world.histogram((1.0, inf), (60, 0), 110.0),
    }
    observation = world.observation(world.reading(world.target(node="n7", capacity_type="spot"), histograms=phases))
    spot = Price(
        usd_per_gpu_hour=1.0,
        capacity_type=SPOT,
        source="test",
        list_usd_per_gpu_hour=4.0,
        contracted_usd_per_gpu_hour=3.6,
        billed_usd_per_gpu_hour=0.0,
    )
    fleet = world.fleet(world.variant(Capacity(type=SPOT)))
    got = world.estimate(observation, fleet=fleet, prices={("chat", "h100", SPOT): spot})
    (use,) = replica_uses(observation, got, world.noon - timedelta(hours=1), world.noon)
    costs = (use.list_nanousd, use.contracted_nanousd, use.cost_nanousd, use.billed_nanousd)
    assert costs == (8_000_000_000, 7_200_000_000, 2_000_000_000, 0)
    assert (use.node, use.prefill_s, use.decode_s) == ("n7", 12.5, 110.0)


def test_the_list_price_of_spot_capacity_is_not_its_own(world) -> None:
    observation = world.observation(world.busy(world.target(capacity_type="spot")))
    fleet = world.fleet(world.variant(Capacity(type=SPOT)))
    (use,) = replica_uses(
        observation, world.estimate(observation, fleet=fleet), world.noon - timedelta(hours=1), world.noon
    )
    assert (use.list_nanousd, use.contracted_nanousd, use.billed_nanousd) == (None, use.cost_nanousd, use.cost_nanousd)
    assert (use.prefill_s, use.decode_s) == (None, None), "this engine does not say"


def test_a_replica_that_was_lost_is_paid_as_it_was_bought(world) -> None:
    """Discovery does not name it any more; the actuator says once that it failed."""
    target = world.target("r0", capacity_type="spot")
    history = history_after({}, world.observation(world.busy(target, age_s=15)), 60.0)
    failed = ReplicaState(replica="r0", variant="h100", phase=Phase.FAILED, since=world.noon, url=target.url)
    lost = world.observation(targets=(), states=[failed])
    history = history_after(history, lost, 60.0)
    fleet = world.fleet(world.variant(Capacity(type=ON_DEMAND, replicas=4), Capacity(type=SPOT)))
    (cost,) = world.estimate(lost, fleet=fleet, history=history).costs
    assert (cost.replica, cost.capacity_type, cost.usd_per_hour) == ("r0", SPOT, 2.0)
    gone = history_after(history, world.observation(targets=(), states=[]), 60.0)
    assert gone == {}


def test_the_first_pass_accounts_for_nothing(world) -> None:
    observation = world.observation(world.busy())
    got = world.estimate(observation)
    assert replica_uses(observation, got, None, world.noon) == ()
