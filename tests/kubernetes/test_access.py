"""The rights that we ask for are all that we use, and no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from controller.errors import ClusterError, ForbiddenError
from controller.facts.missing import Missing
from controller.kubernetes.access import RIGHTS, Right
from controller.kubernetes.api import Api
from controller.kubernetes.calls import Calls
from controller.kubernetes.cluster import Cluster
from controller.kubernetes.objects import Kind, TargetRef
from controller.kubernetes.resources import LEASES
from controller.kubernetes.selectors import parse_selector
from tests.cluster.fixtures import PACE
from tests.cluster.parts import deployment, leader_worker_set, stateful_set, template
from tests.cluster.server import Rule
from tests.cluster.world import World
from tests.small_fleet import until

CONTROLLER = Path(__file__).parents[2] / "controller"
ONES = [TargetRef(kind=kind, namespace="llm", name=kind.lower()) for kind in Kind]


def rules_of(rights: Sequence[Right]) -> tuple[Rule, ...]:
    return tuple(Rule(groups=(one.resource.group,), resources=(one.name,), verbs=one.verbs) for one in rights)


def everything(api: Api) -> dict[tuple[str, str], tuple[str, Callable[[], object]]]:
    """Every call but watching that there is, by its verb and resource, and how the code that makes it reads."""
    calls = Calls(api)
    made: dict[tuple[str, str], tuple[str, Callable[[], object]]] = {}
    for one in ONES:
        name = f"{one.kind.lower()}s"
        made["get", f"{name}/scale"] = r"calls\.scale\(", lambda one=one: calls.scale(one)
        made["patch", f"{name}/scale"] = r"calls\.set_scale\(", lambda one=one: calls.set_scale(one, 1, version="1")
        made["get", name] = r"calls\.target\(", lambda one=one: calls.target(one)
        made["patch", name] = r"calls\.patch_target\(", lambda one=one: calls.patch_target(one, {}, version="1")
    pod, leader = "statefulset-0", {"metadata": {"name": "leader"}, "spec": {}}
    return made | {
        ("get", "pods"): (r"calls\.pod\(", lambda: calls.pod("llm", pod)),
        ("patch", "pods"): (r"calls\.note_pod\(", lambda: api.patch(_PODS, "llm", pod, {})),
        ("get", "leases"): (r"api\.get\(LEASES", lambda: api.get(LEASES, "llm", "none")),
        ("create", "leases"): (r"api\.create\(LEASES", lambda: api.create(LEASES, "llm", leader)),
        ("update", "leases"): (r"api\.replace\(LEASES", lambda: api.replace(LEASES, "llm", "leader", leader)),
    }


_PODS = next(right.resource for right in RIGHTS if right.name == "pods")


@pytest.fixture
def peopled(world: World) -> World:
    world.add_nodes(1)
    world.add(deployment("deployment", 1, template("deployment")))
    world.add(stateful_set("statefulset", 1, template("statefulset")))
    world.add(leader_worker_set("leaderworkerset", 1, template("leaderworkerset"), size=1))
    world.step(10)
    return world


def used(api: Api) -> dict[tuple[str, str], Callable[[], object]]:
    """Those that the rest of the program makes."""
    room = CONTROLLER / "kubernetes"
    code = "".join(path.read_text() for path in CONTROLLER.rglob("*.py") if room not in path.parents)
    return {what: call for what, (text, call) in everything(api).items() if re.search(text, code)}


def test_what_is_asked_for_suffices_for_every_call_that_is_made(peopled: World, api: Api) -> None:
    peopled.server.rules = rules_of(RIGHTS)
    for what, call in used(api).items():
        try:
            call()
        except ForbiddenError as error:
            pytest.fail(f"{what}: {error}")
        except ClusterError:
            continue  # a version or a name that is wrong on purpose


def test_what_is_asked_for_suffices_for_every_watch(peopled: World, api: Api) -> None:
    peopled.server.rules = rules_of(RIGHTS)
    cluster = Cluster(api, pace=PACE)
    answers: list[object] = [cluster.nodes(), cluster.pods("llm", parse_selector("app"))]
    for one in ONES:
        answers += [cluster.target(one), cluster.scalers_of(one)]
    pods = cluster.pods("llm", parse_selector("app"))
    assert not isinstance(pods, Missing)
    answers.append(cluster.pdbs_over(pods[0]))
    assert not [one for one in answers if isinstance(one, Missing)]
    until(lambda: peopled.server.watching == 8, "every watch")
    assert cluster.problems() == ()
    cluster.close()


def test_every_right_is_used(api: Api) -> None:
    asked = {(verb, right.name) for right in RIGHTS for verb in right.verbs if verb not in {"list", "watch"}}
    assert asked == set(used(api))


def test_no_right_is_a_wildcard_and_none_stands_twice() -> None:
    told = [(right.resource.group, right.name, verb) for right in RIGHTS for verb in right.verbs]
    assert len(told) == len(set(told))
    assert not [one for one in told if "*" in one]
