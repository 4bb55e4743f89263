"""How a command and its arguments are written down. Imports no command: every command's help passes by here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

DEFAULT_FLEET = Path("fleet.yaml")
VERBOSE = "log more: one line a pass"

Command = Callable[[argparse.Namespace], int]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands, name: str, command: Command, summary: str, more: str, example: str = ""
) -> argparse.ArgumentParser:
    """A command: ``summary`` in the list of all, and with ``more`` in its own help, which ends with an ``example``."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {more}",
        epilog=f"For example: {example}" if example else None,
    )
    parser.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help=VERBOSE)
    parser.set_defaults(command=command, parser=parser)
    return parser


def add_fleet(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Where the fleet file is."""
    default = DEFAULT_FLEET if required else None
    parser.add_argument("--fleet", type=Path, default=default, metavar="FILE", help="fleet file (default fleet.yaml)")
