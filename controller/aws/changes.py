"""The calls that change an Auto Scaling group or its instances. Each may be made twice, but the one that says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.aws.clients import IN_A_PASS, ONCE, Aws, Client, Patience, asked
from controller.aws.groups import Group, Instance
from controller.errors import HeldError

MOST_PROTECTED = 50
"""Instances of one call of SetInstanceProtection, at most.
https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetInstanceProtection.html"""

MOST_TAGGED = 500
"""Instances of one call of CreateTags. A guess: well below EC2's limit of 1,000 resources."""

CONTENDED = frozenset({"ScalingActivityInProgress", "ResourceContention"})
"""The group is busy with something else: read again, and try again a little later."""


class Changing(Protocol):
    """Gives a client for the one call that follows."""

    def client(self, service: str, region: str = "", patience: Patience = IN_A_PASS) -> Client: ...


@dataclass(frozen=True, slots=True)
class Touch:
    """Clients while ``may`` says so: it is asked before every call. Else they raise HeldError."""

    aws: Aws
    may: Callable[[], bool]

    def client(self, service: str, region: str = "", patience: Patience = IN_A_PASS) -> Client:
        if not self.may():
            raise HeldError
        return self.aws.client(service, region, patience)


def set_desired(aws: Changing, group: Group, desired: int) -> None:
    """Without honouring a cooldown: when to grow was decided already. Raises AwsError."""
    call = aws.client("autoscaling", group.region).set_desired_capacity
    asked(call, AutoScalingGroupName=group.name, DesiredCapacity=desired, HonorCooldown=False)


def terminate(aws: Changing, group: Group, instance: str, *, decrement: bool) -> None:
    """End ``instance``; with ``decrement`` the group is to have one less, or else it launches another. Not to be made
    twice: it is asked without retries, and after no answer the group is read first. Raises AwsError."""
    call = aws.client("autoscaling", group.region, ONCE).terminate_instance_in_auto_scaling_group
    asked(call, InstanceId=instance, ShouldDecrementDesiredCapacity=decrement)


def protect(aws: Changing, group: Group, instances: Sequence[str], *, protected: bool) -> None:
    """Raises AwsError."""
    for start in range(0, len(instances), MOST_PROTECTED):
        call = aws.client("autoscaling", group.region).set_instance_protection
        some = list(instances[start : start + MOST_PROTECTED])
        asked(call, InstanceIds=some, AutoScalingGroupName=group.name, ProtectedFromScaleIn=protected)


def tag_group(aws: Changing, group: Group, tags: Mapping[str, str]) -> None:
    """Not handed on to instances. Raises AwsError."""
    call = aws.client("autoscaling", group.region).create_or_update_tags
    of = {"ResourceId": group.name, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
    asked(call, Tags=[{**of, "Key": key, "Value": value} for key, value in tags.items()])


def tag_instances(aws: Changing, group: Group, instances: Sequence[str], tags: Mapping[str, str]) -> None:
    """Raises AwsError."""
    for start in range(0, len(instances), MOST_TAGGED):
        call = aws.client("ec2", group.region).create_tags
        some = list(instances[start : start + MOST_TAGGED])
        asked(call, Resources=some, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])


def complete(aws: Changing, group: Group, hook: str, instance: Instance, *, go_on: bool) -> None:
    """End the wait of ``instance`` for ``hook``: into service or away with CONTINUE, or given up. Raises AwsError."""
    call = aws.client("autoscaling", group.region).complete_lifecycle_action
    result = "CONTINUE" if go_on else "ABANDON"
    asked(
        call,
        LifecycleHookName=hook,
        AutoScalingGroupName=group.name,
        InstanceId=instance.id,
        LifecycleActionResult=result,
    )


def heartbeat(aws: Changing, group: Group, hook: str, instance: Instance) -> None:
    """Let ``hook`` wait on. Raises AwsError."""
    call = aws.client("autoscaling", group.region).record_lifecycle_action_heartbeat
    asked(call, LifecycleHookName=hook, AutoScalingGroupName=group.name, InstanceId=instance.id)
