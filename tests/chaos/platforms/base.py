"""What the harness asks of a platform: the real actuator over it, and the truth about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from controller.act.actuator import Actuator
from controller.facts.decisions import Because, Decision
from controller.facts.fleet import Capacity, CapacityType, EngineKind, Gpu, Variant
from controller.facts.interruptions import Notice
from tests.chaos.history import Census
from tests.chaos.tape import Fault, Sort, Tape

GPU = Gpu(name="L4", memory_bytes=24e9, bandwidth_bytes_per_s=3e11, peak_flop_per_s={"bf16": 121e12}, tdp_w=72.0)

USD_PER_HOUR = 2.0
START_TIMEOUT_S = 300.0
DRAIN_TIMEOUT_S = 120.0


@dataclass
class Platform(ABC):
    """One target of the service "chat" on one kind of platform, and everything that befalls it.

    comes_up   whether what is started becomes healthy
    busy       urls of replicas on which requests run
    told       told of every change of what the platform shall have: what, and how many replicas more
    ends_in_order  whether who is lost ends as if somebody wanted it so
    """

    tape: Tape
    folder: Path
    patch: pytest.MonkeyPatch
    now: datetime
    comes_up: bool = True
    busy: set[str] = field(default_factory=set)
    told: Callable[[str, int], None] = lambda what, by: None

    name: ClassVar[str] = "none"
    faults: ClassVar[Mapping[Sort, tuple[Fault, ...]]] = {}
    sorts: ClassVar[tuple[Sort, ...]] = ()
    deaf_to: ClassVar[tuple[str, ...]] = ()
    ends_in_order: ClassVar[bool] = False

    @abstractmethod
    def begin(self, replicas: int) -> Variant:
        """Its target with so many replicas that serve."""

    @abstractmethod
    def actuator(self) -> Actuator:
        """A new one, which remembers nothing."""

    def step(self, seconds: float) -> None:
        """So long passes, in which the platform does what it does."""
        self.now += timedelta(seconds=seconds)

    @abstractmethod
    def census(self) -> Census:
        """The truth."""

    @abstractmethod
    def targets(self) -> dict[str, str]:
        """What discovery finds: url by replica."""

    @abstractmethod
    def lose(self) -> str:
        """One that serves ends by itself."""

    @abstractmethod
    def away(self, away: bool) -> None:
        """It cannot be reached, or can be again."""

    def deaf(self, to: str) -> None:
        """Nothing is heard of one kind of things, of those in ``deaf_to``; "": of all again."""
        raise NotImplementedError(to)

    def acts(self, label: str) -> bool:
        """Whether a write of that name does something to replicas, so that only who leads may do it."""
        return True

    def strays(self) -> tuple[str, ...]:
        """What runs and is known to nobody."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Take everything away."""


class Provider(Platform):
    """A platform of somebody, who takes machines away, and on which others have a say."""

    @abstractmethod
    def announce(self, deadline_s: float, *, hint: bool = False) -> Iterable[Notice]:
        """The machine of one that serves is announced to end. What is heard otherwise than from the platform itself."""

    @abstractmethod
    def set_by_operator(self, count: int) -> None:
        """Somebody else sets the count."""

    def keep(self, count: int) -> None:
        """A disruption budget says that so many must serve; 0: it is taken away."""
        raise NotImplementedError(count)

    @abstractmethod
    def own_by_other(self, owned: bool) -> None:
        """Another controller owns the target from now on, or lets it go."""


def variant_of(actuator: str, options: Any, *, usd: float | None = USD_PER_HOUR) -> Variant:
    return Variant(
        service="chat",
        name="l4",
        gpu=GPU,
        gpus_per_replica=1,
        quantization="bf16",
        kv_cache_dtype="auto",
        engine=EngineKind.VLLM,
        capacity=(Capacity(type=CapacityType.ON_DEMAND, usd_per_gpu_hour=usd),),
        actuator=actuator,
        actuator_options=options,
    )


def grown(replicas: int, now: datetime) -> Decision:
    """From nothing to ``replicas``."""
    return Decision(
        id="before the story",
        at=now,
        service="chat",
        variant="l4",
        current=0,
        ready=0,
        desired=replicas,
        wanted=replicas,
        because=Because.DEMAND,
        detail="before the story",
        usd_per_hour_before=0.0,
        usd_per_hour_after=0.0,
    )
