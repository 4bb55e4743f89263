"""Label and field selectors, read as the API server reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.cluster.documents import at
from tests.cluster.kinds import KindInfo
from tests.cluster.status import ApiStatus

Test = Callable[[Mapping[str, Any]], bool]

_NAME = r"(?:[a-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?"


def label_test(text: str) -> Test:
    """Whether an object's labels match ``text``; 400 where it cannot be read."""
    tests = [_label_term(term.strip()) for term in re.split(r",(?![^(]*\))", text)] if text.strip() else []
    return lambda doc: all(test(at(doc, "metadata.labels") or {}) for test in tests)


def _label_term(term: str) -> Callable[[Mapping[str, str]], bool]:
    if found := re.fullmatch(rf"({_NAME})\s*(!=|==|=)\s*({_VALUE})", term):
        key, sign, value = found.groups()
        return (lambda labels: labels.get(key) != value) if sign == "!=" else (lambda labels: labels.get(key) == value)
    if found := re.fullmatch(rf"({_NAME})\s+(in|notin)\s*\(([^)]*)\)", term):
        key, word, listed = found.groups()
        values = {one.strip() for one in listed.split(",")}
        return lambda labels: (labels.get(key) in values) is (word == "in")
    if found := re.fullmatch(rf"(!?)\s*({_NAME})", term):
        absent, key = found.groups()
        return lambda labels: (key in labels) is not bool(absent)
    raise ApiStatus(400, "BadRequest", f"unable to parse requirement: {term!r}")


def matches_block(block: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """``{matchLabels, matchExpressions}``: None matches nothing, an empty one everything."""
    if block is None:
        return False
    if any(labels.get(key) != value for key, value in (block.get("matchLabels") or {}).items()):
        return False
    checks: dict[str, Callable[[str, list[str]], bool]] = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    return all(
        checks[one["operator"]](one["key"], one.get("values") or []) for one in block.get("matchExpressions") or ()
    )


def text_of(block: Mapping[str, Any] | None) -> str:
    """As a scale subresource's status.selector writes it."""
    return ",".join(f"{key}={value}" for key, value in sorted(((block or {}).get("matchLabels") or {}).items()))


def field_test(text: str, info: KindInfo) -> Test:
    """Whether an object's fields match ``text``; 400 for a field that its kind does not index."""
    known = {"metadata.name", "metadata.namespace", *info.fields}
    tests: list[Test] = []
    for term in filter(None, text.split(",")):
        path, sign, value = _field_term(term)
        if path not in known:
            raise ApiStatus(400, "BadRequest", f'field label not supported: "{path}"')
        tests.append(lambda doc, path=path, sign=sign, value=value: (_text(at(doc, path)) == value) is (sign != "!="))  # type: ignore[misc]
    return lambda doc: all(test(doc) for test in tests)


def _field_term(term: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"([\w.\[\]]+)(!=|==|=)(.*)", term)
    if found is None:
        raise ApiStatus(400, "BadRequest", f"invalid field selector: {term!r}")
    return found[1], found[2], found[3]


def _text(value: Any) -> str:
    return "" if value is None else {True: "true", False: "false"}.get(value, str(value))
