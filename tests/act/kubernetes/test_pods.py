"""Pods as replicas, and whom a lower count takes: tables, without a cluster."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.act.kubernetes.count import Standing, lowering, removal_order, states, victims
from controller.act.kubernetes.others import Note, note_of, writer_of
from controller.act.kubernetes.pods import (
    DELETION_COST,
    DRAINED,
    DRAINED_COST,
    DRAINING_COST,
    DRAINING_SINCE,
    refused_of,
    replicas_of,
    stuck_of,
    url_of,
)
from controller.facts.actuators import KubernetesOptions
from controller.facts.decisions import OutcomeKind
from controller.facts.interruptions import Notice, NoticeKind, StuckKind
from controller.facts.readings import Phase
from controller.kubernetes.objects import (
    Condition,
    Container,
    Kind,
    Node,
    Pod,
    PodPhase,
    Port,
    ReplicasManager,
    Target,
    TargetRef,
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
REF = TargetRef(kind=Kind.DEPLOYMENT, namespace="llm", name="chat")
OPTIONS = KubernetesOptions(kind="Deployment", namespace="llm", name="chat")


def pod(name, *, ready=True, node="n1", **changes):
    ordered = NOON - timedelta(minutes=10)
    conditions = {"Ready": Condition(type="Ready", status=ready, since=ordered + timedelta(minutes=2 if ready else 0))}
    plain = Pod(
        namespace="llm",
        name=name,
        uid=name,
        phase=PodPhase.RUNNING if node else PodPhase.PENDING,
        ready=ready,
        conditions=conditions if node else {},
        node=node,
        ip="10.0.0.1",
        ports=(Port(number=8000, name="http"), Port(number=9000, name="metrics")),
        template="v1",
        created=ordered,
        started=ordered,
    )
    return replace(plain, **changes)


def marked(name, *, drained=False, **changes):
    notes = {DRAINING_SINCE: NOON.isoformat(), DELETION_COST: DRAINED_COST if drained else DRAINING_COST}
    return pod(name, annotations=notes | ({DRAINED: NOON.isoformat()} if drained else {}), **changes)


def noted(note):
    """The metadata of a target with it."""
    name = "pennyweight.dev/replicas"
    return {"annotations": {name: note.text}, "labels": {name: note.label}}


def standing(*pods, wanted=None, counted=None, kind=Kind.DEPLOYMENT, nodes=None, notices=None, managers=(), **changes):
    ref = replace(REF, kind=kind)
    note = noted(Note(counted=counted, at=NOON)) if counted is not None else {}
    target = Target(
        ref=ref,
        uid="t",
        resource_version="1",
        replicas=len(pods) if wanted is None else wanted,
        managers=managers,
        **note,
        **changes,
    )
    return Standing(target=target, replicas=replicas_of(target, pods, nodes or {}, notices or {}, OPTIONS, NOON))


def container(waiting="", restarts=0, **changes):
    return Container(name="engine", waiting=waiting, restarts=restarts, **changes)


@pytest.mark.parametrize(
    ("containers", "kind"),
    [
        (container(), None),
        (container("ContainerCreating"), None),
        (container("ErrImagePull"), StuckKind.IMAGE),
        (container("ImagePullBackOff"), StuckKind.IMAGE),
        (container("InvalidImageName"), StuckKind.IMAGE),
        (container("CreateContainerConfigError"), StuckKind.REFUSED),
        (container("CrashLoopBackOff", 2), None),
        (container("CrashLoopBackOff", 3), StuckKind.CRASH),
        (container("", 7), None),
        (container("CrashLoopBackOff", 5, init=True), StuckKind.CRASH),
    ],
)
def test_what_keeps_a_container_from_going_on(containers, kind):
    found = stuck_of(pod("a", ready=False, containers=(containers,)))
    assert (found.kind if found is not None else None) is kind


def test_a_pod_without_a_node_tells_the_schedulers_words():
    told = Condition(type="PodScheduled", status=False, reason="Unschedulable", message="0/3 nodes", since=NOON)
    found = stuck_of(pod("a", ready=False, node="", conditions={"PodScheduled": told}))
    assert (found.kind, found.since, found.detail) == (StuckKind.UNSCHEDULABLE, NOON, "0/3 nodes")


@pytest.mark.parametrize(
    ("message", "kind"),
    [("pods is forbidden: exceeded quota: gpus", StuckKind.QUOTA), ("admission webhook denied it", StuckKind.REFUSED)],
)
def test_pods_that_are_not_made_at_all(message, kind):
    told = Condition(type="ReplicaFailure", status=True, reason="FailedCreate", message=message, since=NOON)
    assert refused_of(told).kind is kind
    found = states(standing(pod("a"), wanted=3, conditions={"ReplicaFailure": told}), "h100", NOON)
    assert [(one.phase, one.stuck.kind if one.stuck else None) for one in found] == [
        (Phase.READY, None),
        (Phase.STARTING, kind),
        (Phase.STARTING, kind),
    ]


def test_a_pod_that_lost_its_readiness_starts_since_then_and_one_that_never_had_it_since_its_order():
    lately = Condition(type="Ready", status=False, since=NOON - timedelta(seconds=5))
    lost, fresh = standing(pod("a", ready=False, conditions={"Ready": lately}), pod("b", ready=False)).replicas
    assert (lost.since, fresh.since) == (NOON - timedelta(seconds=5), NOON - timedelta(minutes=10))


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "http://10.0.0.1:8000"),
        ({"port_name": "metrics"}, "http://10.0.0.1:9000"),
        ({"port": 7}, "http://10.0.0.1:7"),
    ],
)
def test_where_an_engine_answers(options, url):
    assert url_of(pod("a"), replace(OPTIONS, **options)) == url
    assert url_of(pod("a", ip=""), replace(OPTIONS, **options)) == ""
    assert url_of(pod("a", ip="fd00::1"), replace(OPTIONS, port=1)) == "http://[fd00::1]:1"


@pytest.mark.parametrize("key", ["n1", "i-0abc"])
def test_a_notice_names_the_node_or_the_providers_machine(key):
    notice = Notice(node=key, kind=NoticeKind.SPOT, at=NOON)
    (one,) = standing(pod("a"), nodes={"n1": Node(name="n1", instance="i-0abc")}, notices={key: notice}).replicas
    assert (one.phase, one.leaves, one.notice) == (Phase.DRAINING, True, notice)


def test_a_hint_ends_nothing():
    hint = Notice(node="n1", kind=NoticeKind.REBALANCE, at=NOON)
    (one,) = standing(pod("a"), notices={"n1": hint}).replicas
    assert (one.phase, one.leaves, one.notice) == (Phase.READY, False, hint)


def test_a_replica_set_gives_up_first_who_has_no_node_then_who_is_not_ready_then_who_is_cheapest():
    one = standing(
        pod("serves"),
        marked("drains"),
        marked("drained", drained=True),
        pod("starts", ready=False),
        pod("waits", node="", ready=False),
    )
    assert [each.name for each in removal_order(one.replicas, ordered=False)] == [
        "waits",
        "starts",
        "drained",
        "drains",
        "serves",
    ]


@pytest.mark.parametrize(
    ("pods", "wanted", "counted", "goes", "unmade", "waits"),
    [
        ([pod("a"), marked("b", drained=True)], 2, 1, ["b"], 0, ""),
        ([pod("a"), marked("b")], 2, 1, [], 0, ""),
        ([pod("a"), marked("b", drained=True), marked("c")], 3, 1, ["b"], 0, ""),
        ([pod("a", ready=False), marked("b", drained=True)], 2, 1, [], 0, "a would go first"),
        ([pod("a"), marked("b", drained=True)], 3, 2, [], 0, "1 wanted pod is not there yet"),
        ([pod("a"), marked("b", drained=True)], 3, 1, ["b"], 1, ""),
        ([pod("a"), pod("b", ready=False)], 2, 1, [], 1, ""),
        ([pod("a")], 2, 1, [], 1, ""),
        ([pod("a"), marked("b", drained=True)], 1, 1, [], 0, ""),  # lowered already, not gone yet
        ([pod("a", template="v2"), marked("b", drained=True)], 2, 1, [], 0, "a rollout is under way"),
    ],
)
def test_by_how_much_the_count_may_be_lowered(pods, wanted, counted, goes, unmade, waits):
    step = lowering(standing(*pods, wanted=wanted, counted=counted))
    assert ([one.name for one in step.goes], step.unmade, step.waits) == (goes, unmade, waits)


def test_a_replacement_that_serves_already_drains_the_youngest_first():
    lately = Condition(type="Ready", status=True, since=NOON)
    step = lowering(standing(pod("old"), pod("new", conditions={"Ready": lately}), counted=1))
    assert ([one.name for one in step.extra], step.by) == (["new"], 0)


def test_who_is_held_by_a_disruption_budget_stays():
    step = lowering(standing(pod("a"), marked("b", drained=True), counted=1), {"b"})
    assert step.by == 0


@pytest.mark.parametrize(
    ("wanted", "names", "count", "chosen", "unmade"),
    [
        (3, ["b"], 1, ["b"], 0),
        (3, [], 1, ["c"], 0),
        (4, [], 2, ["c"], 1),
        (4, ["a"], 1, ["a"], 0),
        (3, ["gone"], 2, ["c", "a"], 0),
    ],
)
def test_whom_a_shrink_takes(wanted, names, count, chosen, unmade):
    found = victims(standing(pod("a"), pod("b"), pod("c", ready=False), wanted=wanted), names, count)
    assert ([one.name for one in found.replicas], found.unmade) == (chosen, unmade)


def test_only_the_highest_ordinals_of_a_stateful_set_go():
    pods = [pod("chat-0"), pod("chat-1"), marked("chat-3")]
    found = victims(standing(*pods, wanted=4, kind=Kind.STATEFUL_SET), ["chat-0"], 2)
    assert ([one.name for one in found.replicas], found.unmade) == (["chat-1"], 1)
    assert found.said == "a StatefulSet loses its highest ordinals, not chat-0"


def test_who_is_told_as_there_is_as_many_as_counted_whatever_the_pods():
    for wanted in range(6):
        for counted in range(wanted + 1):
            some = [pod("a"), pod("b", ready=False), marked("c"), pod("d", deletion_at=NOON)]
            one = standing(*some, wanted=wanted, counted=counted)
            told = states(one, "h100", NOON)
            assert sum(state.phase in (Phase.STARTING, Phase.READY) for state in told) == one.counted, (wanted, counted)
            assert len({state.replica for state in told}) == len(told)


US, KUBECTL = (
    ReplicasManager(manager="pennyweight", operation="Update"),
    ReplicasManager(manager="kubectl", operation="Update", at=NOON),
)


def test_whose_count_it_is():
    assert standing(pod("a"), managers=(KUBECTL,)).foreign is None
    assert standing(pod("a"), counted=1, managers=(US,)).foreign is None
    assert standing(pod("a"), counted=1, managers=(KUBECTL,)).foreign.by == "kubectl"
    seen = standing(pod("a"), managers=(KUBECTL,))
    note = Note(counted=1, at=NOON, seen=writer_of(seen.target))
    assert replace(seen, target=replace(seen.target, **noted(note))).foreign is None


def test_a_note_is_the_one_of_its_label():
    older, newer = Note(counted=2, at=NOON), Note(counted=2, at=NOON + timedelta(hours=1))
    one = standing(pod("a")).target
    assert note_of(replace(one, **noted(newer))) == newer
    assert note_of(replace(one, annotations=noted(older)["annotations"], labels=noted(newer)["labels"])) is None
    assert note_of(replace(one, annotations=noted(older)["annotations"])) is None


@pytest.mark.parametrize(
    "text", ["", "{}", "null", "[1]", '{"counted": "x", "at": "y"}', '{"counted": 1, "at": "2026-01-01"}']
)
def test_a_note_that_somebody_wrote_over_is_as_none(text):
    one = standing(pod("a"))
    assert note_of(replace(one.target, annotations={"pennyweight.dev/replicas": text})) is None


@pytest.mark.parametrize(("leader", "worker"), [({}, {"deletion_at": NOON}), ({"deletion_at": NOON}, {})])
@pytest.mark.parametrize("phase", [PodPhase.RUNNING, PodPhase.PENDING])
def test_a_group_that_is_made_anew_is_still_one(leader, worker, phase):
    """Its controller deletes all of it when one pod goes, and the new leader may be there before the old worker ended."""
    pods = (
        pod("chat-0", group=0, worker=0, phase=phase, **leader),
        pod("chat-0-1", group=0, worker=1, **worker),
    )
    found = states(standing(*pods, wanted=1, counted=1, size=2, kind=Kind.LEADER_WORKER_SET), "h100", NOON)
    assert [one.phase for one in found] == [Phase.DRAINING, Phase.STARTING]


def test_a_pod_that_nobody_has_told_us_of_is_no_pod_that_was_never_made(stage_of, monkeypatch):
    stage = stage_of(replicas=2)
    heard = stage.cluster.pods_of
    known = set(stage.pods())
    assert stage.scale(2, 3).kind is OutcomeKind.DONE
    stage.world.step(8)
    (new,) = set(stage.pods()) - known
    stage.busy(new)
    monkeypatch.setattr(
        stage.cluster, "pods_of", lambda target: tuple(one for one in heard(target) if one.name in known)
    )
    outcome = stage.scale(3, 2)
    assert (outcome.kind, stage.replicas) == (OutcomeKind.REFUSED, 3)
    assert "its controller counts 1 more than we have heard of" in outcome.detail
    stage.passes(5)
    assert (new in stage.pods(), stage.replicas) == (True, 3)
