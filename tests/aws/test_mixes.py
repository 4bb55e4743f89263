"""What a group's MixedInstancesPolicy buys, beside what the fleet file prices."""

from __future__ import annotations

import pytest

from controller.aws.groups import Group, Mix
from controller.aws.mixes import differences
from controller.facts.fleet import Capacity, CapacityType

ON_DEMAND, SPOT = Capacity(type=CapacityType.ON_DEMAND), Capacity(type=CapacityType.SPOT)


def group(mix: Mix | None) -> Group:
    return Group(name="chat", region="us-east-1", minimum=0, maximum=8, desired=2, instances=(), mix=mix)


def mix(base: int, above_percent: int, *kinds: str) -> Mix:
    return Mix(kinds=kinds, base=base, above_percent=above_percent)


@pytest.mark.parametrize(
    ("policy", "capacity"),
    [
        (None, [SPOT]),
        (mix(0, 0), []),
        (mix(0, 100), [ON_DEMAND]),
        (mix(8, 0), [ON_DEMAND]),
        (mix(2, 50), [ON_DEMAND, SPOT]),
        (mix(2, 50), [Capacity(type=CapacityType.RESERVED), SPOT]),
        (mix(0, 0), [SPOT]),
    ],
)
def test_a_group_that_buys_what_is_priced_differs_in_nothing(policy, capacity):
    assert differences(group(policy), capacity) == ()


@pytest.mark.parametrize("policy", [mix(0, 100), mix(8, 0)])
def test_spot_that_the_policy_never_gives_is_told_with_its_numbers_and_what_to_change(policy):
    (told,) = differences(group(policy), [ON_DEMAND, SPOT])
    assert f"{policy.base} on demand, then {policy.above_percent} % on demand; of any; MaxSize 8" in told
    assert "what is decided for spot comes on demand" in told
    assert "set OnDemandPercentageAboveBaseCapacity below 100 and OnDemandBaseCapacity below MaxSize" in told


def test_spot_that_nobody_asked_for_is_told():
    (told,) = differences(group(mix(2, 25)), [ON_DEMAND])
    assert "gives spot for 75 % of all above 2, and `capacity` names none" in told


def test_on_demand_beside_spot_alone_is_told():
    (told,) = differences(group(mix(1, 0)), [SPOT])
    assert "gives 1 on demand and 0 % of all above, and `capacity` names spot alone" in told


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (("p5.48xlarge", "p5e.48xlarge"), 0),
        (("g5.xlarge", "g6.xlarge"), 1),
        (("g5.xlarge", "by requirements"), 0),
        ((), 0),
    ],
)
def test_a_price_of_a_type_that_is_never_launched_is_told(kinds, told):
    priced = Capacity(type=CapacityType.ON_DEMAND, offer="aws/us-east-1/p5.48xlarge")
    found = differences(group(mix(0, 100, *kinds)), [priced])
    assert len(found) == told
    assert all(
        "priced by p5.48xlarge, and the overrides of chat launch g5.xlarge, g6.xlarge alone" in one for one in found
    )
