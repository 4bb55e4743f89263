"""Auto Scaling groups and their instances as frozen values, read once a pass for all who ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any, TypeVar

from controller.aws.clients import Aws, asked, pages
from controller.errors import AwsError

NAMES_A_QUESTION = 100
"""Groups asked for at once: as many as DescribeAutoScalingGroups puts on one page at most."""

BY_REQUIREMENTS = "by requirements"
"""Of an override that names no instance type, but what one must have."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One machine of a group, as Auto Scaling and EC2 tell it.

    state          its lifecycle state, e.g. "InService", "Pending:Wait", "Terminating:Wait"
    healthy        what the group's health checks say
    protected      from being scaled in by the group
    template       launch template (or configuration) and version, "" when not said
    market         "spot", "capacity-block", "on-demand"; "" when EC2 does not tell of it (yet)
    reservation    the capacity reservation that it runs in, "" for none
    launched_at    None when EC2 does not tell of it (yet)
    """

    id: str
    state: str
    healthy: bool
    protected: bool
    kind: str
    zone: str
    template: str = ""
    market: str = ""
    reservation: str = ""
    private_ip: str = ""
    private_dns: str = ""
    public_ip: str = ""
    launched_at: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def pending(self) -> bool:
        """Launched, and not in service yet."""
        return self.state.startswith("Pending")

    @property
    def in_service(self) -> bool:
        return self.state == "InService"

    @property
    def ending(self) -> bool:
        """On its way out, or taken out for good."""
        return self.state.startswith(("Terminating", "Terminated", "Detach"))

    @property
    def waits(self) -> bool:
        """For a lifecycle hook, so that somebody must say CONTINUE, or its time-out does."""
        return self.state.endswith(":Wait")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A MixedInstancesPolicy, as far as it says what new launches will be. Changing it replaces no instance that runs:
    only launches follow it.

    base, above_percent   instances that are on-demand in any case, and the share of on-demand among those above
    """

    kinds: tuple[str, ...]
    base: int
    above_percent: int
    spot_strategy: str = ""
    spot_max_usd: str = ""

    def __str__(self) -> str:
        spot = f", spot by {self.spot_strategy}" if self.spot_strategy else ""
        return (
            f"{self.base} on demand, then {self.above_percent} % on demand{spot}; of {', '.join(self.kinds) or 'any'}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """An Auto Scaling group.

    weights      what its counts are in, when that is not instances, and what to do about it; "" when it is
    suspended    processes that somebody suspended, with the reason
    rebalances   CapacityRebalance: it launches a replacement ahead of an instance at risk, up to 10 % above its maximum
    """

    name: str
    region: str
    minimum: int
    maximum: int
    desired: int
    instances: tuple[Instance, ...]
    mix: Mix | None = None
    weights: str = ""
    suspended: Mapping[str, str] = field(default_factory=dict)
    rebalances: bool = False
    deleting: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def seats(self) -> tuple[Instance, ...]:
        """The instances that count towards its desired capacity: neither ending, nor on standby, nor in a warm pool.
        One that is not healthy is replaced, unless that is suspended."""
        replaces = "ReplaceUnhealthy" not in self.suspended and "HealthCheck" not in self.suspended
        return tuple(one for one in self.instances if (one.pending or one.in_service) and (one.healthy or not replaces))

    def held(self, process: str) -> str:
        """That somebody suspended ``process``, and why; "" where nobody did."""
        if process not in self.suspended:
            return ""
        return f"the process {process} of {self.name} is suspended ({self.suspended[process] or 'no reason given'})"

    def instance(self, name: str) -> Instance | None:
        return next((one for one in self.instances if one.id == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a group is named: by ``name``, or by ``tags`` that one group alone has."""

    name: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    region: str = ""

    def __str__(self) -> str:
        named = self.name or " ".join(f"{key}={value}" for key, value in self.tags)
        return f"{named} in {self.region}" if self.region else named


class GroupBook:
    """The groups as of this pass: each is asked for once a pass, however many ask for it.

    In its first pass a book learns whom it is asked for; from then on it asks for all of them at once.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._wanted: set[Wanted] = set()
        self._at: datetime | None = None
        self._seen: dict[Wanted, Group | AwsError] = {}
        self._last: dict[Wanted, Group] = {}
        self._lock = Lock()

    def group(self, wanted: Wanted, now: datetime) -> Group:
        """As read in the pass at ``now``. Raises AwsError: asked again in the next pass only."""
        with self._lock:
            if self._at != now:
                self._at, self._seen = now, {}
            if wanted not in self._seen:
                self._wanted.add(wanted)
                self._seen |= self._read(self._wanted - self._seen.keys())
            found = self._seen[wanted]
            if isinstance(found, Group):
                self._last[wanted] = found
        if isinstance(found, AwsError):
            raise AwsError(str(found), code=found.code, status=found.status)
        return found

    def seen(self, wanted: Wanted) -> Group | None:
        """As last read, whenever that was; nobody is asked for it."""
        with self._lock:
            return self._last.get(wanted)

    def again(self, wanted: Wanted, now: datetime) -> Group:
        """As it is right now: read before anything is changed. Raises AwsError."""
        self.forget(wanted)
        return self.group(wanted, now)

    def forget(self, wanted: Wanted) -> None:
        """It was changed."""
        with self._lock:
            self._seen.pop(wanted, None)

    def _read(self, wanted: set[Wanted]) -> dict[Wanted, Group | AwsError]:
        """Region by region: one that is away hides no other."""
        seen: dict[Wanted, Group | AwsError] = {}
        for region in sorted({one.region for one in wanted}):
            here = [one for one in wanted if one.region == region]
            try:
                groups = read_groups(self._aws, region, here)
                seen |= {one: _only(one, groups) for one in here}
            except AwsError as error:
                seen |= dict.fromkeys(here, error)
        return seen


def read_groups(aws: Aws, region: str, wanted: Sequence[Wanted]) -> tuple[Group, ...]:
    """Every group that one of ``wanted`` may mean. Raises AwsError."""
    described = list(_described(aws, region, wanted))
    ids = [str(one["InstanceId"]) for row in described for one in row.get("Instances", ())]
    details = dict(_details(aws, region, [str(row["AutoScalingGroupName"]) for row in described])) if ids else {}
    return tuple(understood(lambda row=row: _group(row, region, details)) for row in described)  # type: ignore[misc]


def _described(aws: Aws, region: str, wanted: Sequence[Wanted]) -> Iterator[Mapping[str, Any]]:
    call = aws.client("autoscaling", region).describe_auto_scaling_groups
    names = sorted({one.name for one in wanted if one.name})
    for start in range(0, len(names), NAMES_A_QUESTION):
        some = names[start : start + NAMES_A_QUESTION]
        for page in pages(call, "NextToken", AutoScalingGroupNames=some, MaxRecords=100):
            yield from page.get("AutoScalingGroups", ())
    for tags in sorted({one.tags for one in wanted if not one.name}):
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags]
        for page in pages(call, "NextToken", Filters=filters, MaxRecords=100):
            yield from (
                row for row in page.get("AutoScalingGroups", ()) if row.get("AutoScalingGroupName") not in names
            )


def _details(aws: Aws, region: str, groups: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What EC2 knows of the groups' instances. Asked by the groups' own tag: asked by id, one that is gone already
    would be an error for all."""
    call = aws.client("ec2", region).describe_instances
    for start in range(0, len(groups), 200):  # values of one filter, at most
        tag = {"Name": "tag:aws:autoscaling:groupName", "Values": list(groups[start : start + 200])}
        for page in pages(call, "NextToken", Filters=[tag], MaxResults=1000):
            for reservation in page.get("Reservations", ()):
                for one in reservation.get("Instances", ()):
                    yield str(one.get("InstanceId", "")), one


def understood(reading: Callable[[], V]) -> V:
    """What ``reading`` makes of an answer. Raises AwsError for one that lacks what AWS promises."""
    try:
        return reading()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise AwsError(f"AWS answered something that cannot be understood ({said}); nothing of it was used") from error


def _only(wanted: Wanted, groups: Sequence[Group]) -> Group | AwsError:
    found = [one for one in groups if _meant(wanted, one)]
    if len(found) == 1:
        return found[0]
    if not found:
        return AwsError(f"there is no Auto Scaling group {wanted}, or we may not see it")
    names = ", ".join(sorted(one.name for one in found))
    return AwsError(f"{len(found)} Auto Scaling groups have {wanted} ({names}); name one of them with `group`")


def _meant(wanted: Wanted, group: Group) -> bool:
    if wanted.name:
        return wanted.name == group.name
    return all(group.tags.get(key) == value for key, value in wanted.tags)


def _group(row: Mapping[str, Any], region: str, details: Mapping[str, Mapping[str, Any]]) -> Group:
    policy = row.get("MixedInstancesPolicy")
    return Group(
        name=str(row["AutoScalingGroupName"]),
        region=region,
        minimum=int(row["MinSize"]),
        maximum=int(row["MaxSize"]),
        desired=int(row["DesiredCapacity"]),
        instances=tuple(_instance(one, details.get(str(one["InstanceId"]), {})) for one in row.get("Instances", ())),
        mix=None if not policy else _mix(policy),
        weights=_weights(row),
        suspended={
            str(one["ProcessName"]): str(one.get("SuspensionReason", "")) for one in row.get("SuspendedProcesses", ())
        },
        rebalances=bool(row.get("CapacityRebalance", False)),
        deleting=bool(row.get("Status")),
        tags=_tags(row.get("Tags", ())),
    )


def _weights(row: Mapping[str, Any]) -> str:
    """Capacity units other than instances: with them a count of ours would mean another number of machines."""
    unit = str(row.get("DesiredCapacityType") or "units")
    if unit != "units":
        return f"its capacity is counted in {unit}; set its DesiredCapacityType to units"
    template = (row.get("MixedInstancesPolicy") or {}).get("LaunchTemplate", {})
    weighted = [
        f"{one.get('InstanceType', 'an override')} counts {one['WeightedCapacity']}"
        for one in template.get("Overrides", ())
        if str(one.get("WeightedCapacity") or "1") != "1"
    ]
    do = "take them out of the overrides of its MixedInstancesPolicy, or make a group, and a variant, for each size"
    return f"its instances have weights ({', '.join(weighted)}); {do}" if weighted else ""


def _mix(policy: Mapping[str, Any]) -> Mix:
    said = policy.get("InstancesDistribution") or {}
    overrides = (policy.get("LaunchTemplate") or {}).get("Overrides") or ()
    return Mix(
        kinds=tuple(str(one.get("InstanceType") or BY_REQUIREMENTS) for one in overrides),
        base=int(said.get("OnDemandBaseCapacity") or 0),
        above_percent=int(said.get("OnDemandPercentageAboveBaseCapacity", 100)),
        spot_strategy=str(said.get("SpotAllocationStrategy") or ""),
        spot_max_usd=str(said.get("SpotMaxPrice") or ""),
    )


def _instance(row: Mapping[str, Any], detail: Mapping[str, Any]) -> Instance:
    launched = detail.get("LaunchTime")
    return Instance(
        id=str(row["InstanceId"]),
        state=str(row["LifecycleState"]),
        healthy=str(row.get("HealthStatus", "Healthy")).lower() == "healthy",
        protected=bool(row.get("ProtectedFromScaleIn", False)),
        kind=str(row.get("InstanceType") or detail.get("InstanceType") or ""),
        zone=str(row.get("AvailabilityZone", "")),
        template=_template(row),
        market=str(detail.get("InstanceLifecycle") or "on-demand") if detail else "",
        reservation=str(detail.get("CapacityReservationId") or ""),
        private_ip=str(detail.get("PrivateIpAddress") or ""),
        private_dns=str(detail.get("PrivateDnsName") or ""),
        public_ip=str(detail.get("PublicIpAddress") or ""),
        launched_at=launched.astimezone(UTC) if isinstance(launched, datetime) else None,
        tags=_tags(detail.get("Tags", ())),
    )


def _template(row: Mapping[str, Any]) -> str:
    template = row.get("LaunchTemplate")
    if template:
        return f"{template.get('LaunchTemplateName') or template.get('LaunchTemplateId')}:{template.get('Version', '')}"
    return str(row.get("LaunchConfigurationName") or "")


def _tags(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {str(one["Key"]): str(one.get("Value", "")) for one in rows or ()}


# --- what is asked now and then ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A lifecycle hook. ``heartbeat_s``: it is waited for so long from its start, or from the last heartbeat."""

    name: str
    launching: bool
    heartbeat_s: float


def hooks(aws: Aws, group: Group) -> tuple[Hook, ...]:
    """Those of ``group``. Raises AwsError."""
    call = aws.client("autoscaling", group.region).describe_lifecycle_hooks
    answer = asked(call, AutoScalingGroupName=group.name)
    return understood(
        lambda: tuple(
            Hook(
                name=str(one["LifecycleHookName"]),
                launching=str(one["LifecycleTransition"]).endswith("INSTANCE_LAUNCHING"),
                heartbeat_s=float(one.get("HeartbeatTimeout", 3600)),
            )
            for one in answer.get("LifecycleHooks", ())
        )
    )
