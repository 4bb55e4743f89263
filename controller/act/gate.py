"""The last door before an actuator: asked again, at the moment of acting, whatever may have changed since the decision.

What it refuses is not done, and the outcome says why; the next pass decides again. It fails safe: what cannot be asked
counts as a no.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from controller.act.actuator import Actuator
from controller.errors import LedgerError
from controller.facts.decisions import Decision, Outcome, OutcomeKind
from controller.facts.fleet import Variant
from controller.facts.money import EPOCH
from controller.facts.safety import EVERYTHING, Stop, stop_of

log = logging.getLogger(__name__)

NO_REASON = "no reason given"
LONGEST_REASON = 200
"""Of a stop file's first line. A guess: a sentence."""

Stops = Callable[[], tuple[Stop, ...]]
"""What is stopped now. LedgerError where the ledger cannot tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFile:
    """A file that an operator can touch without us: while it exists nothing is touched.

    It works while the ledger, our HTTP or the daemon do not. A key of a ConfigMap that is mounted is such a file.
    """

    path: Path

    def __call__(self) -> tuple[Stop, ...]:
        """What it says. Where nobody can know whether it is there, it is."""
        try:
            told = self.path.stat()
        except FileNotFoundError:
            return ()
        except OSError as error:
            return (self._unsure(error),)
        since = datetime.fromtimestamp(told.st_mtime, UTC)
        try:
            return (self._stop(since, self._owner(), self._first_line()),)
        except FileNotFoundError:
            return ()  # removed just now
        except OSError as error:  # it is there, so it stops; only its reason is not known
            return (self._stop(since, self._owner(), f"its reason cannot be read: {error.strerror}"),)

    def _stop(self, since: datetime, by: str, reason: str) -> Stop:
        return Stop(service=EVERYTHING, since=since, by=by, reason=reason or NO_REASON, source=str(self.path))

    def _unsure(self, error: OSError) -> Stop:
        why = f"whether {self.path} is there cannot be known ({error.strerror}), so nothing is touched"
        return Stop(
            service=EVERYTHING,
            since=EPOCH,
            by="nobody",
            reason=why,
            source=str(self.path),
            unsure=True,
        )

    def _first_line(self) -> str:
        with self.path.open(encoding="utf-8", errors="replace") as file:
            return file.readline(LONGEST_REASON).strip()

    def _owner(self) -> str:
        try:
            return self.path.owner()
        except (OSError, KeyError, NotImplementedError):
            return "somebody"


def stop_file(path: Callable[[], Path | None]) -> Stops:
    """The file that the settings name now; none where they name none."""

    def asked() -> tuple[Stop, ...]:
        named = path()
        return () if named is None else StopFile(path=named)()

    return asked


def no_stops() -> tuple[Stop, ...]:
    """Nothing is stopped by this way."""
    return ()


class Gate:
    """Lets a decision through to its actuator, once a pass and target, while nothing speaks against it."""

    def __init__(
        self,
        *,
        ledger: Stops = no_stops,
        others: Sequence[Stops] = (),
        lead: Callable[[], int | None] = lambda: 0,
    ) -> None:
        """``ledger``, ``others``: where stops stand. ``lead``: the epoch in which we lead; None: we do not."""
        self._ledger = ledger
        self._others = tuple(others)
        self._lead = lead
        self._known: tuple[Stop, ...] = ()
        self._unread = False
        self._intended: frozenset[str] = frozenset()
        self._at: datetime | None = None
        self._done: set[tuple[str, str]] = set()

    def stops(self, now: datetime) -> tuple[Stop, ...]:
        """All that are on. The ledger's last known ones while it cannot be read: nothing is acted on then anyway."""
        try:
            self._known = self._ledger()
            self._unread = False
        except LedgerError as error:
            if not self._unread:  # a pass that cannot be recorded says how long it goes on
                log.error("stops cannot be read, keeping the last known ones: %s", error)
            self._unread = True
        return tuple(one for one in (*self._known, *self._found()) if one.holds(now))

    def recorded(self, decisions: Sequence[Decision], at: datetime) -> None:
        """The intents of the pass ``at`` are in the ledger: these may be acted on, and no others."""
        self._intended = frozenset(one.id for one in decisions if not one.holds)
        self._at = at
        self._done = set()

    def act(self, decision: Decision, variant: Variant, actuator: Actuator, now: datetime) -> Outcome:
        """Through the actuator, or refused."""
        refused = self._refused(decision, now)
        if refused:
            log.warning("%s/%s was not touched: %s", decision.service, decision.variant, refused)
            return Outcome.of(decision, OutcomeKind.REFUSED, refused, now)
        self._done.add((decision.service, decision.variant))
        return actuator.apply(decision, variant, now)

    def _refused(self, decision: Decision, now: datetime) -> str:
        """Why it may not be done now; "" when it may."""
        if decision.id not in self._intended or self._at != now:
            return "its intent is not in the ledger; nothing is done that was not recorded first"
        if (decision.service, decision.variant) in self._done:
            return "this pass has acted on it already"
        return self.held(decision.service, now)

    def held(self, service: str, now: datetime) -> str:
        """Why nothing of ``service`` may be touched now, read anew; "" when it may."""
        try:
            stops = (*self._ledger(), *self._found())
        except LedgerError as error:
            return f"whether somebody stopped it cannot be read: {error}"
        if self._lead() is None:  # asked last: reading the stops may have taken the rest of the time that we led
            return "this daemon does not lead any more; whoever does decides again"
        stop = stop_of(stops, service, now)
        return f"{stop}; lifted by: {stop.lift}" if stop is not None else ""

    def _found(self) -> tuple[Stop, ...]:
        """Outside the ledger. What fails to answer stops everything."""
        found: list[Stop] = []
        for ask in self._others:
            try:
                found.extend(ask())
            except Exception as error:  # whatever it is made of, not to know is to stop
                log.error("a place where stops stand cannot be read: %s", error)
                found.append(_unreadable(error))
        return tuple(found)


def _unreadable(error: Exception) -> Stop:
    return Stop(
        since=EPOCH,
        by="nobody",
        reason=f"a place where stops stand cannot be read ({error}), so nothing is touched",
        source="the place of stops",
        unsure=True,
    )
