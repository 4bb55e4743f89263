"""What deploy/ holds is what an API server takes, what the code needs, and no more."""

from __future__ import annotations

import re
import runpy
import subprocess
from pathlib import Path

import pytest
import yaml

from controller.__main__ import main
from controller.kubernetes.access import Use
from controller.policy.load import load_policies
from controller.prices.book import offers
from controller.serve.account_metrics import ACCOUNT_METRICS
from controller.serve.names import ESTIMATES, OTHERS
from controller.settings.load import load_settings
from tests.deploy.rendered import (
    DEPLOY,
    check_found,
    check_probed,
    check_restricted,
    check_valid,
    daemon_of,
    kinds,
    kustomized,
    lay_out,
    named,
    namespaces_of,
    needed,
    pod_of,
    rights_of,
    shipped,
)

OVERLAYS = ("advise", "act", "high-availability", "keda", "hpa")
MADE = dict(runpy.run_path(str(DEPLOY / "manifests.py"))["made"]())
BOUND = re.compile(r"kubectl -n (\S+) apply -k deploy/kubernetes/engines/(\w+)")


@pytest.mark.parametrize("path", MADE, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_what_follows_from_the_code_was_written_anew(path):
    assert path.read_text(encoding="utf-8") == MADE[path], "run `python deploy/manifests.py`"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_valid_for_the_newest_api_server_and_restricted(tool, built, overlay):
    documents = built(tool("kubectl"), f"overlays/{overlay}")
    check_valid(documents)
    check_restricted(pod_of(documents))
    check_probed(daemon_of(documents))
    (namespace,) = kinds(documents, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_s_parts_find_each_other(tool, built, overlay):
    documents = built(tool("kubectl"), f"overlays/{overlay}")
    check_found(documents)
    made = {one["metadata"]["name"] for one in kinds(documents, "ConfigMap")}
    used = {one["configMap"]["name"] for one in pod_of(documents)["volumes"] if "configMap" in one}
    assert used - made == {"pennyweight-stop"}, "that one is the operator's"


def test_advising_may_see_and_acting_may_act_and_nobody_may_more(tool, built):
    kubectl = tool("kubectl")
    assert rights_of(built(kubectl, "overlays/advise")) == needed(Use.SEE)
    assert rights_of(built(kubectl, "overlays/act")) == needed(Use.SEE, Use.ACT)
    assert rights_of(built(kubectl, "overlays/high-availability")) == needed(Use.SEE, Use.ACT, Use.LEAD)
    assert rights_of(built(kubectl, "overlays/keda")) == rights_of(built(kubectl, "overlays/hpa")) == needed(Use.SEE)
    for folder, names in (
        ("engines/pods", {"pennyweight-pods"}),
        ("engines/see", {"pennyweight-see"}),
        ("engines/act", {"pennyweight-see", "pennyweight-act"}),
    ):
        bound = built(kubectl, folder)
        check_valid(bound)
        assert {one["roleRef"]["name"] for one in bound} == names


def test_where_pods_are_only_read_nothing_else_may_be_done_in_any_mode(tool, built):
    assert rights_of(built(tool("kubectl"), "overlays/act"), "pennyweight-pods") == {
        ("", "pods", "list"),
        ("", "pods", "watch"),
    }


def test_of_all_leases_the_daemons_may_touch_the_one_that_they_elect_by(tool, built, tmp_path):
    documents = built(tool("kubectl"), "overlays/high-availability")
    (lead,) = [one for one in kinds(documents, "Role") if one["metadata"]["name"] == "pennyweight-lead"]
    elected = load_settings(lay_out(documents, tmp_path), {}).electing
    allowed = {verb: rule.get("resourceNames") for rule in lead["rules"] for verb in rule["verbs"]}
    assert allowed == {"create": None, "get": [elected.lease.name], "update": [elected.lease.name]}


@pytest.mark.parametrize("overlay", ["advise", "act"])
def test_who_follows_the_readme_binds_every_namespace_that_the_fleet_file_names(tool, built, tmp_path, overlay):
    fleet = yaml.safe_load(lay_out(built(tool("kubectl"), f"overlays/{overlay}"), tmp_path).read_text())
    scaled, read = namespaces_of(fleet)
    first, _, later = (DEPLOY / "kubernetes" / "README.md").read_text(encoding="utf-8").partition("overlays/act")
    bound = set(BOUND.findall(first if overlay == "advise" else later))
    assert {(one, "see" if overlay == "advise" else "act") for one in scaled} <= bound
    assert {(one, "pods") for one in read} <= set(BOUND.findall(first))
    assert read == {"gpu-operator"}


def test_two_daemons_have_one_database_and_elect_and_one_has_a_volume(tool, built):
    kubectl = tool("kubectl")
    two, one = built(kubectl, "overlays/high-availability"), built(kubectl, "overlays/act")
    assert kinds(two, "PersistentVolumeClaim") == []
    assert kinds(two, "Deployment")[0]["spec"]["replicas"] == 2
    (ledger,) = [item for item in pod_of(two)["containers"][0]["env"] if item["name"] == "PENNYWEIGHT_LEDGER"]
    assert set(ledger) == {"name", "valueFrom"}, "from the Secret, and not the file that one daemon has"
    assert kinds(two, "PodDisruptionBudget")[0]["spec"]["minAvailable"] == 1
    assert kinds(one, "Deployment")[0]["spec"]["strategy"]["type"] == "Recreate"
    assert kinds(one, "PersistentVolumeClaim")[0]["spec"]["accessModes"] == ["ReadWriteOncePod"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_s_fleet_file_and_policies_are_read_by_the_daemon(tool, built, tmp_path, overlay):
    file = lay_out(built(tool("kubectl"), f"overlays/{overlay}"), tmp_path)
    settings = load_settings(file, {}, offers=offers())
    policies = load_policies(settings.policy_files, settings.services, settings.channels)
    assert set(policies) == set(settings.fleet.services)
    assert (settings.electing is not None) == (overlay == "high-availability")
    assert (settings.keda is not None, settings.external_metrics is not None) == (overlay == "keda", overlay == "hpa")
    assert main(["check", "--fleet", str(file)]) == 0


# --- those who ask how many there shall be ----------------------------------------------------------------------------


def test_nobody_may_ask_for_counts_where_none_are_told(tool, built):
    documents = built(tool("kubectl"), "overlays/act")
    assert [one["name"] for one in daemon_of(documents)["ports"]] == ["http"]


def test_keda_is_let_in_and_nobody_else_and_sees_a_certificate(tool, built, tmp_path):
    documents = built(tool("kubectl"), "overlays/keda")
    (door,) = [one for one in ingress(documents) if one["ports"] == [{"port": "keda", "protocol": "TCP"}]]
    assert door["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}]
    settings = load_settings(lay_out(documents, tmp_path), {})
    assert settings.keda.port == port_of(documents, "keda")
    assert settings.keda.tls.client_ca


def test_the_shipped_scaled_object_reaches_the_service_by_a_name_in_its_certificate(tool, built):
    scaled, credentials = shipped("scaledobject.yaml")
    trigger = scaled["spec"]["triggers"][0]["metadata"]
    host, _, port = trigger["scalerAddress"].rpartition(":")
    service = named(built(tool("kubectl"), "overlays/keda"), "Service", "pennyweight")
    assert host.split(".")[:2] == [service["metadata"]["name"], service["metadata"]["namespace"]]
    assert ("keda", int(port)) in [(one["targetPort"], one["port"]) for one in service["spec"]["ports"]]
    certificates = shipped("certificates.yaml")
    assert host in named(certificates, "Certificate", "pennyweight-keda")["spec"]["dnsNames"]
    shown = named(certificates, "Certificate", credentials["spec"]["secretTargetRef"][0]["name"])
    assert shown["metadata"]["namespace"] == credentials["metadata"]["namespace"]


@pytest.mark.parametrize(("overlay", "example"), [("keda", "scaledobject.yaml"), ("hpa", "hpa.yaml")])
def test_what_is_told_is_never_more_than_the_other_autoscaler_takes(tool, built, tmp_path, overlay, example):
    settings = load_settings(lay_out(built(tool("kubectl"), f"overlays/{overlay}"), tmp_path), {})
    (policy,) = load_policies(settings.policy_files, settings.services, settings.channels).values()
    spec = shipped(example)[0]["spec"]
    assert spec.get("maxReplicaCount", spec.get("maxReplicas")) == policy.replicas.max_replicas
    assert spec.get("minReplicaCount", spec.get("minReplicas")) <= policy.replicas.min_replicas


def test_the_api_server_is_let_in_from_wherever_it_is_and_finds_the_port(tool, built, tmp_path):
    documents = built(tool("kubectl"), "overlays/hpa")
    (door,) = [one for one in ingress(documents) if one["ports"] == [{"port": "metrics-api", "protocol": "TCP"}]]
    assert "from" not in door, "no selector finds what is on no pod's network"
    asked = named(shipped("apiservice.yaml"), "APIService", "v1beta1.external.metrics.k8s.io")["spec"]["service"]
    service = named(documents, "Service", asked["name"])
    assert (service["metadata"]["namespace"], service["spec"]["ports"][0]["port"]) == (
        asked["namespace"],
        asked["port"],
    )
    settings = load_settings(lay_out(documents, tmp_path), {})
    assert settings.external_metrics.port == port_of(documents, "metrics-api")
    assert settings.external_metrics.tls.client_ca
    shown = named(shipped("certificates.yaml"), "Certificate", "pennyweight-external-metrics")
    assert f"{asked['name']}.{asked['namespace']}.svc" in shown["spec"]["dnsNames"]


@pytest.mark.parametrize("component", ["keda", "external-metrics"])
def test_two_daemons_may_be_asked_as_well(tool, tmp_path, component):
    parts = {"resources": ["overlays/high-availability"], "components": [component, "monitoring"]}
    there = {key: [str(_relative(DEPLOY / "kubernetes" / one, tmp_path)) for one in parts[key]] for key in parts}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"kind": "Kustomization", **there}), encoding="utf-8")
    documents = kustomized(tool("kubectl"), tmp_path)
    check_valid(documents)
    check_restricted(pod_of(documents))
    check_found(documents)
    assert kinds(documents, "Deployment")[0]["spec"]["replicas"] == 2


def ingress(documents):
    return kinds(documents, "NetworkPolicy")[0]["spec"]["ingress"]


def port_of(documents, name: str) -> int:
    (found,) = [one["containerPort"] for one in daemon_of(documents)["ports"] if one["name"] == name]
    return found


def test_the_monitoring_component_adds_what_prometheus_and_grafana_read(tool, tmp_path):
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {"kind": "Kustomization", "components": [str(_relative(DEPLOY / "kubernetes" / "monitoring", tmp_path))]}
        )
    )
    done = subprocess.run([tool("kubectl"), "kustomize", str(tmp_path)], capture_output=True, text=True, check=True)
    found = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    assert set(found) == {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
    assert found["PrometheusRule"]["spec"] == yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())


def _relative(path: Path, start: Path) -> Path:
    up = Path(*[".."] * len(start.parts[1:]))
    return up / path.relative_to("/")


def test_the_board_asks_for_metrics_that_exist():
    text = (DEPLOY / "grafana" / "pennyweight.json").read_text(encoding="utf-8")
    asked = set(re.findall(r"pennyweight_\w+", text))
    known = {one.name for one in ESTIMATES} | set(OTHERS) | set(ACCOUNT_METRICS)
    assert asked
    assert asked <= known
