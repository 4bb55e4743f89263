"""One round of the accountant: each piece for itself, so that what fails is told and stops nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TypeVar

from controller.accountant.alarms import Alarm, Alarms
from controller.accountant.alike import Differing, alike_alarm, of_sums
from controller.accountant.anomalies import AnomalyWatch
from controller.accountant.budgets import BudgetsSeen, budgets_seen
from controller.accountant.protocols import Asked, Books, Duties, Intake, Known, Post, Source
from controller.accountant.series import Series
from controller.accountant.watch import price_alarms, source_alarms, standing_alarms, unattributed_alarms
from controller.errors import PennyweightError
from controller.facts.budgets import Anomaly, BudgetStanding, Guard
from controller.facts.decisions import AlertState
from controller.usage.pull import Mark

log = logging.getLogger("pennyweight")

T = TypeVar("T")

PAGES_AT_ONCE = 200
"""Of one source in one round, a million rows of LiteLLM: some twenty seconds. The next round goes on. A guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounted:
    """What the last round found.

    problems   pieces that failed, in words; the next round tries again
    known      how far the accounts are; None when that could not be read
    """

    at: datetime
    known: Known | None = None
    standings: Sequence[BudgetStanding] = ()
    anomalies: Sequence[Anomaly] = ()
    problems: Sequence[str] = ()


@dataclass(slots=True)
class _Memory:
    """Between rounds. ``read_at``: when each source was last read to its end; before, when it was first tried."""

    read_at: dict[str, datetime] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    budgets: BudgetsSeen = field(default_factory=BudgetsSeen)


class Accountant:
    """``step`` is one round; one thread calls it. Everything else may be asked by any thread."""

    def __init__(self, books: Books, duties: Duties, post: Post) -> None:
        self._books = books
        self._duties = duties
        self._post = post
        self._series = Series(books.reader)
        self._watch = AnomalyWatch(books.reader, books.kept)
        self._alarms = Alarms()
        self._memory = _Memory()
        self._latest: Accounted | None = None
        self._on_round: list[Callable[[Accounted], None]] = []
        self._stopping = False

    def guards(self) -> dict[str, tuple[Guard, ...]]:
        """What budgets hold back, by service, as the last round that could read them found; at first nothing."""
        return dict(self._memory.budgets.guards)

    def latest(self) -> Accounted | None:
        """The last round."""
        return self._latest

    def alerts(self) -> tuple[AlertState, ...]:
        """Where every alert is that can hold or not; news of budgets are told once and are none."""
        return self._alarms.states

    def on_round(self, told: Callable[[Accounted], None]) -> None:
        """Tell ``told`` of every finished round, in the accountant's thread."""
        self._on_round.append(told)

    def reload(self, duties: Duties) -> None:
        """From the next round on."""
        self._duties = duties

    def stop(self) -> None:
        """Begin nothing more: the piece under way ends, the rest is the next process's."""
        self._stopping = True

    def step(self, now: datetime) -> Accounted:
        """Read, ask, settle, then look at what came of it."""
        duties, problems = self._duties, list[str]()
        alarms: list[Alarm] = []
        for source in duties.sources:
            self._poll(source, duties, now, problems)
        alarms += source_alarms(duties, self._memory.read_at, self._memory.failed, now)
        for quoter, offers in duties.asked:
            self._tried(problems, f"prices of {quoter.name}", partial(_ask, quoter, offers, now))
        self._tried(problems, "the history of prices", partial(duties.applied, now))
        differing = self._tried(problems, "comparing the fleets", duties.differing)
        alarms += [alike_alarm(differing)] if differing is not None else []
        settled = self._tried(problems, "settling hours", lambda: self._settle(differing or {}, now))
        known = self._tried(problems, "how far the accounts are", self._books.known)
        alarms += standing_alarms(duties, known, settled or (), now)
        alarms += self._tried(problems, "prices", lambda: price_alarms(duties, now)) or ()
        if known is not None:
            alarms += self._looked_at(duties, known, problems, now)
        self._post(self._alarms.looked(alarms, duties.channels, now))
        return self._done(known, problems, now)

    def _looked_at(self, duties: Duties, known: Known, problems: list[str], now: datetime) -> list[Alarm]:
        alarms: list[Alarm] = []
        seen = self._tried(
            problems, "budgets", lambda: budgets_seen(duties, self._series, known, self._books.kept, now)
        )
        if seen is not None:
            self._memory.budgets = seen
            self._post(seen.alerts)
        alarms += self._tried(problems, "anomalies", lambda: self._watch.look(duties, self._series, known, now)) or ()
        alarms += (
            self._tried(problems, "unattributed work", lambda: unattributed_alarms(duties, self._books.reader, known))
            or ()
        )
        return alarms

    def _done(self, known: Known | None, problems: Sequence[str], now: datetime) -> Accounted:
        self._latest = Accounted(
            at=now,
            known=known,
            standings=self._memory.budgets.standings,
            anomalies=self._watch.open,
            problems=tuple(problems),
        )
        for told in self._on_round:
            told(self._latest)
        return self._latest

    def _poll(self, source: Source, duties: Duties, now: datetime, problems: list[str]) -> None:
        self._memory.read_at.setdefault(source.name, now)
        intake = self._books.intake
        if intake is None:
            return
        if self._tried(problems, f"usage source {source.name}", lambda: duties.reads(source.name)) is False:
            self._memory.read_at[source.name], self._memory.failed[source.name] = now, ""  # whoever reads it tells
            return
        before = len(problems)
        ended = self._tried(problems, f"usage source {source.name}", lambda: self._read(source, intake, duties, now))
        self._memory.failed[source.name] = problems[-1] if len(problems) > before else ""
        if ended:
            self._memory.read_at[source.name] = now

    def _read(self, source: Source, intake: Intake, duties: Duties, now: datetime) -> bool:
        """One round of a source; whether it was read to its end. A mark is kept only after what came before it."""
        at, place = intake.mark(source.name)
        mark, pages = Mark(at=at, id=place), 0
        for page in islice(source.pages(mark, now), PAGES_AT_ONCE):
            intake.add(source.name, page.batch)
            mark, pages = page.mark, pages + 1
            intake.keep_mark(source.name, mark.at, mark.id, now)
            if self._stopping:
                return False
        if pages == PAGES_AT_ONCE:
            return False
        # Nothing more is there: of hours that are to be settled now, all was read, though nobody asked anything lately.
        quiet = now - duties.settle_after
        intake.keep_mark(source.name, quiet if mark.at is None else max(mark.at, quiet), mark.id, now)
        return True

    def _settle(self, differing: Differing, now: datetime) -> tuple[str, ...]:
        """In words, the hours that could not be settled."""
        if wrong := of_sums(differing):
            return (wrong,)
        done = self._books.settler.settle(now)
        if done.corrected:
            self._series.forget()
        for problem in done.problems:
            log.error("%s", problem)
        return tuple(done.problems)

    def _tried(self, problems: list[str], what: str, do: Callable[[], T]) -> T | None:
        """What ``do`` gives; None when it failed, which is told, or when it is too late to begin."""
        if self._stopping:
            return None
        try:
            return do()
        except PennyweightError as error:
            log.warning("%s: %s; the next round tries again", what, error)
            problems.append(f"{what}: {error}")
        except Exception as error:  # one broken piece must not stop the others, nor the daemon
            log.exception("%s failed; the next round tries again", what)
            problems.append(f"{what}: {type(error).__name__}: {error}")
        return None


def _ask(quoter: Asked, offers: Sequence[str], now: datetime) -> None:
    """What is not answered is asked again next round; when the last answer gets too old, its price is unknown."""
    for offer, why in quoter.refresh(offers, now).items():
        log.info("no new price of %s from %s: %s", offer, quoter.name, why)
