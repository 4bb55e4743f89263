"""What only a real API server, its controllers and its scheduler can show: `make cluster`."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from controller.errors import ForbiddenError
from controller.facts.decisions import Because
from controller.kubernetes.access import RIGHTS, Right
from controller.kubernetes.api import Api, Timeouts, config_of
from controller.kubernetes.calls import Calls
from controller.kubernetes.parse import parse_pod
from controller.kubernetes.refusals import ExpiredError
from controller.kubernetes.resources import LEASES, PODS
from controller.kubernetes.watched import Pace, Watched
from tests.acceptance.cluster_stage import REPOSITORY, Stage, account, apply, staged
from tests.cluster.documents import at
from tests.cluster.kubelet import Behaviour
from tests.cluster.parts import NodeShape, deployment, template
from tests.cluster.world import NAMESPACE, World
from tests.small_fleet import until

if TYPE_CHECKING:
    from tests.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.cluster

OURS = "/api/v1/namespaces/pennyweight"
SHIPPED = REPOSITORY / "deploy" / "kubernetes"
EXAMPLES = SHIPPED / "examples"


@pytest.fixture
def admin(real: ControlPlane, tmp_path: Path) -> Path:
    return real.kubeconfig(tmp_path / "admin.kubeconfig", namespace=NAMESPACE)


# --- what deploy/ gives ------------------------------------------------------------------------------------------------


def refused_pods(real: ControlPlane) -> list[str]:
    """Why pods of the daemon are not made."""
    found = real.ask("GET", "/apis/apps/v1/namespaces/pennyweight/replicasets")[1]["items"]
    told = [one for doc in found for one in at(doc, "status.conditions") or () if one["type"] == "ReplicaFailure"]
    return [one["message"] for one in told]


@pytest.mark.parametrize(
    ("overlay", "pods"),
    # The last one rolls, and without kubelets for ever: a Deployment that is made smaller meanwhile does no more.
    [("advise", 1), ("act", 1), ("keda", 1), ("hpa", 1), ("high-availability", 2)],
)
def test_an_overlay_is_taken_without_a_warning_and_its_pods_are_let_in(
    real: ControlPlane, admin: Path, overlay: str, pods: int
) -> None:
    said = apply(admin, f"overlays/{overlay}")
    assert "Warning" not in said
    assert "deployment.apps/pennyweight serverside-applied" in said

    def made() -> bool:
        assert refused_pods(real) == []
        found = real.ask("GET", f"{OURS}/pods")[1]["items"]
        return len([one for one in found if "deletionTimestamp" not in one["metadata"]]) == pods

    until(made, "its pods")


def test_the_chart_is_taken_as_well(real: ControlPlane, tmp_path: Path) -> None:
    from tests.cluster.control_plane import kubectl

    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("helm is not on the PATH")
    chart = str(REPOSITORY / "deploy" / "helm" / "pennyweight")
    for name in ("chart", "inference", "gpu-operator"):  # where its example has engines, and exporters
        real.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    config = real.kubeconfig(tmp_path / "chart.kubeconfig", namespace="chart")
    command = [helm, "template", "pw", chart, "--namespace", "chart", "--values", f"{chart}/examples/chat.yaml"]
    command += ["--set", "replicas=2,ledger.secret=database,fleet.leader.lease.name=pennyweight,mode=act"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (tmp_path / "chart.yaml").write_text(text)
    said = kubectl(config, "apply", "--server-side", "--validate=strict", "-f", str(tmp_path / "chart.yaml"))
    assert "Warning" not in said


def may(api: Api, right: Right, verb: str, namespace: str, name: str = "") -> bool:
    """Whether whom ``api`` speaks for may do it, as the API server itself says. ``name``: to this one; else to all."""
    asked = {
        "namespace": namespace if right.resource.namespaced else "",
        "verb": verb,
        "group": right.resource.group,
        "resource": right.resource.plural,
        "subresource": right.sub,
        "name": name,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = api._http.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json=body)
    assert answer.status_code == 201, answer.text
    return bool(answer.json()["status"]["allowed"])


def test_the_service_account_may_do_what_the_code_does_and_nothing_more(
    real: ControlPlane, world: World, tmp_path: Path
) -> None:
    api = Api(config_of(kubeconfig=str(account(real, tmp_path, "high-availability"))))
    place = {"leases": "pennyweight"}
    verbs = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
    told = {(one.resource, one.sub, verb): one for one in RIGHTS for verb in one.verbs}
    for one in RIGHTS:
        for verb in verbs:
            expected = (one.resource, one.sub, verb) in told
            where = place.get(one.resource.plural, NAMESPACE)
            own = "pennyweight" if one.resource is LEASES and verb != "create" else ""
            assert may(api, one, verb, where, own) is expected, (verb, one.name, where)
            if own:
                assert not may(api, one, verb, where, "another-s"), (verb, one.name, "another one")
            elsewhere = expected and not one.resource.namespaced
            assert may(api, one, verb, "kube-system") is elsewhere, (verb, one.name, "kube-system")
    with pytest.raises(ForbiddenError, match="the role needs verb 'get' on resource 'pods' in namespace llm"):
        Calls(api).pod(NAMESPACE, "any")
    api.close()


# --- watches -------------------------------------------------------------------------------------------------------------


def test_a_version_that_is_forgotten_is_told_as_expired(real: ControlPlane, world: World, kubeconfig: Path) -> None:
    api = Api(config_of(kubeconfig=str(kubeconfig)), timeouts=Timeouts(watch_s=1.0))

    def told() -> bool:
        try:
            list(api.watch(LEASES, NAMESPACE, version="1"))
        except ExpiredError:
            return True
        return False

    until(told, "410 Gone")
    api.close()


def test_a_watch_is_ended_and_begun_anew_and_bookmarks_move_it_on(
    real: ControlPlane, world: World, kubeconfig: Path
) -> None:
    api = Api(config_of(kubeconfig=str(kubeconfig)), timeouts=Timeouts(watch_s=6.0))
    watched = Watched(api, PODS, parse_pod, namespace=NAMESPACE, pace=Pace(retry_s=(0.01, 0.05)))
    watched.snapshot()
    first = watched._version
    world.add_nodes(1)  # other kinds move the version on
    until(lambda: api.calls["watch", "pods"] >= 3, "two watches that the API server ended")
    assert int(watched._version) > int(first), "a bookmark told it"
    assert api.calls["list", "pods"] == 1
    world.add(deployment("chat", 2, template("chat")))
    until(lambda: len(watched.snapshot().items) == 2, "two pods", 30)  # type: ignore[union-attr]
    watched.stop()
    watched.join()
    api.close()


# --- a fleet -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, real: ControlPlane) -> Iterator[Stage]:
    """One service that we scale, one that an HPA scales by our counts, and the daemon."""
    folder: Path = tmp_path_factory.mktemp("real")
    with staged(folder, real) as made:
        made.world.behave("", Behaviour(start_s=0.5))
        made.world.add_nodes(3, NodeShape())
        for name in ("chat-h100", "told-h100"):
            pods = template(name, port=made.port)
            made.world.add(deployment(name, 1, pods))
        made.service("chat", {"h100": ""}, scaling="max_replicas: 6, foreign_hold: 4s")
        made.service("told", {"h100": ""}, scaling="max_replicas: 6")
        aggregated(made, real)
        made.start()
        made.wait(lambda: made.daemon.get("/readyz")[0] == 200, "the first pass", 180)
        yield made


def aggregated(stage: Stage, real: ControlPlane) -> None:
    """The daemon as the cluster's server of external metrics, by deploy/'s examples; a Service leads to this host."""
    from tests.cluster.control_plane import free_port, kubectl
    from tests.serve.pki import Authority

    port, authority = free_port(), Authority(stage.folder, "external-metrics-ca")
    authority.issue("pennyweight", also="pennyweight-external-metrics.pennyweight.svc")
    shutil.copy(real.front_proxy_authority, stage.folder / "front-proxy-ca.crt")
    door = (
        f"external_metrics: {{port: {port}, allowed_names: [front-proxy-client], tls: {{certificate: pennyweight.crt, "
    )
    door += "key: pennyweight.key, client_ca: front-proxy-ca.crt}}"
    own = f"{{kubernetes: {{namespace: {NAMESPACE}, deployment: told-h100}}}}"
    asked = f"{{external: {{through: hpa, namespace: {NAMESPACE}}}}}\n        scrape: {{kubernetes: "
    asked += f"{{namespace: {NAMESPACE}, selector: app=told-h100, port: {stage.port}}}}}"
    stage.write(lambda text: text.replace("serve: {port: 0}", f"serve: {{port: 0, {door}}}").replace(own, asked))
    files = (EXAMPLES / "apiservice.yaml", SHIPPED / "external-metrics" / "service.yaml")
    docs = [doc for file in files for doc in yaml.safe_load_all(file.read_text())]
    for doc in docs:
        if doc["kind"] == "APIService":
            doc["spec"]["caBundle"] = base64.b64encode(authority.file.read_bytes()).decode()
            doc["spec"]["service"]["port"] = port
        if doc["kind"] == "Service":
            doc["spec"] = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    (hpa,) = yaml.safe_load_all((EXAMPLES / "hpa.yaml").read_text())
    hpa["spec"]["scaleTargetRef"]["name"] = "told-h100"
    hpa["spec"]["metrics"][0]["external"]["metric"]["selector"] = {
        "matchLabels": {"service": "told", "variant": "h100"}
    }
    (stage.folder / "aggregated.yaml").write_text(yaml.safe_dump_all([*docs, hpa]))
    admin = stage.folder / "admin.kubeconfig"
    kubectl(admin, "apply", "--server-side", "--validate=strict", "-f", str(stage.folder / "aggregated.yaml"))


def test_an_hpa_carries_out_what_we_say(stage: Stage, real: ControlPlane) -> None:
    def available() -> bool:
        found = real.ask("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io")[1]
        return any(one["type"] == "Available" and one["status"] == "True" for one in at(found, "status.conditions", ()))

    stage.wait(available, "the aggregation layer to find us")
    stage.router.load["told-h100"] = 28.0
    stage.wait(lambda: len(stage.world.ready("told-h100")) == 3, "three that are ready")
    hpa = stage.world.get("HorizontalPodAutoscaler", "vllm-chat")
    assert hpa["status"]["currentMetrics"][0]["external"]["metric"]["name"] == "pennyweight_replicas"
    assert hpa["spec"]["behavior"]["scaleUp"]["tolerance"] == "0"
    stage.router.load["told-h100"] = 0.0
    stage.wait(lambda: len(stage.world.ready("told-h100")) == 1, "one again")


def test_an_operators_count_is_seen_by_managed_fields_and_left_alone_for_a_while(stage: Stage) -> None:
    from tests.cluster.control_plane import kubectl

    stage.router.load["chat-h100"] = 18.0
    stage.wait(lambda: stage.wanted("chat-h100") == 2, "growth of our own")
    kubectl(stage.folder / "admin.kubeconfig", "scale", "deployment/chat-h100", "--replicas=4")
    told = "'kubectl' changed spec.replicas"
    stage.wait(lambda: any(told in said(one) for one in stage.decided("chat")), "the refusal that names who it was")
    assert stage.wanted("chat-h100") == 4


def said(one: Any) -> str:
    return f"{one.decision.detail} {one.outcome.detail if one.outcome is not None else ''}"


def test_a_config_map_stops_everything(stage: Stage, real: ControlPlane) -> None:
    from tests.cluster.control_plane import kubectl

    admin = stage.folder / "admin.kubeconfig"
    words = ("--namespace", "pennyweight", "configmap", "pennyweight-stop")
    kubectl(admin, "create", *words, "--from-literal=reason=wrong image, ask ann")
    data = real.ask("GET", f"{OURS}/configmaps/pennyweight-stop")[1]["data"]
    mounted(stage.folder / "stop", data)
    stage.wait(lambda: "ask ann" in stage.daemon.get("/readyz")[1], "the stop to be seen")
    stage.router.load["told-h100"] = 40.0
    stage.wait(
        lambda: any(one.decision.because is Because.STOPPED for one in stage.decided("told")), "a decision that is held"
    )
    kubectl(admin, "delete", *words)
    mounted(stage.folder / "stop", {})
    stage.wait(lambda: "ask ann" not in stage.daemon.get("/readyz")[1], "its end to be seen")
    stage.router.load["told-h100"] = 0.0


def mounted(folder: Path, data: dict[str, str]) -> None:
    """As a kubelet brings a ConfigMap into a pod: files behind a link that is moved in one step."""
    fresh = folder / f"..{len(list(folder.iterdir()))}"
    fresh.mkdir()
    for name, text in data.items():
        (fresh / name).write_text(text)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    (folder / "..data.new").symlink_to(fresh.name)
    os.replace(folder / "..data.new", folder / "..data")
    for link in folder.iterdir():
        if link.is_symlink() and not link.exists():
            link.unlink()
