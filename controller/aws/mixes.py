"""Whether a group buys what its variant is priced by: its MixedInstancesPolicy decides, whatever was decided here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controller.aws.groups import BY_REQUIREMENTS, Group, Mix
from controller.facts.fleet import Capacity, CapacityType


def differences(group: Group, capacity: Sequence[Capacity]) -> tuple[str, ...]:
    """What the group buys and ``capacity`` does not name, and the other way round; each with what to change. None
    without a policy: then the launch template decides, which is not read; nor where no capacity is named."""
    if group.mix is None or not capacity:
        return ()
    return (*_markets(group, group.mix, capacity), *_kinds(group, group.mix, capacity))


def _markets(group: Group, mix: Mix, capacity: Sequence[Capacity]) -> Iterator[str]:
    policy = f"the MixedInstancesPolicy of {group.name} ({mix}; MaxSize {group.maximum})"
    spot = any(one.type is CapacityType.SPOT for one in capacity)
    gives_spot = mix.above_percent < 100 and mix.base < group.maximum
    if spot and not gives_spot:
        yield (
            f"spot is named in `capacity`, and {policy} gives none: what is decided for spot comes on demand; set "
            "OnDemandPercentageAboveBaseCapacity below 100 and OnDemandBaseCapacity below MaxSize, or take spot out"
        )
    if gives_spot and not spot:
        yield (
            f"{policy} gives spot for {100 - mix.above_percent} % of all above {mix.base}, and `capacity` names none, "
            "so no rule for spot applies; add it there, or set OnDemandPercentageAboveBaseCapacity to 100"
        )
    alone = all(one.type is CapacityType.SPOT for one in capacity)
    if alone and gives_spot and (mix.base or mix.above_percent):
        yield (
            f"{policy} gives {mix.base} on demand and {mix.above_percent} % of all above, and `capacity` names spot "
            "alone; set both OnDemandBaseCapacity and OnDemandPercentageAboveBaseCapacity to 0, or add on_demand there"
        )


def _kinds(group: Group, mix: Mix, capacity: Sequence[Capacity]) -> Iterator[str]:
    priced = {one.offer.rpartition("/")[2] for one in capacity if one.offer}
    strange = sorted(priced - set(mix.kinds))
    if strange and mix.kinds and BY_REQUIREMENTS not in mix.kinds:
        yield (
            f"`capacity` is priced by {', '.join(strange)}, and the overrides of {group.name} launch "
            f"{', '.join(mix.kinds)} alone; name an offer of one of them, or add it to the overrides"
        )
