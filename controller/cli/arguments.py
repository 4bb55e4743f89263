"""How a command and its arguments are written down. Imports no command: every command's help passes by here."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TypeAlias, cast

DEFAULT_FLEET = Path("fleet.yaml")
VERBOSE = "log more: one line a pass"

Command = Callable[[argparse.Namespace], int]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


@dataclass(frozen=True, slots=True)
class Later:
    """A command by its name in a module of ours, which is imported when the command is run: whoever asks for help, or
    stops the fleet, does not wait for the libraries of the others."""

    module: str
    name: str

    def __call__(self, arguments: argparse.Namespace) -> int:
        return self.found()(arguments)

    def found(self) -> Command:
        """What importing makes stays: to look through it for cycles, again and again, takes a tenth of the time."""
        collects = gc.isenabled()
        gc.disable()
        try:
            return cast(Command, getattr(import_module(f"controller.cli.{self.module}"), self.name))
        finally:
            if collects:
                gc.enable()


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
