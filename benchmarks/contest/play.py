"""Playing: sweeps ask for runs, workers make them, every result is kept at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache

from benchmarks.contest.cases import Ground, stage, workload
from benchmarks.contest.frontier import Point, log_miss
from benchmarks.contest.players import PLAYERS, SHIPPED, Settings, documented
from benchmarks.contest.results import Result, Store, Task, code_of, result_of
from benchmarks.contest.stress import STRESSES
from benchmarks.contest.sweep import TARGETS, Tried, sweep
from controller.backtest.run import OURS, Stage, play
from controller.simulate.workload.blocks import BlockWorkload

Asked = Generator[Task, Result, None]
"""Runs that are wanted one after the other, each in the light of those before."""

WEIGHT_OF_OURS = 2.7
"""How much longer one of our runs takes than an opponent's, for the time that is left: its passes are real ones."""


def _weight(task: Task) -> float:
    return WEIGHT_OF_OURS if task.entrant.name == OURS else 1.0


@lru_cache(maxsize=2)
def _prepared(ground: Ground, seed: int) -> tuple[Stage, BlockWorkload]:
    return stage(ground, seed), workload(ground, seed)


def make(task: Task) -> Result:
    """The run itself; in a worker."""
    on, requests = _prepared(task.ground, task.seed)
    if task.stress:
        on, requests = STRESSES[task.stress].apply(on, requests)
    return result_of(task, play(on, requests, task.entrant, task.seed), code_of(task.entrant.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One controller on one ground with one seed.

    tuned    its settings beside the knob
    first    the share of the knob's range to begin at
    targets  the attainments to price, the one that decides first
    kept     runs made before, to go on from
    """

    ground: Ground
    name: str
    seed: int
    budget: int
    tuned: Settings
    first: float = 0.5
    targets: tuple[float, ...] = TARGETS
    kept: tuple[Tried, ...] = ()

    def asked(self) -> Asked:
        """The documented default, then the knob."""
        default = yield Task(ground=self.ground, entrant=documented(self.name), seed=self.seed)
        player = PLAYERS[self.name]
        shipped = [(SHIPPED, default.point)] if self.name == OURS else []
        knob = sweep(self.budget, self.first, self.targets, known=[*shipped, *self.kept])
        point: Point | None = None
        while True:
            try:
                share = next(knob) if point is None else knob.send(point)
            except StopIteration:
                return
            entrant = player.entrant(share, self.tuned)
            result = yield Task(ground=self.ground, entrant=entrant, seed=self.seed, share=share)
            point = result.point

    @property
    def weight(self) -> float:
        return (self.budget + 1) * (WEIGHT_OF_OURS if self.name == OURS else 1.0)

    def finer(self, store: Store) -> Sweep:
        """At most ``budget`` more runs near the first target, beside those of this sweep that ``store`` has."""
        player, tasks = PLAYERS[self.name], {}
        for result in store.results:
            share = result.task.share
            if share is not None:
                entrant = player.entrant(share, self.tuned)
                tasks[Task(ground=self.ground, entrant=entrant, seed=self.seed, share=share).key] = share
        kept = tuple((tasks[one.task.key], one.point) for one in store.results if one.task.key in tasks)
        return replace(self, targets=self.targets[:1], kept=kept)


def first_share(store: Store, name: str, hints: Mapping[str, float], place: tuple[Ground, int]) -> float:
    """Where this sweep began when it was stopped, so that it goes the same way again; else where 99 % was on another
    ground of the trace (an hour of the day is a good first look), else where tuning found it, else the middle."""
    ground, seed = place
    known = [
        (result.task, share, result.attainment)
        for result in store.results
        if (share := result.task.share) is not None and result.task.entrant.name == name and not result.task.stress
    ]
    begun = [share for task, share, _ in known if (task.ground, task.seed) == (ground, seed)]
    if begun:
        return begun[0]
    near = [
        (abs(log_miss(attainment) - log_miss(TARGETS[0])), share)
        for task, share, attainment in known
        if (task.ground.trace, task.ground.engine) == (ground.trace, ground.engine)
    ]
    if near:
        return min(near)[1]
    return hints.get(name, 0.5)


class Progress:
    """One line a run, and when it will be over."""

    def __init__(self, total: float) -> None:
        self._total, self._done, self._made = total, 0.0, 0.0
        self._began = time.monotonic()

    def kept(self, task: Task) -> None:
        """Found in the store."""
        self._done += _weight(task)

    def spare(self, weight: float) -> None:
        """A sweep that needed fewer runs than it was given."""
        self._total -= weight

    def made(self, result: Result) -> None:
        weight = _weight(result.task)
        self._done += weight
        self._made += weight
        took_s = time.monotonic() - self._began
        left_s = max(0.0, self._total - self._done) / self._made * took_s
        task = result.task
        what = "documented" if task.entrant.documented else "as shipped" if task.share is None else f"{task.share:.3f}"
        print(
            f"[{min(1.0, self._done / self._total) * 100:3.0f} %, {left_s / 60:.1f} min left] {task.ground.name}"
            f"{', ' + task.stress if task.stress else ''}, seed {task.seed}: {task.entrant.name} {what}: "
            f"${result['usd']:,.2f}, {result.attainment * 100:.2f} %, {result['dropped']:.0f} dropped, "
            f"{result['wall_s']:.0f} s",
            file=sys.stderr,
            flush=True,
        )


class Contest:
    """Carries out what is asked, ``jobs`` runs at a time."""

    def __init__(self, store: Store, jobs: int, total: float) -> None:
        self._store, self._jobs = store, jobs
        self._progress = Progress(max(total, 1.0))
        self._running: dict[Future[Result], Asked] = {}
        self._left: dict[Asked, float] = {}

    def run(self, all_asked: Sequence[tuple[Asked, float]]) -> None:
        """Until nobody asks any more. ``all_asked``: with what each is expected to cost."""
        self._left = dict(all_asked)
        waiting = [asked for asked, _ in reversed(all_asked)]
        for name in PLAYERS:
            code_of(name)  # now, and so in every worker: somebody may edit the code while this runs
        pool = ProcessPoolExecutor(self._jobs)
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self._jobs:
                    self._next(pool, waiting.pop(), None)
                if not self._running:
                    continue
                ended, _ = wait(self._running, return_when=FIRST_COMPLETED)
                for future in ended:
                    asked, result = self._running.pop(future), future.result()
                    self._store.add(result)
                    self._progress.made(result)
                    self._next(pool, asked, result)
        finally:
            pool.shutdown(cancel_futures=True)

    def _next(self, pool: ProcessPoolExecutor, asked: Asked, result: Result | None) -> None:
        """The next run that ``asked`` wants and that is not in the store."""
        while True:
            try:
                task = next(asked) if result is None else asked.send(result)
            except StopIteration:
                self._progress.spare(self._left.pop(asked))
                return
            self._left[asked] -= _weight(task)
            result = self._store.find(task)
            if result is None:
                self._running[pool.submit(make, task)] = asked
                return
            self._progress.kept(task)
