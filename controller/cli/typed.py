"""What was typed, with every mistake that the parser itself can see: told at once, and before any file's."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from controller.cli.numbers import Wrong
from controller.errors import ConfigError, Problem

READS_ON = "reads_on"
"""A command with this default tells ``arguments.wrong`` itself, together with what it finds wrong."""


class Parser(argparse.ArgumentParser):
    """Its commands' and options' choices are told as other mistakes are: what is there, and what was probably meant.
    What begins like a negative number is an option's value, whatever follows: -7d is told as a wrong duration."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(one) for one in action.choices]
        close = difflib.get_close_matches(str(value).lower(), known, n=1, cutoff=0.6)
        there = f"there are {', '.join(known)}"
        if isinstance(action, argparse._SubParsersAction):
            said = f"there is no such command; {f'did you mean {close[0]}?' if close else there}"
            raise ConfigError([Problem(str(value), 0, 0, "", said)])
        where = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest)
        said = f"'{value}' is none of its choices; {f'did you mean {close[0]}? ' if close else ''}{there}"
        raise ConfigError([Problem(where, 0, 0, "", said)])


def parsed(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments; ``typed`` as they were typed, ``wrong`` the mistakes. Raises ConfigError where nobody reads on."""
    found, unknown = parser.parse_known_args(arguments)
    found.typed = list(arguments)
    found.wrong = [*_unknown(unknown, found.parser), *_wrong(found)]
    if found.wrong and not getattr(found, READS_ON, False):
        raise ConfigError(found.wrong)
    return found


def _unknown(unknown: Sequence[str], command: argparse.ArgumentParser) -> Iterable[Problem]:
    """What follows an unknown option is probably its value, and not told beside it."""
    options = [text.split("=", 1)[0] for text in unknown if text.startswith("-")]
    known = [text for action in command._actions for text in action.option_strings if text.startswith("--")]
    for text in options or unknown:
        close = difflib.get_close_matches(text, known, n=1, cutoff=0.6) if options else []
        hint = f"did you mean {close[0]}?" if close else f"`{command.prog} --help` lists what there is"
        yield Problem(text, 0, 0, "", f"there is no such {'option' if options else 'argument'}; {hint}")


def _wrong(found: argparse.Namespace) -> Iterable[Problem]:
    """The numbers and names that are none; their defaults take their places."""
    for name, value in list(vars(found).items()):
        values = value if isinstance(value, list) else [value]
        wrong = [one for one in values if isinstance(one, Wrong)]
        for one in wrong:
            yield Problem(_name(name, found.parser), 0, 0, "", one.message)
        if wrong:
            setattr(found, name, found.parser.get_default(name))


def _name(destination: str, command: argparse.ArgumentParser) -> str:
    """What the user typed for it: an option, or the placeholder that the help shows."""
    positional = next((one for one in command._get_positional_actions() if one.dest == destination), None)
    if positional is not None:
        return str(positional.metavar or destination)
    return f"--{destination.strip('_').replace('_', '-')}"
