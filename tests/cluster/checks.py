"""What a real API server does not take: the mistakes that a client may make, with the codes that it gets for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.cluster.documents import Doc, at
from tests.cluster.kinds import KindInfo
from tests.cluster.status import ApiStatus, conflict, invalid

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
MUTABLE_OF_PODS = (
    "containers",
    "initContainers",
    "tolerations",
    "activeDeadlineSeconds",
    "terminationGracePeriodSeconds",
)


def check_object(info: KindInfo, doc: Doc) -> None:
    """What must hold for every object that is stored."""
    name = at(doc, "metadata.name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise invalid(
            info.kind, str(name), "metadata.name", "Invalid value: a lowercase RFC 1123 subdomain must be used"
        )
    _check_texts(info, name, doc)
    replicas = at(doc, "spec.replicas")
    if info.scale and replicas is not None:
        check_replicas(info.kind, name, replicas)


def check_replicas(kind: str, name: str, replicas: Any) -> None:
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        said = f"json: cannot unmarshal {type(replicas).__name__} into Go struct field .spec.replicas of type int32"
        raise ApiStatus(400, "BadRequest", said)
    if replicas < 0:
        raise invalid(kind, name, "spec.replicas", f"Invalid value: {replicas}: must be greater than or equal to 0")


def _check_texts(info: KindInfo, name: str, doc: Doc) -> None:
    for block in ("labels", "annotations"):
        for key, value in (at(doc, f"metadata.{block}") or {}).items():
            where = f"metadata.{block}"
            if not isinstance(value, str):
                said = f"json: cannot unmarshal {type(value).__name__} into Go struct field ObjectMeta.{where} of type string"
                raise ApiStatus(400, "BadRequest", said)
            if not KEY.fullmatch(key):
                raise invalid(
                    info.kind, name, where, f'Invalid value: "{key}": name part must consist of alphanumerics'
                )
            if block == "labels" and not VALUE.fullmatch(value):
                raise invalid(
                    info.kind, name, where, f'Invalid value: "{value}": a valid label must be at most 63 characters'
                )
            if key == DELETION_COST and info.kind == "Pod" and not _int32(value):
                raise invalid(info.kind, name, f"{where}[{key}]", f'Invalid value: "{value}": must be a 32bit integer')


def _int32(text: str) -> bool:
    return bool(re.fullmatch(r"0|-?[1-9]\d*", text)) and -(2**31) <= int(text) < 2**31


def check_update(info: KindInfo, old: Doc, new: Doc, *, replaced: bool) -> None:
    """``new`` is what a client wants ``old`` to be. ``replaced``: by a PUT rather than a patch."""
    name, meta = at(old, "metadata.name"), new.get("metadata") or {}
    version, uid = meta.get("resourceVersion"), meta.get("uid")
    if uid is not None and uid != at(old, "metadata.uid"):
        if replaced:
            raise conflict(info.resource, name)
        raise invalid(info.kind, name, "metadata.uid", f'Invalid value: "{uid}": field is immutable')
    if version is not None and version != at(old, "metadata.resourceVersion"):
        raise conflict(info.resource, name)
    if version is None and replaced and not info.unconditional:
        raise invalid(info.kind, name, "metadata.resourceVersion", "Invalid value: 0: must be specified for an update")
    if meta.get("name", name) != name:
        said = f"the name of the object ({meta.get('name')}) does not match the name on the URL ({name})"
        raise ApiStatus(400, "BadRequest", said)
    _check_immutable(info, name, old, new)


def _check_immutable(info: KindInfo, name: str, old: Doc, new: Doc) -> None:
    if info.kind == "Pod" and _fixed(old.get("spec")) != _fixed(new.get("spec")):
        raise invalid("Pod", name, "spec", "Forbidden: pod updates may not change fields other than a few")
    if info.kind in {"Deployment", "StatefulSet", "ReplicaSet"} and at(old, "spec.selector") != at(
        new, "spec.selector"
    ):
        raise invalid(info.kind, name, "spec.selector", "Invalid value: field is immutable")


def _fixed(spec: Mapping[str, Any] | None) -> Doc:
    return {key: value for key, value in (spec or {}).items() if key not in MUTABLE_OF_PODS}
