"""The blocks of fleet.yaml about EC2 Auto Scaling groups: what is scaled, and what is read."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool, model_validator

from controller.documents import ContradictionError, nearest
from controller.facts.actuators import AwsAsgOptions
from controller.facts.fleet import AwsAsgInstances
from controller.settings.base import Shape
from controller.settings.values import Name, Period, Wait

ADDRESS = ("private_ip", "private_dns", "public_ip", "instance_id")
"""What is known of an instance, to be filled in."""


def _address(url: str) -> str:
    names = re.findall(r"\{(\w*)\}", url)
    for name in names:
        if name not in ADDRESS:
            raise ValueError(f"unknown placeholder {{{name}}} in '{url}'{nearest(name, ADDRESS)}")
    if not names:
        raise ValueError(f"'{url}' is the same for every instance; expected one of {', '.join(ADDRESS)} in braces")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"expected http:// or https:// before the address, found '{url}'")
    return url.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]
Region = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d+$")]
HookName = Annotated[str, Field(pattern=r"^[A-Za-z0-9\-_/]{1,255}$")]
HealthPath = Annotated[str, Field(pattern=r"^/\S*$")]


class GroupShape(Shape):
    """An Auto Scaling group, by its name or by tags that it alone has."""

    group: Name | None = Field(default=None, description="its name; or")
    tags: dict[Name, str] = Field(default={}, description="tags with their values, all of which this one group has")
    region: Region | None = Field(default=None, description="such as us-east-1; else as the AWS SDK finds it")

    @model_validator(mode="after")
    def _one_way(self) -> GroupShape:
        if (self.group is None) == (not self.tags):
            found = "found both" if self.tags else "found neither"
            raise ContradictionError(f"expected either group or tags; {found}")
        return self


class AwsAsgShape(GroupShape):
    """Engines as the instances of an Auto Scaling group, one replica an instance."""

    url: Address = Field(
        default="http://{private_ip}:8000",
        description="of an engine; {private_ip}, {private_dns}, {public_ip} and {instance_id} are filled in",
    )
    health: HealthPath = Field(default="/health", description="answers 200 when the engine is ready")
    directory: str = Field(default="run", description="the targets file")
    launch_hook: HookName | None = Field(
        default=None, description="lifecycle hook that holds a launch back until the engine is healthy"
    )
    terminate_hook: HookName | None = Field(
        default=None, description="lifecycle hook that holds an end back until the engine is drained"
    )
    protect: StrictBool = Field(
        default=True, description="ready instances are protected from being scaled in by the group itself"
    )
    start_timeout: Period = Field(default=900.0, description="from the launch to the first healthy answer")
    drain_timeout: Wait = Field(default=120.0, description="for running requests to end")

    def options(self, targets: str, *, reserved: bool) -> AwsAsgOptions:
        """With the absolute targets file; ``reserved``: some of the variant's capacity is."""
        return AwsAsgOptions(
            group=self.group or "",
            tags=tuple(sorted(self.tags.items())),
            region=self.region or "",
            url=self.url,
            health_path=self.health,
            targets_file=targets,
            launch_hook=self.launch_hook or "",
            terminate_hook=self.terminate_hook or "",
            protect=self.protect,
            start_timeout_s=self.start_timeout,
            drain_timeout_s=self.drain_timeout,
            reserved=reserved,
        )


class AwsAsgInstancesShape(GroupShape):
    """Instances of an Auto Scaling group whose metrics are read."""

    url: Address = Field(default="http://{private_ip}:8000", description="where the metrics are; filled in likewise")

    @property
    def discovery(self) -> AwsAsgInstances:
        return AwsAsgInstances(
            group=self.group or "", tags=tuple(sorted(self.tags.items())), region=self.region or "", url=self.url
        )
