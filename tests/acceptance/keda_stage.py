"""KEDA itself beside a real control plane, `pennyweight run` whose counts it carries out, and who looks at both."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from controller.clock import utc_now
from controller.ledger.queries import RecordedDecision
from tests.acceptance.cluster_stage import REPOSITORY, Stage
from tests.answering import AnsweringQueries
from tests.cluster.documents import Doc, at
from tests.cluster.parts import deployment, template
from tests.cluster.status import ApiStatus
from tests.cluster.world import NAMESPACE
from tests.serve.pki import Authority

if TYPE_CHECKING:
    from tests.cluster.control_plane import ControlPlane

EXAMPLE = REPOSITORY / "deploy" / "kubernetes" / "examples" / "scaledobject.yaml"
SCALED_OBJECTS = f"/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects"
HPAS = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers"
DOOR = (
    "keda: {{port: {port}, tls: {{certificate: pennyweight.crt, key: pennyweight.key, client_ca: pennyweight-ca.crt}}}}"
)

SERVICE = """\
  {name}:
    model: llama-3.1-8b
    variants:
      h100:
        gpu: H100-SXM
        actuator: {{external: {{through: keda, namespace: {namespace}, followed_within: 60s}}}}
        scrape: {{kubernetes: {{namespace: {namespace}, selector: app={target}, port: {port}}}}}
        capacity: [{{type: on_demand, usd_per_gpu_hour: 2.00}}]
"""
GATEWAY = "    gateway: {{prometheus: '{url}', query: 'sum(waiting)'}}\n"
POLICY = """\
service: {name}
scaling:
  method: reactive
  targets: {{queue_depth: 10}}
  scale_up: {{stabilization: 0s}}
  scale_down: {{stabilization: 2s, spare: 0s}}
  tolerance: 0
  min_replicas: {least}
  max_replicas: {most}
"""


class Gateway(AnsweringQueries):
    """A Prometheus server that knows how many requests wait at the gateway."""

    def __init__(self) -> None:
        self.waiting = 0.0
        super().__init__()

    def rows(self, query: str) -> list[Doc]:
        del query  # it is asked for nothing else
        return [{"metric": {}, "value": [utc_now().timestamp(), str(self.waiting)]}]


@dataclass
class KedaStage:
    """The daemon answers KEDA at ``port`` with mutual TLS, as the example wants it. ``log``: of KEDA's operator."""

    stage: Stage
    real: ControlPlane
    port: int
    log: Path
    authority: Authority = field(init=False)

    def __post_init__(self) -> None:
        self.authority = Authority(self.stage.folder, "pennyweight-ca")
        self.authority.issue("pennyweight")
        self.authority.issue("pennyweight-client")
        self.secret("pennyweight-client", {"ca.crt": self.authority.file, **self._pair("pennyweight-client")})

    def _pair(self, name: str) -> dict[str, Path]:
        return {"tls.crt": self.stage.folder / f"{name}.crt", "tls.key": self.stage.folder / f"{name}.key"}

    def secret(self, name: str, files: Mapping[str, Path]) -> None:
        data = {key: base64.b64encode(file.read_bytes()).decode() for key, file in files.items()}
        path = f"/api/v1/namespaces/{NAMESPACE}/secrets"
        self.real.ask("DELETE", f"{path}/{name}")
        code, found = self.real.ask("POST", path, {"metadata": {"name": name}, "data": data})
        assert code == 201, found

    # what there is

    def service(
        self, name: str, target: str, replicas: int, *, least: int = 1, most: int = 8, gateway: str = ""
    ) -> None:
        """A Deployment, and the service whose count KEDA asks us for."""
        pods = template(target, port=self.stage.port)
        self.stage.world.add(deployment(target, replicas, pods))
        text = SERVICE.format(name=name, namespace=NAMESPACE, target=target, port=self.stage.port)
        self.stage.services.append(text + (GATEWAY.format(url=gateway) if gateway else ""))
        folder = self.stage.folder / "policies"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(POLICY.format(name=name, least=least, most=most), encoding="utf-8")

    def write(self, mode: str = "act", door: str = "") -> None:
        """The fleet file."""
        serve = f"serve: {{port: 0, {door or DOOR.format(port=self.port)}}}"
        head = f"mode: {mode}\nleader: {{}}"  # a second daemon may stand by
        self.stage.write(lambda text: text.replace("serve: {port: 0}", serve).replace("mode: act", head))

    # KEDA's

    def example(
        self, *, target: str = "vllm-chat", metadata: Mapping[str, str] | None = None, **spec: Any
    ) -> tuple[Doc, Doc]:
        """The shipped ScaledObject, at our door; ``spec`` and the trigger's ``metadata`` changed."""
        scaled, credentials = yaml.safe_load_all(EXAMPLE.read_text(encoding="utf-8"))
        scaled["metadata"]["name"] = scaled["spec"]["scaleTargetRef"]["name"] = target
        scaled["spec"] |= spec
        (trigger,) = scaled["spec"]["triggers"]
        trigger["metadata"] |= {"scalerAddress": f"localhost:{self.port}", **(metadata or {})}
        return scaled, credentials

    def apply(self, *docs: Doc) -> str:
        """What kubectl says."""
        from tests.cluster.control_plane import kubectl

        file = self.stage.folder / "keda-objects.yaml"
        file.write_text(yaml.safe_dump_all(docs), encoding="utf-8")
        admin = self.real.kubeconfig(self.stage.folder / "admin.kubeconfig", namespace=NAMESPACE)
        return kubectl(admin, "apply", "--server-side", "--validate=strict", "-f", str(file))

    def scaled(self, name: str) -> Doc:
        return self.real.ask("GET", f"{SCALED_OBJECTS}/{name}")[1]

    def hpa(self, name: str) -> Doc:
        return self.real.ask("GET", f"{HPAS}/keda-hpa-{name}")[1]

    def condition(self, name: str, kind: str, what: str = "status") -> str:
        """ "True", "False" or "Unknown" of a ScaledObject; "" while there is none."""
        found = at(self.scaled(name), "status.conditions") or ()
        return next((str(one.get(what, "")) for one in found if one["type"] == kind), "")

    def failures(self, name: str) -> int:
        """How often KEDA had no answer for a ScaledObject, as its operator says: it counts only some of them itself."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return sum(f'"name": "{name}"' in one and "rpc error: code = Unavailable" in one for one in lines)

    def last_active(self, name: str) -> datetime:
        return datetime.fromisoformat(self.scaled(name)["status"]["lastActiveTime"])

    def remove(self, name: str) -> None:
        """Delete a ScaledObject; its target stays."""
        self.real.ask("DELETE", f"{SCALED_OBJECTS}/{name}")
        self.stage.wait(lambda: self.real.ask("GET", f"{SCALED_OBJECTS}/{name}")[0] == 404, "its end")

    # what was measured

    def ready(self, app: str) -> int:
        return len(self.stage.world.ready(app))

    def asked(self) -> dict[tuple[str, str], int]:
        """How often KEDA asked, by method and what came of it."""
        lines = self.stage.daemon.get("/metrics")[1].splitlines()
        found: dict[tuple[str, str], int] = {}
        for line in lines:
            if line.startswith("pennyweight_external_requests_total{"):
                labels = dict(pair.split("=") for pair in line[line.index("{") + 1 : line.index("}")].split(","))
                code, method = labels["code"].strip('"'), labels["method"].strip('"')
                found[method, code] = int(float(line.rsplit(" ", 1)[1]))
        return found

    def answered(self, method: str, code: str) -> int:
        """How often a question of KEDA's came to that."""
        return self.asked().get((method, code), 0)

    def decision(self, service: str, desired: int, since: datetime) -> RecordedDecision:
        """The first that wanted so many."""
        found = [one for one in self.stage.decided(service) if one.decision.desired == desired]
        return min((one for one in found if one.decision.at >= since), key=lambda one: one.decision.at)


class Watched:
    """Looks at a Deployment's count again and again: when it changed, and the fewest there ever were."""

    def __init__(self, stage: KedaStage, target: str) -> None:
        self._changes: list[tuple[datetime, int]] = []
        self._stage, self._target = stage, target
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            with suppress(ApiStatus):
                self._note()

    def _note(self) -> list[tuple[datetime, int]]:
        with self._lock:
            now = self._stage.stage.wanted(self._target)
            if not self._changes or self._changes[-1][1] != now:
                self._changes.append((utc_now(), now))
            return list(self._changes)

    @property
    def counts(self) -> list[int]:
        """Every count there was, up to now."""
        return [count for _, count in self._note()]

    def reached(self, count: int, since: datetime) -> timedelta:
        """How long after ``since`` the count was first so."""
        return next(when for when, found in self._note() if found == count and when >= since) - since
