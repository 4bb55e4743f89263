"""A cluster in which time passes as it does outside, engines that share their service's load, and real daemons beside it.

Everything that a fleet on Kubernetes has is there but the machines: an API server, controllers, a scheduler, kubelets,
engines that answer at their pods' addresses, and a router that sends requests to whoever is ready and not marked.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from controller.daemon import utc_now
from controller.kubernetes.resources import PHASE_LABEL
from controller.ledger.queries import RecordedDecision
from controller.ledger.read import LedgerReader
from tests.cluster.documents import at
from tests.cluster.engines import Engines, engines_of
from tests.cluster.kinds import PODS
from tests.cluster.status import ApiStatus
from tests.cluster.world import NAMESPACE, World
from tests.small_fleet import until

if TYPE_CHECKING:
    from tests.cluster.control_plane import ControlPlane

REPOSITORY = Path(__file__).parents[2]
TICK_S = 0.1
BUSY_S = 1.0
"""What a replica that drains still works on takes so long, unless a test says otherwise."""

COUNTERS = """\
# TYPE vllm:request_success_total counter
vllm:request_success_total{{engine="0",model_name="llama",finished_reason="stop"}} {requests}
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="llama"}} {prompt}
# TYPE vllm:prompt_tokens_cached_total counter
vllm:prompt_tokens_cached_total{{engine="0",model_name="llama"}} 0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="llama"}} {output}
"""

HEAD = """\
mode: act
interval: 700ms
rate_window: 4s
ledger: sqlite:///pennyweight.db
policies: [policies/*.yaml]
serve: {port: 0}
safety: {stop_file: stop/reason}
services:
"""


class Router:
    """Sends each service's waiting requests to its ready pods, in equal parts; what a marked pod has, it finishes.

    load     requests waiting, by app
    busy_s   how long a marked pod still works, by app
    cut      pods that were deleted while they still worked: requests that were lost
    drained  pods that were marked before they went
    """

    def __init__(self, world: World, engines: Engines) -> None:
        self._world, self._engines = world, engines
        self.load: dict[str, float] = {}
        self.busy_s: dict[str, float] = {}
        self.cut: set[str] = set()
        self.drained: set[str] = set()
        self._marked: dict[str, float] = {}
        self._done: dict[str, float] = {}

    def turn(self, seconds: float) -> None:
        pods = self._world.pods()
        serving: dict[str, list[str]] = {}
        for pod in pods:
            name, labels = at(pod, "metadata.name"), at(pod, "metadata.labels") or {}
            if at(pod, "metadata.deletionTimestamp"):
                if self._engines.running.get(name):
                    self.cut.add(name)
                continue
            if labels.get(PHASE_LABEL) == "draining":
                self.drained.add(name)
                self._marked[name] = self._marked.get(name, 0.0) + seconds
                self._engines.waiting[name] = 0.0
                if self._marked[name] > self.busy_s.get(labels.get("app", ""), BUSY_S):
                    self._engines.running[name] = 0.0
            elif name in self._world.ready(labels.get("app", "")):
                serving.setdefault(labels["app"], []).append(name)
            else:  # a new pod may have the name of an old one
                self._engines.waiting[name] = self._engines.running[name] = 0.0
        for app, names in serving.items():
            share = self.load.get(app, 0.0) / len(names)
            for name in names:
                self._engines.waiting[name] = share
                self._engines.running[name] = float(share > 0)
                self._done[name] = self._done.get(name, 0.0) + share * seconds

    def working(self, pod: str) -> bool:
        return bool(self._engines.running.get(pod))

    def page(self, pod: str) -> str:
        """What the pod's engine counts."""
        done = int(self._done.get(pod, 0.0))
        return COUNTERS.format(requests=done, prompt=done * 500, output=done * 100)


class LoadedEngines(Engines):
    """Engines that count what the router sends them."""

    router: Router

    def page(self, address: str) -> str | None:
        page = super().page(address)
        pod = next((one for one in self.world.store.all(PODS) if at(one, "status.podIP") == address), None)
        return page + self.router.page(at(pod, "metadata.name")) if page is not None and pod is not None else None


@dataclass
class Daemon:
    """`pennyweight run` as a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        until(lambda: "listening on" in self.said() or self.process.poll() is not None, "the daemon to listen", 180)
        found = re.search(r"listening on (\S+):", self.said())
        assert found is not None, self.said()
        return found[1]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class Stage:
    """One cluster, one fleet, and the daemons that work for it one after the other."""

    world: World
    router: Router
    port: int
    folder: Path
    services: list[str] = field(default_factory=list)
    daemons: list[Daemon] = field(default_factory=list)

    @property
    def ledger(self) -> str:
        return f"sqlite:///{self.folder / 'pennyweight.db'}"

    def service(self, name: str, variants: dict[str, str], *, scaling: str, more: str = "") -> None:
        """A service whose ``variants`` are Deployments of the same name; each with more of its block as YAML."""
        lines = [f"  {name}:", "    model: llama-3.1-8b", "    variants:"]
        for variant, actuator in variants.items():
            lines += [
                f"      {variant}:",
                "        gpu: H100-SXM",
                f"        actuator: {{kubernetes: {{namespace: {NAMESPACE}, deployment: {name}-{variant}{actuator}}}}}",
                "        capacity: [{type: on_demand, usd_per_gpu_hour: %s}]" % (2 + len(lines) / 10),
            ]
        self.services.append("\n".join(lines))
        scale = "scale_up: {stabilization: 0s}, scale_down: {stabilization: 2s, spare: 0s}"
        policy = f"service: {name}\nscaling: {{method: reactive, targets: {{queue_depth: 10}}, {scale}, {scaling}}}\n"
        (self.folder / "policies").mkdir(exist_ok=True)
        (self.folder / "policies" / f"{name}.yaml").write_text(policy + more, encoding="utf-8")
        self.write()

    def write(self, change: Callable[[str], str] = str) -> None:
        """The fleet file as it is now."""
        (self.folder / "stop").mkdir(exist_ok=True)
        text = change(HEAD + "\n".join(self.services) + "\n")
        (self.folder / "fleet.yaml").write_text(text, encoding="utf-8")

    def start(self) -> Daemon:
        log = self.folder / f"daemon-{len(self.daemons)}.log"
        environment = {name: text for name, text in os.environ.items() if not name.startswith("PENNYWEIGHT_")}
        command = [sys.executable, "-m", "controller", "run", "--fleet", str(self.folder / "fleet.yaml")]
        with log.open("w") as sink:
            process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**environment, "KUBECONFIG": str(self.folder / "kubeconfig")},
                stdout=sink,
                stderr=sink,
            )
        self.daemons.append(Daemon(process, log))
        return self.daemons[-1]

    @property
    def daemon(self) -> Daemon:
        return self.daemons[-1]

    def command(self, *words: str) -> str:
        """What a command of `pennyweight` prints about this fleet."""
        command = [sys.executable, "-m", "controller", words[0], "--fleet", str(self.folder / "fleet.yaml"), *words[1:]]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout + done.stderr

    def decided(self, service: str) -> list[RecordedDecision]:
        """Newest first."""
        reader = LedgerReader(self.ledger)
        try:
            return list(reader.decisions(service, limit=3000))
        finally:
            reader.close()

    def wanted(self, name: str) -> int:
        """spec.replicas of a Deployment."""
        return int(self.world.get("Deployment", name)["spec"]["replicas"])

    def wait(self, condition: Callable[[], Any], what: str, deadline_s: float = 90.0) -> None:
        """Until ``condition``; what the daemon said is told when it never comes."""
        try:
            until(condition, what, deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.daemon.said()[-4000:]}") from None

    def api(self, path: str) -> Any:
        return json.loads(self.daemon.get(path)[1])


@contextmanager
def ours(folder: Path) -> Iterator[World]:
    """The tests' own cluster, with a clock that is the real one."""
    world, ended = World(now=utc_now()), Event()

    def tick() -> None:
        while not ended.wait(TICK_S):
            world.step(max(0.0, (utc_now() - world.now).total_seconds()))

    ticking = Thread(target=tick, name="time", daemon=True)
    with world.server:
        world.server.kubeconfig(folder / "kubeconfig", namespace=NAMESPACE)
        ticking.start()
        try:
            yield world
        finally:
            ended.set()
            ticking.join()


@contextmanager
def anothers(real: ControlPlane, folder: Path) -> Iterator[World]:
    """A real API server, and in it what deploy/ gives: who acts has the token of its service account, and no more."""
    from tests.cluster.live import live_world

    with live_world(real) as world:
        account(real, folder, "act")
        yield world


def account(real: ControlPlane, folder: Path, overlay: str) -> Path:
    """A kubeconfig with the token of the service account of an overlay, which may act where the tests' engines are."""
    admin = real.kubeconfig(folder / "admin.kubeconfig", namespace=NAMESPACE)
    apply(admin, f"overlays/{overlay}")
    apply(admin, "engines/act", "--namespace", NAMESPACE)
    token = real.token_of("pennyweight", "pennyweight")
    return real.kubeconfig(folder / "kubeconfig", namespace=NAMESPACE, token=token)


def apply(config: Path, folder: str, *words: str) -> str:
    """What kubectl says to a folder of deploy/kubernetes."""
    from tests.cluster.control_plane import kubectl

    where = str(REPOSITORY / "deploy" / "kubernetes" / folder)
    return kubectl(config, "apply", "--server-side", "--validate=strict", *words, "-k", where)


@contextmanager
def staged(folder: Path, real: ControlPlane | None = None) -> Iterator[Stage]:
    """A cluster, engines, and a router before them. ``real``: an API server that runs, instead of the tests' own."""
    with ours(folder) if real is None else anothers(real, folder) as world, engines_of(world, LoadedEngines) as engines:
        router = engines.router = Router(world, engines)
        stage, ended = Stage(world, router, engines.port, folder), Event()

        def tick() -> None:
            before = utc_now()
            while not ended.wait(TICK_S):
                now = utc_now()
                with suppress(ApiStatus):  # it knows no more than the API server tells; it asks again
                    router.turn((now - before).total_seconds())
                before = now

        ticking = Thread(target=tick, name="router", daemon=True)
        ticking.start()
        try:
            yield stage
        finally:
            for one in stage.daemons:
                if one.process.poll() is None:
                    one.kill()
            ended.set()
            ticking.join()
