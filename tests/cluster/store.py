"""What the API server keeps: objects with versions, and the log of their changes that watches are fed from.

Stored documents are never changed in place, so readers may hold them.
"""

from __future__ import annotations

import copy
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Condition, RLock
from typing import Any

from tests.cluster.checks import check_object, check_replicas, check_update
from tests.cluster.documents import Doc, at, owned
from tests.cluster.kinds import NAMESPACES, PODS, KindInfo
from tests.cluster.selecting import text_of
from tests.cluster.status import ApiStatus, conflict, gone, invalid, not_found

USUAL_GRACE_S = 30
KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields")

Key = tuple[str, str]
Change = Callable[[Doc], Doc]


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One change. ``before``: the object as it was, None for a new one; ``doc``: as it is, or was at its end."""

    version: int
    info: KindInfo
    type: str
    doc: Doc
    before: Doc | None = None


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: ``manager`` of managedFields."""

    manager: str = "unknown"
    operation: str = "Update"


class Store:
    """All objects. For use by several threads."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.lock = RLock()
        self.changed = Condition(self.lock)
        self.version = 100
        self.floor = self.version
        self._objects: dict[KindInfo, dict[Key, Doc]] = {}
        self._log: list[Logged] = []
        self._owned: dict[str, set[tuple[KindInfo, Key]]] = {}
        self._uids = 0
        self._pages: dict[str, tuple[str, list[Doc]]] = {}

    # reading

    def read(self, info: KindInfo, namespace: str, name: str) -> Doc:
        """One object; 404."""
        with self.lock:
            found = self._objects.get(info, {}).get((namespace, name))
        if found is None:
            raise not_found(info.resource, name)
        return found

    def find(self, info: KindInfo, namespace: str, name: str) -> Doc | None:
        """One object, or None."""
        with self.lock:
            return self._objects.get(info, {}).get((namespace, name))

    def all(self, info: KindInfo, namespace: str = "") -> list[Doc]:
        """All of a kind, by namespace and name; "" is every namespace."""
        with self.lock:
            found = self._objects.get(info, {})
            return [found[key] for key in sorted(found) if not namespace or key[0] == namespace]

    def owned(self, info: KindInfo, uid: str) -> list[Doc]:
        """All of a kind whose controller the object of ``uid`` is, by name."""
        with self.lock:
            keys = sorted(key for kind, key in self._owned.get(uid, ()) if kind is info)
            return [self._objects[info][key] for key in keys]

    def page(self, docs: list[Doc], limit: int, token: str) -> tuple[list[Doc], str, str, int]:
        """One page: its objects, the list's version, the token of the next page, and how many are left after it."""
        with self.lock:
            version, rest = str(self.version), docs
            if token:
                if token not in self._pages:
                    raise ApiStatus(
                        410, "Expired", "The provided continue parameter is too old to display a consistent list"
                    )
                version, rest = self._pages.pop(token)
            if not limit or len(rest) <= limit:
                return rest, version, "", 0
            following = f"{version}.{self.version}.{len(self._pages)}.{len(rest)}"
            self._pages[following] = (version, rest[limit:])
            return rest[:limit], version, following, len(rest) - limit

    def after(self, version: int, info: KindInfo) -> list[Logged]:
        """What happened to objects of a kind after ``version``; 410 when that is no longer known."""
        with self.lock:
            if version < self.floor:
                raise gone(f"{version} ({self.floor})")
            start = bisect_right(self._log, version, key=lambda one: one.version)
            return [one for one in self._log[start:] if one.info is info]

    def compact(self) -> None:
        """Forget every change until now: watches and pages that began earlier get 410 Gone when they come again."""
        with self.lock:
            self.floor = self.version
            self._log.clear()
            self._pages.clear()

    # writing

    def create(self, info: KindInfo, namespace: str, doc: Doc, writer: Writer | None = None) -> Doc:
        """A new object; 409 when there is one of the name."""
        with self.lock:
            doc = copy.deepcopy(doc)
            meta = doc.setdefault("metadata", {})
            self._check_new(info, namespace, meta)
            self._uids += 1
            meta |= {"uid": f"00000000-0000-4000-8000-{self._uids:012d}", "creationTimestamp": self.time}
            if info.namespaced:
                meta["namespace"] = namespace
            if "spec" in doc:
                meta["generation"] = 1
            doc = {"apiVersion": info.api_version, "kind": info.kind, **doc}
            if info.scale:
                doc["spec"].setdefault("replicas", 1)
            check_object(info, doc)
            return self._keep(info, {}, doc, writer or Writer(), "", "ADDED")

    def _check_new(self, info: KindInfo, namespace: str, meta: Doc) -> None:
        if meta.get("resourceVersion"):
            raise ApiStatus(400, "BadRequest", "resourceVersion should not be set on objects to be created")
        if meta.get("namespace", namespace) != namespace:
            said = f"the namespace of the provided object does not match the namespace sent on the request: {namespace}"
            raise ApiStatus(400, "BadRequest", said)
        if info.namespaced and self.find(NAMESPACES, "", namespace) is None:
            raise not_found("namespaces", namespace)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{self._uids + 1:05d}"
        if self.find(info, namespace, meta.get("name", "")) is not None:
            raise ApiStatus(409, "AlreadyExists", f'{info.resource} "{meta["name"]}" already exists')

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
        """``change`` of an object, by rules of the API server. ``sub``: "status" or "scale" where only that is meant."""
        with self.lock:
            old = self.read(info, namespace, name)
            new = change(copy.deepcopy(old))
            check_update(info, old, new, replaced=replaced)
            if sub == "status":
                new = {**old, "status": new.get("status")}
            elif info.status and "status" in old:
                new["status"] = old["status"]
            self._restore(old, new)
            check_object(info, new)
            return self._keep(info, old, new, writer or Writer(), sub, "MODIFIED")

    def put(self, info: KindInfo, new: Doc, old: Doc, writer: Writer, *, sub: str = "") -> Doc:
        """What a component of the cluster itself writes, past the rules for clients."""
        with self.lock:
            return self._keep(info, old, copy.deepcopy(new), writer, sub, "MODIFIED")

    def _restore(self, old: Doc, new: Doc) -> None:
        """What only the API server writes."""
        meta = {key: value for key, value in (new.get("metadata") or {}).items() if key not in KEPT}
        new["metadata"] = meta | {
            key: value for key, value in old["metadata"].items() if key in (*KEPT, "name", "namespace")
        }
        new["apiVersion"], new["kind"] = old["apiVersion"], old["kind"]

    def _keep(self, info: KindInfo, old: Doc, new: Doc, writer: Writer, sub: str, event: str) -> Doc:
        before = old.get("metadata") or {}
        meta = {key: value for key, value in new["metadata"].items() if key != "resourceVersion"}
        if "generation" in before and _meant(info, old) != _meant(info, new):
            meta["generation"] = before["generation"] + 1
        meta["managedFields"] = owned(
            before.get("managedFields") or (),
            old,
            new,
            manager=writer.manager,
            operation=writer.operation,
            sub=sub,
            api=info.api_version,
            now=self.time,
        )
        new["metadata"] = meta
        if old and {**new, "metadata": {**meta, "resourceVersion": before["resourceVersion"]}} == old:
            return old  # nothing changed: no new version, no event
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and info is not PODS:
            return self._forget(info, new)
        return self._log_and_put(info, event, new, old or None)

    def delete(self, info: KindInfo, namespace: str, name: str, *, uid: str = "", grace_s: int | None = None) -> Doc:
        """Ask for its end. A pod on a node gets its grace period; whatever has finalizers waits for them."""
        with self.lock:
            old = self.read(info, namespace, name)
            if uid and uid != at(old, "metadata.uid"):
                raise conflict(info.resource, name)
            grace = self._grace_s(info, old, grace_s)
            if not grace and not at(old, "metadata.finalizers"):
                return self._forget(info, copy.deepcopy(old))
            ends = self.now + timedelta(seconds=grace)
            new = copy.deepcopy(old)
            told = at(old, "metadata.deletionTimestamp")
            if told is None or ends < datetime.fromisoformat(told):
                new["metadata"] |= {"deletionTimestamp": _text(ends), "deletionGracePeriodSeconds": grace}
                return self._log_and_put(info, "MODIFIED", new, old)
            return old

    def _grace_s(self, info: KindInfo, doc: Doc, asked: int | None) -> int:
        if info is not PODS or not at(doc, "spec.nodeName") or at(doc, "status.phase") in {"Succeeded", "Failed"}:
            return 0
        return asked if asked is not None else at(doc, "spec.terminationGracePeriodSeconds", USUAL_GRACE_S)

    def remove(self, info: KindInfo, namespace: str, name: str) -> None:
        """It is gone, as when a kubelet has ended a pod."""
        with self.lock:
            found = self.find(info, namespace, name)
            if found is not None:
                self._forget(info, copy.deepcopy(found))

    def _forget(self, info: KindInfo, doc: Doc) -> Doc:
        meta = doc["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        del self._objects[info][key]
        self._owned.get(controller_of(doc), set()).discard((info, key))
        return self._log_only(info, "DELETED", doc, doc)

    def _log_and_put(self, info: KindInfo, event: str, new: Doc, old: Doc | None) -> Doc:
        meta = new["metadata"]
        kept, key = self._log_only(info, event, new, old), (meta.get("namespace", ""), meta["name"])
        self._objects.setdefault(info, {})[key] = kept
        if owner := controller_of(kept):
            self._owned.setdefault(owner, set()).add((info, key))
        return kept

    def _log_only(self, info: KindInfo, event: str, doc: Doc, before: Doc | None) -> Doc:
        self.version += 1
        doc["metadata"]["resourceVersion"] = str(self.version)
        self._log.append(Logged(version=self.version, info=info, type=event, doc=doc, before=before))
        self.changed.notify_all()
        return doc

    @property
    def time(self) -> str:
        """Now, as objects tell times."""
        return _text(self.now)

    # the scale subresource

    def scale(self, info: KindInfo, namespace: str, name: str) -> Doc:
        """autoscaling/v1 Scale; like Go's encoder it leaves spec.replicas out when it is 0."""
        doc = self.read(info, namespace, name)
        replicas, meta = at(doc, "spec.replicas", 1), doc["metadata"]
        kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        selector = at(doc, "status.hpaPodSelector") if info.custom else text_of(at(doc, "spec.selector"))
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {key: meta[key] for key in kept if key in meta},
            "spec": {"replicas": replicas} if replicas else {},
            "status": {"replicas": at(doc, "status.replicas", 0), "selector": selector or ""},
        }

    def write_scale(self, info: KindInfo, namespace: str, name: str, change: Change, writer: Writer) -> Doc:
        """``change`` of the Scale. A resourceVersion in it that is not the object's gives 409."""
        with self.lock:
            wanted = change(self.scale(info, namespace, name))
            if at(wanted, "metadata.name") != name:
                raise invalid("Scale", name, "metadata.name", "Invalid value: must match the request's name")
            replicas = at(wanted, "spec.replicas", 0)
            check_replicas("Scale", name, replicas)

            def scaled(doc: Doc) -> Doc:
                doc["spec"]["replicas"] = replicas
                doc["metadata"]["resourceVersion"] = at(wanted, "metadata.resourceVersion")
                return doc

            self.write(info, namespace, name, scaled, writer, sub="scale")
            return self.scale(info, namespace, name)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def controller_of(doc: Doc) -> str:
    """The uid of the owner that is its controller, or ""."""
    return next((one["uid"] for one in at(doc, "metadata.ownerReferences") or () if one.get("controller")), "")


def encoded(doc: Any) -> bytes:
    """JSON as the API server sends it."""
    return json.dumps(doc, separators=(",", ":")).encode()


def sub_paths(info: KindInfo) -> Iterator[str]:
    """The subresources of a kind."""
    yield from (["status"] if info.status else [])
    yield from (["scale"] if info.scale else [])
    yield from (["eviction"] if info is PODS else [])


def _meant(info: KindInfo, doc: Doc) -> tuple[Any, Any]:
    """What an object's generation counts changes of: its spec; of a Deployment its annotations, too, for its controller
    copies them (PrepareForUpdate of Kubernetes' pkg/registry/apps/deployment/strategy.go)."""
    annotations = doc["metadata"].get("annotations") or {} if info.kind == "Deployment" else None
    return doc.get("spec"), annotations
