"""Everything that can fail, or be the last thing that a daemon ever does, in the order in which it happens.

A recording run numbers it; a cell of the matrix then strikes at one number. Only what the daemon does is numbered, never
what the world does by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Died(BaseException):
    """What kill -9 looks like from inside: nothing of ours runs after it."""


class Fault(StrEnum):
    """How one call goes wrong, or where the daemon is killed."""

    REFUSED = "refused"  # it was not done, and says so
    LOST = "lost"  # it worked, and its answer did not come
    TIMEOUT = "timeout"  # it did not work, and no answer came
    THROTTLED = "throttled"  # not now: too many calls
    NONSENSE = "nonsense"  # something answered that cannot be understood; nothing was done
    MANGLED = "mangled"  # it worked, and half of its answer came
    GONE = "gone"  # 410: what to go on from is forgotten
    UNKNOWN = "unknown"  # 401: who are you
    FORBIDDEN = "forbidden"  # 403: you may not
    DEPOSED = "deposed"  # it is done, and from then on another daemon leads
    KILLED_BEFORE = "killed-before"  # SIGKILL right before it
    KILLED_AFTER = "killed-after"  # SIGKILL right after it


KILLS = frozenset({Fault.KILLED_BEFORE, Fault.KILLED_AFTER})


class Sort(StrEnum):
    """What is numbered."""

    POINT = "point"  # of the action protocol: before the intent, after it, ...
    READ = "read"  # a question to the platform
    WRITE = "write"  # a change of the platform
    WATCH = "watch"  # a list or a watch, which others than the pass wait for
    PROBE = "probe"  # a question to engines
    LEDGER = "ledger"  # a transaction


@dataclass(frozen=True, slots=True)
class Crossing:
    """One numbered thing. ``made``: the pass in which it happened."""

    number: int
    sort: Sort
    label: str
    made: int


@dataclass(frozen=True, slots=True)
class Strike:
    """Strike at ``number``, which must be ``label`` again."""

    number: int
    label: str
    fault: Fault


@dataclass(frozen=True, slots=True)
class Then:
    """And once more, ``after`` so many numbers, whatever is there by then: with the fault that ``pick`` chooses among
    those of its sort."""

    after: int
    pick: int


class DivergedError(AssertionError):
    """A cell did not come by where its recording did: nothing was proved."""


@dataclass
class Tape:
    """Numbers, and strikes once, or twice.

    faults   of a crossing, among which a second strike chooses
    since    the number at which the first thing went wrong, be it a strike or the weather; None: nothing did yet
    depose   takes the lead away from whoever has it
    deposed  the number at which it was, while who had it still runs
    after    what he changed all the same, after that number
    """

    strike: Strike | None = None
    then: Then | None = None
    faults: Callable[[Crossing], tuple[Fault, ...]] = lambda crossing: ()
    log: list[Crossing] = field(default_factory=list)
    made: int = 0
    rolling: bool = False
    since: int | None = None
    depose: Callable[[], None] = lambda: None
    deposed: int | None = None
    after: list[Crossing] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """All strikes are over."""
        if self.since is None:
            return self.strike is None
        return self.then is None or len(self.log) > self.since + self.then.after

    def disturb(self) -> None:
        """Something goes wrong that nobody called for."""
        self.since = len(self.log) if self.since is None else self.since

    def point(self, label: str) -> None:
        """A point of the protocol: nothing happens here but that one may be killed."""
        self._fault(Sort.POINT, label)

    def call(
        self,
        sort: Sort,
        label: str,
        do: Callable[[], T],
        broken: Callable[[Fault, Callable[[], T]], T],
    ) -> T:
        """``do``, or what ``broken`` makes of it where this is struck."""
        fault = self._fault(sort, label)
        if fault is None:
            return do()
        if fault is Fault.KILLED_AFTER:
            do()
            raise Died
        return broken(fault, do)

    def _fault(self, sort: Sort, label: str) -> Fault | None:
        if not self.rolling:
            return None
        crossing = Crossing(len(self.log), sort, label, self.made)
        self.log.append(crossing)
        if self.deposed is not None and sort is Sort.WRITE:
            self.after.append(crossing)
        fault = self._first(crossing) or self._second(crossing)
        if fault is Fault.DEPOSED:
            self.deposed = crossing.number
            self.depose()
            return None
        if fault is Fault.KILLED_BEFORE:
            raise Died
        return fault

    def _first(self, crossing: Crossing) -> Fault | None:
        if self.strike is None or self.since is not None or crossing.number != self.strike.number:
            return None
        if crossing.label != self.strike.label:
            raise DivergedError(f"number {crossing.number} was {self.strike.label!r}, and is {crossing.label!r} now")
        self.since = crossing.number
        return self.strike.fault

    def _second(self, crossing: Crossing) -> Fault | None:
        if self.then is None or self.since is None or crossing.number != self.since + self.then.after:
            return None
        choice = self.faults(crossing)
        return choice[self.then.pick % len(choice)] if choice else None
