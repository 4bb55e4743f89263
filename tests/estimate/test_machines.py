"""A price is that of the machine a replica lies on, or it is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.estimate.costs import replica_costs
from controller.estimate.seats import seats_of
from controller.facts.fleet import Capacity, CapacityType
from controller.facts.missing import Missing
from controller.facts.readings import Phase, ReplicaState

ON_DEMAND, SPOT = CapacityType.ON_DEMAND, CapacityType.SPOT
OFFER = "aws/us-east-1/p5.48xlarge"


def cost(world, capacity, state=None, **labels):
    fleet = world.fleet(world.variant(*capacity))
    observation = world.observation(world.reading(world.target(**labels)))
    if state is not None:
        observation = replace(observation, targets=(), replicas={("chat", "h100"): (state,)})
    (found,) = replica_costs(fleet, seats_of(fleet, observation, {}), world.prices())
    return found


BOTH = (Capacity(type=ON_DEMAND, offer=OFFER), Capacity(type=SPOT, offer=OFFER))


@pytest.mark.parametrize(
    ("labels", "usd"),
    [
        ({"capacity_type": "spot", "instance_type": "p5.48xlarge", "offer": OFFER}, 2.0),
        ({"capacity_type": "on_demand", "instance_type": "p5.48xlarge", "offer": OFFER}, 8.0),
        ({"capacity_type": "spot", "instance_type": "p5.48xlarge", "offer": ""}, 2.0),
        ({"capacity_type": "spot"}, 2.0),
    ],
)
def test_the_node_says_how_a_replica_is_paid(world, labels, usd) -> None:
    assert cost(world, BOTH, **labels).usd_per_hour == usd


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            {"capacity_type": "spot", "instance_type": "p4d.24xlarge", "offer": "aws/us-east-1/p4d.24xlarge"},
            f"it runs on aws/us-east-1/p4d.24xlarge, and the fleet file prices {OFFER}",
        ),
        (
            {"capacity_type": "spot", "instance_type": "p5.48xlarge", "offer": "aws/us-west-2/p5.48xlarge"},
            "it runs on aws/us-west-2/p5.48xlarge",
        ),
        ({"capacity_type": "spot", "instance_type": "", "offer": ""}, "its node does not say which machine it is"),
    ],
)
def test_a_machine_that_is_not_priced_has_no_price(world, labels, said) -> None:
    found = cost(world, BOTH, **labels)
    assert isinstance(found.usd_per_hour, Missing)
    assert said in found.usd_per_hour.why
    assert found.rates.effective is None


def test_a_price_of_ones_own_holds_for_whatever_machine(world) -> None:
    own = (Capacity(type=SPOT, offer=OFFER, usd_per_gpu_hour=1.0),)
    assert cost(world, own, capacity_type="spot", instance_type="p4d.24xlarge", offer="").usd_per_hour == 2.0


def test_a_replica_that_starts_is_paid_as_its_actuator_says(world) -> None:
    state = ReplicaState(
        replica="r1", variant="h100", phase=Phase.STARTING, since=world.noon, capacity_type=SPOT, node="node-7"
    )
    found = cost(world, BOTH, state)
    assert (found.capacity_type, found.node, found.usd_per_hour) == (SPOT, "node-7", 2.0)
