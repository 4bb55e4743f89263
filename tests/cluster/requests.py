"""From an HTTP request to what is asked, as the API server reads paths, and what kubectl asks before anything else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.cluster.kinds import KINDS, KindInfo
from tests.cluster.status import ApiStatus, no_such_path
from tests.cluster.store import sub_paths

VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call."""

    method: str
    info: KindInfo
    namespace: str
    name: str
    sub: str
    query: Mapping[str, str]

    @property
    def verb(self) -> str:
        """As roles name it."""
        if self.method == "GET" and not self.name:
            return "watch" if self.query.get("watch") in {"true", "1"} else "list"
        return VERBS[self.method]

    @property
    def resource(self) -> str:
        return f"{self.info.resource}/{self.sub}" if self.sub else self.info.resource


@dataclass(frozen=True, slots=True)
class Discovery:
    """A question about the API itself. ``body``: the answer."""

    body: dict[str, Any]


def parse(method: str, target: str, absent: frozenset[str]) -> Asked | Discovery:
    """What is asked. 404 for paths that there are not. ``absent``: groups whose kinds are not installed."""
    url = urlsplit(target)
    parts = [unquote(part) for part in url.path.split("/") if part]
    known = [info for info in KINDS if info.group not in absent]
    if (found := _discovery(parts, known)) is not None:
        return Discovery(found)
    root = 2 if parts[:1] == ["api"] else 3
    group, version, rest = ("" if root == 2 else parts[1]), parts[root - 1], parts[root:]
    kinds = {info.plural: info for info in known if (info.group, info.version) == (group, version)}
    if not kinds or method not in VERBS:
        raise no_such_path()
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    query = {key: values[-1] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
    return _asked(method, kinds, namespace, rest, query)


def _asked(
    method: str, kinds: Mapping[str, KindInfo], namespace: str, rest: list[str], query: Mapping[str, str]
) -> Asked:
    info = kinds.get(rest[0]) if rest else None
    name, sub = (*rest[1:], "", "")[:2]
    if info is None or len(rest) > 3 or (sub and sub not in sub_paths(info)):
        raise no_such_path()
    if bool(namespace) and not info.namespaced:
        raise no_such_path()
    if info.namespaced and not namespace and (name or method != "GET"):
        raise no_such_path()
    needs_name = sub == "eviction" if method == "POST" else method != "GET"
    if needs_name != bool(name) and method != "GET":
        raise ApiStatus(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    return Asked(method=method, info=info, namespace=namespace, name=name, sub=sub, query=query)


# --- what kubectl asks before anything else --------------------------------------------------------------------------


def _discovery(parts: list[str], known: list[KindInfo]) -> dict[str, Any] | None:
    if parts == ["version"]:
        return {"major": "1", "minor": "36", "gitVersion": "v1.36.0", "platform": "linux/amd64"}
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    if parts == ["apis"]:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": _groups(known)}
    root = {2: "api", 3: "apis"}.get(len(parts))
    if root is None or parts[0] != root:
        if len(parts) < 3 or parts[0] not in {"api", "apis"}:
            raise no_such_path()
        return None
    group, version = ("", parts[1]) if root == "api" else (parts[1], parts[2])
    inside = [info for info in known if (info.group, info.version) == (group, version)]
    if not inside:
        raise no_such_path()
    listed = [one for info in inside for one in _resources(info)]
    return {"kind": "APIResourceList", "groupVersion": inside[0].api_version, "resources": listed}


def _groups(known: list[KindInfo]) -> list[dict[str, Any]]:
    versions: dict[str, set[str]] = defaultdict(set)
    for info in known:
        if info.group:
            versions[info.group].add(info.version)
    found = []
    for group, names in sorted(versions.items()):
        told = [{"groupVersion": f"{group}/{version}", "version": version} for version in sorted(names)]
        found.append({"name": group, "versions": told, "preferredVersion": told[0]})
    return found


def _resources(info: KindInfo) -> list[dict[str, Any]]:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    common = {"namespaced": info.namespaced, "kind": info.kind}
    whole = {"name": info.plural, "singularName": info.kind.lower(), "verbs": verbs, "shortNames": list(info.short)}
    found = [{**common, **whole}]
    for sub in sub_paths(info):
        name = f"{info.plural}/{sub}"
        of = {
            "scale": {"kind": "Scale", "group": "autoscaling", "version": "v1"},
            "eviction": {"kind": "Eviction", "group": "policy", "version": "v1"},
        }.get(sub, {})
        found.append({**common, "name": name, "singularName": "", "verbs": ["get", "patch", "update"], **of})
    return found
