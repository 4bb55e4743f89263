"""The simulated fleet, in a process of its own: what it loads and remembers is not counted to the passes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from typing import Protocol, cast

from controller.decide.rules import ServicePolicy
from controller.facts.decisions import Decision, Outcome
from controller.facts.fleet import Service
from controller.facts.prices import Prices
from controller.facts.readings import Observation

INTERVAL_S = 15.0
SEED = 1


class Simulated(Protocol):
    """One simulated service, its clock and its actuator."""

    def what(self) -> tuple[Service, ServicePolicy]:
        """The service and its policy."""

    def now(self) -> datetime: ...

    def advance(self) -> None:
        """On to the next pass."""

    def observe(self, now: datetime) -> Observation: ...

    def prices(self, now: datetime) -> Prices: ...

    def act(self, decision: Decision, now: datetime) -> Outcome: ...


class _Morning:
    """The first hours of a day of Azure's conversation service, which begins with ``replicas``."""

    def __init__(self, replicas: int) -> None:
        # Imported here: only the other process loads the simulator.
        from dataclasses import replace

        from benchmarks.contest.cases import Ground, stage, workload
        from controller.simulate.shell import SimulatedShell
        from controller.simulate.world import World

        day = Ground(trace="azure2024", day=0, engine="70b-2xh100", start_up_s=240.0, hours=1.0)
        on = stage(day, SEED)
        self._world = World(replace(on.case, initial_replicas=replicas), workload(day, SEED), SEED)
        self._shell = SimulatedShell(self._world, on.seat, elapsed_s=time.perf_counter)
        (service,) = on.fleet.services.values()
        self._what = service, on.policy

    def what(self) -> tuple[Service, ServicePolicy]:
        return self._what

    def now(self) -> datetime:
        return self._shell.now

    def advance(self) -> None:
        self._shell.settle()
        self._world.advance(self._world.now_s + INTERVAL_S)

    def observe(self, now: datetime) -> Observation:
        return self._shell.observe(now)

    def prices(self, now: datetime) -> Prices:
        return self._shell.prices(now)

    def act(self, decision: Decision, now: datetime) -> Outcome:
        return self._shell.act(decision, now)


class _Simulator(BaseManager):
    """Makes ``_Morning`` in a process that it starts."""


_Simulator.register("morning", _Morning)


@contextmanager
def simulated(replicas: int) -> Iterator[Simulated]:
    """A service that begins with ``replicas``, in a process that ends with the block."""
    with _Simulator(ctx=get_context("spawn")) as simulator:
        yield cast("Simulated", simulator.morning(replicas))  # type: ignore[attr-defined]
