"""Calls of AWS, as our client counts them, against moto's server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from controller.act.aws_asg.actuator import AwsAsgActuator
from controller.aws.groups import GroupBook
from controller.catalog.gpus import find_gpu
from controller.clock import utc_now
from controller.facts.actuators import AwsAsgOptions
from controller.facts.decisions import Because, Decision
from controller.facts.fleet import EngineKind, Variant
from tests.auto_scaling import REGION, World, auto_scaling

REPLICAS = 2

Calls = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Calls of ``groups`` groups of two instances: of a steady pass, of one decision to grow, and of one to shrink."""

    groups: int
    steady: Calls
    grown: Calls
    shrunk: Calls


def groups_counted(sizes: Sequence[int]) -> Iterator[Counted]:
    """One account after the other would be one process of moto's after the other: so the groups only become more."""
    groups: list[str] = []
    with auto_scaling() as world:
        for size in sorted(sizes):
            groups += [_group(world) for _ in range(size - len(groups))]
            yield _counted(AwsAsgActuator(world.aws, GroupBook(world.aws)), groups, world.engines.url)


def _group(world: World) -> str:
    """Whose engines answer, and have nothing to do."""
    made = world.group(REPLICAS)
    world.serve(*world.ids(made))
    return made


def _counted(actuator: AwsAsgActuator, groups: Sequence[str], url: str) -> Counted:
    variants, now = [_variant(group, url) for group in groups], utc_now()

    def look(after: int) -> None:
        for variant in variants:
            actuator.replicas(variant, now + timedelta(seconds=15 * after))

    def made(action: Callable[[], object]) -> Calls:
        before = dict(actuator.calls)
        action()
        new = {key: count - before.get(key, 0) for key, count in actuator.calls.items()}
        return {key: count for key, count in new.items() if count}

    def scale(current: int, desired: int, after: int) -> None:
        decision = _decision(variants[-1], current, desired)
        actuator.apply(decision, variants[-1], now + timedelta(seconds=15 * after))

    look(0)
    look(1)
    steady = made(lambda: look(2))
    grown = made(lambda: scale(REPLICAS, REPLICAS + 1, 3))
    look(4)
    shrunk = made(lambda: scale(REPLICAS + 1, REPLICAS, 5))
    return Counted(groups=len(groups), steady=steady, grown=grown, shrunk=shrunk)


def _variant(group: str, url: str) -> Variant:
    gpu = find_gpu("H100-SXM")
    assert gpu is not None
    return Variant(
        service=group,
        name="h100",
        gpu=gpu,
        gpus_per_replica=8,
        quantization="bf16",
        kv_cache_dtype="auto",
        engine=EngineKind.VLLM,
        capacity=(),
        actuator="aws_asg",
        actuator_options=AwsAsgOptions(group=group, region=REGION, url=url),
    )


def _decision(variant: Variant, current: int, desired: int) -> Decision:
    return Decision(
        id=f"{variant.service}@{desired}",
        at=utc_now(),
        service=variant.service,
        variant=variant.name,
        current=current,
        ready=current,
        desired=desired,
        wanted=desired,
        because=Because.DEMAND,
        detail="",
        usd_per_hour_before=0.0,
        usd_per_hour_after=0.0,
    )
