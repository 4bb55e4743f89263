"""An IAM policy's word on one request, as AWS documents it, for the parts of the language that deploy/aws uses.

What is not known here raises: a policy that says more than this can judge is not waved through.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]
Values = Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One action on one resource. ``context``: by condition key in small letters; one that is not there is absent."""

    action: str
    resource: str = "*"
    context: Mapping[str, Values] = field(default_factory=dict)


def allowed(policies: Iterable[Policy], ask: Ask) -> bool:
    """A deny wins; without an allow nobody may."""
    effects = {one["Effect"] for policy in policies for one in listed(policy["Statement"]) if _concerns(one, ask)}
    return effects == {"Allow"}


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _concerns(statement: Mapping[str, Any], ask: Ask) -> bool:
    if unknown := statement.keys() - {"Sid", "Effect", "Action", "Resource", "Condition"}:
        raise ValueError(f"nobody here can judge {', '.join(sorted(unknown))}")
    conditions = [
        OPERATORS[operator](ask.context.get(key.lower()), [str(value) for value in listed(values)])
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    ]
    return (
        any(_like(pattern.lower(), ask.action.lower()) for pattern in listed(statement["Action"]))
        and any(_names(pattern, ask.resource) for pattern in listed(statement["Resource"]))
        and all(conditions)
    )


def _like(pattern: str, text: str) -> bool:
    parts = ({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _names(pattern: str, resource: str) -> bool:
    """A star stays within its part of an ARN, whose last part may have colons itself."""
    if pattern == "*":
        return True
    ours, theirs = pattern.split(":", 5), resource.split(":", 5)
    return len(ours) == len(theirs) and all(map(_like, ours, theirs))


def _any_like(found: Values | None, wanted: Values) -> bool:
    return found is not None and any(_like(pattern, one) for one in found for pattern in wanted)


def _any_equals(found: Values | None, wanted: Values) -> bool:
    return found is not None and bool(set(found) & set(wanted))


def _all_equal(found: Values | None, wanted: Values) -> bool:
    """Also where there is none: that is what Null is for."""
    return set(found or ()) <= set(wanted)


def _absent(found: Values | None, wanted: Values) -> bool:
    return (found is None) == (wanted == ["true"])


OPERATORS: Mapping[str, Callable[[Values | None, Values], bool]] = {
    "StringLike": _any_like,
    "StringEquals": _any_equals,
    "ForAllValues:StringEquals": _all_equal,
    "Null": _absent,
}
