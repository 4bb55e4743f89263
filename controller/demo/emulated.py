"""The emulated demo: a day of traffic over emulated engines, run by the real daemon on a clock that runs faster."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from rich.console import Console

from controller.clock import utc_now
from controller.demo.accounts import Accounts
from controller.demo.actuator import EmulatedActuator
from controller.demo.dashboard import APP, DashboardProcess
from controller.demo.dashboard import FIRST_PORT as DASHBOARD_PORT
from controller.demo.files import INTERVAL_S, TPOT_P95_S, TTFT_P95_S, DemoFiles, write_files
from controller.demo.gateway import Gateway
from controller.demo.ports import PortPicker
from controller.demo.score import Score
from controller.demo.signals import stop_signals
from controller.demo.summary import COPIED, Summary, closing
from controller.demo.world import EmulatedWorld
from controller.facts.passes import PassResult

START_HOUR = 22
"""The virtual day begins in its quietest hours, so that the first thing to see is the morning's growth."""

LONG_AGO = timedelta(days=3)
"""The virtual day is over for more than a day, so that nobody takes it for a fleet whose daemon has just stopped."""

DAY_PASSES = 24 * 3600 // INTERVAL_S

SEND_EVERY = 600 // INTERVAL_S
"""Passes between two batches of usage records: ten virtual minutes, some thousands of records."""

SETTLE_AT = timedelta(minutes=11)
"""After each hour's end the accountant has its round: the demo's hours are settled after ten minutes (files.py)."""


class Steps(Protocol):
    """What the demo needs of the daemon."""

    def step(self) -> PassResult: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The program that the demo shows."""

    daemon: Steps
    accounts: Accounts


class Build(Protocol):
    """Makes the real daemon and accounts over the demo's files. They differ from any other in two things only: the
    actuator called ``emulated`` is this one, and the time is the demo's."""

    def __call__(
        self, files: DemoFiles, *, actuator: EmulatedActuator, clock: Callable[[], datetime]
    ) -> AbstractContextManager[Program]: ...


class VirtualClock:
    """The time of the demo's world: moved on by the demo, read by the daemon."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def run_emulated(
    passes: int | None, dashboard: bool, speed: float, directory: Path | None, seed: int, *, build: Build
) -> int:
    """The whole demo; the exit code.

    passes   end after so many; None: a whole day, after which an open dashboard stays until Ctrl-C
    speed    virtual seconds per second; 0: as fast as the passes go
    """
    console = Console()
    files = write_files(directory or Path(tempfile.mkdtemp(prefix="pennyweight-demo-")))
    _set_aside(files)
    ports = PortPicker()
    start = (utc_now() - LONG_AGO).replace(hour=START_HOUR, minute=0, second=0, microsecond=0)
    clock = VirtualClock(start)
    with ExitStack() as stack:
        stopped = stack.enter_context(stop_signals())
        world = EmulatedWorld(start_s=start.timestamp(), seed=seed, targets=files.targets, ports=ports)
        stack.callback(world.close)
        program = stack.enter_context(build(files, actuator=world.actuator, clock=clock))
        gateway = world.gateway = Gateway(program.accounts.take, seed)
        board = _open_dashboard(files, ports, console, stack) if dashboard else None
        for moved in ports.moved:
            console.print(moved, soft_wrap=True, highlight=False)
        console.print(f"files: {files.directory}", soft_wrap=True, highlight=False)
        score = _drive(program, world, clock, console, passes=passes or DAY_PASSES, speed=speed, stopped=stopped)
        gateway.send()
        program.accounts.settle(_next_hour(clock.now - timedelta(seconds=INTERVAL_S)) + SETTLE_AT)
        spend = program.accounts.told()
        for line in closing(score, ledger=files.ledger_url, directory=str(files.directory), spend=spend):
            console.print(line, soft_wrap=line.startswith(COPIED), highlight=False)
        watched = console.is_terminal and passes is None and not stopped.is_set()
        if board is not None and board.running and watched:
            console.print(f"The dashboard stays at {board.url} until Ctrl-C.", highlight=False)
            stopped.wait()
    return 0


def _drive(
    program: Program,
    world: EmulatedWorld,
    clock: VirtualClock,
    console: Console,
    *,
    passes: int,
    speed: float,
    stopped: threading.Event,
) -> Score:
    """Move the world on, let the daemon look at it, show what it did; at most as fast as ``speed``."""
    score, settle_at = Score(), _next_hour(clock.now) + SETTLE_AT
    began = time.monotonic()
    with Summary(console, (TTFT_P95_S, TPOT_P95_S), title="pennyweight demo, emulated engines") as summary:
        for number in range(passes):
            if stopped.is_set():
                break
            world.advance(clock.now.timestamp())
            result = program.daemon.step()
            score = score.after(result, world.served)
            summary.show(result, score)
            due = clock.now >= settle_at
            if world.gateway is not None and (due or number % SEND_EVERY == SEND_EVERY - 1):
                world.gateway.send()
            if due:
                program.accounts.settle(clock.now)
                settle_at += timedelta(hours=1)
            clock.now += timedelta(seconds=INTERVAL_S)
            if speed > 0:
                next_at = began + (number + 1) * INTERVAL_S / speed
                stopped.wait(max(0.0, next_at - time.monotonic()))
    return score


def _next_hour(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _open_dashboard(files: DemoFiles, ports: PortPicker, console: Console, stack: ExitStack) -> DashboardProcess | None:
    if not APP.exists():
        console.print("no dashboard: it is not part of this installation")
        return None
    port = ports.pick(DASHBOARD_PORT, "the dashboard")
    board = DashboardProcess(files.ledger_url, port, files.directory / "dashboard.log")
    stack.callback(board.close)
    console.print(f"dashboard: {board.url}", highlight=False)
    return board


def _set_aside(files: DemoFiles) -> None:
    """An earlier run's ledger tells of the same virtual day: it is kept under another name."""
    for suffix in ("", "-wal", "-shm"):
        old = files.directory / f"pennyweight.db{suffix}"
        if old.exists():
            old.replace(files.directory / f"pennyweight-before.db{suffix}")
