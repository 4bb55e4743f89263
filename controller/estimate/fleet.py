"""The entry point: everything one pass estimates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from controller.estimate.costs import replica_costs
from controller.estimate.findings import QueueHistory, findings_of
from controller.estimate.gpus import gpu_use, readings_of
from controller.estimate.rollup import Scope, Seen, rolled_up, seen_of
from controller.estimate.seats import Seat, seats_of
from controller.facts.estimates import Estimate, Estimates, ReplicaCost
from controller.facts.fleet import Fleet
from controller.facts.prices import Prices
from controller.facts.readings import EngineReading, Observation

T = TypeVar("T")


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
    replicas = {seat.key: scopes.one_replica(seat) for seat in seats}
    return Estimates(
        at=now,
        fleet=scopes.whole(services),
        services=services,
        variants=variants,
        replicas=replicas,
        costs=costs,
        findings=findings_of(fleet, services, variants, replicas, costs, queue_history),
    )


class _Scopes:
    """The pass's replicas, grouped once for every level."""

    def __init__(
        self, observation: Observation, seats: Sequence[Seat], costs: Sequence[ReplicaCost], now: datetime
    ) -> None:
        self._observation = observation
        self._now = now
        self._seats = _grouped(seats, lambda seat: seat.key)
        self._costs = _grouped(costs, lambda cost: (cost.service, cost.variant, cost.replica))
        self._seen = {id(seat): seen_of(seat) for seat in seats}

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
        siblings = len(self._seats[seat.key[:2]])
        return self._roll(seat.key, siblings)

    def _roll(self, names: tuple[str, ...], siblings: int = 0) -> Estimate:
        seats = self._seats.get(names, [])
        seen: list[Seen] = [one for seat in seats if (one := self._seen[id(seat)]) is not None]
        service, variant, replica = (*names, "", "", "")[:3]
        return rolled_up(
            Scope(
                at=self._now,
                seats=seats,
                seen=seen,
                costs=self._costs.get(names, []),
                gpu=gpu_use(readings_of(self._observation, seats, siblings)),
                service=service,
                variant=variant,
                replica=replica,
            )
        )


def _grouped(items: Iterable[T], key: Callable[[T], tuple[str, str, str]]) -> dict[tuple[str, ...], list[T]]:
    """Every item under its replica, its variant, its service and the fleet (the empty tuple)."""
    groups: dict[tuple[str, ...], list[T]] = {}
    for item in items:
        names = key(item)
        for level in range(len(names) + 1):
            groups.setdefault(names[:level], []).append(item)
    return groups
