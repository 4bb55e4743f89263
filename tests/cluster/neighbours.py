"""Controllers of others beside a real control plane: KEDA, and the one of LeaderWorkerSets.

Their release's manifest is applied as it is, but for what needs pods: Deployments are left out, for their programs run
here, with the token of the manifest's service account and so with its rights; and the Services lead to this host.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml

from tests.cluster.control_plane import ControlPlane, Running, free_port, kubectl, program_running, wait_for
from tests.cluster.documents import Doc, at
from tests.cluster.kinds import LEADER_WORKER_SETS, STATEFUL_SETS
from tests.cluster.live import path_of
from tests.cluster.parts import leader_worker_set, template
from tests.serve.pki import Authority

EXTERNAL_METRICS = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where a Service of the manifest leads: a port of this host, with a certificate in ``folder`` (ca.crt, tls.*)."""

    service: str
    port: int
    folder: Path

    @property
    def authority(self) -> str:
        return base64.b64encode((self.folder / "ca.crt").read_bytes()).decode()


def door(folder: Path, service: str, namespace: str) -> Door:
    """A free port, and a certificate for it that is signed by an authority of its own."""
    own = folder / service
    own.mkdir()
    Authority(own, "ca").issue(service, into="tls", also=f"{service}.{namespace}.svc")
    return Door(service=service, port=free_port(), folder=own)


@contextmanager
def keda(real: ControlPlane, programs: Path, folder: Path) -> Iterator[Path]:
    """KEDA's operator, its server of external metrics, and its admission webhooks where there is a program. What the
    operator says is in the file that is given."""
    metrics = door(folder, "keda-metrics-apiserver", "keda")
    hooks = door(folder, "keda-admission-webhooks", "keda") if (programs / "keda-webhooks").is_file() else None
    config = install(
        real, programs / "keda.yaml", folder, ("keda", "keda-operator"), [metrics, *([hooks] if hooks else [])]
    )
    asked, health, also = (free_port() for _ in range(3))
    told = {
        "KUBECONFIG": str(config),
        "POD_NAMESPACE": "keda",
        "KEDA_CLUSTER_OBJECT_NAMESPACE": "keda",
        "WATCH_NAMESPACE": "",
    }
    with ExitStack() as stack:
        running: list[Running] = []

        def start(program: str, options: Mapping[str, object]) -> None:
            log = folder / f"{program}.log"
            running.append(stack.enter_context(program_running(programs / program, options, log, environment(told))))

        start("keda-operator", _of_operator(metrics.folder, asked, health))
        wait_for(lambda: _answers(health, "/readyz"), running, "KEDA's operator")
        start("keda-adapter", _of_adapter(config, metrics, asked))
        if hooks is not None:
            start("keda-webhooks", _of_webhooks(hooks, also))
            wait_for(lambda: _answers(also, "/readyz"), running, "KEDA's webhooks")
        wait_for(lambda: _available(real), running, "KEDA's server of external metrics")
        yield folder / "keda-operator.log"


def _of_operator(certificates: Path, asked: int, health: int) -> dict[str, object]:
    return {
        "metrics-bind-address": "127.0.0.1:0",
        "health-probe-bind-address": f"127.0.0.1:{health}",
        "metrics-service-bind-address": f"127.0.0.1:{asked}",
        "cert-dir": certificates,
        "zap-log-level": "debug",
        "zap-encoder": "console",
        "zap-time-encoding": "rfc3339nano",
    }


def _of_adapter(config: Path, metrics: Door, asked: int) -> dict[str, object]:
    return {
        "secure-port": metrics.port,
        "bind-address": "127.0.0.1",
        "port": free_port(),
        "metrics-service-address": f"localhost:{asked}",
        "cert-dir": metrics.folder,
        "client-ca-file": metrics.folder / "ca.crt",
        "tls-cert-file": metrics.folder / "tls.crt",
        "tls-private-key-file": metrics.folder / "tls.key",
        "lister-kubeconfig": config,
        "authentication-kubeconfig": config,
        "authorization-kubeconfig": config,
    }


def _of_webhooks(hooks: Door, health: int) -> dict[str, object]:
    return {
        "cert-dir": hooks.folder,
        "port": hooks.port,
        "metrics-bind-address": "127.0.0.1:0",
        "health-probe-bind-address": f"127.0.0.1:{health}",
    }


def _available(real: ControlPlane) -> bool:
    conditions = at(real.ask("GET", EXTERNAL_METRICS)[1], "status.conditions") or ()
    return any(one["type"] == "Available" and one["status"] == "True" for one in conditions)


@contextmanager
def group_controller(real: ControlPlane, programs: Path, folder: Path) -> Iterator[None]:
    """The controller of LeaderWorkerSets, with its webhooks: without them its pods belong to no group."""
    hooks, health = door(folder, "lws-webhook-service", "lws-system"), free_port()
    config = install(real, programs / "lws.yaml", folder, ("lws-system", "lws-controller-manager"), [hooks])
    chosen = {
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "internalCertManagement": {"enable": False},
        "leaderElection": {"leaderElect": False},
        "webhook": {"host": "127.0.0.1", "port": hooks.port, "certDir": str(hooks.folder)},
        "metrics": {"bindAddress": "127.0.0.1:0"},
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
    }
    (folder / "lws-config.yaml").write_text(yaml.safe_dump(chosen), encoding="utf-8")
    options = {"config": folder / "lws-config.yaml", "zap-log-level": 2, "kubeconfig": config}
    with program_running(programs / "lws-manager", options, folder / "lws-manager.log", environment({})) as running:
        wait_for(lambda: _makes_groups(real), [running], "the controller of LeaderWorkerSets")
        real.groups = True
        try:
            yield
        finally:
            real.groups = False


def _makes_groups(real: ControlPlane) -> bool:
    """Its webhooks answer, and it is at work: there is a StatefulSet of leaders for a LeaderWorkerSet of none."""
    info, name = LEADER_WORKER_SETS, "first"
    one = {"apiVersion": info.api_version, "kind": info.kind, **leader_worker_set(name, 0, template(name))}
    if real.ask("POST", path_of(info, "default"), one)[0] not in {201, 409}:
        return False
    if real.ask("GET", path_of(STATEFUL_SETS, "default", name))[0] != 200:
        return False
    return real.ask("DELETE", path_of(info, "default", name))[0] == 200


# --- what a manifest says ------------------------------------------------------------------------------------------------


def install(real: ControlPlane, manifest: Path, folder: Path, account: tuple[str, str], doors: list[Door]) -> Path:
    """Apply it; a kubeconfig with the token of ``account``: a service account's namespace and name."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # such manifests have tens of thousands of lines
    docs = yaml.load_all(manifest.read_text(encoding="utf-8"), Loader=loader)
    by_name = {one.service: one for one in doors}
    items = [led for doc in docs if doc and (led := _led(doc, by_name)) is not None]
    whole, admin = folder / f"{manifest.stem}.json", real.kubeconfig(folder / "admin.kubeconfig")
    whole.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), encoding="utf-8")
    kubectl(admin, "apply", "--server-side", "--force-conflicts", "-f", str(whole))
    kubectl(admin, "wait", "--for=condition=Established", "crd", "--all")  # who starts sooner looks again much later
    return real.kubeconfig(folder / f"{account[1]}.kubeconfig", token=real.token_of(*account))


def _led(doc: Doc, doors: Mapping[str, Door]) -> Doc | None:
    """``doc`` with its Services leading to ``doors``; None where nobody would answer, or pods were to run."""
    kind, name = doc["kind"], at(doc, "metadata.name")
    if kind == "Deployment" or (kind == "Service" and name not in doors):
        return None
    if kind == "Service":
        ports = [{"port": doors[name].port}]
        return {**doc, "spec": {"type": "ExternalName", "externalName": "localhost", "ports": ports}}
    return doc if all(_lead(block, doors) for block in _asking(doc)) else None


def _asking(node: Any) -> Iterator[Doc]:
    """Every block with a service that the API server is to ask: of webhooks, conversions and aggregation."""
    if isinstance(node, dict):
        if isinstance(node.get("service"), dict) and "namespace" in node["service"]:
            yield node
        for value in node.values():
            yield from _asking(value)
    elif isinstance(node, list):
        for value in node:
            yield from _asking(value)


def _lead(block: Doc, doors: Mapping[str, Door]) -> bool:
    found = doors.get(block["service"].get("name"))
    if found is not None:
        block["service"]["port"], block["caBundle"] = found.port, found.authority
    return found is not None


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """What a program beside the control plane is told: nothing of ours, but where to find things."""
    return {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", ""), **more}


def _answers(port: int, path: str) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}{path}").status_code == 200
    except httpx2.HTTPError:
        return False
