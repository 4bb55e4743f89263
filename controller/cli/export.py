"""The accounts as files for finance tools: `pennyweight export focus`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from controller.cli.accounts import accounts_of, check_accounted
from controller.cli.choices import Days
from controller.cli.files import settings_of
from controller.cli.report import folder_missing
from controller.cli.screen import counted, say
from controller.clock import utc_now
from controller.errors import ConfigError, PennyweightError, Problem
from controller.facts.account_reader import AccountReader, Window
from controller.report.focus.check import Check, Wrong, checked, compared
from controller.report.focus.columns import Dataset, Row
from controller.report.focus.values import Finance
from controller.report.focus.write import rows_of, write_csv, write_parquet
from controller.settings.load import Settings

WRITERS = {"csv": write_csv, "parquet": write_parquet}
LONG_DAYS = 2
"""From so many days on an export takes long enough for somebody to wonder."""

TOLD = 20
"""Mistakes that are told one by one."""

NOT_SETTLED = "Some of its hours are not settled: late records may still move cost. Export it again when they are."
DAY = timedelta(days=1)
Shown = Callable[[Iterable[Row], str], Iterator[Row]]
"""Rows on their way, their days shown to who waits."""


def focus(arguments: argparse.Namespace) -> int:
    """Write one FOCUS dataset; exit code 1 where --check finds something wrong, and then there is no file."""
    window, output, form = _asked(arguments)
    settings = settings_of(arguments.fleet)
    with accounts_of(settings) as reader, _progress(window) as shown:
        behind = check_accounted(settings, window)
        export = _Export(reader, Dataset(arguments.dataset), window, finance_of(settings), shown)
        count, wrong, found = _written(export, output, form, check=arguments.check)
        waiting = reader.open_hours(window)
    if wrong:
        raise PennyweightError(_refused(wrong, found, output))
    told = ", checked and nothing wrong" if arguments.check else ""
    print(f"{output}: {counted(count, 'row')} of {arguments.dataset}{told}")
    if waiting or window.end > utc_now():
        behind = f"{behind} {NOT_SETTLED}".strip()
    say([behind] if behind else [])
    return 0


def _asked(arguments: argparse.Namespace) -> tuple[Window, Path, str]:
    """The days, the file and its format. Raises ConfigError."""
    first: Days = arguments.from_
    last: Days = arguments.to or first
    problems = []
    if last.end <= first.start:
        message = f"ends before it starts: --from {first.first}, --to {last.until - DAY}"
        problems.append(Problem("--to", 0, 0, "", message))
    if (wrong := folder_missing(arguments.output)) is not None:
        problems.append(wrong)
    if problems:
        raise ConfigError(problems)
    named = arguments.output.suffix.lstrip(".") if arguments.output else ""
    form = arguments.format or (named if named in WRITERS else "csv")
    usual = Path(f"{arguments.dataset}_{first.first}_{last.until - DAY}.{form}")
    return Window(start=first.start, end=last.end), arguments.output or usual, form


def finance_of(settings: Settings) -> Finance:
    """What the fleet file calls the accounts."""
    said = settings.finance
    return Finance(
        account_id=said.billing_account_id,
        account_name=said.billing_account_name,
        account_type=said.billing_account_type,
        own_provider=said.invoice_issuer,
    )


@dataclass(frozen=True, slots=True)
class _Export:
    """What is exported, of whom."""

    reader: AccountReader
    dataset: Dataset
    window: Window
    finance: Finance
    shown: Shown

    def rows(self, dataset: Dataset, what: str) -> Iterator[Row]:
        return self.shown(rows_of(self.reader, dataset, self.window, self.finance), what)


def _written(export: _Export, output: Path, form: str, *, check: bool) -> tuple[int, list[Wrong], int]:
    """Rows in the file; some of what is wrong with them, and how much. What is wrong does not get the file's name."""
    rows = export.rows(export.dataset, "writing")
    try:
        if not check:
            return WRITERS[form](output, export.dataset, rows), [], 0
        unchecked = output.with_name(f"{output.name}.unchecked")
        try:
            seen = Check()
            count = WRITERS[form](unchecked, export.dataset, rows, seen)
            wrong, found = _all_wrong(export, seen)
            if not wrong:
                unchecked.replace(output)
        finally:
            unchecked.unlink(missing_ok=True)
    except OSError as error:
        raise PennyweightError(f"cannot write {output}: {error.strerror}; nothing is left of it") from error
    return count, wrong, found


def _all_wrong(export: _Export, seen: Check) -> tuple[list[Wrong], int]:
    """In the file itself, and against the other dataset: both must cost the same."""
    seen.finished()
    other = Dataset.FLEET if export.dataset is Dataset.ALLOCATED else Dataset.ALLOCATED
    against = checked(export.rows(other, "comparing"))
    both = (against, seen) if other is Dataset.FLEET else (seen, against)
    differing = compared(*both)
    return [*seen.wrong, *differing], seen.found + len(differing)


def _refused(wrong: list[Wrong], found: int, output: Path) -> str:
    lines = [f"{output} was not written: {counted(found, 'thing')} wrong with it"]
    lines += [f"  {one}" for one in wrong[:TOLD]]
    if found > TOLD:
        lines.append(f"  and {found - TOLD:,} more")
    return "\n".join([*lines, "`pennyweight ledger verify` says whether the ledger itself adds up"])


@contextmanager
def _progress(window: Window) -> Iterator[Shown]:
    """A bar over the days, on the error stream: the output may be somebody's pipe."""
    count = (window.end - window.start) // DAY
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[day]}"), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=count < LONG_DAYS or not console.is_terminal
    ) as progress:

        def shown(rows: Iterable[Row], what: str) -> Iterator[Row]:
            task = progress.add_task(what, total=count, day="")
            latest = window.start
            for row in rows:
                at = row.get("ChargePeriodStart")
                if isinstance(at, datetime) and at >= latest + DAY:
                    latest += (at - latest) // DAY * DAY
                    progress.update(task, completed=(latest - window.start) // DAY, day=f"{latest:%Y-%m-%d}")
                yield row

        yield shown
