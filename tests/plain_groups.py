"""Auto Scaling groups on moto's server as a process of its own, unpatched: made, tagged and looked at by AWS's calls alone.

It launches what is missing at once and in service, gives everything on demand, knows no instance refreshes (500), nor
placement scores, nor waits in lifecycle hooks. What needs those is told in tests/auto_scaling.py.
"""

from __future__ import annotations

import itertools
from typing import Any

import boto3

from tests.auto_scaling import REGION
from tests.group_engines import Engines

KEYS = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
OVERRIDES = ({"InstanceType": "g5.xlarge"}, {"InstanceType": "g6.xlarge"})
NAMES = itertools.count(1)


class PlainWorld:
    """As much of ``World`` as AWS itself would tell."""

    def __init__(self, url: str, engines: Engines) -> None:
        self.options = {"endpoint_url": url} | KEYS
        self.engines = engines
        self._made: dict[str, Any] = {}

    def raw(self, service: str) -> Any:
        if service not in self._made:
            self._made[service] = boto3.client(service, region_name=REGION, **self.options)
        return self._made[service]

    def close(self) -> None:
        for one in self._made.values():
            one.close()

    # --- what a test does ---------------------------------------------------------------------------------------------

    def group(self, desired: int, *, minimum: int = 0, maximum: int = 10) -> str:
        """A new group with a MixedInstancesPolicy: one on demand, all others on spot."""
        name = f"group-{next(NAMES):04}"
        image = self.raw("ec2").describe_images()["Images"][0]["ImageId"]
        self.raw("ec2").create_launch_template(
            LaunchTemplateName=name, LaunchTemplateData={"ImageId": image, "InstanceType": "g5.xlarge"}
        )
        template = {"LaunchTemplateName": name, "Version": "$Latest"}
        self.raw("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName=name,
            MinSize=minimum,
            MaxSize=maximum,
            DesiredCapacity=desired,
            AvailabilityZones=[f"{REGION}a"],
            MixedInstancesPolicy={
                "LaunchTemplate": {"LaunchTemplateSpecification": template, "Overrides": list(OVERRIDES)},
                "InstancesDistribution": {
                    "OnDemandBaseCapacity": 1,
                    "OnDemandPercentageAboveBaseCapacity": 0,
                    "SpotAllocationStrategy": "price-capacity-optimized",
                },
            },
        )
        return name

    def tag(self, group: str, **tags: str) -> None:
        of = {"ResourceId": group, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
        named = {key.replace("__", ":").replace("_", "-"): value for key, value in tags.items()}
        self.raw("autoscaling").create_or_update_tags(
            Tags=[of | {"Key": key, "Value": value} for key, value in named.items()]
        )

    def serve(self, *instances: str, running: int | None = 0) -> None:
        self.engines.running |= dict.fromkeys(instances, running)

    # --- what a test looks at -----------------------------------------------------------------------------------------

    def told(self, group: str) -> Any:
        found = self.raw("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])
        return found["AutoScalingGroups"][0]

    def desired(self, group: str) -> int:
        return int(self.told(group)["DesiredCapacity"])

    def ids(self, group: str, state: str = "") -> list[str]:
        found = self.told(group)["Instances"]
        return [one["InstanceId"] for one in found if one["LifecycleState"].startswith(state)]

    def protected(self, group: str) -> set[str]:
        return {one["InstanceId"] for one in self.told(group)["Instances"] if one["ProtectedFromScaleIn"]}

    def group_tags(self, group: str) -> dict[str, str]:
        return {one["Key"]: one["Value"] for one in self.told(group)["Tags"]}

    def marks(self) -> dict[str, dict[str, str]]:
        """The tags of all instances."""
        found: dict[str, dict[str, str]] = {}
        asked = [{"Name": "resource-type", "Values": ["instance"]}]
        for one in self.raw("ec2").describe_tags(Filters=asked)["Tags"]:
            found.setdefault(one["ResourceId"], {})[one["Key"]] = one["Value"]
        return found

    def tags(self, instance: str) -> dict[str, str]:
        return self.marks().get(instance, {})
