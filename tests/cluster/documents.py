"""JSON documents as the API server treats them: paths, merge patches, quantities, and whose each field is."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Doc = dict[str, Any]

SYSTEM_METADATA = frozenset(
    {
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "managedFields",
        "name",
        "namespace",
    }
)
"""The API server's own: nobody manages them."""


REPLICAS = ("spec", "replicas")


def at(doc: Any, path: str, usual: Any = None) -> Any:
    """What stands at "spec.nodeName"."""
    for part in path.split("."):
        if not isinstance(doc, Mapping) or part not in doc:
            return usual
        doc = doc[part]
    return doc


def merged(doc: Any, patch: Any, *, strategic: bool = False) -> Any:
    """RFC 7386. ``strategic``: lists of named things merge by name, as kubectl's patches of built-in kinds mean it."""
    if strategic and _named(doc) and _named(patch):
        return _merged_list(doc, patch)
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    found = dict(doc) if isinstance(doc, Mapping) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value, strategic=strategic)
    return found


def _named(value: Any) -> bool:
    return (
        isinstance(value, Sequence) and bool(value) and all(isinstance(one, Mapping) and "name" in one for one in value)
    )


def _merged_list(doc: Sequence[Any], patch: Sequence[Any]) -> list[Any]:
    by_name = {one["name"]: one for one in doc}
    for one in patch:
        by_name[one["name"]] = merged(by_name.get(one["name"]), one, strategic=True)
    return list(by_name.values())


def leaves(doc: Mapping[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every path to a value that is no object; lists are one value."""
    for key, value in doc.items():
        if before == ("metadata",) and key in SYSTEM_METADATA:
            continue
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*before, key))
        elif before or key not in {"apiVersion", "kind"}:
            yield (*before, key), value


def owned(
    entries: Sequence[Doc], before: Doc, after: Doc, *, manager: str, operation: str, sub: str, api: str, now: str
) -> list[Doc]:
    """managedFields after ``manager`` made ``after`` of ``before``: what it changed is its own now, and nobody else's."""
    if sub == "scale":
        return scale_owned(entries, at(before, "spec.replicas"), at(after, "spec.replicas"), manager, operation, api)
    old, new = dict(leaves(before)), dict(leaves(after))
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    gone = set(old) - set(new)
    if not changed and not gone:
        return list(entries)
    kept = [
        (one, {path for path in _paths(one.get("fieldsV1") or {}) if path not in changed and path not in gone})
        for one in entries
    ]
    key = (manager, operation, sub)
    own = {path for one, paths in kept if _who(one) == key for path in paths} | changed
    others = [{**one, "fieldsV1": _fields(paths)} for one, paths in kept if _who(one) != key and paths]
    mine: Doc = {"manager": manager, "operation": operation, "apiVersion": api, "time": now, "fieldsType": "FieldsV1"}
    if sub:
        mine["subresource"] = sub
    return [*others, {**mine, "fieldsV1": _fields(own)}] if own else others


def scale_owned(entries: Sequence[Doc], before: int, after: int, manager: str, operation: str, api: str) -> list[Doc]:
    """managedFields after a write of the scale subresource, as scalehandler.go of k8s.io/apimachinery makes them (seen on
    1.36): who holds spec.replicas gets an entry for it alone, without a time; one whose namesake comes after it is lost.
    Where nobody holds it, nobody does after. A Scale leaves 0 out: it is nobody's."""
    fields = [(_who(one), set(_paths(one.get("fieldsV1") or {})), one) for one in entries]
    rest = [(who, paths - {REPLICAS}, one) for who, paths, one in fields if paths != {REPLICAS}]
    named = {who for who, _, _ in rest}
    holders = {who for who, paths, _ in fields if REPLICAS in paths and not (paths == {REPLICAS} and who in named)}
    if holders and before != after:
        holders = {(manager, operation, "scale")}
    alone = [_alone(who, api) for who in sorted(holders)] if after else []
    return [*alone, *({**one, "fieldsV1": _fields(paths)} for _, paths, one in rest)]


def _alone(who: tuple[str, str, str], api: str) -> Doc:
    """Of spec.replicas only."""
    manager, operation, sub = who
    entry: Doc = {"manager": manager, "operation": operation, "apiVersion": api, "fieldsType": "FieldsV1"}
    return entry | ({"subresource": sub} if sub else {}) | {"fieldsV1": _fields({REPLICAS})}


def _who(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return entry.get("manager", ""), entry.get("operation", ""), entry.get("subresource", "")


def _fields(paths: set[tuple[str, ...]]) -> Doc:
    found: Doc = {}
    for path in sorted(paths):
        inside = found
        for part in path:
            inside = inside.setdefault(f"f:{part}", {})
    return found


def _paths(fields: Mapping[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, inside in fields.items():
        path = (*before, key.removeprefix("f:"))
        if inside:
            yield from _paths(inside, path)
        else:
            yield path


def count_of(quantity: Any) -> int:
    """A whole number of a resource: GPUs come as "8" or 8."""
    return int(str(quantity))
