"""GPUs of whole nodes that nobody uses are paid for, and are somebody's."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.estimate.costs import replica_costs
from controller.estimate.stranded import stranded_gpus
from controller.estimate.uses import replica_uses
from controller.facts.accounts import STRANDED
from controller.facts.estimates import ReplicaCost
from controller.facts.fleet import Capacity, CapacityType
from controller.facts.money import accrued_nanousd

RESERVED, ON_DEMAND = CapacityType.RESERVED, CapacityType.ON_DEMAND
NODES = Capacity(type=ON_DEMAND, offer="aws/us-east-1/p5.48xlarge", node_gpus=8)


def left_over(fleet, *used):
    """Stranded GPUs by variant; ``used``: (variant, GPUs, node) of each replica."""
    costs = [
        ReplicaCost(
            service="chat",
            variant=name,
            replica=f"r{at}",
            capacity_type=ON_DEMAND,
            usd_per_hour=1.0,
            gpus=gpus,
            node=on,
        )
        for at, (name, gpus, on) in enumerate(used)
    ]
    return {one.variant.name: one.gpus for one in stranded_gpus(fleet, costs)}


@pytest.mark.parametrize(
    ("used", "stranded"),
    [
        ([("big", 2, "")], {"big": 6}),
        ([("big", 2, "")] * 4, {}),
        ([("big", 2, "")] * 5, {"big": 6}),
        ([("big", 2, ""), ("small", 1, "")], {"big": 3, "small": 2}),
        ([("big", 2, ""), *[("small", 1, "")] * 6], {}),
        ([("big", 2, "a"), ("big", 2, "b")], {"big": 12}),
        ([("big", 2, "a"), ("big", 2, "")], {"big": 4}),
        ([("big", 2, "a"), *[("big", 2, "")] * 4], {"big": 6}),
        ([*[("big", 2, "a")] * 5, ("big", 2, "b")], {"big": 6}),
        ([("alone", 2, "")], {"alone": 2}),
        ([("by_gpu", 2, "")], {}),
        ([], {}),
    ],
)
def test_left_over_is_what_whole_nodes_have_beyond_what_is_used(world, used, stranded) -> None:
    own = Capacity(type=ON_DEMAND, usd_per_gpu_hour=2.0, node_gpus=4)
    fleet = world.fleet(
        world.variant(NODES, name="big"),
        world.variant(NODES, name="small", gpus_per_replica=1),
        world.variant(own, name="alone"),
        world.variant(Capacity(type=ON_DEMAND), name="by_gpu"),
    )
    assert left_over(fleet, *used) == stranded


@given(st.lists(st.integers(0, 40), min_size=3, max_size=3), st.sampled_from([4, 8, 16]))
def test_what_is_used_and_what_is_stranded_are_whole_nodes(world, counts, node_gpus) -> None:
    capacity = replace(NODES, node_gpus=node_gpus)
    sizes = {"one": 1, "two": 2, "four": 4}
    fleet = world.fleet(*(world.variant(capacity, name=name, gpus_per_replica=gpus) for name, gpus in sizes.items()))
    used = [(name, gpus, "") for (name, gpus), count in zip(sizes.items(), counts, strict=True) for _ in range(count)]
    stranded = left_over(fleet, *used)
    assert (sum(gpus for _, gpus, _ in used) + sum(stranded.values())) % node_gpus == 0
    assert sum(stranded.values()) < node_gpus


def test_stranded_gpus_are_paid_at_their_variants_price_and_never_take_a_replicas_place(world) -> None:
    fleet = world.fleet(world.variant(NODES))
    observation = world.observation(world.busy())
    got = world.estimate(observation, fleet=fleet)
    assert got.services["chat"].usd_per_hour == pytest.approx(8 * 4.0), "the node is what the service costs"
    assert got.services["chat"].replicas_current == 1
    start, end = world.noon - timedelta(seconds=15), world.noon
    uses = {one.replica: one for one in replica_uses(observation, got, start, end)}
    stranded = uses[STRANDED]
    assert (stranded.gpus, stranded.capacity_type) == (6, ON_DEMAND)
    assert stranded.cost_nanousd == accrued_nanousd(24_000_000_000, start, end)
    assert (stranded.counts, stranded.missing) == ({}, "no replica uses these GPUs of its nodes")


def test_places_that_are_committed_and_unused_take_room_on_the_nodes_too(world) -> None:
    fleet = world.fleet(world.variant(Capacity(type=RESERVED, replicas=3, offer="a/b/c", node_gpus=8)))
    costs = replica_costs(fleet, (), world.prices())
    assert [(one.replica, one.gpus) for one in costs] == [("", 2), ("", 2), ("", 2), (STRANDED, 2)]


def test_without_a_price_stranded_gpus_cost_what_nobody_knows_and_are_told_once(world) -> None:
    fleet = world.fleet(world.variant(NODES))
    observation = world.observation(world.busy())
    got = world.estimate(observation, fleet=fleet, prices={})
    uses = replica_uses(observation, got, world.noon - timedelta(seconds=15), world.noon)
    assert [one.cost_nanousd for one in uses] == [None, None]
    (told,) = (one for one in got.findings if one.kind == "price_unknown")
    assert told.numbers == {"replicas": 1.0}
