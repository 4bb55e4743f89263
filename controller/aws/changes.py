"""The calls that change an Auto Scaling group or its instances. Each may be made twice, but the one that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controller.aws.clients import ONCE, Aws, asked
from controller.aws.groups import Group, Instance

MOST_PROTECTED = 50
"""Instances of one call of SetInstanceProtection, at most.
https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetInstanceProtection.html"""

MOST_TAGGED = 500
"""Instances of one call of CreateTags. A guess: well below EC2's limit of 1,000 resources."""

CONTENDED = frozenset({"ScalingActivityInProgress", "ResourceContention"})
"""The group is busy with something else: read again, and try again a little later."""


def set_desired(aws: Aws, group: Group, desired: int) -> None:
    """Without honouring a cooldown: when to grow was decided already. Raises AwsError."""
    call = aws.client("autoscaling", group.region).set_desired_capacity
    asked(call, AutoScalingGroupName=group.name, DesiredCapacity=desired, HonorCooldown=False)


def terminate(aws: Aws, group: Group, instance: str, *, decrement: bool) -> None:
    """End ``instance``; with ``decrement`` the group is to have one less, or else it launches another. Not to be made
    twice: it is asked without retries, and after no answer the group is read first. Raises AwsError."""
    call = aws.client("autoscaling", group.region, ONCE).terminate_instance_in_auto_scaling_group
    asked(call, InstanceId=instance, ShouldDecrementDesiredCapacity=decrement)


def protect(aws: Aws, group: Group, instances: Sequence[str], *, protected: bool) -> None:
    """Raises AwsError."""
    call = aws.client("autoscaling", group.region).set_instance_protection
    for start in range(0, len(instances), MOST_PROTECTED):
        some = list(instances[start : start + MOST_PROTECTED])
        asked(call, InstanceIds=some, AutoScalingGroupName=group.name, ProtectedFromScaleIn=protected)


def tag_group(aws: Aws, group: Group, tags: Mapping[str, str]) -> None:
    """Not handed on to instances. Raises AwsError."""
    call = aws.client("autoscaling", group.region).create_or_update_tags
    of = {"ResourceId": group.name, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
    asked(call, Tags=[{**of, "Key": key, "Value": value} for key, value in tags.items()])


def tag_instances(aws: Aws, group: Group, instances: Sequence[str], tags: Mapping[str, str]) -> None:
    """Raises AwsError."""
    call = aws.client("ec2", group.region).create_tags
    for start in range(0, len(instances), MOST_TAGGED):
        some = list(instances[start : start + MOST_TAGGED])
        asked(call, Resources=some, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])


def complete(aws: Aws, group: Group, hook: str, instance: Instance, *, go_on: bool) -> None:
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


def heartbeat(aws: Aws, group: Group, hook: str, instance: Instance) -> None:
    """Let ``hook`` wait on. Raises AwsError."""
    call = aws.client("autoscaling", group.region).record_lifecycle_action_heartbeat
    asked(call, LifecycleHookName=hook, AutoScalingGroupName=group.name, InstanceId=instance.id)
