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
    KILLED_BEFORE = "killed-before"  # SIGKILL right before it
    KILLED_AFTER = "killed-after"  # SIGKILL right after it


KILLS = frozenset({Fault.KILLED_BEFORE, Fault.KILLED_AFTER})


class Sort(StrEnum):
    """What is numbered."""

    POINT = "point"  # of the action protocol: before the intent, after it, ...
    READ = "read"  # a question to the platform
    WRITE = "write"  # a change of the platform
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


class DivergedError(AssertionError):
    """A cell did not come by where its recording did: nothing was proved."""


@dataclass
class Tape:
    """Numbers, and strikes once."""

    strike: Strike | None = None
    log: list[Crossing] = field(default_factory=list)
    made: int = 0
    rolling: bool = False
    struck: bool = False

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
        number = len(self.log)
        self.log.append(Crossing(number, sort, label, self.made))
        if self.strike is None or self.struck or number != self.strike.number:
            return None
        if label != self.strike.label:
            raise DivergedError(f"number {number} was {self.strike.label!r}, and is {label!r} now")
        self.struck = True
        if self.strike.fault is Fault.KILLED_BEFORE:
            raise Died
        return self.strike.fault
