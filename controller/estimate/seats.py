"""Joining what the actuator, discovery and the engines say about the same replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.estimate.windows import Window, merge
from controller.facts.fleet import CapacityType, Fleet, Model, Variant
from controller.facts.missing import Missing
from controller.facts.readings import EngineReading, Machine, Observation, Phase, ReplicaState, Target
from controller.facts.unguarded import unguarded

PHASES = {phase.value: phase for phase in Phase}


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One replica, as far as anybody knows it.

    url      where it is read; "" when discovery does not name it
    bought   how, when its target or its actuator says so
    node     the machine it is on, when its target or its actuator says so
    machine  what that machine is, where discovery says so
    window   its engine's rate window, or why there is none
    ready    it serves: the actuator says so, or, where no actuator knows, it could be read and no label says else
    """

    variant: Variant
    model: Model
    replica: str
    url: str
    phase: Phase
    bought: CapacityType | None
    window: Window | Missing
    ready: bool
    node: str = ""
    machine: Machine | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.variant.service, self.variant.name, self.replica)


def seats_of(
    fleet: Fleet, observation: Observation, history: Mapping[str, Sequence[EngineReading]]
) -> tuple[Seat, ...]:
    """Every replica of the fleet, variant by variant in the fleet's order."""
    targets: dict[tuple[str, str], list[Target]] = {}
    for target in observation.targets:
        targets.setdefault((target.service, target.variant), []).append(target)
    return tuple(
        _seat(variant, service.model, state, target, observation, history)
        for service in fleet.services.values()
        for variant in service.variants.values()
        for state, target in joined(
            observation.replicas.get((variant.service, variant.name), Missing("replicas", "no actuator was asked")),
            targets.get((variant.service, variant.name), ()),
            observation,
        )
    )


def joined(
    states: Sequence[ReplicaState] | Missing, targets: Sequence[Target], observation: Observation
) -> list[tuple[ReplicaState | None, Target | None]]:
    """Which target is which replica of the actuator. Where no actuator knows, the targets are the replicas.

    By address, then by name; then those of the actuator's replicas that have no address of their own are paired with
    the targets left over, in order, so that two names of one replica are not paid for twice. A target that is nobody's
    is a replica only while it answers.
    """
    if isinstance(states, Missing):
        return [(None, target) for target in targets]
    by_url = {_plain(target.url): target for target in targets}
    by_name = {target.replica: target for target in targets}
    found = [by_url.get(_plain(state.url)) or by_name.get(state.replica) for state in states]
    taken = {target.url for target in found if target is not None}
    left = [target for target in targets if target.url not in taken]
    pairs: list[tuple[ReplicaState | None, Target | None]] = []
    for state, target in zip(states, found, strict=True):
        pairs.append((state, left.pop(0) if target is None and not state.url and left else target))
    answering = (target for target in left if isinstance(observation.engines.get(target.url), EngineReading))
    return [*pairs, *((None, target) for target in answering)]


def _seat(
    variant: Variant,
    model: Model,
    state: ReplicaState | None,
    target: Target | None,
    observation: Observation,
    history: Mapping[str, Sequence[EngineReading]],
) -> Seat:
    window = _window(target, observation, history)
    label = target.labels.get("phase", "") if target is not None else ""
    phase = state.phase if state is not None else PHASES.get(label, Phase.READY)
    return Seat(
        variant=variant,
        model=model,
        replica=state.replica if state is not None else target.replica if target is not None else "",
        url=target.url if target is not None else "",
        phase=phase,
        bought=_bought(state, target, history),
        window=window,
        ready=phase is Phase.READY and (state is not None or isinstance(window, Window)),
        node=(target.labels.get("node", "") if target is not None else "") or (state.node if state is not None else ""),
        machine=target.machine if target is not None else None,
    )


def _bought(
    state: ReplicaState | None, target: Target | None, history: Mapping[str, Sequence[EngineReading]]
) -> CapacityType | None:
    """As its target says, else its actuator, else as it was."""
    told = target.capacity_type if target is not None else None
    told = told or (state.capacity_type if state is not None else None)
    return told or (_bought_before(state, history) if target is None else None)


def _bought_before(state: ReplicaState | None, history: Mapping[str, Sequence[EngineReading]]) -> CapacityType | None:
    """As its last reading had it: a replica that was lost is in no discovery any more, and was bought all the same."""
    readings = history.get(state.url, ()) if state is not None else ()
    return readings[-1].target.capacity_type if readings else None


def _window(
    target: Target | None, observation: Observation, history: Mapping[str, Sequence[EngineReading]]
) -> Window | Missing:
    if target is None:
        return Missing("engine", "discovery names no address for it")
    newest = observation.engines.get(target.url, Missing("engine", f"{target.url} was not read in this pass"))
    if isinstance(newest, Missing):
        return newest
    return merge(history.get(target.url) or (newest,))


def _plain(url: str) -> str:
    return url.rstrip("/")
