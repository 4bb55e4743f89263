"""The real actuator of Auto Scaling groups over boto3 against moto's server. Every operation is numbered; what goes wrong
with it goes wrong at botocore's transport, so that retries and parsing are the real ones.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar
from unittest import mock

import botocore.endpoint
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.httpsession import URLLib3Session

import controller.act.aws_asg_life as asg_life
from controller.act.actuator import Actuator
from controller.act.aws_asg import AwsAsgActuator
from controller.act.aws_asg_roll import DRAINING, MANAGED
from controller.aws.clients import IN_A_PASS, Aws, Client, Patience
from controller.aws.groups import GroupBook
from controller.facts.actuators import AwsAsgOptions
from controller.facts.fleet import Variant
from controller.facts.interruptions import Notice, NoticeKind
from tests.auto_scaling import REGION, World, auto_scaling
from tests.chaos.history import Census, Member
from tests.chaos.platforms.base import DRAIN_TIMEOUT_S, START_TIMEOUT_S, Platform, variant_of
from tests.chaos.tape import Fault, Sort

QUERIES = ("describe_", "get_")
THROTTLED = b"<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>"
EC2_THROTTLED = b"<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Rate exceeded</Message></Error></Errors></Response>"
NONSENSE = b"<html><body>Service Unavailable</body></html>"


@cache
def _server() -> tuple[World, ExitStack]:
    """One for all cells of a process: starting it takes longer than a cell."""
    stack = ExitStack()
    return stack.enter_context(auto_scaling()), stack


def stop_server() -> None:
    if _server.cache_info().currsize:
        _server()[1].close()
        _server.cache_clear()


class _Said:
    """The raw side of an answer."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._content


class NumberedAws(Aws):
    """The real clients, but that nothing sleeps between two attempts."""

    def __init__(self, platform: AutoScaling, **options: Any) -> None:
        super().__init__(**options)
        self._platform = platform
        self._fault: Fault | None = None
        self._session = URLLib3Session(timeout=60)

    def client(self, service: str, region: str = "", patience: Patience = IN_A_PASS) -> Client:
        patience = Patience(connect_s=60.0, read_s=60.0, attempts=patience.attempts, adaptive=False)
        return _Numbered(self, super().client(service, region, patience))  # type: ignore[return-value]

    def _new(self, service: str, region: str, patience: Patience) -> Client:
        made: Any = super()._new(service, region, patience)
        made.meta.events.register("before-send.*.*", self._sent)
        return made  # type: ignore[no-any-return]

    def _sent(self, request: Any, **_: object) -> AWSResponse | None:
        fault, url = self._fault, request.url
        if self._platform.is_away or fault is Fault.REFUSED:
            raise EndpointConnectionError(endpoint_url=url)
        if fault is None:
            return None
        if fault in (Fault.LOST, Fault.MANGLED):
            answer = self._session.send(request)
            if fault is Fault.LOST:
                raise ReadTimeoutError(endpoint_url=url)
            return AWSResponse(url, answer.status_code, {}, _Said(answer.content[: len(answer.content) // 2]))
        if fault is Fault.TIMEOUT:
            raise ReadTimeoutError(endpoint_url=url)
        if fault is Fault.THROTTLED:
            return AWSResponse(url, 400, {}, _Said(EC2_THROTTLED if "ec2" in str(request.headers) else THROTTLED))
        return AWSResponse(url, 200, {}, _Said(NONSENSE))

    def call(self, operation: str, do: Callable[[], Any]) -> Any:
        def broken(fault: Fault, do: Callable[[], Any]) -> Any:
            self._fault = fault
            try:
                return do()
            finally:
                self._fault = None

        sort = Sort.READ if operation.startswith(QUERIES) else Sort.WRITE
        return self._platform.tape.call(sort, operation, do, broken)


class _Numbered:
    """A client whose operations are numbered."""

    def __init__(self, aws: NumberedAws, client: Any) -> None:
        self._aws, self._client = aws, client

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        real, aws = getattr(self._client, operation), self._aws

        def called(**question: Any) -> Any:
            def do() -> Any:
                return aws._platform.telling(operation, lambda: real(**question))

            return aws.call(operation, do)

        return called


class AutoScaling(Platform):
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
        self.world = _server()[0]
        endpoint = self.world.options["endpoint_url"]
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()
        self.world._images.clear()
        self.world.forget()
        self._ends: dict[str, datetime] = {}
        self.group = self.world.group(replicas, maximum=10)
        self.world.tag(self.group, **{MANAGED.replace(":", "__").replace("-", "_"): "chat/l4"})
        self.served = set(self._ids())
        self.aws = NumberedAws(self, **self.world.options)
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
        self.aws._session.close()
        for made in self.aws._made.values():
            made.close()

    def telling(self, operation: str, do: Callable[[], Any]) -> Any:
        """Tells what became of the group's desired capacity, whatever the caller is told."""
        before = self.world.desired(self.group)
        try:
            return do()
        finally:
            after = self.world.desired(self.group)
            if after != before:
                self.told(operation, after - before)

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
