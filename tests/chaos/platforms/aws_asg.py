"""The real actuator of Auto Scaling groups over boto3 against moto. Every operation is numbered; what goes wrong with
it goes wrong at botocore's transport, so that retries and parsing are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar
from unittest import mock

import boto3
import botocore.endpoint
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.retries import quota
from botocore.retries.quota import RetryQuota
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse

import controller.act.aws_asg.life as asg_life
from controller.act.actuator import Actuator
from controller.act.aws_asg.actuator import AwsAsgActuator
from controller.act.aws_asg.roll import DRAINING, MANAGED
from controller.aws.clients import IN_A_PASS, Aws, Client, Patience
from controller.aws.groups import GroupBook
from controller.facts.actuators import AwsAsgOptions
from controller.facts.fleet import Variant
from controller.facts.interruptions import Notice, NoticeKind
from tests.auto_scaling import REGION, Engines, World
from tests.chaos.history import Census, Member
from tests.chaos.platforms.base import DRAIN_TIMEOUT_S, START_TIMEOUT_S, Provider, variant_of
from tests.chaos.tape import Fault, Sort

NOBODY = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
QUERIES = ("describe_", "get_")
THROTTLED = b"<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>"
EC2_THROTTLED = b"<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Rate exceeded</Message></Error></Errors></Response>"
NONSENSE = b"<html><body>Service Unavailable</body></html>"


class InProcess(World):
    """Its own clients speak to moto as the actuator's do."""

    @cache  # noqa: B019 - as long as the process
    def raw(self, service: str) -> Any:
        made = boto3.client(service, region_name=REGION, **NOBODY)
        made.meta.events.register("before-send.*.*", lambda request, **_: _answered(request))
        return made


@cache
def _stage() -> tuple[World, NumberedAws, Engines]:
    """One for all cells of a process: to make clients takes longer than a cell."""
    engines = Engines()
    world = InProcess({"endpoint_url": "http://nowhere.invalid"} | NOBODY, engines)
    world.install()
    return world, NumberedAws(**NOBODY), engines


def stop_stage() -> None:
    if _stage.cache_info().currsize:
        world, aws, engines = _stage()
        aws.close()
        world.close()
        engines.shutdown()
        engines.server_close()
        _stage.cache_clear()


def _answered(request: AWSPreparedRequest, content: bytes = b"", code: int = 0) -> AWSResponse:
    """``content``, or what moto says. It is called where botocore would send: a server would be asked forty times a cell
    by a process that is its own."""
    headers: dict[str, str] = {}
    if not code:
        answer = BotocoreStubber().process_request(request)
        assert answer is not None, request.url
        code, headers, said = answer
        content = said.encode() if isinstance(said, str) else said
    return AWSResponse(request.url, code, headers, MockRawResponse(content))  # type: ignore[arg-type]


class NumberedAws(Aws):
    """The real clients, but that nothing sleeps between two attempts. ``platform``: whose cell is being played."""

    platform: AutoScaling

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._fault: Fault | None = None
        self._quotas: list[RetryQuota] = []

    def play_for(self, platform: AutoScaling) -> None:
        """From now on; as if nothing had been asked before: botocore counts failures over all calls of a client."""
        self.platform = platform
        for one in self._quotas:
            one.release(one.INITIAL_CAPACITY)

    def close(self) -> None:
        for made in self._made.values():
            made.close()

    def client(self, service: str, region: str = "", patience: Patience = IN_A_PASS) -> Client:
        patience = Patience(connect_s=60.0, read_s=60.0, attempts=patience.attempts, adaptive=False)
        return _Numbered(self, super().client(service, region, patience))  # type: ignore[return-value]

    def _new(self, service: str, region: str, patience: Patience) -> Client:
        with mock.patch.object(quota, "RetryQuota", self._quota):
            made: Any = super()._new(service, region, patience)
        made.meta.events.register("before-send.*.*", self._sent)
        return made  # type: ignore[no-any-return]

    def _quota(self) -> RetryQuota:
        self._quotas.append(RetryQuota())
        return self._quotas[-1]

    def _sent(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        fault, url = self._fault, request.url
        if self.platform.is_away or fault is Fault.REFUSED:
            raise EndpointConnectionError(endpoint_url=url)
        if fault is Fault.TIMEOUT:
            raise ReadTimeoutError(endpoint_url=url)
        if fault is Fault.THROTTLED:
            return _answered(request, EC2_THROTTLED if "ec2" in str(request.headers) else THROTTLED, 400)
        if fault is Fault.NONSENSE:
            return _answered(request, NONSENSE, 200)
        answer = _answered(request)
        if fault is Fault.LOST:
            raise ReadTimeoutError(endpoint_url=url)
        if fault is Fault.MANGLED:
            return _answered(request, answer.content[: len(answer.content) // 2], answer.status_code)
        return answer

    def call(self, operation: str, do: Callable[[], Any]) -> Any:
        def broken(fault: Fault, do: Callable[[], Any]) -> Any:
            self._fault = fault
            try:
                return do()
            finally:
                self._fault = None

        sort = Sort.READ if operation.startswith(QUERIES) else Sort.WRITE
        return self.platform.tape.call(sort, operation, do, broken)


class _Numbered:
    """A client whose operations are numbered."""

    def __init__(self, aws: NumberedAws, client: Any) -> None:
        self._aws, self._client = aws, client

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        real, aws = getattr(self._client, operation), self._aws

        def called(**question: Any) -> Any:
            def do() -> Any:
                return aws.platform.telling(operation, lambda: real(**question))

            return aws.call(operation, do)

        return called


class AutoScaling(Provider):
    """A group of on-demand instances."""

    name = "aws_asg"
    is_away = False
    faults: ClassVar = {
        Sort.WRITE: (
            Fault.REFUSED,
            Fault.LOST,
            Fault.TIMEOUT,
            Fault.THROTTLED,
            Fault.NONSENSE,
            Fault.MANGLED,
            Fault.KILLED_BEFORE,
            Fault.KILLED_AFTER,
        ),
        Sort.READ: (Fault.REFUSED, Fault.THROTTLED, Fault.NONSENSE, Fault.MANGLED, Fault.KILLED_BEFORE),
        Sort.PROBE: (Fault.TIMEOUT, Fault.KILLED_BEFORE),
    }

    def begin(self, replicas: int) -> Variant:
        self.world, self.aws, _ = _stage()
        self._ends: dict[str, datetime] = {}
        self.group = self.world.group(replicas, maximum=10)
        self.world.tag(self.group, **{MANAGED.replace(":", "__").replace("-", "_"): "chat/l4"})
        self.served = set(self._ids())
        self.aws.play_for(self)
        self.patch.setattr(asg_life, "ask_urls", self._asked)
        self.patch.setattr(botocore.endpoint, "time", mock.Mock(sleep=lambda seconds: None))
        self._stamp()
        options = AwsAsgOptions(
            group=self.group,
            region=REGION,
            url="http://{instance_id}:8000",
            start_timeout_s=START_TIMEOUT_S,
            drain_timeout_s=DRAIN_TIMEOUT_S,
        )
        return variant_of("aws_asg", options)

    def actuator(self) -> Actuator:
        return AwsAsgActuator(self.aws, GroupBook(self.aws), pause=lambda seconds: None)

    def step(self, seconds: float) -> None:
        super().step(seconds)
        for instance, ends in list(self._ends.items()):
            if self.now >= ends:
                del self._ends[instance]
                if instance in self._ids():
                    self.world.ends(self.group, instance)
        self.world.step(self.group)
        self._stamp()
        if self.comes_up:
            self.served |= set(self._ids("InService"))

    def census(self) -> Census:
        states = self.world.of(self.group).instance_states
        members, ending = {}, 0
        for one in states:
            name = one.instance.id
            tags = {tag["key"] for tag in one.instance.get_tags()}
            gone = one.lifecycle_state.startswith("Terminating")
            ending += gone
            members[name] = Member(
                name=name,
                ready=name in self.served and one.lifecycle_state == "InService",
                leaving=gone or DRAINING in tags,
                busy=_url(name) in self.busy,
                noticed=name in self._ends,
            )
        return Census(members=members, wanted=self.world.desired(self.group) + ending)

    def targets(self) -> dict[str, str]:
        return {name: _url(name) for name in self._ids("InService") if name in self.served}

    def lose(self) -> str:
        name = next(iter(self.targets()))
        self.world.ends(self.group, name)
        return name

    def announce(self, deadline_s: float, *, hint: bool = False) -> Iterable[Notice]:
        name, ends = next(iter(self.targets())), self.now + timedelta(seconds=deadline_s)
        if not hint:
            self._ends[name] = ends
        kind = NoticeKind.REBALANCE if hint else NoticeKind.SPOT
        return [Notice(node=name, kind=kind, at=self.now, deadline=None if hint else ends, source="test")]

    def set_by_operator(self, count: int) -> None:
        self.world.client().set_desired_capacity(AutoScalingGroupName=self.group, DesiredCapacity=count)

    def own_by_other(self, owned: bool) -> None:
        of = {"AutoScalingGroupName": self.group, "PolicyName": "theirs"}
        if owned:
            self.world.client().put_scaling_policy(
                **of, PolicyType="SimpleScaling", AdjustmentType="ChangeInCapacity", ScalingAdjustment=1
            )
        else:
            self.world.client().delete_policy(**of)

    def away(self, away: bool) -> None:
        self.is_away = away

    def close(self) -> None:
        """Clients stay."""
        if left := self.world.ids(self.group):
            self.world.backend.ec2_backend.terminate_instances(left)  # moto has 4,091 addresses
        self.world.clear()
        self.world.forget()

    def telling(self, operation: str, do: Callable[[], Any]) -> Any:
        """Tells by how much what the group shall have changed, whatever the caller is told. Who drains beyond its desired
        capacity is there as well: that is raised past him before anybody new comes."""
        before = self._size()
        try:
            return do()
        finally:
            after = self._size()
            if after != before:
                self.told(operation, after - before)

    def _size(self) -> int:
        return max(self.world.desired(self.group), len(self._ids()))

    def _asked(self, urls: Iterable[str], question: object) -> dict[str, bool]:
        asked = sorted(set(urls))
        if not asked:
            return {}
        health = question is asg_life.healthy

        def do() -> dict[str, bool]:
            if health:
                return {url: url.split("/")[2].partition(":")[0] in self.served for url in asked}
            return {url: url not in self.busy for url in asked}

        def silent(fault: Fault, do: object) -> dict[str, bool]:
            return dict.fromkeys(asked, False)

        return self.tape.call(Sort.PROBE, "health" if health else "idle", do, silent)

    def _ids(self, state: str = "") -> list[str]:
        return sorted(self.world.ids(self.group, state))

    def _stamp(self) -> None:
        """Instances are launched by the story's clock."""
        stamped: set[str] = self.__dict__.setdefault("_stamped", set())
        for one in self.world.of(self.group).instance_states:
            if one.instance.id not in stamped:
                stamped.add(one.instance.id)
                one.instance.launch_time = self.now.replace(tzinfo=None)


def _url(instance: str) -> str:
    return f"http://{instance}:8000"
