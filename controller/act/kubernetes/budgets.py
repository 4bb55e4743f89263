"""What disruption budgets allow in one pass, over all targets of a cluster.

The API server asks budgets only about evictions: lowering a count goes round them, so they are asked here. Their status
tells of what was taken only when their controller has seen it, and that of a pod that drains not at all; so what was
taken in a pass is kept. Who is not ready takes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from controller.act.kubernetes.look import ClusterView
from controller.act.kubernetes.pods import Replica
from controller.facts.missing import Missing
from controller.kubernetes.objects import Pdb

Taken = dict[tuple[str, str], set[str]]
"""Uids of pods, by namespace and name of the budget."""


class Account:
    """Whom one way of going has taken from budgets."""

    def __init__(self) -> None:
        self._taken: Taken = {}

    def allowed(self, cluster: ClusterView, wanted: Iterable[Replica]) -> tuple[list[Replica], list[str]]:
        """Whom of ``wanted``, in that order, budgets allow to go besides who was taken, and why no more."""
        taken = {key: set(uids) for key, uids in self._taken.items()}
        why: dict[str, None] = {}
        return [one for one in wanted if _take(cluster, one, taken, why)], list(why)

    def take(self, cluster: ClusterView, going: Iterable[Replica]) -> None:
        """They go, whatever budgets say."""
        for one in going:
            over = cluster.pdbs_over(one.pod) if _ready(one) else ()
            for pdb in () if isinstance(over, Missing) else over:
                self._taken.setdefault(_key(pdb), set()).add(one.pod.uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Those of the pass ``at``. ``marking``: who drains, or begins to; ``lowering``: who goes with a lower count."""

    at: datetime
    marking: Account = field(default_factory=Account)
    lowering: Account = field(default_factory=Account)


def _take(cluster: ClusterView, one: Replica, taken: Taken, why: dict[str, None]) -> bool:
    if not _ready(one):
        return True
    over = cluster.pdbs_over(one.pod)
    if isinstance(over, Missing):
        why[f"{one.name}: {over}"] = None
        return False
    for pdb in over:
        others = taken.setdefault(_key(pdb), set()) - {one.pod.uid}
        if (pdb.allowed or 0) <= len(others):
            why[_blocking(pdb, len(others))] = None
            return False
    for pdb in over:
        taken[_key(pdb)].add(one.pod.uid)
    return True


def _ready(one: Replica) -> bool:
    return all(pod.ready for pod in one.pods)


def _key(pdb: Pdb) -> tuple[str, str]:
    return pdb.namespace, pdb.name


def _blocking(pdb: Pdb, taken: int) -> str:
    known = f"allows {pdb.allowed}" if pdb.allowed is not None else "does not say yet how many it allows"
    goes = f", and {taken} {'goes' if taken == 1 else 'go'} already" if taken else ""
    return f"PodDisruptionBudget {pdb.name} {known}{goes}"
