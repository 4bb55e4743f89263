"""Commands that run something: run, ingest, once, dashboard."""

from __future__ import annotations

import argparse
import os
import time

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from controller.cli.files import settings_of
from controller.cli.tables import pass_tables
from controller.demo.dashboard import command as dashboard_command
from controller.demo.signals import stop_signals
from controller.errors import ConfigError, Problem
from controller.quantities import duration_s
from controller.serving import served, served_intake
from controller.wiring import built


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
