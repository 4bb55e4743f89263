"""What deploy/ holds is what an API server takes, what the code needs, and no more."""

from __future__ import annotations

import re
import runpy
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from controller.kubernetes.access import RIGHTS, Use
from controller.policy.load import load_policies
from controller.prices.book import offers
from controller.serve.account_metrics import ACCOUNT_METRICS
from controller.serve.names import ESTIMATES, OTHERS
from controller.settings.load import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "pennyweight"
OVERLAYS = ("advise", "act", "high-availability")
MADE = dict(runpy.run_path(str(DEPLOY / "manifests.py"))["made"]())
OPERATORS_OWN = {"ServiceMonitor", "PrometheusRule"}
"""Of the Prometheus operator: an API server knows them only with it, and the published schemas do not."""

ONE, TWO = (), ("--set", "replicas=2,ledger.secret=database,fleet.leader.lease.name=pennyweight,mode=act")
WATCHED = ("--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true,board.enabled=true")


@pytest.fixture(scope="session")
def built():
    """An overlay as kubectl would send it."""
    known: dict[str, list[dict[str, Any]]] = {}

    def documents(kubectl: str, folder: str) -> list[dict[str, Any]]:
        if folder not in known:
            text = subprocess.run(
                [kubectl, "kustomize", str(DEPLOY / "kubernetes" / folder)], capture_output=True, text=True, check=True
            ).stdout
            known[folder] = list(yaml.safe_load_all(text))
        return known[folder]

    return documents


def templated(helm: str, *settings: str) -> list[dict[str, Any]]:
    command = [helm, "template", "pw", str(CHART), "--namespace", "pennyweight", *settings]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [one for one in yaml.safe_load_all(text) if one is not None]


def kinds(documents, kind: str) -> list[dict[str, Any]]:
    return [one for one in documents if one["kind"] == kind]


def pod_of(documents) -> dict[str, Any]:
    (deployment,) = kinds(documents, "Deployment")
    return deployment["spec"]["template"]["spec"]


def rights_of(documents, *names: str) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of the roles of these names; of all without."""
    roles = [one for one in documents if one["kind"] in ("Role", "ClusterRole")]
    return {
        (group, resource, verb)
        for role in roles
        if not names or role["metadata"]["name"] in names
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def needed(*uses: Use) -> set[tuple[str, str, str]]:
    return {(one.resource.group, one.name, verb) for one in RIGHTS if one.use in uses for verb in one.verbs}


def check_valid(documents) -> None:
    for document in documents:
        if document["kind"] not in OPERATORS_OWN:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def check_restricted(pod) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a root that cannot be written."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] != 0
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in pod["containers"]:
        allowed = container["securityContext"]
        assert (allowed["allowPrivilegeEscalation"], allowed["capabilities"]) == (False, {"drop": ["ALL"]})
        assert allowed["readOnlyRootFilesystem"] is True
        assert "hostPort" not in str(container.get("ports"))
    volumes = {next(key for key in one if key != "name") for one in pod["volumes"]}
    assert volumes <= {"configMap", "persistentVolumeClaim", "emptyDir", "secret", "projected", "downwardAPI"}


@pytest.mark.parametrize("path", MADE, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_what_follows_from_the_code_was_written_anew(path):
    assert path.read_text(encoding="utf-8") == MADE[path], "run `python deploy/manifests.py`"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_valid_for_the_newest_api_server_and_restricted(tool, built, overlay):
    documents = built(tool("kubectl"), f"overlays/{overlay}")
    check_valid(documents)
    check_restricted(pod_of(documents))
    (namespace,) = kinds(documents, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_s_parts_find_each_other(tool, built, overlay):
    documents = built(tool("kubectl"), f"overlays/{overlay}")
    (deployment,) = kinds(documents, "Deployment")
    (service,) = kinds(documents, "Service")
    (policy,) = kinds(documents, "NetworkPolicy")
    (account,) = kinds(documents, "ServiceAccount")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        policy["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels
    pod = pod_of(documents)
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    named = {one["metadata"]["name"] for one in kinds(documents, "ConfigMap")}
    used = {one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one}
    assert used - named == {"pennyweight-stop"}, "that one is the operator's"
    mounted = {one["name"] for one in pod["containers"][0]["volumeMounts"]}
    assert mounted == {one["name"] for one in pod["volumes"]}


def test_advising_may_see_and_acting_may_act_and_nobody_may_more(tool, built):
    kubectl = tool("kubectl")
    assert rights_of(built(kubectl, "overlays/advise")) == needed(Use.SEE)
    assert rights_of(built(kubectl, "overlays/act")) == needed(Use.SEE, Use.ACT)
    assert rights_of(built(kubectl, "overlays/high-availability")) == needed(Use.SEE, Use.ACT, Use.LEAD)
    for folder, names in (
        ("engines/see", {"pennyweight-see"}),
        ("engines/act", {"pennyweight-see", "pennyweight-act"}),
    ):
        bound = built(kubectl, folder)
        check_valid(bound)
        assert {one["roleRef"]["name"] for one in bound} == names


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
    documents = built(tool("kubectl"), f"overlays/{overlay}")
    (tmp_path / "policies").mkdir()
    for config in kinds(documents, "ConfigMap"):
        for name, text in config["data"].items():
            folder = tmp_path / "policies" if "policies" in config["metadata"]["name"] else tmp_path
            (folder / name).write_text(text, encoding="utf-8")
    settings = load_settings(tmp_path / "fleet.yaml", {}, offers=offers())
    policies = load_policies(settings.policy_files, settings.services, settings.channels)
    assert set(policies) == set(settings.fleet.services)
    assert (settings.electing is not None) == (overlay == "high-availability")


def test_the_monitoring_component_adds_what_prometheus_and_grafana_read(tool, tmp_path):
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {"kind": "Kustomization", "components": [str(_relative(DEPLOY / "kubernetes" / "monitoring", tmp_path))]}
        )
    )
    done = subprocess.run([tool("kubectl"), "kustomize", str(tmp_path)], capture_output=True, text=True, check=True)
    found = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    assert set(found) == {*OPERATORS_OWN, "ConfigMap"}
    assert found["PrometheusRule"]["spec"] == yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())


def _relative(path: Path, start: Path) -> Path:
    up = Path(*[".."] * len(start.parts[1:]))
    return up / path.relative_to("/")


@pytest.mark.parametrize("settings", [ONE, TWO, WATCHED], ids=["one", "two", "watched"])
def test_the_chart_is_valid_and_restricted_and_may_what_it_must(tool, settings):
    documents = templated(tool("helm"), *settings)
    check_valid(documents)
    check_restricted(pod_of(documents))
    uses = (Use.SEE, Use.ACT, Use.LEAD) if settings == TWO else (Use.SEE,)
    assert rights_of(documents) == needed(*uses)
    assert set(kinds(documents, "PersistentVolumeClaim") and ["volume"]) == (set() if settings == TWO else {"volume"})


def test_the_chart_passes_its_own_linter_and_refuses_two_daemons_without_a_database(tool):
    helm = tool("helm")
    subprocess.run([helm, "lint", "--strict", str(CHART)], capture_output=True, check=True)
    refused = subprocess.run(
        [helm, "template", "pw", str(CHART), "--set", "replicas=2"], capture_output=True, text=True
    )
    assert refused.returncode != 0
    assert "ledger.secret" in refused.stderr


def test_the_board_asks_for_metrics_that_exist():
    text = (DEPLOY / "grafana" / "pennyweight.json").read_text(encoding="utf-8")
    asked = set(re.findall(r"pennyweight_\w+", text))
    known = {one.name for one in ESTIMATES} | set(OTHERS) | set(ACCOUNT_METRICS)
    assert asked
    assert asked <= known


def test_the_container_is_built_from_files_that_exist_and_from_nothing_unlocked():
    folder = DEPLOY / "container"
    said = (folder / "Containerfile").read_text(encoding="utf-8")
    copied = [line.split()[1:-1] for line in said.splitlines() if line.startswith("COPY ") and "--from" not in line]
    assert copied
    assert all((ROOT / name).exists() for names in copied for name in names)
    assert len(re.findall(r"--require-hashes", said)) == 2
    assert "USER 65532" in said
    locked = set(re.findall(r"^([A-Za-z0-9_.-]+)==", (folder / "requirements.lock").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(
            one
            for extra in ("aws", "keda", "kubernetes", "nvml", "postgres")
            for one in project["optional-dependencies"][extra]
        ),
    ]
    names = {re.split(r"[\[<>=~! ]", one)[0].lower() for one in wanted}
    assert names <= {one.lower() for one in locked}
    assert not {"pytest", "moto", "hypothesis"} & locked
