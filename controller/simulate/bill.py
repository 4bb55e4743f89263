"""What the replicas of a simulated world are billed: by the second, from their start to their end; what is reserved,
all the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.simulate.buying import Kind, Lot
from controller.simulate.fleet import Gone
from controller.simulate.world import HOUR_S, World


@dataclass(frozen=True, slots=True)
class Account:
    """One lot of one kind. ``seconds`` is billed in all, ``by_interval`` the same by interval of the world's tape."""

    kind: Kind
    lot: Lot
    seconds: float
    by_interval: NDArray[np.float64]

    @property
    def usd(self) -> float:
        return self.seconds / HOUR_S * self.lot.usd_per_replica_hour

    @property
    def usd_by_interval(self) -> NDArray[np.float64]:
        return self.by_interval / HOUR_S * self.lot.usd_per_replica_hour


def accounts(world: World) -> list[Account]:
    """Of a world that was closed: every lot that anybody was in or that is paid for anyway, in the kinds' order."""
    places, gone = world.stock.places, world.fleet.gone
    found = []
    for kind in world.case.offered:
        for number, lot in enumerate(kind.lots):
            inside = [one for one in gone if places[one.name].lot == number and places[one.name].kind.name == kind.name]
            if lot.committed:
                found.append(_committed(world, kind, lot, inside))
            elif inside:
                seconds = sum(one.ended_s - one.created_s for one in inside)
                found.append(Account(kind, lot, seconds, _by_interval(world, inside)))
    return found


def _committed(world: World, kind: Kind, lot: Lot, inside: Sequence[Gone]) -> Account:
    """All of it from start to end, and until who is inside has finished after the end."""
    after_s = sum(max(0.0, one.ended_s - max(one.created_s, world.end_s)) for one in inside)
    edges = np.minimum(edges_of(world), world.end_s)
    by_interval = lot.committed * np.diff(edges)
    by_interval[-1] += after_s
    return Account(kind, lot, lot.committed * (world.end_s - world.start_s) + after_s, by_interval)


def _by_interval(world: World, inside: Sequence[Gone]) -> NDArray[np.float64]:
    edges = edges_of(world)
    billed_s = np.zeros(len(edges) - 1)
    for one in inside:
        billed_s += np.clip(np.minimum(one.ended_s, edges[1:]) - np.maximum(one.created_s, edges[:-1]), 0, None)
        billed_s[-1] += max(0.0, one.ended_s - max(one.created_s, edges[-1]))  # what is finished after the last arrival
    return billed_s


def edges_of(world: World) -> NDArray[np.float64]:
    """Of the tape's intervals, s."""
    edges: NDArray[np.float64] = world.start_s + world.case.interval_s * np.arange(
        len(world.tape.come) + 1, dtype=np.float64
    )
    return edges
