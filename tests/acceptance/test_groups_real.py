"""Engines over several machines, on the controller of LeaderWorkerSets itself: `make cluster` with its program."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from controller.facts.decisions import OutcomeKind
from tests.acceptance.cluster_stage import Stage, staged
from tests.cluster.documents import Doc
from tests.cluster.kubelet import Behaviour
from tests.cluster.parts import NodeShape, leader_worker_set, template
from tests.cluster.programs import BINARIES, LWS

if TYPE_CHECKING:
    from tests.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.cluster

NAME = "chat-h100"
SURGE = {"rollingUpdateConfiguration": {"maxUnavailable": 0, "maxSurge": 1}}
OLDER = "this controller is older than v0.9 and ends groups first: nothing is rolled out"
QUICK = Behaviour(start_s=1.0)
BROKEN = Behaviour(image="manifest unknown")


def groups(name: str, replicas: int, port: int) -> Doc:
    """Groups of a leader, which answers, and one worker."""
    made = leader_worker_set(name, replicas, template(f"{name}-workers", port=port), rolloutStrategy=SURGE)
    made["spec"]["leaderWorkerTemplate"]["leaderTemplate"] = template(name, port=port)
    return made


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, real: ControlPlane) -> Iterator[Stage]:
    """One service of one group, and the daemon."""
    if not real.groups:
        pytest.skip(f"{BINARIES} names no folder with {', '.join(LWS)}; see docs/kubernetes.md")
    folder: Path = tmp_path_factory.mktemp("groups")
    with staged(folder, real) as made:
        made.world.behave("", QUICK)
        made.world.add_nodes(3, NodeShape())
        made.world.add(groups(NAME, 1, made.port))
        made.service(
            "chat", {"h100": ", drain_timeout: 20s"}, scaling="min_replicas: 1, max_replicas: 4, foreign_hold: 4s"
        )
        write(made)
        made.start()
        made.wait(lambda: made.daemon.get("/readyz")[0] == 200, "the first pass", 180)
        yield made


def write(stage: Stage, template: str = "") -> None:
    more = f", template: {{{template}}}" if template else ""

    def grouped(text: str) -> str:
        return text.replace(f"deployment: {NAME}", f"leader_worker_set: {NAME}{more}")

    stage.write(grouped)


def wanted(stage: Stage) -> int:
    return int(stage.world.get("LeaderWorkerSet", NAME)["spec"]["replicas"])


def serving(stage: Stage) -> list[str]:
    """The leaders of groups of which every pod is ready."""
    workers = set(stage.world.ready(f"{NAME}-workers"))
    return [one for one in stage.world.ready(NAME) if f"{one}-1" in workers]


def arguments(stage: Stage) -> list[Any]:
    inside = stage.world.get("LeaderWorkerSet", NAME)["spec"]["leaderWorkerTemplate"]
    return [inside[key]["spec"]["containers"][0]["args"] for key in ("leaderTemplate", "workerTemplate")]


def test_a_group_is_one_replica_and_is_read_at_its_leader(stage: Stage) -> None:
    stage.wait(lambda: serving(stage) == [f"{NAME}-0"], "the first group")
    stage.wait(lambda: "ready" in stage.command("status"), "the daemon to see it")
    told = stage.api("/api/v1/services/chat")
    assert str(told).count(f"{NAME}-0") >= 1
    assert f"{NAME}-0-1" not in str(told), "a worker is no replica"


def test_groups_grow_under_load_and_the_highest_drain_before_they_go(stage: Stage) -> None:
    stage.router.load[NAME] = 28.0
    stage.wait(lambda: len(serving(stage)) == 3, "three groups that serve")
    assert wanted(stage) == 3
    stage.router.load[NAME] = 3.0
    stage.wait(lambda: wanted(stage) == 1 and serving(stage) == [f"{NAME}-0"], "the first group alone")
    assert {f"{NAME}-1", f"{NAME}-2"} <= stage.router.drained, "who went was marked before"
    assert stage.router.cut == set(), "nobody went while it still worked"
    stage.wait(lambda: len(stage.world.pods(f"{NAME}-workers")) == 1, "their workers to go with them")


def test_a_group_that_lost_a_worker_is_made_anew_and_nothing_else_moves(stage: Stage) -> None:
    (leader,) = (one for one in stage.world.pods(NAME) if one["metadata"]["name"] == f"{NAME}-0")
    before = len(stage.decided("chat"))
    stage.world.remove("Pod", f"{NAME}-0-1")

    def anew() -> bool:
        now = [one["metadata"]["uid"] for one in stage.world.pods(NAME)]
        return serving(stage) == [f"{NAME}-0"] and leader["metadata"]["uid"] not in now

    stage.wait(anew, "its group as a whole")
    stage.wait(lambda: len(stage.decided("chat")) > before + 3, "passes that see it")
    assert wanted(stage) == 1
    moved = stage.decided("chat")[: len(stage.decided("chat")) - before]
    assert {one.decision.desired for one in moved} == {1}, "one that is made anew is not replaced as well"


def is_old(stage: Stage) -> bool:
    """Whether its controller is older than v0.9."""
    return "observedGeneration" not in stage.world.get("LeaderWorkerSet", NAME).get("status", {})


def test_a_controller_that_ends_groups_first_is_not_given_another_template(stage: Stage) -> None:
    if not is_old(stage):
        pytest.skip("this controller makes new groups first")
    before = arguments(stage)
    write(stage, "args: [--max-num-seqs, '64']")
    stage.daemon.process.send_signal(signal.SIGHUP)
    stage.wait(lambda: "older than LeaderWorkerSet v0.9" in stage.command("status"), "the refusal")
    assert arguments(stage) == before


def test_other_arguments_are_rolled_out_with_a_group_more_and_nobody_is_missed(stage: Stage) -> None:
    if is_old(stage):
        pytest.skip(OLDER)
    stage.router.load[NAME] = 14.0
    stage.wait(lambda: len(serving(stage)) == 2, "two groups")
    old = {one["metadata"]["uid"] for app in (NAME, f"{NAME}-workers") for one in stage.world.pods(app)}
    write(stage, "args: [--max-num-seqs, '64']")
    stage.daemon.process.send_signal(signal.SIGHUP)
    fewest, most = [2], [2]

    def through() -> bool:
        now = serving(stage)
        fewest[0], most[0] = min(fewest[0], len(now)), max(most[0], len(now))
        there = {one["metadata"]["uid"] for app in (NAME, f"{NAME}-workers") for one in stage.world.pods(app)}
        return not old & there and len(now) == 2 == len(stage.world.pods(NAME))

    stage.wait(through, "two new groups", 180)
    assert (fewest, most) == ([2], [3])
    assert arguments(stage) == [["--max-num-seqs", "64"]] * 2
    begun = [one for one in stage.decided("chat") if one.decision.change]
    assert [(one.decision.change, one.outcome.kind) for one in begun if one.outcome] == [("args", OutcomeKind.DONE)]


def test_a_version_that_does_not_start_is_taken_back_and_every_old_group_stays(stage: Stage) -> None:
    if is_old(stage):
        pytest.skip(OLDER)
    before, old = arguments(stage), set(serving(stage))
    stage.world.behave(NAME, BROKEN)
    write(stage, "args: [--max-num-seqs, '64'], image: 'vllm/vllm-openai:none'")
    stage.daemon.process.send_signal(signal.SIGHUP)
    fewest = [2]

    def taken_back() -> bool:
        fewest[0] = min(fewest[0], len(old & set(serving(stage))))
        said = [one.decision.detail for one in stage.decided("chat")[:20]]
        return any("manifest unknown" in one for one in said)

    stage.wait(taken_back, "the rollout to be taken back")
    stage.world.behave(NAME, QUICK)
    stage.wait(lambda: len(stage.world.pods(NAME)) == 2 == len(serving(stage)), "the two of before")
    assert fewest == [2]
    assert arguments(stage) == before


def test_an_operators_count_of_groups_is_seen_by_managed_fields_and_left_alone(stage: Stage) -> None:
    from tests.cluster.control_plane import kubectl

    kubectl(stage.folder / "admin.kubeconfig", "scale", f"leaderworkerset/{NAME}", "--replicas=3")
    stage.router.load[NAME] = 0.0
    said = "'kubectl' changed spec.replicas"

    def told() -> bool:
        found = stage.decided("chat")[:20]
        return any(said in f"{one.decision.detail} {one.outcome.detail if one.outcome else ''}" for one in found)

    stage.wait(told, "the refusal that names who it was")
    assert wanted(stage) == 3
