"""Labels, taints, selectors and llm-d's words: what each means, and that what is not known stays so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller.errors import NonsenseError
from controller.facts.fleet import CapacityType
from controller.facts.interruptions import NoticeKind
from controller.facts.missing import Missing
from controller.kubernetes.llmd import llmd_of, same_model
from controller.kubernetes.nodes import capacity_type_of, machine_of, parse_node
from controller.kubernetes.objects import Kind, TargetRef
from controller.kubernetes.parse import parse_pdb, parse_pod, parse_scale, template_managers
from controller.kubernetes.selectors import parse_selector, selector_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SPOT, ON_DEMAND, RESERVED = CapacityType.SPOT, CapacityType.ON_DEMAND, CapacityType.RESERVED


@pytest.mark.parametrize(
    ("label", "value", "bought"),
    [
        ("karpenter.sh/capacity-type", "spot", SPOT),
        ("karpenter.sh/capacity-type", "on-demand", ON_DEMAND),
        ("karpenter.sh/capacity-type", "reserved", RESERVED),
        ("karpenter.sh/capacity-type", "something-new", None),
        ("eks.amazonaws.com/capacityType", "SPOT", SPOT),
        ("eks.amazonaws.com/capacityType", "CAPACITY_BLOCK", RESERVED),
        ("cloud.google.com/gke-spot", "true", SPOT),
        ("cloud.google.com/gke-provisioning", "standard", ON_DEMAND),
        ("cloud.google.com/gke-provisioning", "flex-start", None),
        ("cloud.google.com/reservation-name", "h100-2026", RESERVED),
        ("kubernetes.azure.com/scalesetpriority", "spot", SPOT),
        ("node.kubernetes.io/lifecycle", "normal", ON_DEMAND),
        ("kubernetes.io/os", "linux", None),
    ],
)
def test_how_a_node_is_bought_is_what_a_label_says(label: str, value: str, bought: CapacityType | None) -> None:
    assert capacity_type_of({label: value}) is bought


@pytest.mark.parametrize(
    ("provider_id", "machine"),
    [
        ("aws:///us-east-1a/i-0abc", ("aws", "i-0abc")),
        ("gce://project/us-central1-a/gke-node-1", ("gcp", "gke-node-1")),
        ("", ("", "")),
    ],
)
def test_a_providers_id_names_the_machine(provider_id: str, machine: tuple[str, str]) -> None:
    assert machine_of(provider_id) == machine


def node(taints: list[dict[str, str]], spot: bool = True, written: str = "2026-11-21T12:00:00Z") -> dict[str, object]:
    fields = {"manager": "karpenter", "time": written, "fieldsV1": {"f:spec": {"f:taints": {}}}}
    labels = {"karpenter.sh/capacity-type": "spot" if spot else "on-demand"}
    meta = {"name": "n", "labels": labels, "managedFields": [fields], "creationTimestamp": "2026-11-20T12:00:00Z"}
    return {"metadata": meta, "spec": {"providerID": "aws:///a/i-1", "taints": taints}, "status": {}}


@pytest.mark.parametrize(
    ("key", "kind", "wait_s"),
    [
        ("aws-node-termination-handler/spot-itn", NoticeKind.SPOT, 120),
        ("aws-node-termination-handler/rebalance-recommendation", NoticeKind.REBALANCE, None),
        ("karpenter.sh/disrupted", NoticeKind.MAINTENANCE, None),
        ("ToBeDeletedByClusterAutoscaler", NoticeKind.MAINTENANCE, None),
        ("node.kubernetes.io/out-of-service", NoticeKind.STOPPED, None),
        ("cloud.google.com/impending-node-termination", NoticeKind.SPOT, 120),
    ],
)
def test_a_taint_that_announces_an_end_is_a_notice(key: str, kind: NoticeKind, wait_s: int | None) -> None:
    notice = parse_node(node([{"key": "nvidia.com/gpu", "effect": "NoSchedule"}, {"key": key}])).notice
    assert notice is not None
    assert (notice.kind, notice.node, notice.at, notice.source) == (kind, "n", NOON, "kubernetes")
    assert notice.deadline == (NOON + timedelta(seconds=wait_s) if wait_s else None)


def test_an_end_counts_before_a_hint_and_no_taint_announces_nothing() -> None:
    hint = {"key": "aws-node-termination-handler/rebalance-recommendation"}
    end = {"key": "aws-node-termination-handler/scheduled-maintenance", "timeAdded": "2026-11-21T12:00:30Z"}
    notice = parse_node(node([hint, end])).notice
    assert notice is not None
    assert (notice.kind, notice.at) == (NoticeKind.MAINTENANCE, NOON + timedelta(seconds=30))
    assert parse_node(node([{"key": "nvidia.com/gpu"}])).notice is None


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("app=chat", {"app": "chat"}, True),
        ("app == chat, tier!=dev", {"app": "chat"}, True),
        ("tier!=dev", {"tier": "dev"}, False),
        ("app in (a, b)", {"app": "b"}, True),
        ("app notin (a,b)", {"app": "b"}, False),
        ("app notin (a,b)", {}, True),
        ("example.com/app", {"example.com/app": ""}, True),
        ("!app", {"app": "x"}, False),
        ("app=", {"app": ""}, True),
    ],
)
def test_a_selector_selects_as_kubernetes_does(text: str, labels: dict[str, str], matches: bool) -> None:
    selector = parse_selector(text)
    assert selector.matches(labels) is matches
    assert parse_selector(str(selector)) == selector


@pytest.mark.parametrize("text", ["app=a=b", "app in a", "a b", "app in (x y)", "-app=1", ",", "app=a,"])
def test_a_selector_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"selector term|label value"):
        parse_selector(text)


def test_no_selector_matches_nothing_and_an_empty_one_everything() -> None:
    assert not selector_of(None).matches({})
    assert selector_of({}).matches({"any": "thing"})
    block = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]}
    assert str(selector_of(block)) == "a=b,c"


def test_what_a_pod_is_a_replica_of_needs_no_replica_set() -> None:
    def pod(labels: dict[str, str], kind: str, name: str) -> dict[str, object]:
        owner = {"kind": kind, "name": name, "uid": "1", "controller": True}
        return {"metadata": {"name": "p", "namespace": "llm", "labels": labels, "ownerReferences": [owner]}}

    of_deployment = parse_pod(pod({"pod-template-hash": "7c9"}, "ReplicaSet", "my-chat-7c9"))
    assert of_deployment.target == TargetRef(kind=Kind.DEPLOYMENT, namespace="llm", name="my-chat")
    assert parse_pod(pod({}, "ReplicaSet", "my-chat-7c9")).target is None
    assert parse_pod(pod({}, "Job", "chat")).target is None
    assert parse_pod(pod({}, "StatefulSet", "chat")).target == TargetRef(
        kind=Kind.STATEFUL_SET, namespace="llm", name="chat"
    )


@pytest.mark.parametrize("found", [{}, {"metadata": None}, {"metadata": {"name": "p"}}, {"metadata": {}, "spec": 1}])
def test_a_pod_that_is_none_is_nonsense(found: dict[str, object]) -> None:
    with pytest.raises(NonsenseError):
        parse_pod(found)


def entry(manager: str, minute: int, **spec: object) -> dict[str, object]:
    """Of managedFields."""
    return {"manager": manager, "time": f"2026-11-21T12:{minute:02}:00Z", "fieldsV1": {"f:spec": spec}}


def test_who_wrote_containers_of_a_template_is_what_managed_fields_say_the_newest_last() -> None:
    def containers(**engine: object) -> dict[str, object]:
        return {"f:spec": {"f:containers": {'k:{"name":"engine"}': {".": {}, **engine}}}}

    entries = [
        entry("kubectl-set", 9, **{"f:template": containers(**{"f:image": {}})}),
        entry("kubectl", 5, **{"f:replicas": {}, "f:template": containers(**{"f:args": {}, "f:env": {".": {}}})}),
        entry("hpa", 6, **{"f:replicas": {}}),
        entry("atomic", 7, **{"f:leaderWorkerTemplate": {"f:workerTemplate": {"f:spec": {"f:containers": {}}}}}),
        entry("resources", 8, **{"f:template": containers(**{"f:resources": {"f:limits": {}}})}),
    ]
    found = [(one.manager, one.fields) for one in template_managers(entries)]
    assert found == [("kubectl", {"args", "env"}), ("atomic", {"containers"}), ("kubectl-set", {"image"})]


def test_a_scale_without_replicas_is_zero_and_without_a_version_nonsense() -> None:
    ref = TargetRef(kind=Kind.DEPLOYMENT, namespace="llm", name="chat")
    assert parse_scale(ref, {"metadata": {"resourceVersion": "1"}, "spec": {}}).replicas == 0
    with pytest.raises(NonsenseError):
        parse_scale(ref, {"metadata": {}, "spec": {"replicas": 3}})


def test_a_budget_whose_status_is_older_than_its_spec_allows_nobody_knows_how_many() -> None:
    meta = {"name": "b", "namespace": "llm", "generation": 2}
    old = {"metadata": meta, "spec": {}, "status": {"observedGeneration": 1, "disruptionsAllowed": 3}}
    assert parse_pdb(old).allowed is None
    assert parse_pdb(old | {"status": {"observedGeneration": 2, "disruptionsAllowed": 3}}).allowed == 3


@pytest.mark.parametrize(
    ("label", "name", "same"),
    [
        ("meta-llama--Llama-3.1-70B-Instruct", "llama-3.1-70b", True),
        ("llama-3.1-70b", "meta-llama/Llama-3.1-70B", True),
        ("qwen3-8b", "llama-3.1-70b", False),
        ("", "llama-3.1-70b", False),
    ],
)
def test_a_model_goes_by_many_spellings(label: str, name: str, same: bool) -> None:
    assert same_model(label, name) is same


def test_llmds_labels_are_read_and_a_cost_that_is_none_is_missing() -> None:
    told = llmd_of({"llm-d.ai/variant-cost": "40.5", "llm-d.ai/role": "decode"}, {"llm-d.ai/managed": "false"})
    assert (told.cost, told.role, told.managed) == (40.5, "decode", False)
    assert isinstance(llmd_of({"llm-d.ai/variant-cost": "0"}).cost, Missing)
    assert llmd_of({}).cost is None
