"""What kubectl and helm make of deploy/, and how tests look at it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from controller.kubernetes.access import RIGHTS, Use

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
EXAMPLES = DEPLOY / "kubernetes" / "examples"
CHART = DEPLOY / "helm" / "pennyweight"
ETC = Path("/etc/pennyweight")

CUSTOM = {"ServiceMonitor", "PrometheusRule", "ClusterIssuer", "Certificate"}
"""Of the Prometheus operator and cert-manager: an API server knows them only with these, and the published schemas do not."""

Doc = dict[str, Any]
Docs = Sequence[Doc]


def kustomized(kubectl: str, folder: Path) -> list[Doc]:
    """As kubectl would send it."""
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def templated(helm: str, *settings: str) -> list[Doc]:
    command = [helm, "template", "pennyweight", str(CHART), "--namespace", "pennyweight", *settings]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [one for one in yaml.safe_load_all(text) if one is not None]


def example(name: str) -> tuple[str, str]:
    """The words that give the chart one of its examples."""
    return "--values", str(CHART / "examples" / f"{name}.yaml")


def shipped(name: str) -> list[Doc]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8")))


def kinds(documents: Docs, kind: str) -> list[Doc]:
    return [one for one in documents if one["kind"] == kind]


def named(documents: Docs, kind: str, name: str) -> Doc:
    (found,) = [one for one in kinds(documents, kind) if one["metadata"]["name"] == name]
    return found


def pod_of(documents: Docs) -> Doc:
    (deployment,) = kinds(documents, "Deployment")
    return deployment["spec"]["template"]["spec"]


def daemon_of(documents: Docs) -> Doc:
    (container,) = pod_of(documents)["containers"]
    return container


def rules_of(documents: Docs, names: Sequence[str] = ()) -> Iterator[Doc]:
    """Of the roles of these names; of all without. What others may ask us is not ours."""
    for role in documents:
        told = role["kind"] in ("Role", "ClusterRole") and (not names or role["metadata"]["name"] in names)
        if told and not role["metadata"]["name"].endswith("external-metrics-reader"):
            yield from role["rules"]


def rights_of(documents: Docs, *names: str) -> set[tuple[str, str, str]]:
    """(group, resource, verb)."""
    return {
        (group, resource, verb)
        for rule in rules_of(documents, names)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def needed(*uses: Use) -> set[tuple[str, str, str]]:
    return {(one.resource.group, one.name, verb) for one in RIGHTS if one.use in uses for verb in one.verbs}


def check_valid(documents: Docs) -> None:
    for document in documents:
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def check_restricted(pod: Doc) -> None:
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


def check_probed(container: Doc) -> None:
    """An upgrade may migrate a large ledger before anybody is answered; killed meanwhile, it would begin it again. Once it
    is up, a daemon that hangs is ended within minutes."""
    first, later = container["startupProbe"], container["livenessProbe"]
    assert first["httpGet"] == later["httpGet"]
    assert first["periodSeconds"] * first["failureThreshold"] >= 900
    assert first["periodSeconds"] <= 5, "it is ready no later than it is up"
    assert later["periodSeconds"] * later["failureThreshold"] <= 120


def check_found(documents: Docs) -> None:
    """Every selector finds the daemon's pod, every named port is one of its own, and every volume is mounted."""
    (deployment,) = kinds(documents, "Deployment")
    (policy,) = kinds(documents, "NetworkPolicy")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    services = kinds(documents, "Service")
    selectors = [one["spec"]["selector"] for one in services]
    selectors += [deployment["spec"]["selector"]["matchLabels"], policy["spec"]["podSelector"]["matchLabels"]]
    assert all(one.items() <= labels for one in selectors)
    ports = {one["name"] for one in daemon_of(documents)["ports"]}
    assert all(len(one) <= 15 for one in ports), "longer names are refused"
    assert {one["targetPort"] for service in services for one in service["spec"]["ports"]} == ports
    assert {one["port"] for rule in policy["spec"]["ingress"] for one in rule["ports"]} == ports
    pod = pod_of(documents)
    assert pod["serviceAccountName"] in {one["metadata"]["name"] for one in kinds(documents, "ServiceAccount")}
    assert {one["name"] for one in daemon_of(documents)["volumeMounts"]} == {one["name"] for one in pod["volumes"]}


def lay_out(documents: Docs, folder: Path) -> Path:
    """What the daemon's pod has below /etc/pennyweight, in ``folder``; where its fleet file is."""
    volumes = {one["name"]: one for one in pod_of(documents)["volumes"]}
    for mount in daemon_of(documents)["volumeMounts"]:
        where = Path(mount["mountPath"])
        if not where.is_relative_to(ETC):
            continue
        files = _files(volumes[mount["name"]], documents)
        place = folder / where.relative_to(ETC)
        if "subPath" in mount:
            files, place = {place.name: files[mount["subPath"]]}, place.parent
        place.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (place / name).write_text(text, encoding="utf-8")
    return folder / "fleet.yaml"


def _files(volume: Mapping[str, Any], documents: Docs) -> dict[str, str]:
    """The operator's own ConfigMap for a stop is optional, and is not there."""
    sources = volume["projected"]["sources"] if "projected" in volume else [volume]
    found: dict[str, str] = {}
    for source in sources:
        told = source.get("configMap") or source.get("secret") or {}
        data = _secret(told.get("secretName") or told["name"]) if "secret" in source else _config(told, documents)
        items = {one["key"]: one["path"] for one in told.get("items", [])} or {key: key for key in data}
        found |= {path: data[key] for key, path in items.items()}
    return found


def _secret(name: str) -> dict[str, str]:
    """As cert-manager fills it, for a Certificate of the examples."""
    made = {one["spec"]["secretName"] for one in kinds(shipped("certificates.yaml"), "Certificate")}
    assert name in made
    return dict.fromkeys(("tls.crt", "tls.key", "ca.crt"), "")


def _config(told: Mapping[str, Any], documents: Docs) -> dict[str, str]:
    if told["name"] == "pennyweight-front-proxy":  # made by hand of the cluster's own
        return {"ca.crt": ""}
    data = {one["metadata"]["name"]: one["data"] for one in kinds(documents, "ConfigMap")}
    return {} if told.get("optional") else data[told["name"]]


def namespaces_of(fleet: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Those that a fleet file scales in, and those where it reads pods besides."""
    variants = [one for service in fleet["services"].values() for one in service["variants"].values()]
    scaled = {one["actuator"]["kubernetes"]["namespace"] for one in variants if "kubernetes" in one["actuator"]}
    blocks = [one[key]["kubernetes"] for one in variants for key in ("scrape", "dcgm") if key in one]
    return scaled, {one["namespace"] for one in blocks if "namespace" in one} - scaled
