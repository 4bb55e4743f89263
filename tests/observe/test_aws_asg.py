from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.aws.groups import Group, Instance, Mix
from controller.errors import AwsError
from controller.facts.actuators import AwsAsgOptions
from controller.facts.fleet import AwsAsgInstances, Capacity, CapacityType, EngineKind, Gpu, Variant
from controller.observe.aws_asg import AwsAsgSource
from controller.observe.discovery import Discoverer

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SOURCE = AwsAsgInstances(group="chat", region="us-east-1", url="http://{private_ip}:8000")


def instance(name: str, ip: str = "10.0.0.1", state: str = "InService", **more: Any) -> Instance:
    fields = {"healthy": True, "protected": False, "kind": "p5.48xlarge", "zone": "us-east-1a", "market": "on-demand"}
    return Instance(id=name, state=state, private_ip=ip, **(fields | more))


def variant_of(source: AwsAsgInstances) -> Variant:
    return Variant(
        service="chat",
        name="h100",
        gpu=Gpu(name="H100", memory_bytes=8e10, bandwidth_bytes_per_s=3e12, peak_flop_per_s={}, tdp_w=None),
        gpus_per_replica=8,
        quantization="fp8",
        kv_cache_dtype="auto",
        engine=EngineKind.VLLM,
        capacity=(),
        discovery=(source,),
    )


class Book:
    """What a group book would say."""

    def __init__(self, *instances: Instance) -> None:
        self.instances, self.away, self.mix = instances, "", None

    def group(self, wanted: object, now: datetime) -> Group:
        if self.away:
            raise AwsError(self.away)
        return self.seen(wanted)

    def seen(self, wanted: object) -> Group:
        named = {"name": "chat", "region": "us-east-1", "minimum": 0, "maximum": 9, "desired": 2}
        return Group(instances=self.instances, mix=self.mix, **named)


def test_instances_are_targets_with_what_is_known_of_them():
    book = Book(instance("i-1", market="spot"), instance("i-2", "10.0.0.2", "Terminating:Wait"))
    found, problems = Discoverer(groups=AwsAsgSource(book)).targets(variant_of(SOURCE), NOW)
    assert problems == ()
    assert [(one.replica, one.url) for one in found] == [
        ("i-1", "http://10.0.0.1:8000"),
        ("i-2", "http://10.0.0.2:8000"),
    ]
    assert found[0].labels == {
        "replica": "i-1",
        "node": "i-1",
        "zone": "us-east-1a",
        "instance_type": "p5.48xlarge",
        "phase": "ready",
        "capacity_type": "spot",
    }
    assert found[1].labels["phase"] == "draining"


@pytest.mark.parametrize(("state", "ip"), [("Standby", "10.0.0.1"), ("Terminated", "10.0.0.1"), ("Pending", "")])
def test_who_serves_nobody_or_has_no_address_is_no_target(state, ip):
    book = Book(instance("i-1", ip, state))
    assert Discoverer(groups=AwsAsgSource(book)).targets(variant_of(SOURCE), NOW) == ((), ())


def test_a_group_that_cannot_be_read_keeps_its_targets_and_is_a_problem():
    book = Book(instance("i-1"))
    discoverer = Discoverer(groups=AwsAsgSource(book))
    before, _ = discoverer.targets(variant_of(SOURCE), NOW)
    book.away = "AWS answered: Rate exceeded"
    after, problems = discoverer.targets(variant_of(SOURCE), NOW + timedelta(seconds=15))
    assert after == before
    assert str(problems[0].why) == "AWS answered: Rate exceeded; its last good list (1 targets) stays in use"


@pytest.mark.parametrize("scaled", [True, False])
def test_a_group_that_buys_otherwise_than_its_variant_is_priced_is_a_problem_in_each_pass(scaled):
    book = Book(instance("i-1"))
    book.mix = Mix(kinds=("g5.xlarge",), base=0, above_percent=100)
    priced = replace(variant_of(SOURCE), capacity=(Capacity(type=CapacityType.SPOT, usd_per_gpu_hour=1.0),))
    if scaled:  # and not read from the group, but from what the actuator writes
        priced = replace(priced, discovery=(), actuator_options=AwsAsgOptions(group="chat", region="us-east-1"))
    discoverer = Discoverer(groups=AwsAsgSource(book))
    for _ in range(2):
        _, problems = discoverer.targets(priced, NOW)
        assert [one.what for one in problems] == ["capacity of chat/h100 as it is priced"]
        assert "(0 on demand, then 100 % on demand; of g5.xlarge; MaxSize 9) gives none" in problems[0].why
