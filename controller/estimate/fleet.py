"""The entry point: everything one pass estimates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from controller.estimate.costs import replica_costs
from controller.estimate.findings import QueueHistory, findings_of
from controller.estimate.gpus import gpu_use, readings_of
from controller.estimate.rollup import Finished, Scope, Seen, finished_in, load_of, rolled_up, seen_of
from controller.estimate.seats import Seat, seats_of
from controller.facts.estimates import Estimate, Estimates, ReplicaCost, ReplicaLoad
from controller.facts.fleet import Fleet
from controller.facts.prices import Prices
from controller.facts.readings import EngineReading, Observation

T = TypeVar("T")

VARIANT = 2
"""How many names a variant has: its service's and its own."""


def estimate(
    fleet: Fleet,
    observation: Observation,
    history: Mapping[str, Sequence[EngineReading]],
    prices: Prices,
    now: datetime,
    queue_history: Mapping[str, QueueHistory],
) -> Estimates:
    """What the readings mean, per replica, variant, service and fleet, with findings and costs.

    history         by target url: the readings of the rate window, the newest included
    queue_history   by service: (when, requests waiting), from earlier passes
    """
    seats = seats_of(fleet, observation, history)
    costs = replica_costs(fleet, seats, prices)
    scopes = _Scopes(observation, seats, costs, now)
    variants = {(one.service, one.name): scopes.variant(one.service, one.name) for one in fleet.variants()}
    services = {
        name: scopes.service(name, [variants[name, variant] for variant in service.variants])
        for name, service in fleet.services.items()
    }
    loads = {seat.key: scopes.load(seat) for seat in seats}
    return Estimates(
        at=now,
        fleet=scopes.whole(services),
        services=services,
        variants=variants,
        replicas=_Replicas({seat.key: seat for seat in seats}, scopes.one_replica),
        loads=loads,
        costs=costs,
        findings=findings_of(fleet, services, variants, loads.values(), costs, queue_history),
    )


class _Replicas(Mapping[tuple[str, str, str], Estimate]):
    """Every replica's estimate, each made when somebody asks for it: people look at a few, and a pass at none."""

    def __init__(self, seats: Mapping[tuple[str, str, str], Seat], make: Callable[[Seat], Estimate]) -> None:
        self._seats = seats
        self._make = make

    def __getitem__(self, key: tuple[str, str, str]) -> Estimate:
        return self._make(self._seats[key])

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        return iter(self._seats)

    def __len__(self) -> int:
        return len(self._seats)


class _Scopes:
    """The pass's replicas, grouped once for every level."""

    def __init__(
        self, observation: Observation, seats: Sequence[Seat], costs: Sequence[ReplicaCost], now: datetime
    ) -> None:
        self._observation = observation
        self._now = now
        self._seats = _grouped(seats, lambda seat: seat.key)
        self._costs = _grouped(costs, lambda cost: (cost.service, cost.variant, cost.replica))
        self._seen = {seat.key: seen_of(seat) for seat in seats}
        self._finished: dict[tuple[str, ...], list[Finished]] = {}
        for names in [names for names in self._seats if len(names) == VARIANT]:
            finished = finished_in(self._seen_of(names))
            for level in range(VARIANT + 1):
                self._finished.setdefault(names[:level], []).append(finished)

    def whole(self, services: Mapping[str, Estimate]) -> Estimate:
        if len(services) == 1:  # the same replicas: the same numbers
            return replace(next(iter(services.values())), service="")
        return self._roll(())

    def service(self, service: str, variants: Sequence[Estimate]) -> Estimate:
        if len(variants) == 1:
            return replace(variants[0], variant="")
        return self._roll((service,))

    def variant(self, service: str, variant: str) -> Estimate:
        return self._roll((service, variant))

    def one_replica(self, seat: Seat) -> Estimate:
        siblings = len(self._seats[seat.key[:VARIANT]])
        return self._roll(seat.key, siblings)

    def load(self, seat: Seat) -> ReplicaLoad:
        return load_of(seat, self._seen[seat.key], self._costs[seat.key][0].usd_per_hour)

    def _roll(self, names: tuple[str, ...], siblings: int = 0) -> Estimate:
        seats = self._seats.get(names, [])
        seen = self._seen_of(names)
        service, variant, replica = (*names, "", "", "")[:3]
        return rolled_up(
            Scope(
                at=self._now,
                seats=seats,
                seen=seen,
                finished=[finished_in(seen)] if replica else self._finished.get(names, []),
                costs=self._costs.get(names, []),
                gpu=gpu_use(readings_of(self._observation, [seat.key for seat in seats], siblings)),
                service=service,
                variant=variant,
                replica=replica,
            )
        )

    def _seen_of(self, names: tuple[str, ...]) -> list[Seen]:
        return [one for seat in self._seats.get(names, ()) if (one := self._seen[seat.key]) is not None]


def _grouped(items: Iterable[T], key: Callable[[T], tuple[str, str, str]]) -> dict[tuple[str, ...], list[T]]:
    """Every item under its replica, its variant, its service and the fleet (the empty tuple)."""
    groups: dict[tuple[str, ...], list[T]] = {}
    for item in items:
        names = key(item)
        for level in range(len(names) + 1):
            groups.setdefault(names[:level], []).append(item)
    return groups
