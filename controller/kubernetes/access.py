"""What the API server must allow us, and why: nothing else is ever asked. Roles in ``deploy/`` say the same.

A label selector narrows no right, so reading pods means all pods of the namespace. Pods are neither deleted nor
evicted: their controller ends them when fewer are wanted, lowest deletion cost first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from controller.kubernetes.resources import (
    DEPLOYMENTS,
    HPAS,
    LEADER_WORKER_SETS,
    LEASES,
    NODES,
    PDBS,
    PODS,
    SCALED_OBJECTS,
    STATEFUL_SETS,
    Resource,
)


class Use(StrEnum):
    """What a right is for: whoever does not use it need not be allowed."""

    SEE = "see"  # discovery, and the actuator's looking: in every mode
    ACT = "act"  # mode act
    LEAD = "lead"  # leader: lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Verbs on one resource. ``sub``: on its subresource; a resource without namespaces needs a ClusterRole."""

    resource: Resource
    verbs: tuple[str, ...]
    use: Use
    why: str
    sub: str = ""

    @property
    def name(self) -> str:
        """ "deployments/scale", as a role's ``resources`` has it."""
        return f"{self.resource.plural}/{self.sub}" if self.sub else self.resource.plural


WATCHED = ("list", "watch")
SCALED = (DEPLOYMENTS, STATEFUL_SETS, LEADER_WORKER_SETS)

RIGHTS: Sequence[Right] = (
    Right(resource=PODS, verbs=WATCHED, use=Use.SEE, why="who is there, ready or stuck, and where metrics are"),
    Right(
        resource=NODES, verbs=WATCHED, use=Use.SEE, why="how machines are bought, what they cost, who announces ends"
    ),
    *(Right(resource=one, verbs=WATCHED, use=Use.SEE, why="desired, current and ready replicas") for one in SCALED),
    Right(resource=HPAS, verbs=WATCHED, use=Use.SEE, why="whether somebody else scales a target"),
    Right(resource=SCALED_OBJECTS, verbs=WATCHED, use=Use.SEE, why="whether somebody else scales a target"),
    Right(resource=PDBS, verbs=WATCHED, use=Use.SEE, why="how many pods may go at once"),
    *(
        Right(resource=one, sub="scale", verbs=("patch",), use=Use.ACT, why="scaling, if nobody else did meanwhile")
        for one in SCALED
    ),
    *(
        Right(resource=one, verbs=("get", "patch"), use=Use.ACT, why="rollouts, and notes that a restart must not lose")
        for one in SCALED
    ),
    Right(resource=PODS, verbs=("patch",), use=Use.ACT, why="which pod goes first, and since when it drains"),
    Right(resource=LEASES, verbs=("get", "create", "update"), use=Use.LEAD, why="which of several daemons works"),
)
"""All of them."""
