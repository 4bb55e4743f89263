"""Which object is scaled: the one of a name, or the one that alone has certain labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from controller.facts.missing import Missing
from controller.kubernetes.objects import Kind, Target, TargetRef
from controller.kubernetes.selectors import parse_selector

KEYS: Mapping[Kind, str] = {
    Kind.DEPLOYMENT: "deployment",
    Kind.STATEFUL_SET: "stateful_set",
    Kind.LEADER_WORKER_SET: "leader_worker_set",
}
"""What names one of a kind in the fleet file."""


class Targets(Protocol):
    """A cluster as it is watched: cluster.py."""

    def target(self, ref: TargetRef) -> Target | Missing | None: ...

    def targets(self, kind: Kind, namespace: str) -> tuple[Target, ...] | Missing: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a target is named: by ``name``, or by a label ``selector`` that one of its kind alone matches."""

    kind: Kind
    namespace: str
    name: str = ""
    selector: str = ""


def the_one(cluster: Targets, wanted: Wanted, what: str) -> Target | Missing:
    """The target, or why there is not exactly one: Missing of ``what``."""
    if wanted.name:
        ref = TargetRef(kind=wanted.kind, namespace=wanted.namespace, name=wanted.name)
        target = cluster.target(ref)
        return target if target is not None else Missing(what, f"there is no {ref}")
    every = cluster.targets(wanted.kind, wanted.namespace)
    if isinstance(every, Missing):
        return every
    selector = parse_selector(wanted.selector)
    found = [one for one in every if selector.matches(one.labels)]
    return found[0] if len(found) == 1 else Missing(what, _not_one(wanted, found))


def _not_one(wanted: Wanted, found: list[Target]) -> str:
    if not found:
        return f"there is no {wanted.kind} {wanted.selector} in {wanted.namespace}"
    names = ", ".join(sorted(one.ref.name for one in found))
    many = f"{len(found)} {wanted.kind}s in {wanted.namespace} have {wanted.selector} ({names})"
    return f"{many}; name one of them with `{KEYS[wanted.kind]}`"
