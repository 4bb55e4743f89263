"""What replicas may be in a simulated world, and how they are bought."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

from controller.facts.fleet import CapacityType
from controller.simulate.startup import StartUp
from controller.simulate.stepmodel import EngineSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """One way of buying replicas of a kind.

    replicas   at most so many; reserved: so many are paid for, used or not. None: no bound, and nothing is committed
    open       whether new replicas may be started in it; what is reserved is paid for even when it is closed
    """

    type: CapacityType
    usd_per_replica_hour: float
    replicas: int | None = None
    open: bool = True

    @property
    def committed(self) -> int:
        """Replicas that are paid for whether they run or not."""
        return (self.replicas or 0) if self.type is CapacityType.RESERVED else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One variant of the service. ``lots``: the first with room is filled first."""

    name: str
    spec: EngineSpec
    start_up: StartUp
    lots: tuple[Lot, ...]
    gpus_per_replica: int = 1

    @property
    def room(self) -> float:
        """The most replicas that may be started of it."""
        open_ = [one.replicas for one in self.lots if one.open]
        return float("inf") if None in open_ else sum(one or 0 for one in open_)

    def only(self, types: Collection[CapacityType]) -> Self:
        """With every other lot closed."""
        return replace(self, lots=tuple(replace(one, open=one.open and one.type in types) for one in self.lots))
