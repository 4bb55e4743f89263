"""Commands that run something: demo, run, once, dashboard."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from controller.cli.files import settings_of
from controller.cli.tables import pass_tables
from controller.demo.accounts import Accounts
from controller.demo.actuator import EmulatedActuator
from controller.demo.dashboard import command as dashboard_command
from controller.demo.emulated import Program, run_emulated
from controller.demo.files import DemoFiles
from controller.demo.real import run_real
from controller.demo.signals import stop_signals
from controller.errors import ConfigError, Problem
from controller.quantities import duration_s
from controller.serving import served, served_intake
from controller.settings.load import load_settings
from controller.wiring import built

DEMO_SPEED = 240.0
"""A virtual day in six minutes: slow enough to watch. Where nobody watches, as fast as the passes go."""


def demo(arguments: argparse.Namespace) -> int:
    """The demo on emulated engines, or on real vLLM processes."""
    if arguments.engine == "vllm":
        return run_real(arguments.passes, not arguments.no_dashboard, arguments.directory, dict(os.environ))
    watched = sys.stdout.isatty()
    unhurried = DEMO_SPEED if watched else 0.0
    speed = 0.0 if arguments.fast else arguments.speed or unhurried
    return run_emulated(
        arguments.passes, not arguments.no_dashboard, speed, arguments.directory, arguments.seed, build=_emulated
    )


@contextmanager
def _emulated(files: DemoFiles, *, actuator: EmulatedActuator, clock: Callable[[], datetime]) -> Iterator[Program]:
    """The real daemon and accounts over the demo's files; only the actuator and the clock are the demo's."""
    settings = load_settings(files.fleet, {})
    with built(settings, clock=clock, actuators={"emulated": actuator}) as everything:
        yield Program(daemon=everything.daemon, accounts=Accounts.of(everything.accounting))


def daemon(arguments: argparse.Namespace) -> int:
    """Passes until told to stop."""
    settings = settings_of(arguments.fleet, works=True)
    fresh = built(settings, reload=lambda: settings_of(arguments.fleet, works=True), stands_by=True)
    with fresh as everything, served(settings, everything):
        everything.daemon.run()
    return 0


def ingest(arguments: argparse.Namespace) -> int:
    """Take usage records until told to stop."""
    settings = settings_of(arguments.fleet, works=True)
    if not settings.account.tokens:
        message = "nobody may send: expected a token, such as `{name: gateway, env: PENNYWEIGHT_INGEST_TOKEN}`"
        raise ConfigError([Problem(str(settings.file), 0, 0, "account.ingest.tokens", message)])
    with stop_signals() as stopped, served_intake(settings, settings.host, arguments.port):
        stopped.wait()
    return 0


def dashboard(arguments: argparse.Namespace) -> int:
    """Become the dashboard's server over the fleet file's ledger."""
    settings = settings_of(arguments.fleet)
    print(f"dashboard: http://127.0.0.1:{arguments.port} (Ctrl-C ends it)", flush=True)
    words = dashboard_command(arguments.port)
    os.execve(words[0], words, {**os.environ, "PENNYWEIGHT_LEDGER": settings.ledger_url})


def once(arguments: argparse.Namespace) -> int:
    """Two looks at the fleet, a window apart, and one decision."""
    settings = settings_of(arguments.fleet, works=True)
    try:
        window_s = duration_s(arguments.window)
    except ValueError as error:
        raise ConfigError([Problem("--window", 0, 0, "", str(error))]) from error
    console = Console()
    with built(settings) as everything:
        everything.daemon.look()
        _wait(console, window_s)
        result = everything.daemon.step()
    for table in pass_tables(result):
        console.print(table)
        if isinstance(table, Table):
            console.print()
    return 0


def _wait(console: Console, seconds: float) -> None:
    columns = (SpinnerColumn(), TextColumn("measuring for {task.total:.0f} s"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("window", total=seconds)
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(0.2, left))
            progress.update(task, completed=seconds - left)
