"""One step of every replica's life, the same for processes and units; life.py draws the stages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.act.probe import ask_all, healthy, idle
from controller.act.records import ALIVE, Record, Stage
from controller.act.runner import Run, Runner
from controller.errors import HeldError

log = logging.getLogger(__name__)

UNSEEN_S = 30.0
"""An intended start that is not found may still appear: a daemon that is killed while it starts a process leaves a
child that does not carry its name yet. Until then it counts as starting. A guess: on a busy host it took under 1 s."""

NEVER_STARTED = "it was never started: the daemon ended in the midst of starting it"

LAST_STEPS = timedelta(seconds=30)
"""Before the machine ends, whoever drains is stopped in good order, whatever still runs on it: its last counters are
read, and its engine ends before the machine does. A guess: two passes at the usual interval."""


@dataclass(slots=True)
class Touch:
    """What starts and ends replicas, while it may: that is asked at the moment of it, and where it may not nothing is.

    begun   so many it was asked for
    """

    runner: Runner
    acts: Callable[[], bool]
    begun: int = 0

    def next(self) -> Runner:
        """For one more to start or send away. Raises HeldError."""
        self._ask()
        self.begun += 1
        return self.runner

    def clear(self, record: Record) -> None:
        """What stands against its start goes. Raises HeldError."""
        self._ask()
        self.runner.clear(record)

    def stop(self, record: Record) -> bool:
        """Whether it was asked to end."""
        may = self.acts()
        if may:
            self.runner.stop(record)
        return may

    def kill(self, record: Record) -> bool:
        """Whether nothing is left of it."""
        may = self.acts()
        if may:
            self.runner.kill(record)
        if may and self.acts():
            self.runner.clear(record)
        return may

    def _ask(self) -> None:
        if not self.acts():
            raise HeldError(after=self.begun)


def moved(
    touch: Touch, records: Mapping[int, Record], runs: Mapping[int, Run], now: datetime, end: datetime | None
) -> dict[int, Record]:
    """The records that are left after one step, each already written. ``end``: of this machine."""
    runner = touch.runner
    answers = _answers(runner, records, runs)
    left = {}
    for slot, record in records.items():
        over = record.stage is Stage.DRAINING and end is not None and now >= end - LAST_STEPS
        after = _step(touch, record, runs.get(slot), answers.get(slot, False) or over, now)
        if after is None:
            runner.records.remove(record)
            continue
        if after is not record:
            log.info("%s/%s: %s is %s %s", record.service, record.variant, after.replica, after.stage, after.detail)
            runner.records.write(after)
        left[slot] = after
    return left


def _answers(runner: Runner, records: Mapping[int, Record], runs: Mapping[int, Run]) -> dict[int, bool]:
    """Of who starts: whether it is healthy; of who drains: whether it is idle."""
    asked = [record for slot, record in records.items() if slot in runs and runs[slot].alive]
    starting = [record for record in asked if record.stage is Stage.STARTING]
    draining = [record for record in asked if record.stage is Stage.DRAINING]
    answers = ask_all(starting, lambda record: healthy(runner.health_url(record)))
    return answers | ask_all(draining, lambda record: idle(record.url))


def _step(touch: Touch, record: Record, run: Run | None, answer: bool, now: datetime) -> Record | None:
    """``record`` one step on; None when nothing is left of it. ``answer``: healthy, or idle, by stage."""
    if run is None:
        return _unseen(record, now)
    if run.gone and record.stage not in ALIVE:
        return None
    return STEPS[record.stage](touch, record, run, answer, now)


def _unseen(record: Record, now: datetime) -> Record | None:
    """One of which nothing is found. A start that never came is told as failed: a count that only shrank would look
    like somebody else's doing. Who had run was ended by somebody else, who wants it so."""
    if record.run or record.stage is Stage.FAILED:
        return None
    if _waited_s(record, now) < UNSEEN_S:
        return record
    return record.to(Stage.FAILED, now, NEVER_STARTED) if record.stage is Stage.STARTING else None


def _starting(touch: Touch, record: Record, run: Run, answer: bool, now: datetime) -> Record | None:
    if not run.alive:
        return _ended(touch, record, run, now)
    if answer:
        return record.to(Stage.READY, now)
    start_s = touch.runner.timeouts.start_s
    if _waited_s(record, now) > start_s and touch.kill(record):
        why = f"not healthy within {start_s:g} s"
        return record.to(Stage.FAILED, now, "; ".join(part for part in (why, run.said) if part))
    return record


def _ready(touch: Touch, record: Record, run: Run, answer: bool, now: datetime) -> Record | None:
    del answer
    return record if run.alive else _ended(touch, record, run, now)


def _ended(touch: Touch, record: Record, run: Run, now: datetime) -> Record | None:
    touch.kill(record)  # whatever it left behind; what may not be ended now goes when it is found failed
    return record.to(Stage.FAILED, now, run.said) if run.failed else None


def _draining(touch: Touch, record: Record, run: Run, answer: bool, now: datetime) -> Record:
    if answer or not run.alive:
        return record.to(Stage.DRAINED, now)
    drain_s = touch.runner.timeouts.drain_s
    if _waited_s(record, now) > drain_s:
        return record.to(Stage.DRAINED, now, f"requests still ran after {drain_s:g} s")
    return record


def _drained(touch: Touch, record: Record, run: Run, answer: bool, now: datetime) -> Record:
    del run, answer
    return record.to(Stage.STOPPING, now) if touch.stop(record) else record


def _stopping(touch: Touch, record: Record, run: Run, answer: bool, now: datetime) -> Record:
    del run, answer
    if _waited_s(record, now) > touch.runner.timeouts.stop_s:
        touch.kill(record)
    return record


def _failed(touch: Touch, record: Record, run: Run, answer: bool, now: datetime) -> Record:
    del run, answer, now
    touch.kill(record)
    return record


STEPS: Mapping[Stage, Callable[[Touch, Record, Run, bool, datetime], Record | None]] = {
    Stage.STARTING: _starting,
    Stage.READY: _ready,
    Stage.DRAINING: _draining,
    Stage.DRAINED: _drained,
    Stage.STOPPING: _stopping,
    Stage.FAILED: _failed,
}


def _waited_s(record: Record, now: datetime) -> float:
    return (now - record.since).total_seconds()
