"""Wrong input is told all at once: every part is tried, and what is wrong with each is kept until the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from controller.errors import ConfigError, Problem

Made = TypeVar("Made")


class Mistakes:
    """What is wrong so far."""

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self.problems = list(problems)

    def tried(self, make: Callable[[], Made]) -> Made | None:
        """What ``make`` makes, or None when a user's file or argument is wrong."""
        try:
            return make()
        except ConfigError as error:
            self.problems += error.problems
            return None

    def read(self, option: str, text: str | None, reader: Callable[[str], Made]) -> Made | None:
        """The option ``text`` read by ``reader``, whose ValueError is the mistake; None when not given or wrong."""
        if text is None:
            return None
        try:
            return reader(text)
        except ValueError as error:
            self.wrong(option, str(error))
            return None

    def wrong(self, where: str, message: str) -> None:
        self.problems.append(Problem(where, 0, 0, "", message))

    def finish(self) -> None:
        """Raise ConfigError with all of them, each once."""
        if self.problems:
            raise ConfigError(list(dict.fromkeys(self.problems)))
