"""To lead, as those who act ask for it: now, on a clock of our own, whatever others have told us or not."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from controller.errors import PennyweightError
from controller.facts.leadership import JITTER, LeaderSeen, LeaderTimes, Round

log = logging.getLogger("pennyweight")

Told = Callable[[int | None], None]


class Leadership(Protocol):
    """Any thread may ask."""

    def held(self) -> int | None:
        """The epoch, while this process leads. None from the renew deadline on, even if nobody told us."""

    def resign(self, why: str) -> None:
        """Lead no longer, let another one begin at once, and stand again a while later. ``why``: for people."""

    def release(self) -> None:
        """Lead no longer, and let another one begin at once."""

    def seen(self) -> LeaderSeen:
        """Who leads, as far as it is known."""

    def on_change(self, told: Told) -> None:
        """Tell ``told`` of every epoch that begins, and None when one ends."""


class Election(Protocol):
    """One way to elect. One thread calls it, round after round."""

    def round(self, now_s: float) -> Round:
        """Keep the lead, take it where it is free, or see who has it. Raises PennyweightError when that is not known:
        then nothing has changed that we know of."""

    def resign(self) -> None:
        """Give the lead back, where we have it. There may be rounds after it."""


def steady_s() -> float:
    """Seconds that no setting of a clock moves, and that go on while the machine sleeps, where it can tell them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def identity() -> str:
    """A name for this start of the process: a pod's name is its host name, and a restarted one is somebody else."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True)
class Sole:
    """To be the only one by a lock that is held as long as the process lives: there is nobody to lead instead."""

    epoch: int

    def held(self) -> int | None:
        return self.epoch

    def resign(self, why: str) -> None:
        """There is nobody else."""

    def release(self) -> None:
        """The lock goes with the ledger."""

    def seen(self) -> LeaderSeen:
        return LeaderSeen()

    def on_change(self, told: Told) -> None:
        """Nothing changes."""


@dataclass(frozen=True, slots=True)
class Tenure:
    """One term of ours. Another one, even the next of our own, is not this one: others may have led in between."""

    epoch: int
    leadership: Leadership

    def lead(self) -> int | None:
        """The epoch while this term lasts."""
        return self.epoch if self.leadership.held() == self.epoch else None


class Elected:
    """Stands for election in a thread of its own from ``start`` to ``release``.

    What ``held`` says rests on the clock alone: a call that hangs, or a process that is stopped and goes on much later,
    leads no longer from the deadline on, which counts from before the last round that worked.
    """

    def __init__(
        self,
        election: Election,
        times: LeaderTimes,
        *,
        clock: Callable[[], float] = steady_s,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``chance``: from 0 to 1."""
        self._election = election
        self._times = times
        self._clock = clock
        self._chance = chance
        self._lock = threading.Lock()
        self._epoch: int | None = None
        self._until_s = 0.0
        self._seen = LeaderSeen()
        self._worked_s = clock()
        self._problem = ""
        self._told: int | None = None
        self._on_change: list[Told] = []
        self._resigning = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leader", daemon=True)

    def start(self) -> None:
        """From now on."""
        self._thread.start()

    def held(self) -> int | None:
        with self._lock:
            return self._epoch if self._clock() < self._until_s else None

    def resign(self, why: str) -> None:
        with self._lock:
            self._epoch, self._resigning = None, True
            self._seen = LeaderSeen(problem=f"this daemon gave the lead back: {why}")

    def release(self) -> None:
        with self._lock:
            self._epoch = None
            self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._times.renew_deadline_s)

    def seen(self) -> LeaderSeen:
        with self._lock:
            late = self._clock() - self._worked_s > self._times.duration_s
            return LeaderSeen(problem=self._problem or "no round has ended") if late else self._seen

    def on_change(self, told: Told) -> None:
        self._on_change.append(told)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            self._tell()  # the deadline may have passed meanwhile
            wait_s = self._turn()
            self._tell()
        self._tell()
        self._give_back()

    def _turn(self) -> float:
        """A round, or what stands in its place; how long to wait for the next."""
        with self._lock:
            resigning, self._resigning = self._resigning, False
        if not resigning:
            return self._round()
        self._give_back()
        return self._times.duration_s  # so long nobody but the others

    def _give_back(self) -> None:
        try:
            self._election.resign()
        except Exception as error:  # another one leads when our time is over
            log.warning("the lead could not be given back, another one takes it when its time is over: %s", error)

    def _round(self) -> float:
        """One round; how long to wait for the next."""
        began_s = self._clock()
        try:
            found = self._election.round(began_s)
        except Exception as error:  # nothing that an election meets may end its thread
            return self._failed(error)
        with self._lock:
            ends = self._stop.is_set() or self._resigning
            ours = found.ours and found.term is not None and not ends
            self._epoch = found.term.epoch if ours and found.term is not None else None
            self._until_s = began_s + self._times.renew_deadline_s
            self._seen, self._worked_s = self._seen if ends else LeaderSeen(term=found.term), self._clock()
            recovered, self._problem = bool(self._problem), ""
        if recovered:
            log.info("who leads can be seen again")
        return self._times.retry_s if ours else self._look_after_s(found.free_in_s)

    def _failed(self, error: Exception) -> float:
        known = isinstance(error, PennyweightError)
        told = str(error) if known else f"{type(error).__name__}: {error}"
        with self._lock:
            first, self._problem = not self._problem, told
            left_s = self._until_s - self._clock() if self._epoch is not None else None
        if first:
            log.warning("a round of the election failed: %s", told, exc_info=None if known else error)
        if left_s is None or left_s <= 0:
            return self._look_after_s(None)
        return min(self._times.retry_s, left_s)

    def _look_after_s(self, free_in_s: float | None) -> float:
        """Twice in the time of a renewal, so that whoever gives the lead back is followed within about a second."""
        usual_s = self._times.retry_s / 2 * (1 + (JITTER - 1) * self._chance())
        return usual_s if free_in_s is None else min(usual_s, max(free_in_s, 0.0))

    def _tell(self) -> None:
        held = self.held()
        if held == self._told:
            return
        self._told = held
        for told in self._on_change:
            try:
                told(held)
            except Exception:  # who leads does not hang on who is told of it
                log.exception("somebody could not be told who leads")
