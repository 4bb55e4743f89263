"""The daemon around the pass: its clock, its jobs, its signals and what it tells whoever looks."""

from __future__ import annotations

import gc
import logging
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.schedulers.background import BackgroundScheduler

from controller.clock import LATE_AFTER_INTERVALS, Clock, utc_now
from controller.errors import ConfigError, LedgerError
from controller.estimate.remembered import fitting
from controller.facts.leadership import LeaderSeen
from controller.facts.passes import PassResult
from controller.jobs import at_once, every
from controller.loop import UNRECORDED, Plan, Running, one_pass
from controller.outside import Shell
from controller.signals import Signals

log = logging.getLogger("pennyweight")

PRUNE_EVERY = timedelta(hours=1)
"""Retention is kept to the hour. A guess: frequent enough that one deletion stays small."""

ACCOUNT_EVERY = timedelta(minutes=5)
"""How often the accountant works. A guess: late records and budgets of hours and months need no more."""

FIRST_ACCOUNT = timedelta(minutes=1)
"""After the first passes, which matter more; what budgets hold back is known from then on. A guess."""

FIRST_PRUNE = timedelta(minutes=1)
"""Also a daemon that is restarted often keeps its retention. A guess: after the first passes, which matter more."""

CatchUp = Callable[[Running, datetime, float], Running]
"""(what the next pass is handed, now, for so many seconds)."""

CATCH_UP_SHARE = 3
"""After each pass a third of its interval is for that. A guess: passes take less than the rest."""

UNRECORDED_PASSES = 3
"""So many in a row, and another daemon may do better, if its ledger answers. A guess: one is a database that is busy or
begins anew; of several daemons none does anything meanwhile, and a new term costs only what is watched anew."""

PASS = "pass"
"""The job of passes."""

BETWEEN_COLLECTIONS = 100_000
"""New values until Python looks for cycles among them; its own default is 700. A pass over a large fleet makes and
drops millions, none of them in cycles, and looking every 700 takes a tenth of it. A guess: a few megabytes wait."""


def collect_seldom() -> None:
    """What is loaded by now stays: it is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What /readyz says. ``reasons`` is empty exactly when ready. ``standing_by``: who works instead; "" when we do."""

    ready: bool
    reasons: tuple[str, ...]
    standing_by: str = ""


class Terms(Protocol):
    """How one of several daemons begins to lead, and ends."""

    def held(self) -> int | None:
        """The epoch while this daemon leads; any thread may ask."""

    def begin(self, epoch: int, now: datetime) -> tuple[Shell, Running]:
        """Go on from the ledger. Raises LedgerError, ConfigError."""

    def end(self) -> None:
        """Let go of what ``begin`` took hold of."""

    def rest(self) -> None:
        """Let go of what only a leader does beside its passes."""

    def resign(self, why: str) -> None:
        """Let another one lead, at once, and stand again a while later."""

    def release(self) -> None:
        """Let another one lead, at once."""

    def seen(self) -> LeaderSeen:
        """Who leads."""

    def on_change(self, told: Callable[[int | None], None]) -> None:
        """Tell ``told`` of every epoch that begins, and None when one ends."""


class Daemon:
    """Runs passes one after the other, never two at once, and reloads all or nothing.

    reload    reads the files again and returns the plan to go on with; raises ConfigError when anything is wrong
    prune     deletes what retention no longer keeps
    account   one round of the accountant, in a job of its own: no pass waits for it
    terms     where several daemons may work: it stands by, without a shell, until it leads
    """

    def __init__(
        self,
        shell: Shell | None,
        plan: Plan,
        running: Running,
        *,
        clock: Clock = utc_now,
        reload: Callable[[], Plan] | None = None,
        prune: Callable[[datetime], None] | None = None,
        account: Callable[[datetime], object] | None = None,
        terms: Terms | None = None,
    ) -> None:
        self._shell = shell
        self._terms = terms
        self._epoch: int | None = None
        self._plan = plan
        self._running = running
        self._clock = clock
        self._reload = reload
        self._prune = prune
        self._account = account
        self._catch_up: CatchUp | None = None
        self._on_pass: list[Callable[[PassResult], None]] = []
        self._on_stop: list[Callable[[], None]] = []
        self._one_at_a_time = threading.Lock()
        self._one_round_at_a_time = threading.Lock()
        self._signals = Signals()
        self._latest: PassResult | None = None
        self._failure = ""
        self._unrecorded = 0
        self.overruns = 0
        self.failed_passes = 0
        self.terms_begun = 0
        self.reload_ok = True
        self.reloaded_at: datetime | None = None

    def look(self) -> None:
        """Read everything once without deciding, so that the next pass has something to compare with."""
        with self._one_at_a_time:
            self._working().observe(self._clock())

    def step(self) -> PassResult:
        """One pass, now."""
        with self._one_at_a_time:
            result, self._running = one_pass(self._working(), self._plan, self._running, self._clock())
            self._latest = result
            self._failure = ""
        for told in self._on_pass:
            told(result)
        if self._catch_up is not None:
            with self._one_at_a_time:
                for_s = self._plan.interval_s / CATCH_UP_SHARE
                self._running = self._catch_up(self._running, self._clock(), for_s)
        return result

    def account(self) -> None:
        """One round of the accountant, now, beside the passes."""
        if self._account is not None:
            with self._one_round_at_a_time:
                self._account(self._clock())

    @property
    def leads(self) -> bool:
        """Whether the passes are ours: always, where nobody else could make them."""
        return self._terms is None or (self._epoch is not None and self._terms.held() == self._epoch)

    @property
    def epoch(self) -> int | None:
        """Of the term that we lead in; None while we stand by, or where there is no election."""
        return self._epoch if self.leads else None

    @property
    def clock(self) -> Clock:
        """What time it is, as the passes see it."""
        return self._clock

    def on_pass(self, told: Callable[[PassResult], None]) -> None:
        """Tell ``told`` of every finished pass."""
        self._on_pass.append(told)

    def after_passes(self, catch_up: CatchUp) -> None:
        """Do with ``catch_up``, a little after each pass, what a start had no time for."""
        self._catch_up = catch_up

    def on_stop(self, told: Callable[[], None]) -> None:
        """Tell ``told`` that ``run`` ends: jobs that take long should stop where they can go on another time."""
        self._on_stop.append(told)

    def hearing(self) -> AbstractContextManager[None]:
        """Signals wait for ``run`` from here on: whoever sees us listen may send one at once. In the main thread."""
        return self._signals.heard()

    def run(self) -> None:
        """Passes every interval until SIGTERM or SIGINT, which let the running pass finish; SIGHUP reloads."""
        with self.hearing():
            collect_seldom()
            self._run()
        log.info("stopped after the last pass ended; engines keep running")

    def _run(self) -> None:
        scheduler = self._scheduler()
        if self._terms is not None:
            self._terms.on_change(lambda epoch: at_once(scheduler, PASS) if epoch is not None else None)
        scheduler.start()
        try:
            while self._signals.next() == signal.SIGHUP:
                self._reloaded(scheduler)
        finally:
            for told in self._on_stop:
                told()
            self._resign()
            scheduler.shutdown(wait=True)

    def stop(self) -> None:
        """Let the running pass finish, then return from ``run``."""
        self._signals.put(signal.SIGTERM)

    def latest(self) -> PassResult | None:
        """The last finished pass."""
        return self._latest

    def health(self) -> Health:
        """Whether the daemon does its work, or why not."""
        if not self.leads:
            return self._health_of_standby()
        latest, reasons = self._latest, []
        if self._failure:
            reasons.append(f"the last pass failed: {self._failure}")
        if latest is None:
            reasons.append("no pass has finished yet")
        else:
            age_s = (self._clock() - latest.at).total_seconds()
            if age_s > LATE_AFTER_INTERVALS * self._plan.interval_s:
                reasons.append(f"the last pass was {age_s:.0f} s ago; one is due every {self._plan.interval_s:g} s")
            reasons.extend(latest.problems)
        return Health(ready=not reasons, reasons=tuple(reasons))

    def _health_of_standby(self) -> Health:
        """A daemon that stands by does its work as long as it can see who leads."""
        assert self._terms is not None
        seen, reasons = self._terms.seen(), []
        if seen.problem:
            reasons.append(f"cannot see who leads: {seen.problem}")
        elif self._terms.held() is not None:
            reasons.append(f"taking over{f'; the last try failed: {self._failure}' if self._failure else ''}")
        elif seen.term is None:
            reasons.append("nobody leads yet")
        told = "" if reasons else f"standing by, {seen.term}"
        return Health(ready=not reasons, reasons=tuple(reasons), standing_by=told)

    def _scheduler(self) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(timezone=UTC)
        scheduler.add_listener(self._overran, EVENT_JOB_MAX_INSTANCES)
        every(scheduler, PASS, self._pass_job, timedelta(seconds=self._plan.interval_s), timedelta())
        if self._prune is not None:
            every(scheduler, "prune", self._prune_job, PRUNE_EVERY, FIRST_PRUNE)
        if self._account is not None:
            every(scheduler, "account", self._account_job, ACCOUNT_EVERY, FIRST_ACCOUNT)
        return scheduler

    def _pass_job(self) -> None:
        try:
            if self._follow():
                self._count(next((one for one in self.step().problems if one.startswith(UNRECORDED)), ""))
        except Exception as error:  # a broken pass must not end the daemon
            self.failed_passes += 1
            self._failure = f"{type(error).__name__}: {error}"
            log.exception("the pass failed and changed nothing after the failure; the next one starts afresh")
            if isinstance(error, LedgerError):
                self._count(str(error))

    def _count(self, problem: str) -> None:
        """Passes that the ledger did not take: whoever leads then does nothing. ``problem``: "": it was written."""
        self._unrecorded = self._unrecorded + 1 if problem else 0
        if self._terms is None or self._unrecorded < UNRECORDED_PASSES:
            return
        why = f"{self._unrecorded} passes in a row could not be recorded: {problem}"
        log.error("this daemon gives the lead back, and stands again when it can write its ledger: %s", why)
        self._unrecorded = 0
        self._terms.resign(why)

    def _follow(self) -> bool:
        """Begin or end a term where the election says so. Whether the next pass is ours."""
        if self._terms is None:
            return True
        epoch = self._terms.held()
        if epoch != self._epoch:
            with self._one_at_a_time:
                self._end_term()
                if epoch is not None:
                    self._begin_term(self._terms, epoch)
        return epoch is not None

    def _begin_term(self, terms: Terms, epoch: int) -> None:
        self._shell, self._running = terms.begin(epoch, self._clock())
        self._epoch, self._failure, self._unrecorded = epoch, "", 0
        self.terms_begun += 1
        log.info("leading as epoch %d, from where the ledger says the last pass ended", epoch)

    def _end_term(self) -> None:
        if self._epoch is None or self._terms is None:
            return
        log.warning("leading no longer (epoch %d): standing by; whoever leads settles what was begun", self._epoch)
        self._epoch = self._shell = self._latest = None
        self._running = Running()
        self._terms.end()

    def _resign(self) -> None:
        """After the running pass, before all else that takes time: another one waits for it."""
        if self._terms is not None:
            with self._one_at_a_time:
                self._terms.release()

    def _working(self) -> Shell:
        assert self._shell is not None, "a daemon that stands by makes no pass"
        return self._shell

    def _prune_job(self) -> None:
        if not self.leads:
            return
        try:
            if self._prune is not None:
                self._prune(self._clock())
        except LedgerError as error:
            log.warning("old rows were not deleted: %s; the next try is in an hour", error)

    def _account_job(self) -> None:
        try:
            if self.leads:
                self.account()
            elif self._terms is not None:
                self._terms.rest()
        except Exception:  # nothing that the accountant meets may end the daemon
            log.exception("the accountant's round failed; the next one is in %s", ACCOUNT_EVERY)

    def _overran(self, event: JobSubmissionEvent) -> None:
        if event.job_id != PASS:
            log.info("the job %s still runs; it goes on where it is", event.job_id)
            return
        self.overruns += 1
        log.warning(
            "a pass took longer than the interval of %g s, so one was skipped (%d so far); "
            "raise `interval` or look for slow targets",
            self._plan.interval_s,
            self.overruns,
        )

    def _reloaded(self, scheduler: BackgroundScheduler) -> None:
        if self._reload is None:
            return
        with self._one_at_a_time:
            try:
                plan = self._reload()
            except ConfigError as error:
                self.reload_ok = False
                log.error("reload refused, everything stays as it was:\n%s", error)
                return
            except Exception:  # whatever a file can do to us, the daemon goes on with the old ones
                self.reload_ok = False
                log.exception("reload failed, everything stays as it was")
                return
            if plan.interval_s != self._plan.interval_s:
                scheduler.reschedule_job(PASS, trigger="interval", seconds=plan.interval_s)
            self._plan = plan
            known = set(plan.fleet.services)
            services = {name: one for name, one in self._running.memory.services.items() if name in known}
            lookouts = {
                name: fitting(plan.fleet.services[name], one)
                for name, one in self._running.lookouts.items()
                if name in known
            }
            memory = replace(self._running.memory, services=services)
            self._running = replace(self._running, memory=memory, lookouts=lookouts)
        self.reload_ok, self.reloaded_at = True, self._clock()
        log.info("reloaded: %d services, %d policies, mode %s", len(known), len(plan.policies), plan.mode)
