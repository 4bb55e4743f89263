"""What was spent, by whom and on what, and why it is not what it was: `pennyweight report`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from controller.attribute.unit_costs import Basis, TokenKind
from controller.cli.accounts import accounts_of, check_accounted
from controller.cli.choices import Days, days, meant
from controller.cli.files import settings_of
from controller.cli.screen import counted, width
from controller.clock import utc_now
from controller.errors import ConfigError, PennyweightError, Problem
from controller.facts.account_reader import OF_IDENTITY, OF_POOL, AccountReader, Dimension, Window
from controller.report.cells import Asked
from controller.report.csv import csv_text
from controller.report.html import html_page
from controller.report.parquet import write_parquet
from controller.report.query import Period, Report, windows
from controller.report.query import report as made
from controller.report.query import until as period_end
from controller.report.text import report_text

FORMATS = ("text", "csv", "parquet", "html")
SUFFIXES: Mapping[str, str] = {".csv": "csv", ".parquet": "parquet", ".html": "html", ".htm": "html"}
"""What a file's name says of its format, where nothing else does."""

DAYS = ("today", "yesterday", "last")
LISTED = 20
"""Values of a dimension that a message lists at most."""


def report(arguments: argparse.Namespace) -> int:
    """Print a report, or write it."""
    now = utc_now()
    window, last, until, form = _asked(arguments, now)
    settings = settings_of(arguments.fleet)
    asked = Asked(by=arguments.by, where=dict(arguments.where))
    with accounts_of(settings) as reader:
        behind = check_accounted(settings, window)
        found = replace(made(reader, window, last, asked, Basis(arguments.basis)), until=until)
        if not found.rows and asked.where:
            raise PennyweightError(_nobody(reader, found))
    _write(found, form, arguments.output)
    if behind:
        print(behind, file=sys.stderr)
    return 0


def _asked(arguments: argparse.Namespace, now: datetime) -> tuple[Window, Window, datetime | None, str]:
    """The period, the one before it, when it ends if it runs still, and the format. Raises ConfigError."""
    problems = []
    form = arguments.format or SUFFIXES.get(arguments.output.suffix if arguments.output else "", "text")
    if form == "parquet" and arguments.output is None:
        problems.append(Problem("--format", 0, 0, "", "parquet is written to a file: name it with --output FILE"))
    if (wrong := folder_missing(arguments.output) or _unknown_form(arguments)) is not None:
        problems.append(wrong)
    try:
        period, day = when(arguments.when, now.date())
        window, last = windows(period, day, now)
    except ValueError as error:
        raise ConfigError([*problems, Problem("PERIOD", 0, 0, "", str(error))]) from error
    if problems:
        raise ConfigError(problems)
    return window, last, period_end(period, day, now), form


def _unknown_form(arguments: argparse.Namespace) -> Problem | None:
    """A spreadsheet's name on a file of plain text opens nowhere."""
    ending = arguments.output.suffix if arguments.output else ""
    if arguments.format or ending in {"", ".txt", *SUFFIXES}:
        return None
    return Problem(
        "--output", 0, 0, "", f"no report is a '{ending}': end it in {', '.join(SUFFIXES)} or .txt, or say --format"
    )


def folder_missing(output: Path | None) -> Problem | None:
    """Told before the work, not after it."""
    if output is None or output.absolute().parent.is_dir():
        return None
    return Problem("--output", 0, 0, "", f"there is no folder {output.absolute().parent}")


def when(words: Sequence[str], today: date) -> tuple[Period, date]:
    """Which period, and a day in it: "week", "month 2026-10", "2026-11-20", "yesterday". Raises ValueError."""
    named = [word for word in words if word in set(Period)]
    days_named = [word for word in words if word not in set(Period)]
    if len(named) > 1 or len(days_named) > 1:
        raise ValueError(f"expected one period and one day, such as `week 2026-11-20`, found '{' '.join(words)}'")
    word = days_named[0] if days_named else "today"
    if word in DAYS:
        period = Period(named[0]) if named else Period.DAY
        return period, _spoken(word, period, today)
    found = days(word)
    if not isinstance(found, Days):
        likely = meant(word, (*Period, *DAYS))
        raise ValueError(
            f"expected day, week or month, and a day such as 2026-11-20, a month such as 2026-11, {', '.join(DAYS)}, "
            f"found '{word}'{likely}"
        )
    whole = Period.MONTH if found.is_month else Period.DAY
    return Period(named[0]) if named else whole, found.first


def _spoken(word: str, period: Period, today: date) -> date:
    """ "last" is the newest period that is over."""
    if word == "last":
        start, _ = windows(period, today, datetime.combine(today, time(), UTC) + timedelta(seconds=1))
        return start.start.date() - timedelta(days=1)
    return today - timedelta(days=1) if word == "yesterday" else today


def _nobody(reader: AccountReader, found: Report) -> str:
    """Nothing is as it was asked for: what there is, by the first dimension with a value that nobody has."""
    for dim, wanted in found.asked.where.items():
        known = _values(reader, found.window, dim)
        if known and wanted not in known:
            listed = f"; known: {', '.join(known)}" if len(known) <= LISTED else f"; {len(known)} others are known"
            return f"nothing was spent with {dim} '{wanted}'{meant(wanted, known)}{listed}"
    told = ", ".join(f"{dim} '{value}'" for dim, value in found.asked.where.items())
    return f"nothing was spent with {told} in this period or the last"


def _values(reader: AccountReader, window: Window, dim: Dimension) -> list[str]:
    if dim is Dimension.KIND:
        return list(TokenKind)
    if dim in (*OF_IDENTITY, *OF_POOL):
        lines = reader.lines(window, (dim,), {})
        owners = [line.identity if dim in OF_IDENTITY else line.pool for line in lines]
        return sorted({value for one in owners if one is not None and (value := str(getattr(one, dim)))})
    return sorted({value for seat in reader.seats(window) if (value := str(getattr(seat, dim, "")))})


def _write(found: Report, form: str, output: Path | None) -> None:
    if output is None:
        print(TEXTS[form](found, width()), end="")
        return
    try:
        if form == "parquet":
            write_parquet(output, found)
        else:
            _replaced(output, TEXTS[form](found, None))
    except OSError as error:
        raise PennyweightError(f"cannot write {output}: {error.strerror}") from error
    rows = len(found.rows)
    print(f"{output}: {counted(rows, 'row')}")


TEXTS: Mapping[str, Callable[[Report, int | None], str]] = {
    "text": report_text,
    "csv": lambda found, _: csv_text(found),
    "html": lambda found, _: html_page(found),
}


def _replaced(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
