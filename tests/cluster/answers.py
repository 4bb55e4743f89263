"""What the API server does with one call, HTTP left aside."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from tests.cluster.documents import Doc, at, merged
from tests.cluster.kinds import PODS
from tests.cluster.requests import Asked
from tests.cluster.selecting import Test, field_test, label_test
from tests.cluster.status import ApiStatus, invalid, no_such_path
from tests.cluster.store import Store, Writer

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

Evict = Callable[[str, str, Mapping[str, Any]], Doc]
"""Namespace, pod, deleteOptions."""


def answer(store: Store, asked: Asked, body: bytes, content_type: str, evict: Evict) -> tuple[int, Doc]:
    """The HTTP code and the document. ApiStatus where it is refused."""
    doing = {"get": _get, "list": _list, "create": _create, "update": _update, "patch": _patch, "delete": _delete}
    sent = _body(asked, body, content_type)
    if asked.sub == "eviction" and asked.verb == "create":
        return 201, evict(asked.namespace, asked.name, sent.get("deleteOptions") or {})
    return doing[asked.verb](store, asked, sent, content_type)


def _body(asked: Asked, body: bytes, content_type: str) -> Doc:
    if not body:
        return {}
    if asked.verb != "patch" and content_type not in {"application/json", "application/yaml"}:
        raise _unsupported(content_type, "application/json, application/yaml")
    try:
        found = yaml.safe_load(body)
    except yaml.YAMLError as error:
        raise ApiStatus(400, "BadRequest", f"couldn't get version/kind; json parse error: {error}") from error
    if not isinstance(found, dict):
        raise ApiStatus(400, "BadRequest", "the object provided is unrecognized (must be of type Status)")
    kind = {"eviction": "Eviction", "scale": "Scale"}.get(asked.sub, asked.info.kind)
    if asked.verb in {"create", "update"} and found.get("kind", kind) != kind:
        raise ApiStatus(400, "BadRequest", f"{found.get('kind')} in the body where {kind} is expected")
    return found


def _unsupported(content_type: str, known: str) -> ApiStatus:
    said = f"the body of the request was in an unknown format - accepted media types include: {known}; found {content_type}"
    return ApiStatus(415, "UnsupportedMediaType", said)


def _writer(asked: Asked) -> Writer:
    return Writer(manager=asked.query.get("fieldManager") or "unknown")


def _get(store: Store, asked: Asked, sent: Doc, content_type: str) -> tuple[int, Doc]:
    del sent, content_type
    if asked.sub == "scale":
        return 200, store.scale(asked.info, asked.namespace, asked.name)
    if asked.sub == "eviction":
        raise ApiStatus(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    return 200, store.read(asked.info, asked.namespace, asked.name)


def wanted(asked: Asked) -> Test:
    """Whether an object is within the selectors and the namespace of a list or a watch."""
    labels = label_test(asked.query.get("labelSelector", ""))
    fields = field_test(asked.query.get("fieldSelector", ""), asked.info)

    def inside(doc: Mapping[str, Any]) -> bool:
        return (not asked.namespace or at(doc, "metadata.namespace") == asked.namespace) and labels(doc) and fields(doc)

    return inside


def _list(store: Store, asked: Asked, sent: Doc, content_type: str) -> tuple[int, Doc]:
    del sent, content_type
    test = wanted(asked)
    with store.lock:
        docs = [doc for doc in store.all(asked.info, asked.namespace) if test(doc)]
        limit, token = int(asked.query.get("limit") or 0), asked.query.get("continue", "")
        items, version, following, left = store.page(docs, limit, token)
    meta: Doc = {"resourceVersion": version}
    if following:
        meta |= {"continue": following, "remainingItemCount": left}
    kind = f"{asked.info.kind}List"
    return 200, {"kind": kind, "apiVersion": asked.info.api_version, "metadata": meta, "items": items}


def _create(store: Store, asked: Asked, sent: Doc, content_type: str) -> tuple[int, Doc]:
    del content_type
    return 201, store.create(asked.info, asked.namespace, sent, _writer(asked))


def _update(store: Store, asked: Asked, sent: Doc, content_type: str) -> tuple[int, Doc]:
    del content_type
    if asked.sub == "scale":
        return 200, store.write_scale(asked.info, asked.namespace, asked.name, lambda _: sent, _writer(asked))
    return 200, store.write(
        asked.info, asked.namespace, asked.name, lambda _: sent, _writer(asked), sub=asked.sub, replaced=True
    )


def _patch(store: Store, asked: Asked, sent: Doc, content_type: str) -> tuple[int, Doc]:
    try:
        return _patched(store, asked, sent, content_type)
    except ApiStatus as status:
        if status.code != 400 or "unmarshal" not in status.message:
            raise
        # A patch is read into the kind's shape only when it is merged, and the object is told as a whole.
        whole = json.dumps(store.read(asked.info, asked.namespace, asked.name))
        raise invalid("", "", "patch", f"Invalid value: {json.dumps(whole)}: {status.message}") from status


def _patched(store: Store, asked: Asked, sent: Doc, content_type: str) -> tuple[int, Doc]:
    known = (MERGE,) if asked.info.custom else (MERGE, STRATEGIC)
    if content_type not in known:
        raise _unsupported(content_type, ", ".join(known))
    if asked.sub == "eviction":
        raise no_such_path()

    def change(doc: Doc) -> Doc:
        found = merged(doc, sent, strategic=content_type == STRATEGIC)
        assert isinstance(found, dict)
        return found

    if asked.sub == "scale":
        return 200, store.write_scale(asked.info, asked.namespace, asked.name, change, _writer(asked))
    return 200, store.write(asked.info, asked.namespace, asked.name, change, _writer(asked), sub=asked.sub)


def _delete(store: Store, asked: Asked, sent: Doc, content_type: str) -> tuple[int, Doc]:
    del content_type
    if asked.sub:
        raise ApiStatus(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    uid, grace = (
        at(sent, "preconditions.uid", ""),
        sent.get("gracePeriodSeconds", asked.query.get("gracePeriodSeconds")),
    )
    gone = store.delete(asked.info, asked.namespace, asked.name, uid=uid, grace_s=None if grace is None else int(grace))
    if asked.info is PODS:
        return 200, gone
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return 200, {**status, "details": {"name": asked.name, "kind": asked.info.plural}}
