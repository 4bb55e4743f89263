"""In a disaggregated service some replicas only prefill and others decode: one count says nothing of how many of each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controller.decide.alike import unlike
from controller.decide.replicas import decide_replicas
from controller.facts.decisions import Because
from controller.facts.missing import Missing
from controller.facts.readings import Observation, Phase, ReplicaState, Target

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def seen(states: dict[str, list[ReplicaState]], targets: tuple[Target, ...] = ()) -> Observation:
    replicas = {("chat", variant): tuple(some) for variant, some in states.items()}
    return Observation(at=NOON, targets=targets, engines={}, gpus={}, replicas=replicas)


def pods(variant: str, *roles: str, phase: Phase = Phase.READY) -> list[ReplicaState]:
    return [
        ReplicaState(replica=f"{variant}-{phase}-{index}", variant=variant, phase=phase, since=NOON, role=role)
        for index, role in enumerate(roles)
    ]


def target(replica: str, role: str, **labels: str) -> Target:
    told = {"role": role, **labels}
    return Target(service="chat", variant="h100", replica=replica, url=f"http://{replica}", labels=told)


@pytest.mark.parametrize("phase", [Phase.READY, Phase.STARTING])
def test_prefill_beside_decode_is_told_by_variant(phase: Phase) -> None:
    found = {"big": pods("big", "prefill", "prefill", phase=phase), "small": pods("small", "decode", "decode", "")}
    kinds = "big has 2 prefill, small has 2 decode and 1 without"
    assert f"not of one kind, by their label role: {kinds}; make a service of each" in unlike("chat", seen(found))


def test_prefill_beside_decode_under_one_variant_is_told_by_its_targets_too() -> None:
    everybody = (target("a", "prefill"), target("b", "decode"))
    assert "h100 has 1 decode and 1 prefill" in unlike("chat", seen({}, everybody))
    unseen = replace(seen({}, everybody), replicas={("chat", "h100"): Missing("replicas", "the cluster is away")})
    assert "h100 has 1 decode and 1 prefill" in unlike("chat", unseen)


@pytest.mark.parametrize(
    "roles",
    [
        ("decode", "decode"),  # llm-d's guides label whoever serves alone so
        ("prefill", "prefill"),
        ("decode", "both", "prefill-decode", ""),  # all of them answer whole requests
        ("", ""),
    ],
)
def test_replicas_that_can_stand_for_each_other_are_of_one_kind(roles: tuple[str, ...]) -> None:
    assert unlike("chat", seen({"h100": pods("h100", *roles)})) == ""


def test_who_leaves_and_another_service_s_do_not_matter() -> None:
    leaving = pods("h100", "prefill", phase=Phase.DRAINING)
    targets = (target("h100-draining-0", "prefill"), target("x", "prefill", phase="draining"))
    assert unlike("chat", seen({"h100": [*pods("h100", "decode"), *leaving]}, targets)) == ""
    other = replace(seen({"h100": pods("h100", "decode")}), targets=(replace(target("p", "prefill"), service="mail"),))
    assert unlike("chat", other) == ""


@pytest.mark.parametrize(("ready", "queue"), [(4, 900.0), (4, 0.0), (0, 900.0)])
def test_a_service_of_two_kinds_is_held_whatever_it_wants(build, ready: int, queue: float) -> None:
    situation = replace(build.situation(ready, queue_depth=queue), unlike="its replicas are not of one kind")
    (made,), _ = decide_replicas(situation, build.policy(), build.memory())
    assert (made.desired, made.because, made.detail) == (
        ready,
        Because.INFEASIBLE,
        "its replicas are not of one kind",
    )
