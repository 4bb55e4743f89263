"""The same world on a real API server: its controllers and scheduler are the real ones, its kubelets ours.

    with control_plane(programs, scratch) as real, live_world(real) as world:
        world.add_nodes(2)
        world.add(deployment("chat", 3, template("chat")))
        world.step(10)

Time passes as it does outside: ``step`` waits until nothing changes any more, at most so many seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from threading import Event, RLock, Thread
from time import monotonic, sleep

import httpx2

from controller.daemon import utc_now
from tests.cluster.control_plane import ControlPlane
from tests.cluster.documents import Doc, at
from tests.cluster.kinds import (
    DEPLOYMENTS,
    HPAS,
    LEADER_WORKER_SETS,
    LEASES,
    NODES,
    PDBS,
    PODS,
    REPLICA_SETS,
    SCALED_OBJECTS,
    STATEFUL_SETS,
    KindInfo,
)
from tests.cluster.kubelet import Behaviour
from tests.cluster.status import ApiStatus, not_found
from tests.cluster.store import Change, Writer
from tests.cluster.world import NAMESPACE, World

MERGE = "application/merge-patch+json"
TICK_S = 0.1
QUIET_S = 1.0
"""Nothing changed for so long: controllers here answer within some tens of milliseconds."""

CACHED_S = 0.05
TRIES = 20
CUSTOM = (LEADER_WORKER_SETS, SCALED_OBJECTS)
CLEARED = (DEPLOYMENTS, STATEFUL_SETS, *CUSTOM, REPLICA_SETS, HPAS, PDBS, LEASES, PODS, NODES)
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
LIVELY = Behaviour(start_s=0.3)


class LiveStore:
    """What ``Store`` is to a world, on a real API server: every read and every write is a call."""

    def __init__(self, server: ControlPlane) -> None:
        self.server = server
        self.lock = RLock()
        self.version = 0  # of our own writes: whether a round did anything
        self._listed: dict[tuple[KindInfo, str], tuple[float, int, list[Doc]]] = {}

    @property
    def now(self) -> datetime:
        return utc_now()

    @property
    def time(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    # reading

    def read(self, info: KindInfo, namespace: str, name: str) -> Doc:
        """One object; 404."""
        return self._ask("GET", path_of(info, namespace, name))

    def find(self, info: KindInfo, namespace: str, name: str) -> Doc | None:
        with suppress(ApiStatus):
            return self.read(info, namespace, name)
        return None

    def all(self, info: KindInfo, namespace: str = "") -> list[Doc]:
        """All of a kind, by namespace and name; none of a kind that is not installed. Engines ask for every page."""
        at_s, version, docs = self._listed.get((info, namespace), (0.0, -1, []))
        if version != self.version or monotonic() - at_s > CACHED_S:
            version, at_s, docs = self.version, monotonic(), self._list(info, namespace)
            self._listed[info, namespace] = at_s, version, docs
        return docs

    def _list(self, info: KindInfo, namespace: str) -> list[Doc]:
        try:
            found = self._ask("GET", path_of(info, namespace))
        except ApiStatus as status:
            if status.code == 404:
                return []
            raise
        told = {"apiVersion": info.api_version, "kind": info.kind}  # lists leave it out
        docs = [{**told, **one} for one in found.get("items") or ()]
        return sorted(docs, key=lambda one: (at(one, "metadata.namespace", ""), at(one, "metadata.name")))

    # writing

    def create(self, info: KindInfo, namespace: str, doc: Doc, writer: Writer | None = None) -> Doc:
        """A new object, and its status where ``doc`` has one: a real one takes it apart only."""
        whole = {"apiVersion": info.api_version, "kind": info.kind, **doc}
        made = self._ask("POST", path_of(info, namespace), whole, _by(writer))
        if info is NODES:
            made = self.write(info, "", at(made, "metadata.name"), lambda now: _begun(now, doc), writer, sub="status")
        return made

    def write(
        self,
        info: KindInfo,
        namespace: str,
        name: str,
        change: Change,
        writer: Writer | None = None,
        *,
        sub: str = "",
        replaced: bool = False,
    ) -> Doc:
        """``change`` of an object, tried again while others are faster."""
        del replaced
        for _ in range(TRIES):
            old = self._ask("GET", path_of(info, namespace, name, sub))
            try:
                return self._ask("PUT", path_of(info, namespace, name, sub), change(old), _by(writer))
            except ApiStatus as status:
                if status.code != 409:
                    raise
        raise AssertionError(f"{info.kind} {namespace}/{name} changes all the time")

    def put(self, info: KindInfo, new: Doc, old: Doc, writer: Writer, *, sub: str = "") -> Doc:
        """What a component writes; it comes again where somebody was faster."""
        meta = at(new, "metadata")
        if new == old:
            return old
        try:
            return self._ask("PUT", path_of(info, meta.get("namespace", ""), meta["name"], sub), new, _by(writer))
        except ApiStatus as status:
            if status.code in {404, 409}:
                return old
            raise

    def write_scale(self, info: KindInfo, namespace: str, name: str, change: Change, writer: Writer) -> Doc:
        return self.write(info, namespace, name, change, writer, sub="scale")

    def delete(self, info: KindInfo, namespace: str, name: str, *, uid: str = "", grace_s: int | None = None) -> Doc:
        options: Doc = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if uid:
            options["preconditions"] = {"uid": uid}
        return self._ask("DELETE", path_of(info, namespace, name), options)

    def remove(self, info: KindInfo, namespace: str, name: str) -> None:
        """It is gone, as when a kubelet has ended a pod."""
        with suppress(ApiStatus):
            self.delete(info, namespace, name, grace_s=0)

    def _ask(self, method: str, path: str, body: Doc | None = None, query: str = "") -> Doc:
        try:
            code, found = self.server.ask(method, f"{path}{query}", body)
        except httpx2.HTTPError as error:  # a loaded machine: whoever works in rounds asks again in the next
            raise ApiStatus(503, "Away", f"{method} {path}: {error}") from error
        if code >= 400:
            message = found.get("message") or f"{method} {path}: HTTP {code}"
            raise ApiStatus(code, str(found.get("reason")), str(message)) if code != 404 else not_found(path, message)
        if method != "GET":
            with self.lock:
                self.version += 1
        return found


def _by(writer: Writer | None) -> str:
    return f"?fieldManager={writer.manager}" if writer is not None else ""


def _begun(node: Doc, wanted: Doc) -> Doc:
    """A node whose kubelet has told of it."""
    return {**node, "status": {**(node.get("status") or {}), **(wanted.get("status") or {})}}


def path_of(info: KindInfo, namespace: str = "", name: str = "", sub: str = "") -> str:
    root = f"/apis/{info.group}/{info.version}" if info.group else f"/api/{info.version}"
    scope = f"/namespaces/{namespace}" if info.namespaced and namespace else ""
    return "/".join(part for part in (f"{root}{scope}/{info.plural}", name, sub) if part)


class LiveWorld(World):
    """A world that others move as well. What it begins with is taken away by ``clear``."""

    def __init__(self, server: ControlPlane) -> None:
        self.groups = server.groups
        self._begin(LiveStore(server), server, seed=1)  # type: ignore[arg-type]
        self._behaviours[""] = LIVELY
        self._ended = Event()
        self._ticking = Thread(target=self._tick, name="kubelets", daemon=True)

    def add_namespace(self, name: str) -> None:
        with suppress(ApiStatus):
            super().add_namespace(name)
        _until(lambda: self.server.ask("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default")[0] == 200)

    def step(self, seconds: float = 1.0) -> None:
        """Wait until nothing changes any more, at most so long; 0: until what is wanted was seen by its controller."""
        deadline = monotonic() + max(seconds, 3.0)
        seen, since = self._versions(), monotonic()
        while monotonic() < deadline:
            sleep(TICK_S / 2)
            now = self._versions()
            if now != seen:
                seen, since = now, monotonic()
            if monotonic() - since > QUIET_S and self._observed():
                return

    def clear(self) -> None:
        """Nothing but the namespaces is left."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        deadline = monotonic() + 60.0
        while left := [info for info in CLEARED if self.store.all(info, NAMESPACE if info.namespaced else "")]:
            assert monotonic() < deadline, left
            for info in left:
                grace = {"gracePeriodSeconds": 0} if info is PODS else {}
                namespace = NAMESPACE if info.namespaced else ""
                self.server.ask("DELETE", path_of(info, namespace), {**options, **grace})
            sleep(0.05)

    def _address(self) -> str:
        """Pods of other namespaces outlive a world, and keep what they were given."""
        taken = {at(pod, "status.podIP") for pod in self.store.all(PODS)}
        return next(one for one in iter(super()._address, "") if one not in taken)

    def _versions(self) -> list[str]:
        kinds = (DEPLOYMENTS, STATEFUL_SETS, REPLICA_SETS, PODS, PDBS)
        return [at(doc, "metadata.resourceVersion") for info in kinds for doc in self.store.all(info, NAMESPACE)]

    def _observed(self) -> bool:
        kinds = (DEPLOYMENTS, STATEFUL_SETS, PDBS)
        docs = [doc for info in kinds for doc in self.store.all(info, NAMESPACE)]
        return all(at(one, "status.observedGeneration", 0) >= at(one, "metadata.generation") for one in docs)

    def _runners(self) -> Iterator[Callable[[], bool]]:
        yield self._provision
        yield self._kubelets.run

    def _tick(self) -> None:
        while not self._ended.wait(TICK_S):
            with suppress(ApiStatus):
                for run in self._runners():
                    run()

    @contextmanager
    def running(self) -> Iterator[LiveWorld]:
        self._ticking.start()
        try:
            yield self
        finally:
            self.clear()
            self._ended.set()
            self._ticking.join()


@contextmanager
def live_world(server: ControlPlane) -> Iterator[LiveWorld]:
    """A world with nothing in it, on a running API server."""
    for info in CUSTOM:
        server.ask("POST", DEFINITIONS, _definition(info))
        _until(lambda info=info: server.ask("GET", path_of(info))[0] == 200)  # type: ignore[misc]
    made = LiveWorld(server)
    made.clear()
    with made.running():
        yield made


def _definition(info: KindInfo) -> Doc:
    """A kind that takes anything; nobody's controller is there for it."""
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    subresources = {
        "status": {},
        **({"scale": {**scale, "labelSelectorPath": ".status.hpaPodSelector"}} if info.scale else {}),
    }
    version = {
        "name": info.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        "subresources": subresources,
    }
    names = {"plural": info.plural, "singular": info.kind.lower(), "kind": info.kind, "shortNames": list(info.short)}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": info.resource},
        "spec": {"group": info.group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline
        sleep(0.02)
