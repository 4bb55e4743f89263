"""Auto Scaling groups on moto's server, with what it lacks or does otherwise than AWS:

- instances that wait in a lifecycle hook (Pending:Wait, Terminating:Wait), CompleteLifecycleAction and heartbeats;
- activities, a stock that runs out, launches that fail in AWS's words, and none while the process Launch is suspended;
- SetDesiredCapacity refuses what is outside MinSize and MaxSize, SetInstanceProtection what is not in service;
- instance refreshes, which a test states;
- faults by operation: an error code of AWS, before or after the operation was carried out.

Everything goes through HTTP and real clients; what a group has is read from moto's own tables.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, autoscaling_backends
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult

from controller.aws.clients import IN_A_PASS, Aws, Client, Patience
from tests.group_engines import Engines
from tests.moto_server import moto_server

REGION = "eu-central-1"
ACCOUNT = "123456789012"

REFUSED = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>as the test said</Message></Error>"
    "<RequestId>r</RequestId></ErrorResponse>"
)

NO_STOCK = (
    "We currently do not have sufficient p5.48xlarge capacity in the Availability Zone you requested (eu-central-1a). "
    "Our system will be working on provisioning additional capacity. Launching EC2 instance failed."
)

NAMES = itertools.count(1)
"""Several worlds share a server."""


class PatientAws(Aws):
    """As many attempts as ever, of which none ends because the machine of the tests is busy."""

    def client(self, service: str, region: str = "", patience: Patience = IN_A_PASS) -> Client:
        return super().client(service, region, replace(patience, connect_s=60.0, read_s=60.0))


Options = tuple[tuple[str, Any], ...]


@cache
def _aws(options: Options) -> PatientAws:
    """One for all worlds of a process: EC2's client takes longer to make than most tests take."""
    return PatientAws(**dict(options))


@cache
def _raw(service: str, options: Options) -> Any:
    import boto3

    return boto3.client(service, region_name=REGION, **dict(options))


class World:
    """Groups, their stock, their engines, and what goes wrong."""

    def __init__(self, options: dict[str, Any], engines: Engines) -> None:
        self.options, self.engines = options, engines
        self.aws = _aws(tuple(options.items()))
        self.stock: dict[str, int] = {}
        self.words: dict[str, str] = {}
        self.activities: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.refreshes: dict[str, str] = {}
        self.beats: defaultdict[str, int] = defaultdict(int)
        self.faults: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._images: list[str] = []
        self._made: set[str] = set()
        self._stack = pytest.MonkeyPatch()

    # --- what a test does -------------------------------------------------------------------------------------------

    def group(self, desired: int, *, minimum: int = 0, maximum: int = 10, **more: Any) -> str:
        """A new group; its instances are in service at once."""
        name = f"group-{next(NAMES):04}"
        self._made.add(name)
        template = {"LaunchTemplateName": name, "Version": "$Latest"}
        self.ec2().create_launch_template(
            LaunchTemplateName=name, LaunchTemplateData={"ImageId": self._image(), "InstanceType": "g5.xlarge"}
        )
        how = {"LaunchTemplate": template} | more
        self.client().create_auto_scaling_group(
            AutoScalingGroupName=name,
            MinSize=minimum,
            MaxSize=maximum,
            DesiredCapacity=desired,
            AvailabilityZones=["eu-central-1a"],
            **{key: value for key, value in how.items() if value is not None},
        )
        return name

    def hook(self, group: str, transition: str, name: str, heartbeat_s: int = 300) -> None:
        self.client().put_lifecycle_hook(
            LifecycleHookName=name,
            AutoScalingGroupName=group,
            LifecycleTransition=f"autoscaling:EC2_INSTANCE_{transition}",
            HeartbeatTimeout=heartbeat_s,
            DefaultResult="ABANDON",
        )

    def tag(self, group: str, **tags: str) -> None:
        of = {"ResourceId": group, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
        named = {key.replace("__", ":").replace("_", "-"): value for key, value in tags.items()}
        self.client().create_or_update_tags(Tags=[of | {"Key": key, "Value": value} for key, value in named.items()])

    def suspend(self, group: str, *processes: str) -> None:
        self.client().suspend_processes(AutoScalingGroupName=group, ScalingProcesses=list(processes))

    def resume(self, group: str) -> None:
        """All of its processes; what is missing is launched at the next ``step``."""
        self.client().resume_processes(AutoScalingGroupName=group)

    def serve(self, *instances: str, running: int | None = 0) -> None:
        self.engines.running |= dict.fromkeys(instances, running)

    def fail(self, operation: str, code: str, times: int = 1, *, after: bool = False) -> None:
        """The next ``times`` calls of ``operation`` answer ``code``; ``after``: having done what was asked."""
        self.faults[operation] += [(code, "after" if after else "before")] * times

    def clear(self) -> None:
        """Take away every group made here, and its instances: the more there are, the longer each answer takes."""
        ec2 = self.backend.ec2_backend
        for key, made in list(ec2.reservations.items()):
            if all(ec2.tags[one.id].get("aws:autoscaling:groupName") in self._made for one in made.instances):
                del ec2.reservations[key]
        for name in self._made:
            self.backend.autoscaling_groups.pop(name, None)
        self._made.clear()

    def step(self, group: str) -> None:
        """AWS goes on: what ends is gone, what is missing is launched where there is stock."""
        one = self.of(group)
        for state in [state for state in one.instance_states if state.lifecycle_state == "Terminating"]:
            self._gone(one, state)
        one.set_desired_capacity(one.desired_capacity)

    def ends(self, group: str, instance: str) -> None:
        """AWS ends an instance by itself; it will be replaced at the next ``step``."""
        self._state(group, instance).lifecycle_state = "Terminating"

    # --- what a test looks at ---------------------------------------------------------------------------------------

    def of(self, group: str) -> FakeAutoScalingGroup:
        return self.backend.autoscaling_groups[group]

    def desired(self, group: str) -> int:
        return int(self.of(group).desired_capacity or 0)

    def ids(self, group: str, state: str = "") -> list[str]:
        states = self.of(group).instance_states
        return [one.instance.id for one in states if one.lifecycle_state.startswith(state)]

    def set_state(self, group: str, instance: str, state: str) -> None:
        self._state(group, instance).lifecycle_state = state

    def sick(self, group: str, instance: str) -> None:
        self._state(group, instance).health_status = "Unhealthy"

    def tags(self, instance: str) -> dict[str, str]:
        found = self.ec2().describe_tags(Filters=[{"Name": "resource-id", "Values": [instance]}])["Tags"]
        return {one["Key"]: one["Value"] for one in found}

    def marks(self) -> Mapping[str, Mapping[str, str]]:
        """The tags of all that EC2 knows."""
        return self.backend.ec2_backend.tags

    def group_tags(self, group: str) -> dict[str, str]:
        return {one["Key"]: one["Value"] for one in self.of(group).tags}

    def protected(self, group: str) -> set[str]:
        return {one.instance.id for one in self.of(group).instance_states if one.protected_from_scale_in}

    def of_operation(self, operation: str) -> list[dict[str, Any]]:
        """The parameters of every call of ``operation`` since the last ``forget``."""
        return [parameters for name, parameters in self.asked if name == operation]

    def forget(self) -> None:
        self.asked.clear()

    @property
    def backend(self) -> AutoScalingBackend:
        return autoscaling_backends[ACCOUNT][REGION]

    def client(self) -> Any:
        return self.raw("autoscaling")

    def ec2(self) -> Any:
        return self.raw("ec2")

    def failed(self, group: str, words: str, cause: str = "", status: str = "Failed") -> None:
        """An activity of now."""
        self.activities[group].insert(
            0,
            {
                "ActivityId": f"a{next(NAMES)}",
                "AutoScalingGroupName": group,
                "Description": "Launching a new EC2 instance",
                "Cause": cause
                or "At 2026-11-21T12:00:10Z an instance was started in response to a difference between "
                "desired and actual capacity, increasing the capacity from 1 to 2.",
                "StartTime": datetime.now(UTC),  # noqa: TID251
                "StatusCode": status,
                "StatusMessage": words,
                "Progress": 100,
            },
        )

    # --- how -----------------------------------------------------------------------------------------------------------

    def raw(self, service: str) -> Any:
        """A client of the tests' own: what it calls is not counted, nor refused."""
        return _raw(service, tuple(self.options.items()))

    def _image(self) -> str:
        if not self._images:
            self._images.append(self.ec2().register_image(Name="engine", RootDeviceName="/dev/sda1")["ImageId"])
        return self._images[0]

    def _state(self, group: str, instance: str) -> Any:
        return next(one for one in self.of(group).instance_states if one.instance.id == instance)

    def _gone(self, group: FakeAutoScalingGroup, state: Any) -> None:
        group.instance_states.remove(state)
        self.backend.ec2_backend.terminate_instances([state.instance.id])

    def _hooked(self, group: str, transition: str) -> bool:
        return any(
            one.lifecycle_transition.endswith(transition) for one in self.backend.describe_lifecycle_hooks(group)
        )

    def install(self) -> None:
        """Put what moto lacks into it."""
        self._launches(self._stack.setattr)
        self._ends(self._stack.setattr)
        self._answers(self._stack.setattr)

    def _launches(self, patch: Callable[..., None]) -> None:
        world, launch = self, FakeAutoScalingGroup.replace_autoscaling_group_instances

        def active(group: FakeAutoScalingGroup) -> list[Any]:
            return [one for one in group.instance_states if one.lifecycle_state.startswith(("InService", "Pending"))]

        def replace(group: FakeAutoScalingGroup, count_needed: int, propagated_tags: dict[str, str]) -> None:
            if all(one["ProcessName"] != "Launch" for one in group.suspended_processes):
                world._launched(launch, group, count_needed, propagated_tags)

        def desire(backend: AutoScalingBackend, group_name: str, desired_capacity: int) -> None:
            group = backend.autoscaling_groups[group_name]
            if not group.min_size <= desired_capacity <= group.max_size:
                raise ValidationError(f"New SetDesiredCapacity value {desired_capacity} is outside the group's limits.")
            group.set_desired_capacity(desired_capacity)

        patch(FakeAutoScalingGroup, "active_instances", active)
        patch(FakeAutoScalingGroup, "replace_autoscaling_group_instances", replace)
        patch(AutoScalingBackend, "set_desired_capacity", desire)

    def _launched(self, launch: Callable[..., None], group: FakeAutoScalingGroup, needed: int, tags: object) -> None:
        """As far as the stock goes."""
        before = set(group.instance_states)
        some = min(needed, self.stock.get(group.name, needed))
        if group.name in self.stock:
            self.stock[group.name] -= some
        if some:
            launch(group, some, tags)
        if some < needed:
            self.failed(group.name, self.words.get(group.name, NO_STOCK))
        if self._hooked(group.name, "LAUNCHING"):
            for one in set(group.instance_states) - before:
                one.lifecycle_state = "Pending:Wait"

    def _ends(self, patch: Callable[..., None]) -> None:
        world = self

        def terminate(backend: AutoScalingBackend, instance_id: str, should_decrement: bool) -> Any:
            group, state = world._member(instance_id)
            if should_decrement:
                if group.desired_capacity - 1 < group.min_size:
                    raise ValidationError("desired capacity would be below the group's minimum size")
                group.desired_capacity -= 1
            if world._hooked(group.name, "TERMINATING"):
                state.lifecycle_state = "Terminating:Wait"
            else:
                world._gone(group, state)
            group.set_desired_capacity(group.desired_capacity)
            asked_for = {"ActivityId": "a", "AutoScalingGroupName": group.name, "Cause": "asked"}
            return asked_for | {"StartTime": datetime.now(UTC), "StatusCode": "InProgress"}  # noqa: TID251

        def protect(backend: AutoScalingBackend, group_name: str, instance_ids: list[str], on: bool) -> None:
            for one in instance_ids:
                state = world._state(group_name, one)
                if state.lifecycle_state != "InService":
                    raise ValidationError(f"The instance {one} is not in InService or EnteringStandby or Standby.")
                state.protected_from_scale_in = on

        patch(AutoScalingBackend, "terminate_instance", terminate)
        patch(AutoScalingBackend, "set_instance_protection", protect)

    def _member(self, instance: str) -> tuple[Any, Any]:
        """Its group and its state; AWS's error for what is no longer managed."""
        for group in self.backend.autoscaling_groups.values():
            for one in group.instance_states:
                if one.instance.id == instance and not one.lifecycle_state.startswith("Terminating"):
                    return group, one
        raise ValidationError(f"Instance Id not found - No managed instance found for instance ID {instance}")

    def _answers(self, patch: Callable[..., None]) -> None:
        world = self

        def done(response: AutoScalingResponse) -> ActionResult:
            """CompleteLifecycleAction."""
            name, instance = response._get_param("AutoScalingGroupName"), response._get_param("InstanceId")
            group, state = world.of(name), world._state(name, instance)
            if not state.lifecycle_state.endswith(":Wait"):
                raise ValidationError(f"No active Lifecycle Action found with instance ID {instance}")
            if state.lifecycle_state == "Terminating:Wait":
                world._gone(group, state)
            else:
                go_on = response._get_param("LifecycleActionResult") == "CONTINUE"
                state.lifecycle_state = "InService" if go_on else "Terminating"
            return EmptyResult()

        def beat(response: AutoScalingResponse) -> ActionResult:
            world.beats[response._get_param("InstanceId")] += 1
            return EmptyResult()

        def doings(response: AutoScalingResponse) -> ActionResult:
            return ActionResult({"Activities": world.activities[response._get_param("AutoScalingGroupName")]})

        def refreshes(response: AutoScalingResponse) -> ActionResult:
            status = world.refreshes.get(response._get_param("AutoScalingGroupName"))
            return ActionResult(
                {"InstanceRefreshes": [{"InstanceRefreshId": "refresh-1", "Status": status}] if status else []}
            )

        patch(AutoScalingResponse, "complete_lifecycle_action", done, raising=False)
        patch(AutoScalingResponse, "record_lifecycle_action_heartbeat", beat, raising=False)
        patch(AutoScalingResponse, "describe_scaling_activities", doings)
        patch(AutoScalingResponse, "describe_instance_refreshes", refreshes, raising=False)
        for operation in (
            *("set_desired_capacity", "terminate_instance_in_auto_scaling_group", "describe_auto_scaling_groups"),
            *("create_or_update_tags", "set_instance_protection", "complete_lifecycle_action"),
            *("describe_scaling_activities", "describe_policies", "record_lifecycle_action_heartbeat"),
            "describe_instance_refreshes",
        ):
            patch(AutoScalingResponse, operation, self._watched(operation))

    def _watched(self, operation: str) -> Callable[[AutoScalingResponse], Any]:
        """The operation, written down, and failing where a test says so."""
        real, world = getattr(AutoScalingResponse, operation), self

        def watched(response: AutoScalingResponse) -> Any:
            world.asked.append((operation, dict(response._get_params())))
            code, when = world.faults[operation].pop(0) if world.faults[operation] else ("", "")
            answer = None if when == "before" else real(response)
            if code:
                status = 500 if code == "InternalFailure" else 400
                return status, {"status": status}, REFUSED.format(code=code)
            return answer

        watched.__name__ = operation
        return watched

    def close(self) -> None:
        self._stack.undo()
        self.clear()


@contextmanager
def auto_scaling() -> Iterator[World]:
    """On the server of this process; each test makes groups of its own."""
    engines = Engines()
    with moto_server() as options:
        world = World(options, engines)
        world.install()
        try:
            yield world
        finally:
            world.close()
            engines.shutdown()
            engines.server_close()
