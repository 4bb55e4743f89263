"""Many runs, here or in several processes, and how far they are."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, MutableSequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from typing import Self

from controller.backtest.run import Entrant, Stage, play
from controller.errors import PennyweightError
from controller.simulate.arrivals import Requests
from controller.simulate.score import RunScore
from controller.simulate.workload.blocks import BlockWorkload

LOOK_S = 0.2
"""How often progress is looked at."""

Shares = MutableSequence[float]
"""By run: how much of its workload is behind it, 0..1."""

Told = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is played: every entrant on the workload of every seed. ``runs``: in the order of the scores."""

    stage: Stage
    workloads: Mapping[int, BlockWorkload]
    entrants: tuple[Entrant, ...]

    @property
    def runs(self) -> tuple[tuple[Entrant, int], ...]:
        return tuple((entrant, seed) for entrant in self.entrants for seed in self.workloads)

    def play(self, place: int, told: Told) -> RunScore:
        entrant, seed = self.runs[place]
        return play(self.stage, _Watched(self.workloads[seed], told), entrant, seed)


class _Watched(BlockWorkload):
    """A workload that tells how much of it was taken."""

    def __init__(self, inner: BlockWorkload, told: Told) -> None:
        super().__init__(start_s=inner.start_s, end_s=inner.end_s, grid=inner.grid, notes=inner.notes)
        self._inner, self._told = inner, told

    def block(self, index: int) -> Requests:
        return self._inner.block(index)

    def until(self, end_s: float) -> Requests:
        self._told((end_s - self.start_s) / max(self.end_s - self.start_s, 1e-9))
        return super().until(end_s)


class Scores:
    """Plays a program; iterate over (place, score) as they come. Use as a context manager: leaving ends all work.

    ``progress`` is called now and then with the runs' shares.
    """

    def __init__(self, program: Program, jobs: int, progress: Callable[[Shares], None]) -> None:
        self._program, self._progress = program, progress
        self._jobs = min(jobs, len(program.runs))
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()

    def __iter__(self) -> Iterator[tuple[int, RunScore]]:
        return self._here() if self._jobs == 1 else self._elsewhere()

    def _here(self) -> Iterator[tuple[int, RunScore]]:
        shares = [0.0] * len(self._program.runs)
        for place in range(len(shares)):

            def told(share: float, place: int = place) -> None:
                shares[place] = min(share, 1.0)
                self._progress(shares)

            yield place, self._program.play(place, told)

    def _elsewhere(self) -> Iterator[tuple[int, RunScore]]:
        spawn = get_context("spawn")  # a fork would copy the compiled engine's threads in an unknown state
        shares = spawn.RawArray("d", len(self._program.runs))
        self._pool = ProcessPoolExecutor(self._jobs, spawn, initializer=_begin, initargs=(self._program, shares))
        waiting: dict[Future[RunScore], int] = {
            self._pool.submit(_one, place): place for place in range(len(self._program.runs))
        }
        try:
            while waiting:
                done, _ = wait(waiting, timeout=LOOK_S, return_when=FIRST_COMPLETED)
                self._progress(list(shares))
                for future in done:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool as error:
            message = (
                f"one of {self._jobs} processes died, perhaps for want of memory; nothing was kept. Try fewer --jobs"
            )
            raise PennyweightError(message) from error


# --- in the other processes ------------------------------------------------------------------------------------------

_given: list[tuple[Program, Shares]] = []
"""What this process was started with: sent once, not with every run."""


def _begin(program: Program, shares: Shares) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches all: these end at once, the parent tells
    _given.append((program, shares))


def _one(place: int) -> RunScore:
    program, shares = _given[-1]

    def told(share: float) -> None:
        shares[place] = min(share, 1.0)

    return program.play(place, told)
