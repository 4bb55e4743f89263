"""What somebody sees: lines no wider than the screen, and that it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from textwrap import wrap

Shown = Callable[[str], None]


def width() -> int | None:
    """Of the screen; None where there is none, as in a pipe."""
    return get_terminal_size((0, 0)).columns or None


def counted(number: int, noun: str) -> str:
    """ "1 row", "2,000 rows"."""
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def say(lines: Iterable[str]) -> None:
    """Sentences, wrapped; what is indented stays so."""
    columns = width()
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()))
        for part in (
            [line]
            if columns is None or not line
            else wrap(line, columns, subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False)
        ):
            print(part)


@contextmanager
def waiting(what: str) -> Iterator[Shown]:
    """A line on the error stream while it goes on, where that is a screen: the output may be somebody's pipe."""
    from rich.console import Console  # takes a while to load, and `counted` is for every command
    from rich.progress import Progress, SpinnerColumn, TextColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what)
        yield lambda text: progress.update(task, description=text)
