"""What a pass is told of the instances of a group, and what routers are."""

from __future__ import annotations

from datetime import datetime

from controller.act.aws_asg.life import Keeper
from controller.act.aws_asg.roll import Placeholder, Roll
from controller.aws.groups import Instance
from controller.facts.actuators import AwsAsgOptions
from controller.facts.fleet import CapacityType, Variant
from controller.facts.interruptions import Stuck
from controller.facts.readings import Phase, ReplicaState


def alive(keeper: Keeper, variant: Variant, one: Instance, failed: bool) -> ReplicaState:
    ready, started = keeper.ready_since(one), keeper.started_at(one)
    if failed:
        phase, since = Phase.FAILED, keeper.now
        detail = f"not healthy within {keeper.options.start_timeout_s:g} s ({one.state})"
    elif ready is not None:
        phase, since, detail = Phase.READY, ready, ""
    else:
        phase, since, detail = Phase.STARTING, started, one.state
    return _state(keeper, variant, one, phase, since, detail)


def leaving(keeper: Keeper, variant: Variant, one: Instance, roll: Roll) -> ReplicaState:
    since = keeper.now if one in roll.unwanted else keeper.going_since(one)
    return _state(keeper, variant, one, Phase.DRAINING, since, roll.leaving[one.id])


def _state(keeper: Keeper, variant: Variant, one: Instance, phase: Phase, since: datetime, detail: str) -> ReplicaState:
    return ReplicaState(
        replica=one.id,
        variant=variant.name,
        phase=phase,
        since=since,
        url=keeper.url(one),
        detail=detail,
        unused_until=_unused_until(keeper, one, phase, since),
        capacity_type=bought(one, keeper.options),
        node=one.id,
        domain=f"{one.zone}/{one.kind}",
        notice=keeper.notices.get(one.id),
    )


def _unused_until(keeper: Keeper, one: Instance, phase: Phase, since: datetime) -> datetime | None:
    """Of one that was ready when we first saw it, nobody knows whom it served before."""
    if phase is Phase.STARTING:
        return keeper.now
    return since if phase is Phase.READY and one.id in keeper.memo.cold else None


def missing(variant: Variant, one: Placeholder, why: Stuck | None) -> ReplicaState:
    return ReplicaState(
        replica=one.name,
        variant=variant.name,
        phase=Phase.STARTING,
        since=one.since,
        detail=why.detail if why else "not launched yet",
        stuck=why,
    )


def bought(one: Instance, options: AwsAsgOptions) -> CapacityType | None:
    """By its life cycle. EC2 does not tell which instances a saving plan or a reserved instance pays for."""
    if one.market == "spot":
        return CapacityType.SPOT
    if one.market == "capacity-block" or one.reservation:
        return CapacityType.RESERVED
    return None if options.reserved or not one.market else CapacityType.ON_DEMAND


def labels(variant: Variant, state: ReplicaState) -> dict[str, str]:
    zone, _, kind = state.domain.partition("/")
    labels = {
        "service": variant.service,
        "variant": variant.name,
        "replica": state.replica,
        "phase": str(state.phase),
        "node": state.node,
        "zone": zone,
        "instance_type": kind,
    }
    return labels | ({"capacity_type": str(state.capacity_type)} if state.capacity_type else {})
