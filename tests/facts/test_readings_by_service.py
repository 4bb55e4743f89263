"""An observation cut by service loses nothing and mixes nothing."""

from datetime import UTC, datetime

from controller.facts.missing import Missing
from controller.facts.readings import Observation, Target, by_service

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DOWN = Missing("engine", "it does not answer")


def target(service, replica):
    return Target(service=service, variant="v", replica=replica, url=f"http://{service}-{replica}")


def test_each_service_gets_its_own_part_and_one_that_nothing_is_known_of_an_empty_one():
    targets = (target("chat", "a"), target("search", "a"), target("chat", "b"))
    whole = Observation(
        at=NOON,
        targets=targets,
        engines={one.url: DOWN for one in targets},
        gpus={("chat", "v"): DOWN, ("search", "v"): DOWN, ("gone", "v"): DOWN},
        replicas={("chat", "v"): (), ("search", "v"): ()},
        discovery_problems=(DOWN,),
        gateway={"search": 3.0},
    )
    parts = by_service(whole, ["chat", "search", "new"])
    assert [one.replica for one in parts["chat"].targets] == ["a", "b"]
    assert set(parts["search"].engines) == {"http://search-a"}
    assert (set(parts["chat"].gpus), set(parts["search"].replicas)) == ({("chat", "v")}, {("search", "v")})
    assert (parts["chat"].gateway, parts["search"].gateway) == ({}, {"search": 3.0})
    assert (parts["new"].targets, parts["new"].gpus, parts["new"].at) == ((), {}, NOON)
    assert all(one.discovery_problems == (DOWN,) for one in parts.values())
