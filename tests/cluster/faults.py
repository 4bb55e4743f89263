"""What can go wrong with one call, on purpose.

    server.faults.add(Fault(kind=FaultKind.LOST, verb="patch", resource="deployments.apps/scale"))

breaks the next such call; ``nth=3`` the third from now, ``times=5`` five in a row. Verbs and resources are as in roles
("get", "list", "watch", "create", "update", "patch", "delete"; "pods/eviction"); "*" is any, and "*" never means watch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from threading import RLock


class FaultKind(StrEnum):
    """How a call fails. LOST and HANG work first: the caller cannot know it."""

    STATUS = "status"  # the code of the fault, nothing done
    STATUS_AFTER = "status after"  # the code of the fault, though it worked: a proxy gave up
    LOST = "lost"  # it worked, and the connection broke before the answer
    HANG = "hang"  # it worked, and no answer comes until the client gives up
    DROPPED = "dropped"  # the connection broke before anything was done
    GARBAGE = "garbage"  # 200 and a page that is no JSON; nothing done
    GARBAGE_AFTER = "garbage after"  # the same, though it worked
    TRUNCATED = "truncated"  # it worked, and half of the answer comes
    EMPTY = "empty"  # 200 and {}; nothing done


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. ``name``: only calls of this object."""

    kind: FaultKind
    verb: str = "*"
    resource: str = "*"
    name: str = ""
    nth: int = 1
    times: int = 1
    code: int = 503
    retry_after_s: int | None = None
    message: str = "injected by the test"

    def means(self, verb: str, resource: str, name: str) -> bool:
        right_verb = self.verb == verb or (self.verb == "*" and verb != "watch")
        return right_verb and self.resource in {"*", resource} and self.name in {"", name}


@dataclass
class Faults:
    """Those that wait for their call, and how many struck."""

    struck: int = 0
    _waiting: list[Fault] = field(default_factory=list)
    _lock: RLock = field(default_factory=RLock)

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    @property
    def waiting(self) -> int:
        """How many have not struck yet."""
        return len(self._waiting)

    def next(self, verb: str, resource: str, name: str) -> Fault | None:
        """What breaks this call. Counts it for every fault that means it; the first one due strikes."""
        with self._lock:
            due: Fault | None = None
            for index, fault in enumerate(list(self._waiting)):
                if not fault.means(verb, resource, name):
                    continue
                if fault.nth > 1:
                    self._waiting[index] = replace(fault, nth=fault.nth - 1)
                elif due is None:
                    due = fault
                    self._waiting[index] = replace(fault, times=fault.times - 1)
            self._waiting[:] = [fault for fault in self._waiting if fault.times > 0]
            self.struck += due is not None
            return due
