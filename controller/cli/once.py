"""The command that looks at the fleet and decides, once."""

from __future__ import annotations

import argparse
import time

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from controller.cli.files import settings_of
from controller.cli.tables import pass_tables
from controller.errors import ConfigError, Problem
from controller.quantities import duration_s
from controller.wiring import built


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
