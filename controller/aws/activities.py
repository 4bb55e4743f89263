"""What a group says of its own doings: why launches fail, who changed its count, and who else scales it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.aws.clients import Aws, asked, pages
from controller.aws.groups import Group, understood
from controller.facts.interruptions import Stuck, StuckKind

NEWEST = 40
"""Activities that are read. A guess: a group that cannot launch tries every few minutes, in each zone."""

KINDS: Sequence[tuple[StuckKind, re.Pattern[str]]] = (
    (
        StuckKind.QUOTA,
        re.compile(
            r"VcpuLimitExceeded|MaxSpotInstanceCountExceeded|InstanceLimitExceeded|"
            r"(vCPU|instance) (capacity|limit).*(limit|exceeded)|Max spot instance count exceeded|"
            r"quota allows for \d+ more running instance",
            re.IGNORECASE,
        ),
    ),
    (
        StuckKind.CAPACITY,
        re.compile(
            r"Insufficient\w*Capacity|UnfulfillableCapacity|SpotMaxPriceTooLow|ReservationCapacityExceeded|"
            r"(sufficient|enough) .*capacity|no Spot capacity|lower than the minimum required Spot|"
            r"(?<!Client\.)InternalError",
            re.IGNORECASE,
        ),
    ),
)
"""By the words of a failed launch, quota first: its words also speak of capacity. What none of them knows is REFUSED:
the launch template, the image, a key, a role or a network is not as AWS wants it, and waiting will not mend that.
Sources: https://docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-instancelaunchfailure.html (and -ts-as-ami.html),
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""

RUNNING_REFRESHES = frozenset({"Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking"})
"""https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_InstanceRefresh.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One doing of a group. ``words``: its status message."""

    started_at: datetime
    status: str
    description: str
    cause: str
    words: str

    @property
    def launch(self) -> bool:
        return self.description.startswith("Launching")


def activities(aws: Aws, group: Group) -> tuple[Activity, ...]:
    """The newest doings of ``group``, newest first. Raises AwsError."""
    call = aws.client("autoscaling", group.region).describe_scaling_activities
    answer = asked(call, AutoScalingGroupName=group.name, MaxRecords=NEWEST)
    found = understood(lambda: [_activity(one) for one in answer.get("Activities", ())])
    return tuple(sorted(found, key=lambda one: one.started_at, reverse=True))


def stuck(found: Sequence[Activity], since: datetime) -> Stuck | None:
    """Why launches wanted since ``since`` fail, and from when on; None when the newest finished one did not fail."""
    ended = [one for one in found if one.launch and one.status in ("Failed", "Cancelled", "Successful")]
    failing: list[Activity] = []
    for one in ended:
        if one.status != "Failed" or one.started_at < since:
            break
        failing.append(one)
    if not failing:
        return None
    return Stuck(kind=kind_of(failing[0]), since=failing[-1].started_at, detail=told(failing[0]))


def kind_of(activity: Activity) -> StuckKind:
    """What kept ``activity`` from launching."""
    text = f"{activity.words} {activity.cause}"
    return next((kind for kind, pattern in KINDS if pattern.search(text)), StuckKind.REFUSED)


def told(activity: Activity) -> str:
    """The group's words."""
    return " ".join((activity.words or activity.cause or activity.description).split())


CHANGE = re.compile(r"At \S+ (a|an) (?P<who>.*?chang\w* the desired capacity from \d+ to \d+)", re.DOTALL)
"""Of a cause such as "At 2026-11-21T12:00:00Z a user request explicitly set group desired capacity changing the desired
capacity from 2 to 5. At 2026-11-21T12:00:10Z an instance was started in response to a difference …"."""


def changed_by(found: Sequence[Activity]) -> str:
    """Who last changed the desired capacity, in the group's words; "" when its newest doings do not tell."""
    for one in found:
        match = CHANGE.search(one.cause)
        if match:
            return f"at {one.started_at:%H:%M:%S} UTC: {' '.join(match['who'].split())}"
    return ""


def _activity(row: Mapping[str, Any]) -> Activity:
    return Activity(
        started_at=row["StartTime"].astimezone(UTC),
        status=str(row["StatusCode"]),
        description=str(row.get("Description") or ""),
        cause=str(row.get("Cause") or ""),
        words=str(row.get("StatusMessage") or ""),
    )


# --- other writers ----------------------------------------------------------------------------------------------------


def others(aws: Aws, group: Group) -> tuple[str, ...]:
    """Who else changes the count of ``group``. Raises AwsError: who might is not known to be nobody."""
    return (*_policies(aws, group), *_scheduled(aws, group))


def _policies(aws: Aws, group: Group) -> Iterator[str]:
    """Scaling policies that act: not switched off, and not only forecasting."""
    if "AlarmNotification" in group.suspended:
        return
    call = aws.client("autoscaling", group.region).describe_policies
    for page in pages(call, "NextToken", AutoScalingGroupName=group.name):
        for one in page.get("ScalingPolicies", ()):
            predicts = one.get("PredictiveScalingConfiguration") or {}
            if one.get("Enabled", True) and predicts.get("Mode", "") != "ForecastOnly":
                yield f"the {one.get('PolicyType') or 'scaling'} policy {one.get('PolicyName')}"


def _scheduled(aws: Aws, group: Group) -> Iterator[str]:
    if "ScheduledActions" in group.suspended:
        return
    call = aws.client("autoscaling", group.region).describe_scheduled_actions
    for page in pages(call, "NextToken", AutoScalingGroupName=group.name):
        for one in page.get("ScheduledUpdateGroupActions", ()):
            yield f"the scheduled action {one.get('ScheduledActionName')}"


def refreshes(aws: Aws, group: Group) -> tuple[str, ...]:
    """Instance refreshes that have not ended: they replace instances, and leave the count as it is. Raises AwsError."""
    call = aws.client("autoscaling", group.region).describe_instance_refreshes
    answer = asked(call, AutoScalingGroupName=group.name, MaxRecords=10)  # the newest come first
    return tuple(
        f"the instance refresh {one.get('InstanceRefreshId')} ({one.get('Status')})"
        for one in answer.get("InstanceRefreshes", ())
        if one.get("Status") in RUNNING_REFRESHES
    )
