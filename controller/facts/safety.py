"""What the safety kernel is told and must remember: stops, moves, losses, storms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

EVERYTHING = ""
"""In place of a service's name: the whole fleet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """An operator's word: touch nothing of ``service`` (EVERYTHING: of the fleet) until it is lifted.

    until    it lifts itself then; None: never
    source   "command" (in the ledger), or where else it stands, such as a file's path
    unsure   whether it is on cannot be known: taken as on
    """

    service: str = EVERYTHING
    since: datetime
    by: str
    reason: str
    until: datetime | None = None
    source: str = "command"
    unsure: bool = False

    def holds(self, now: datetime) -> bool:
        """Whether it is still on."""
        return self.until is None or now < self.until

    @property
    def lift(self) -> str:
        """What ends it."""
        if self.source != "command":
            return f"remove {self.source}"
        return f"pennyweight go {self.service}".rstrip()

    def __str__(self) -> str:
        what = f"{self.service} is" if self.service else "everything is"
        until = f" until {self.until:%Y-%m-%d %H:%M} UTC" if self.until is not None else ""
        return f"{what} stopped by {self.by} since {self.since:%Y-%m-%d %H:%M} UTC{until}: {self.reason}"


def stop_of(stops: tuple[Stop, ...], service: str, now: datetime) -> Stop | None:
    """The stop that holds ``service`` now: that of everything first, then the oldest."""
    on = [one for one in stops if one.service in (EVERYTHING, service) and one.holds(now)]
    return min(on, key=lambda one: (one.service, one.since, one.source), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A step that was let through, counted from before it is taken until it is known not to have been.

    id         of its decision
    replicas   more (positive) or fewer
    usd        what an hour costs more (or less, negative) for it; None: not known
    unwound    starts that never came up were given up: room given back, no shrink of what serves
    before     the count before it, as long as nobody knows how much of it was done; None: all of it was
    """

    id: str
    at: datetime
    service: str
    variant: str
    replicas: int
    usd: float | None
    unwound: bool = False
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A replica that was taken, or will be: it ended by itself after it had served, or its machine's end was announced.

    domain   as in ReplicaState; "" when it is not known
    """

    service: str
    variant: str
    replica: str
    at: datetime
    domain: str
    spot: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Losses that belong together. ``domain`` "": spot everywhere. ``until``: long enough after the last of them."""

    domain: str
    since: datetime
    last: datetime
    until: datetime
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Damping:
    """A service that went back and forth does not shrink before ``until``; each time again it is ``hold_s`` doubled."""

    since: datetime
    until: datetime
    hold_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyMemory:
    """All that the kernel needs from the past. Kept in the ledger, so that a restart changes nothing.

    moves    of the longest window, oldest first
    losses   of the storm window, and of storms that are on, oldest first
    storms   those that are on, by domain
    damped   by service
    stops    those in force at the last pass that stand elsewhere than in the ledger, for whoever reads only that
    """

    moves: tuple[Move, ...] = ()
    losses: tuple[Loss, ...] = ()
    storms: Mapping[str, Storm] = field(default_factory=dict)
    damped: Mapping[str, Damping] = field(default_factory=dict)
    stops: tuple[Stop, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetySeen:
    """What people see of the kernel after a pass.

    stops         in force, from wherever
    storms        those that are on
    damped        by service, only those that hold now
    flap_ratios   by service: how often it turned round as a whole lately
    moved         by "grow" and "shrink": replicas that were moved within the hour
    """

    stops: tuple[Stop, ...] = ()
    storms: tuple[Storm, ...] = ()
    damped: Mapping[str, Damping] = field(default_factory=dict)
    flap_ratios: Mapping[str, float] = field(default_factory=dict)
    moved: Mapping[str, int] = field(default_factory=dict)
