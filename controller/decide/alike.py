"""Whether a service's replicas are of one kind. In a disaggregated one some only prefill and others decode: a count of
them, and what one of them carries, says nothing of how many of each there must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from controller.facts.missing import Missing
from controller.facts.readings import Observation, Phase

PREFILLS = frozenset({"prefill", "encode-prefill", "encode"})
"""Roles of pods that answer no request by themselves. Who decodes can, and so do those without a role: llm-d's guides
call whoever serves alone "decode", and its router lets decode who says nothing.
Source: the role filters of https://github.com/llm-d/llm-d-inference-scheduler"""

COUNTED = (Phase.STARTING, Phase.READY)

Replica = tuple[str, str]
"""(variant, replica)."""


def unlike(service: str, observation: Observation) -> str:
    """Why a count of its replicas means nothing; "" where one is as good as another."""
    roles = _roles(service, observation)
    told = set(roles.values())
    if len(told) < 2 or not told & PREFILLS:
        return ""
    variants = sorted({variant for variant, _ in roles})
    each = ", ".join(f"{variant} has {_counted(variant, roles)}" for variant in variants)
    return (
        f"its replicas are not of one kind, by their label role: {each}; make a service of each kind, see "
        "docs/kubernetes.md (Prefill and decode)"
    )


def _roles(service: str, observation: Observation) -> dict[Replica, str]:
    """As actuators tell them, and as discovery labels those that are read; "" where nobody says."""
    roles = {
        (one.variant, one.replica): one.labels.get("role", "")
        for one in observation.targets
        if one.service == service and one.labels.get("phase") != Phase.DRAINING
    }
    for (owner, variant), states in observation.replicas.items():
        for one in () if owner != service or isinstance(states, Missing) else states:
            read = roles.pop((variant, one.replica), "")
            if one.phase in COUNTED:
                roles[variant, one.replica] = one.role or read
    return roles


def _counted(variant: str, roles: Mapping[Replica, str]) -> str:
    counts = Counter(role for (owner, _), role in roles.items() if owner == variant)
    named = [f"{count} {role}" for role, count in sorted(counts.items()) if role]
    return " and ".join([*named, *([f"{counts['']} without"] if counts[""] else [])])
