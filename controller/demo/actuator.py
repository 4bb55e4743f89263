"""Turns decisions into emulated replicas: they take minutes to start, and drain before they go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from controller.demo.serving import ServedFleet
from controller.errors import StaleActError
from controller.facts.decisions import Decision, Outcome, OutcomeKind
from controller.facts.fleet import CapacityType, Variant
from controller.facts.readings import Phase, ReplicaState

START_S = (90.0, 240.0)
"""From a warm node with all caches (82 s, Tensorfuse 2025-09) to a cold pod without (294 s, same): uniform between."""


class EmulatedActuator:
    """The actuator contract over a ``ServedFleet``. Also keeps the file that names the replicas' addresses.

    targets   a Prometheus file_sd file, rewritten whenever the set or a phase changes
    reserved  so many replicas are bought as reserved; what exceeds them is on demand
    """

    name = "emulated"

    def __init__(self, fleet: ServedFleet, *, targets: Path, reserved: int, seed: int) -> None:
        self._fleet = fleet
        self._targets = targets
        self._reserved = reserved
        self._random = Random(seed)
        self._bought: dict[str, CapacityType] = {}
        self._started = 0
        self._written = ""

    def seed_replicas(self, variant: str, count: int) -> None:
        """Replicas that have long been there when the demo begins."""
        self._start(variant, count, ready_now=True)

    def replicas(self, variant: Variant, now: datetime) -> tuple[ReplicaState, ...]:
        """What exists, draining ones included."""
        del now  # the fleet has its own, virtual, time, and it is the same
        return tuple(
            ReplicaState(
                replica=name,
                variant=variant.name,
                phase=one.phase(self._fleet.now_s),
                since=_at(one.draining_since_s or (one.ready_s if one.ready_s <= self._fleet.now_s else one.created_s)),
                url=self._fleet.url(name),
            )
            for name, one in self._fleet.replicas().items()
        )

    def apply(self, decision: Decision, variant: Variant, now: datetime) -> Outcome:
        """Start or drain. Acting twice is acting once. StaleActError when the count is not what was decided on."""
        alive = [one for one in self.replicas(variant, now) if one.phase is not Phase.DRAINING]
        if len(alive) == decision.desired:
            return Outcome.of(decision, OutcomeKind.ALREADY, f"there are {len(alive)} already", now)
        if len(alive) != decision.current:
            where = f"{decision.service}/{decision.variant}"
            raise StaleActError(where=where, expected=decision.current, found=len(alive))
        if decision.desired > len(alive):
            said = "starting " + ", ".join(self._start(variant.name, decision.desired - len(alive)))
        else:
            said = "draining " + ", ".join(self._drain(alive, decision))
        self.publish()
        return Outcome.of(decision, OutcomeKind.DONE, said, now)

    def publish(self) -> None:
        """Write the targets file when it would say something else than it does."""
        replicas = self._fleet.replicas()
        self._bought = {name: kind for name, kind in self._bought.items() if name in replicas}
        groups = [
            {
                "targets": [self._fleet.url(name).removeprefix("http://")],
                "labels": {
                    "replica": name,
                    "capacity_type": str(self._bought[name]),
                    "phase": str(one.phase(self._fleet.now_s)),
                },
            }
            for name, one in replicas.items()
        ]
        text = json.dumps(groups, indent=1)
        if text != self._written:
            self._targets.parent.mkdir(parents=True, exist_ok=True)
            partial = self._targets.with_suffix(".part")
            partial.write_text(text, encoding="utf-8")
            partial.replace(self._targets)
            self._written = text

    def close(self) -> None:
        """Stop serving."""
        self._fleet.close()

    def _start(self, variant: str, count: int, *, ready_now: bool = False) -> list[str]:
        names = []
        for _ in range(count):
            self._started += 1
            name = f"{variant}-{self._started}"
            self._fleet.start(name, 0.0 if ready_now else self._random.uniform(*START_S))
            committed = sum(kind is CapacityType.RESERVED for kind in self._bought.values())
            self._bought[name] = CapacityType.RESERVED if committed < self._reserved else CapacityType.ON_DEMAND
            names.append(name)
        return names

    def _drain(self, alive: Sequence[ReplicaState], decision: Decision) -> list[str]:
        """The decision's victims first, then the newest."""
        named = [name for name in decision.victims if name in {one.replica for one in alive}]
        newest = [one.replica for one in reversed(alive) if one.replica not in named]
        leaving = [*named, *newest][: len(alive) - decision.desired]
        for name in leaving:
            self._fleet.drain(name)
        return leaving


def _at(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)
