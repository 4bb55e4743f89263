"""A replica's life, the same for processes and units: start, health, drain, stop. Every call takes one step.

    STARTING --healthy--> READY --apply--> DRAINING
    DRAINING --idle or timeout--> DRAINED --next pass--> STOPPING --gone--> (none)
    STARTING --apply--> STOPPING
    STARTING or READY --ended, not healthy in time, or never there--> FAILED --told, next pass, gone--> (none)

All that is known is in the state files and in what runs; nothing is kept in memory that a kill -9 could take.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from threading import Lock

from controller.act.actuator import Acts, Carried, always, as_it_is
from controller.act.life_steps import Touch, moved
from controller.act.records import ALIVE, PHASES, Record, Stage
from controller.act.runner import Run, Runner
from controller.act.targets import publish
from controller.errors import ActError, HeldError, StaleActError
from controller.facts.decisions import Decision, Outcome, OutcomeKind
from controller.facts.fleet import Variant
from controller.facts.interruptions import LOCAL, Notice
from controller.facts.missing import Missing
from controller.facts.readings import ReplicaState

log = logging.getLogger(__name__)


class LivingActuator:
    """The actuator contract over a ``Runner``."""

    def __init__(self, name: str, runner: Callable[[Variant], Runner]) -> None:
        self.name = name
        self._runner = runner
        self._searched: set[tuple[str, str]] = set()
        self._told: dict[tuple[str, str], frozenset[str]] = {}
        self._notice: Notice | None = None
        self._acts: Acts = always
        self._carried: Carried = as_it_is
        self._lock = Lock()

    def heed(self, acts: Acts) -> None:
        """Ask before anybody is started, sent away or ended, each time anew."""
        self._acts = acts

    def carry(self, carried: Carried) -> None:
        """What is waited for has its whole time also where the clock is set ahead."""
        self._carried = carried

    def warn(self, notices: Mapping[str, Notice]) -> None:
        """Replicas lie on this machine: when it ends, all of them drain, and nothing more is started on it."""
        self._notice = notices.get(LOCAL)

    def replicas(self, variant: Variant, now: datetime) -> tuple[ReplicaState, ...] | Missing:
        """What exists, each moved one step on. A failed replica is told once by each daemon, and goes after that: who
        told it last may have died before anybody wrote it down."""
        with self._lock:
            runner = self._runner(variant)
            found = self._found(runner, variant, now)
            if isinstance(found, Missing):
                return found
            records, runs = found
            told = self._told.get((variant.service, variant.name), frozenset())
            touch = Touch(runner, lambda: self._acts(variant.service))
            records = _leaving_with(self._notice, touch, records, now)
            untold = {slot: record for slot, record in _failed(records).items() if record.replica not in told}
            told_or_well = {slot: record for slot, record in records.items() if slot not in untold}
            left = untold | moved(touch, told_or_well, runs, now, _end(self._notice))
            publish(runner.targets_file, left.values())
            self._told[variant.service, variant.name] = frozenset(one.replica for one in _failed(left).values())
            return tuple(_state(one, now, self._notice) for _, one in sorted(left.items()) if one.replica not in told)

    def apply(self, decision: Decision, variant: Variant, now: datetime) -> Outcome:
        """Start or drain as many as the decision says."""
        with self._lock:
            runner = self._runner(variant)
            found = self._found(runner, variant, now, search=True)  # whose state file was lost must not start twice
            if isinstance(found, Missing):
                raise ActError(f"did not scale {decision.service}/{decision.variant}: {found}")
            records, runs = found
            counted = [
                record
                for slot, record in records.items()
                if record.stage in ALIVE and (runs[slot].alive if slot in runs else not record.run)
            ]
            if len(counted) == decision.desired:
                return Outcome.of(decision, OutcomeKind.ALREADY, f"there are {len(counted)} already", now)
            if len(counted) != decision.current:
                where = f"{decision.service}/{decision.variant}"
                raise StaleActError(where=where, expected=decision.current, found=len(counted))
            touch = Touch(runner, lambda: self._acts(variant.service))
            try:
                if decision.desired > decision.current:
                    _refuse_ending(self._notice, decision)
                    said = _grow(touch, variant, records, decision, now)
                else:
                    said = _shrink(touch, counted, decision, now)
            except HeldError as error:
                return _held(decision, error, now)
            finally:
                publish(runner.targets_file, runner.records.read().values())
            return Outcome.of(decision, OutcomeKind.DONE, said, now)

    def close(self) -> None:
        """Nothing is open; engines keep running."""

    def _found(
        self, runner: Runner, variant: Variant, now: datetime, *, search: bool = False
    ) -> tuple[dict[int, Record], Mapping[int, Run]] | Missing:
        """The records, completed from what runs, and what runs."""
        records = runner.records.read()
        key = (variant.service, variant.name)
        unfinished = any(not record.run for record in records.values())
        runs = runner.look(records, search=search or unfinished or key not in self._searched)
        if isinstance(runs, Missing):
            return runs
        self._searched.add(key)
        for slot, run in runs.items():
            record = records.get(slot)
            if record is None and run.alive:
                log.warning("%s/%s: adopted %s, which had no state file", *key, run.replica)
                records[slot] = replace(_new(runner, variant, slot, run, now), adopted=True)
                runner.records.write(records[slot])
            elif record is not None and not record.run and record.replica == run.replica:
                log.warning("%s/%s: adopted %s, whose start was interrupted", *key, run.replica)
                records[slot] = replace(record, run=run.run)
                runner.records.write(records[slot])
        return _on_this_clock(runner, records, self._carried, now), runs


def _on_this_clock(runner: Runner, records: Mapping[int, Record], carried: Carried, now: datetime) -> dict[int, Record]:
    """By slot. Where the clock was set back, what is waited for has its whole time anew, rather than an hour more."""
    ours = dict(sorted(records.items()))
    for slot, record in ours.items():
        since = min(carried(record.since), now)
        if since != record.since and record.stage is not Stage.READY:
            ours[slot] = replace(record, since=since)
            runner.records.write(ours[slot])
    return ours


def _new(runner: Runner, variant: Variant, slot: int, run: Run, now: datetime) -> Record:
    return Record(
        service=variant.service,
        variant=variant.name,
        replica=run.replica,
        slot=slot,
        url=runner.url(slot),
        stage=Stage.STARTING,
        since=now,
        run=run.run,
    )


def _failed(records: Mapping[int, Record]) -> dict[int, Record]:
    return {slot: record for slot, record in records.items() if record.stage is Stage.FAILED}


def _state(record: Record, now: datetime, notice: Notice | None) -> ReplicaState:
    return ReplicaState(
        replica=record.replica,
        variant=record.variant,
        phase=PHASES[record.stage],
        since=record.since,
        url=record.url,
        detail=record.detail,
        unused_until=_unused_until(record, now),
        node=LOCAL,
        notice=notice,
    )


def _unused_until(record: Record, now: datetime) -> datetime | None:
    """Nobody is sent to a replica before it is ready."""
    if record.adopted:
        return None
    return {Stage.STARTING: now, Stage.READY: record.since}.get(record.stage)


# --- when the machine ends ------------------------------------------------------------------------------------------


def _end(notice: Notice | None) -> datetime | None:
    return notice.deadline if notice is not None and notice.ends else None


def _leaving_with(
    notice: Notice | None, touch: Touch, records: Mapping[int, Record], now: datetime
) -> dict[int, Record]:
    """``records``, those that serve or start on a machine that ends on their way out: each already written."""
    left = dict(records)
    if notice is None or not notice.ends:
        return left
    end = f" at {notice.deadline:%H:%M:%S} UTC" if notice.deadline is not None else ""
    for slot, record in records.items():
        if record.stage in ALIVE and touch.acts():
            left[slot] = _sent_away(touch.runner, record, now, f"{notice.kind}: the machine ends{end}")
    return left


def _refuse_ending(notice: Notice | None, decision: Decision) -> None:
    if notice is not None and notice.ends:
        where = f"{decision.service}/{decision.variant}"
        raise ActError(f"{where}: nothing is started here, this machine ends ({notice.kind} notice of {notice.source})")


# --- growing and shrinking ------------------------------------------------------------------------------------------


def _held(decision: Decision, why: HeldError, now: datetime) -> Outcome:
    """What was begun goes on. REFUSED only where nothing was: the count is as it was decided on."""
    if not why.after:
        return Outcome.of(decision, OutcomeKind.REFUSED, f"nothing was touched: {why}", now)
    wanted = abs(decision.desired - decision.current)
    what = "started" if decision.desired > decision.current else "sent away"
    where = f"{decision.service}/{decision.variant}"
    raise ActError(f"{where}: {what} {why.after} of {wanted}, no more: {why}")


def _grow(touch: Touch, variant: Variant, records: Mapping[int, Record], decision: Decision, now: datetime) -> str:
    """Start in the lowest free slots; what is started stays started when a later one cannot be."""
    runner = touch.runner
    wanted, started, passed_over = decision.desired - decision.current, list[str](), list[str]()
    for slot in runner.slots():
        if len(started) == wanted:
            break
        if slot in records:
            continue
        holder = runner.taken(slot)
        if holder:
            passed_over.append(holder)
            continue
        name = f"{variant.name}-{slot}-{secrets.token_hex(3)}"
        started.append(_start(touch, variant, slot, name, now))
    note = "".join(f"; {said}" for said in passed_over)
    if len(started) < wanted:
        slots = runner.slots()
        raise ActError(
            f"{decision.service}/{decision.variant}: started {len(started)} of {wanted}, "
            f"no other of {slots[0]}-{slots[-1]} is free{note}; the next pass decides again"
        )
    return f"starting {', '.join(started)}{note}"


def _start(touch: Touch, variant: Variant, slot: int, name: str, now: datetime) -> str:
    """The intent is on disk before anything runs, so that a daemon that dies in between leaves no stranger."""
    runner = touch.runner
    record = _new(runner, variant, slot, Run(replica=name, run="", alive=False), now)
    runner.records.write(record)
    try:
        touch.clear(record)
        record = touch.next().start(record)
    except (ActError, HeldError):
        runner.records.remove(record)
        raise
    runner.records.write(record)
    return name


def _shrink(touch: Touch, counted: Sequence[Record], decision: Decision, now: datetime) -> str:
    leaving = _leaving(counted, decision.victims)[: decision.current - decision.desired]
    for record in leaving:
        _sent_away(touch.next(), record, now)
    return "removing " + ", ".join(record.replica for record in leaving)


def _sent_away(runner: Runner, record: Record, now: datetime, why: str = "") -> Record:
    """On its way out, already written."""
    starting = record.stage is Stage.STARTING
    if starting and record.run:
        runner.stop(record)  # it has no requests to finish
    after = record.to(Stage.STOPPING if starting else Stage.DRAINING, now, why)
    runner.records.write(after)
    return after


def _leaving(counted: Iterable[Record], victims: Sequence[str]) -> list[Record]:
    """First to go first: the decision's victims in their order, then the newest starting one, then the highest slot."""

    def rank(record: Record) -> tuple[float, ...]:
        if record.replica in victims:
            return (0, victims.index(record.replica))
        if record.stage is Stage.STARTING:
            return (1, -record.since.timestamp(), -record.slot)
        return (2, -record.slot)

    return sorted(counted, key=rank)
