"""Writes: the intent before the act, the outcomes after it, what operators say, and forgetting what is too old."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Self

from sqlalchemy import Connection, Engine, delete, insert, select, update

from controller.facts.accounts import WorkRate
from controller.facts.decisions import Memory, Outcome, Pause
from controller.facts.fleet import Fleet
from controller.facts.interruptions import Notice
from controller.facts.leadership import Term
from controller.facts.learned import Learned
from controller.facts.passes import Gap, PassRecord, PassResult, Restored
from controller.facts.safety import Stop
from controller.ledger import fleets, leadership, learning, noticed, remembered, rollup, safety
from controller.ledger.claim import Claim, claimed, is_claimed
from controller.ledger.engine import ledger_errors, shown, writer_engine
from controller.ledger.forgetting import learned_before, rows_before
from controller.ledger.learned_tables import CapacityRow, ForecastAccuracyRow, ForecastRow, LearnedStateRow
from controller.ledger.migrate import migrate
from controller.ledger.queries import last_pass_at, open_pauses, recorded_decisions, rows_of
from controller.ledger.tables import (
    ActionRow,
    AlertEventRow,
    Base,
    CounterMarkRow,
    DecisionNumberRow,
    DecisionRow,
    DecisionVictimRow,
    GapRow,
    OutcomeRow,
    PassProblemRow,
    PassRow,
    PauseRow,
    ReplicaMinuteRow,
    ServiceMinuteRow,
    table,
)
from controller.ledger.upsert import Merge, added, highest, insert_new, newest, replaced, said, upsert

if TYPE_CHECKING:
    from controller.ledger.accounts.retention import Keep

REPLICA_MINUTE_MERGE: Mapping[str, Merge] = {
    "gpus": replaced,
    "missing_why": said,
    **dict.fromkeys(rollup.PHASE_COLUMNS.values(), added),
    **dict.fromkeys(rollup.COUNT_COLUMNS, added),
    **dict.fromkeys([f"{level}_integral" for level in rollup.LEVELS], added),
    **dict.fromkeys([f"{level}_s" for level in rollup.LEVELS], added),
    **dict.fromkeys(("covered_s", "missing_s", "unpriced_s"), added),
    **dict.fromkeys((*rollup.COST_COLUMNS, *rollup.AMOUNT_COLUMNS), added),
    "node": said,
}
SERVICE_MINUTE_MERGE: Mapping[str, Merge] = {
    **dict.fromkeys(("replicas_current", "replicas_ready", "gpus"), replaced),
    "replicas_desired": newest,
    **dict.fromkeys(rollup.ESTIMATE_MAXIMA, highest),
    **dict.fromkeys(rollup.ESTIMATE_LAST, newest),
}
MARK_MERGE: Mapping[str, Merge] = dict.fromkeys(("started_s", "value", "at"), replaced)
LEARNED_MERGE: Mapping[type[Base], Mapping[str, Merge]] = {
    row: {column.name: replaced for column in table(row).columns if not column.primary_key}
    for row in (LearnedStateRow, ForecastRow, ForecastAccuracyRow, CapacityRow)
}
"""Of each slot of time the newest is kept."""

MOST_DISCOVERY_PROBLEMS = 20
"""Of one pass. A guess: nobody reads on after so many, and a lost cluster has hundreds."""


class Ledger:
    """The daemon's side. Every failure is a LedgerError that says what happens next; threads may share one."""

    def __init__(self, url: str, fleet: str = "") -> None:
        """Opens nothing yet; ``url`` and the fleet's name as in the fleet file: of its own daemon it keeps passes,
        gaps and marks apart, and of services it sees those that no other fleet has."""
        self._where = shown(url)
        self._fleet = fleet
        self._engine = writer_engine(url)
        self._unrecorded: tuple[datetime, datetime] | None = None
        self._claim: Claim | None = None
        self._remembered: Mapping[type[Base], Sequence[rollup.Row]] = {}

    def __repr__(self) -> str:
        return f"Ledger({self._where!r})"

    @classmethod
    def open(cls, url: str, fleet: str = "", *, then: str = "the daemon cannot start without it") -> Self:
        """The ledger at ``url``, made or migrated to this program's schema. ``then``: what follows where it cannot be
        opened."""
        ledger = cls(url, fleet)
        try:
            with ledger_errors("open the ledger", ledger._where, then):
                migrate(ledger._engine)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def claim(self) -> None:
        """Be the one process that decides and acts for this fleet. LedgerError when another one is."""
        with ledger_errors("claim the ledger", self._where, "nothing is decided or acted on without it"):
            self._claim = claimed(self._engine, self._where, self._fleet)

    def join(self) -> None:
        """Be one of several processes that stand for election for this fleet. LedgerError when one works that does
        not: it would not know of any election."""
        with ledger_errors("claim the ledger", self._where, "nothing is decided or acted on without it"):
            self._claim = claimed(self._engine, self._where, self._fleet, shared=True)

    def newest_term(self) -> Term | None:
        """Who leads this fleet, or did last; None before the first."""
        with self._writing("read who leads", "nobody begins to lead until it can be read") as connection:
            return leadership.newest_term(connection, self._fleet)

    def prove(self) -> None:
        """That it can be written now. LedgerError."""
        with self._writing("write the ledger", "nobody begins to lead who cannot") as connection:
            leadership.prove(connection, self._fleet)

    def enter(self, term: Term) -> None:
        """Record that ``term`` has begun: what earlier ones write is refused from now on. LedgerError when a later one
        has begun already."""
        with self._writing("record who leads", "nobody leads who is not recorded") as connection:
            leadership.enter(connection, self._fleet, term)
        self._unrecorded, self._remembered = None, {}

    def enter_next(self, holder: str, at: datetime) -> Term:
        """The same with the next free epoch, for whoever is alone by a lock."""
        with self._writing("record who leads", "nobody leads who is not recorded") as connection:
            self._remembered = {}
            return leadership.enter_next(connection, self._fleet, Term(epoch=0, holder=holder, since=at))

    def own(self, fleet: Fleet, now: datetime) -> Mapping[str, str]:
        """Be the fleet of these services, and of no others. Where a running daemon has one of them nothing changes:
        those are in the answer, each with the name of the fleet that has it."""

        def runs(other: str) -> bool:
            return is_claimed(self._engine, other)

        with self._writing("take the services", "nothing is decided or acted on without it") as connection:
            self._remembered = {}
            return fleets.own(connection, self._fleet, fleet, now, runs)

    def close(self) -> None:
        if self._claim is not None:
            self._claim.release()
            self._claim = None
        self._engine.dispose()

    def record_intent(self, record: PassRecord, epoch: int | None = None) -> None:
        """All that is known before acting, in one transaction. The same pass recorded again changes nothing.

        epoch   of the term in which it was decided; refused when a later term has begun. None: nobody else could lead
        """
        try:
            with self._writing("record the pass", "nothing is acted on until it can be recorded") as connection:
                leadership.check(connection, self._fleet, epoch)
                self._record_intent(connection, record, epoch)
        except BaseException:
            first = self._unrecorded[0] if self._unrecorded else record.at
            self._unrecorded = (first, record.at)
            raise
        self._unrecorded = None

    def record_outcomes(self, result: PassResult, memory: Memory, epoch: int | None = None) -> None:
        """All that is known after acting, in one transaction: outcomes, alerts, what a token takes, and the memory that
        the next pass needs.

        Doing it twice is doing it once. A pass whose intent was never recorded acted on nothing. ``epoch`` as above:
        the memory of a daemon that leads no longer must not take the place of its successor's.
        """
        with self._writing("record the outcomes", "they will be recorded as unknown after a restart") as connection:
            leadership.check(connection, self._fleet, epoch)
            _record_outcomes(connection, result.outcomes)
            _finish_pass(connection, result, self._fleet)
            events = [remembered.alert_event_row(alert) for alert in result.sent]
            upsert(connection, AlertEventRow, events, {})
            _add_rates(connection, result.work_rates)
            self._replace_memory(connection, memory)

    def restore(self) -> Restored:
        """What the daemon needs to go on where it stopped."""
        self._remembered = {}  # another process may have written since
        with self._writing("restore the last pass", "the daemon cannot start without it") as connection:
            memory = {
                row: rows_of(connection, row, fleets.ours(table(row).c.service, self._fleet))
                for row in remembered.MEMORY_TABLES
            }
            done, decided = select(table(OutcomeRow).c.decision_id), table(DecisionRow).c
            unfinished = select(table(ActionRow).c.decision_id).where(table(ActionRow).c.decision_id.not_in(done))
            begun = (decided.id.in_(unfinished), fleets.ours(decided.service, self._fleet))
            marks = rows_of(connection, CounterMarkRow, table(CounterMarkRow).c.fleet == self._fleet)
            return Restored(
                memory=replace(remembered.memory_of(memory), safety=safety.read_memory(connection, self._fleet)),
                marks=tuple(remembered.mark(row) for row in marks),
                last_pass_at=last_pass_at(connection, self._fleet),
                unfinished=tuple(one.decision for one in recorded_decisions(connection, *begun)),
                learned=Learned(states=learning.states_of(rows_of(connection, LearnedStateRow))),
                notices=noticed.notices(connection, self._fleet),
            )

    def keep_notices(
        self, said: Sequence[Notice], over: Sequence[Notice], now: datetime, epoch: int | None = None
    ) -> None:
        """Write down what was announced about machines, and forget what is over. ``epoch`` as above."""
        with self._writing("keep what was announced", "it is known to this process alone") as connection:
            leadership.check(connection, self._fleet, epoch)
            noticed.keep(connection, self._fleet, said, over, now)

    def pause(self, pause: Pause) -> None:
        """Pause a service. A pause that is already on ends where this one begins."""
        with self._writing("pause the service", "it is NOT paused; try again") as connection:
            _resume(connection, pause.service, pause.since, pause.by)
            row = {"service": pause.service, "since": pause.since, "paused_by": pause.by, "reason": pause.reason}
            row |= {"resumed_at": None, "resumed_by": None}
            changes = ("paused_by", "reason", "resumed_at", "resumed_by")
            upsert(connection, PauseRow, [row], dict.fromkeys(changes, replaced))

    def resume(self, service: str, at: datetime, by: str) -> bool:
        """End the pause of ``service``; False when it was not paused."""
        with self._writing("resume the service", "it stays paused; try again") as connection:
            return _resume(connection, service, at, by)

    def pauses(self) -> Mapping[str, Pause]:
        """The pauses that are on, by service."""
        with self._writing("read the pauses", "nothing is decided until they can be read") as connection:
            return open_pauses(connection)

    def stop(self, stop: Stop) -> None:
        """Stop a service, or everything. A stop of the same that is already on ends where this one begins."""
        with self._writing("note the stop", "NOTHING is stopped; touch the stop file instead") as connection:
            safety.add_stop(connection, stop, self._fleet)

    def lift(self, service: str, at: datetime, by: str) -> bool:
        """End the stop of ``service`` (EVERYTHING: that of the fleet); False when there was none."""
        with self._writing("lift the stop", "it stays stopped; try again") as connection:
            return safety.lift_stop(connection, service, self._fleet, at, by)

    def stops(self) -> tuple[Stop, ...]:
        """Those that nobody lifted; some may have ended by themselves."""
        with self._writing("read the stops", "nothing is acted on until they can be read") as connection:
            return safety.open_stops(connection, self._fleet)

    def prune(self, now: datetime, minutes_s: float, decisions_s: float, accounts: Keep | None = None) -> int:
        """Forget what is older; return how many rows went.

        minutes_s    of measurements: minutes, passes, gaps, marks of targets that have not been seen since
        decisions_s  of decisions with their numbers, actions and outcomes, of messages, of ended pauses, and of what
                     was learned of a service that has not been seen since
        accounts     of usage and of lines, see ``Keep``; None: its defaults
        Forecasts, their accuracy and capacities go after 30 days, or with the minutes when those go earlier.
        Never forgotten: each fleet's last pass, what is unfinished, pauses that are on, and profiles, which cost a
        load test.
        """
        minutes, decisions = now - timedelta(seconds=minutes_s), now - timedelta(seconds=decisions_s)
        with self._writing("forget old rows", "the ledger grows until it can; nothing else is affected") as connection:
            forgetting = [
                *rows_before(minutes, decisions),
                *learned_before(max(minutes, now - learning.KEEP_LEARNED), decisions),
            ]
            gone = sum(connection.execute(one).rowcount for one in forgetting)
        return gone + _prune_accounts(self._engine, now, accounts)

    @contextmanager
    def _writing(self, what: str, then: str) -> Iterator[Connection]:
        try:
            with ledger_errors(what, self._where, then), self._engine.begin() as connection:
                yield connection
        except BaseException:
            self._remembered = {}  # what of it was written nobody knows
            raise

    def _record_intent(self, connection: Connection, record: PassRecord, epoch: int | None) -> None:
        last_at = last_pass_at(connection, self._fleet)
        row = {
            "at": record.at,
            "fleet": self._fleet,
            "mode": record.mode.value,
            "services": len(record.estimates.services),
            "replicas": record.estimates.fleet.replicas_current,
            "duration_s": None,
        }
        if not insert_new(connection, PassRow, row):
            return
        _add_minutes(connection, record, self._fleet)
        _add_decisions(connection, record, epoch)
        marks = [{"fleet": self._fleet, **remembered.mark_row(mark)} for mark in record.marks if isfinite(mark.value)]
        upsert(connection, CounterMarkRow, marks, MARK_MERGE)
        self._replace_memory(connection, record.memory)
        _add_gaps(connection, (*record.gaps, *self._gap(last_at, record.at)), self._fleet)
        if record.learned is not None:
            for into, rows in learning.learned_rows(record.at, record.learned).items():
                upsert(connection, into, rows, LEARNED_MERGE[into])

    def _replace_memory(self, connection: Connection, memory: Memory) -> None:
        """Of this fleet's services; what others remember of theirs stays. What this process wrote last still stands, so
        only tables that differ from it are written: most are the same from pass to pass."""
        stands = safety.replace_memory(connection, memory.safety, self._fleet, self._remembered)
        owners = fleets.owners(connection)
        alone = set(owners.values()) <= {self._fleet}
        rows: dict[type[Base], list[rollup.Row]] = {
            row: [one for one in some if alone or owners.get(one["service"]) == self._fleet]
            for row, some in remembered.memory_rows(memory).items()
        }
        for row, some in rows.items():
            if self._remembered.get(row) != some:
                connection.execute(delete(table(row)).where(fleets.ours(table(row).c.service, self._fleet)))
                _insert(connection, row, some)
        self._remembered = rows | stands

    def _gap(self, last_at: datetime | None, now: datetime) -> tuple[Gap, ...]:
        """What passes saw while the ledger could not be written is lost; the gap that it leaves is named."""
        if self._unrecorded is None or self._unrecorded[0] == now:
            return ()
        first, last = self._unrecorded
        return (Gap(start=min(last_at or first, first), end=last, why="the ledger could not be written"),)


def _add_minutes(connection: Connection, record: PassRecord, fleet: str) -> None:
    upsert(connection, ReplicaMinuteRow, list(rollup.replica_minutes(record.uses)), REPLICA_MINUTE_MERGE)
    scopes = list(rollup.service_minutes(record.at, record.estimates, record.decisions, fleet))
    upsert(connection, ServiceMinuteRow, scopes, SERVICE_MINUTE_MERGE)


def _add_decisions(connection: Connection, record: PassRecord, epoch: int | None) -> None:
    made = record.decisions
    decided = [remembered.decision_row(one, record.mode.value) | {"epoch": epoch} for one in made]
    _insert(connection, DecisionRow, decided)
    _insert(connection, DecisionNumberRow, [row for one in made for row in remembered.number_rows(one)])
    _insert(connection, DecisionVictimRow, [row for one in made for row in remembered.victim_rows(one)])
    intents = [{"decision_id": one.id, "at": one.at, "epoch": epoch} for one in made if not one.holds]
    _insert(connection, ActionRow, intents)


def _add_gaps(connection: Connection, gaps: Sequence[Gap], fleet: str) -> None:
    rows = [{"started_at": gap.start, "ended_at": gap.end, "fleet": fleet, "why": gap.why} for gap in gaps]
    upsert(connection, GapRow, rows, {})


def _record_outcomes(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """The first outcome of an action stands. One without a recorded decision was never acted on, and has no place."""
    known = select(table(DecisionRow).c.id).where(table(DecisionRow).c.id.in_([one.decision_id for one in outcomes]))
    ids = set(connection.scalars(known)) if outcomes else set()
    rows = [remembered.outcome_row(one) for one in outcomes if one.decision_id in ids]
    upsert(connection, OutcomeRow, rows, {})


def _finish_pass(connection: Connection, result: PassResult, fleet: str) -> None:
    passes = table(PassRow)
    this = (passes.c.at == result.at) & (passes.c.fleet == fleet)
    connection.execute(update(passes).where(this).values(duration_s=result.duration_s))
    lost = tuple(map(str, result.observation.discovery_problems[:MOST_DISCOVERY_PROBLEMS]))
    problems = [
        {"at": result.at, "fleet": fleet, "position": position, "problem": problem}
        for position, problem in enumerate((*result.problems, *lost))
    ]
    upsert(connection, PassProblemRow, problems, {"problem": replaced})


def _insert(connection: Connection, into: type[Base], rows: Sequence[rollup.Row]) -> None:
    if rows:
        connection.execute(insert(table(into)), rows)


def _resume(connection: Connection, service: str, at: datetime, by: str) -> bool:
    pauses = table(PauseRow)
    on = (pauses.c.service == service) & pauses.c.resumed_at.is_(None)
    return connection.execute(update(pauses).where(on).values(resumed_at=at, resumed_by=by)).rowcount > 0


def _add_rates(connection: Connection, rates: Sequence[WorkRate]) -> None:
    from controller.ledger.accounts.rates import add_rates  # forty tables, for which whoever stops the fleet would wait

    add_rates(connection, rates)


def _prune_accounts(engine: Engine, now: datetime, keep: Keep | None) -> int:
    from controller.ledger.accounts.retention import Keep, prune  # as above

    return prune(engine, now, keep or Keep())
