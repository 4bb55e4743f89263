"""Usage records from files, and where records come from: `pennyweight usage import`, `pennyweight usage sources`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, cast

from controller.attribute.batch import Batch
from controller.cli.files import settings_of
from controller.cli.screen import Shown, counted, say, waiting, width
from controller.clock import utc_now
from controller.errors import ConfigError, PennyweightError, Problem, UsageError
from controller.facts.usage import Reason, Receipt, Refused
from controller.ledger.accounts.ingest import Intake
from controller.ledger.accounts.read import AccountReader
from controller.ledger.accounts.rows import RefusedFor, SourceState
from controller.ledger.accounts.standing import newest_records, standing
from controller.report.text import aligned
from controller.settings.account import FileSource, SpendLogsSource
from controller.settings.load import Settings
from controller.usage.batch import Rules
from controller.usage.files import FileKind, Portion, RecordFile, kind_of, portions
from controller.usage.fleet import directory_of, only
from controller.usage.spend_rows import TAGS, SpendRows

TOLD = 20
"""Refused records of a file that are told one by one."""

Take = Callable[[str, Batch], Receipt]


@dataclass
class _Count:
    """What became of one file's records."""

    accepted: int = 0
    duplicates: int = 0
    skipped: int = 0
    disbelieved: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def add(self, file: RecordFile, portion: Portion, receipt: Receipt) -> None:
        self.accepted += receipt.accepted
        self.duplicates += receipt.duplicates
        self.skipped += portion.skipped
        self.disbelieved += portion.disbelieved
        self.refused.update(one.reason for one in receipt.refused)
        room = TOLD - len(self.told)
        self.told += [_place(file, portion, one) for one in receipt.refused[: max(room, 0)]]


def take(arguments: argparse.Namespace) -> int:
    """Count what is in files; exit code 1 when a record was refused."""
    settings = settings_of(arguments.fleet)
    files = [_file(path, arguments, settings) for path in _paths(arguments.paths)]
    rules = _rules(arguments.source, settings)
    refused = False
    with _taking(settings, arguments.dry_run) as add, waiting("reading") as shown:
        for file in files:
            count = _taken(file, rules, add, shown, asked=arguments.trusted is None)
            say(_told(file, count, arguments.dry_run))
            refused = refused or bool(count.refused)
    return 1 if refused else 0


def _rules(source: str | None, settings: Settings) -> Rules:
    """What records are held against; of a source of the fleet file, only its services."""
    account = settings.account
    directory = directory_of(settings.fleet, account.models)
    known = {one.name: one.services for one in account.sources}.get(source or "")
    directory = only(directory, known) if known else directory
    return Rules(directory=directory, keys=account.keys, accept_late=account.accept_late)


def _paths(named: Sequence[Path]) -> list[Path]:
    """Files, and those in folders. Raises ConfigError for what is not there."""
    problems = [Problem(str(path), 0, 0, "", "there is no such file or folder") for path in named if not path.exists()]
    found = [one for path in named if path.exists() for one in _files(path)]
    if not found and not problems:
        problems.append(Problem(str(named[0]), 0, 0, "", "there is no file in it"))
    if problems:
        raise ConfigError(problems)
    return found


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(one for one in path.iterdir() if one.is_file() and not one.name.startswith("."))


def _file(path: Path, arguments: argparse.Namespace, settings: Settings) -> RecordFile:
    """What the arguments, the fleet file's source of that name, and the file itself say of it."""
    known = {one.name: one for one in settings.account.sources}.get(arguments.source)
    told = known.kind if isinstance(known, FileSource) else "litellm" if isinstance(known, SpendLogsSource) else None
    kind = FileKind(arguments.kind or told or kind_of(path))
    return RecordFile(
        path=path,
        kind=kind,
        source=arguments.source or kind,
        trusted=kind is FileKind.LITELLM or _trusted(arguments, settings),
        fields=known.fields if isinstance(known, FileSource) else {},
        rows=_spend_rows(known) if isinstance(known, SpendLogsSource) else SpendRows(),
    )


def _spend_rows(known: SpendLogsSource) -> SpendRows:
    tenant = cast(Literal["organization_id", "end_user", "user"], known.tenant)  # the fleet file allows no other
    return SpendRows(tenant=tenant, tags=known.tags or TAGS)


def _trusted(arguments: argparse.Namespace, settings: Settings) -> bool:
    """As it is said here; else as the fleet file says of the source."""
    if arguments.trusted is not None:
        return bool(arguments.trusted)
    account = settings.account
    trusted = {one.name for one in account.tokens if one.trusted}
    trusted |= {one.name for one in account.sources if isinstance(one, FileSource) and one.trusted}
    return arguments.source in trusted


@contextmanager
def _taking(settings: Settings, dry: bool) -> Iterator[Take]:
    if dry:
        yield lambda _, batch: Receipt(accepted=len(batch), refused=batch.refused)
        return
    with closing(Intake.open(settings.ledger_url, max_identities=settings.account.max_identities)) as intake:
        yield intake.add


def _taken(file: RecordFile, rules: Rules, add: Take, shown: Shown, *, asked: bool) -> _Count:
    """``asked``: nobody said whether to believe what the file says of teams."""
    count = _Count()
    for portion in portions(file, rules, utc_now()):
        if asked and portion.disbelieved and not count.accepted + count.duplicates:
            raise UsageError(
                f"{file.path} says whose its requests were, and nothing says whether to believe it. Give --trusted "
                "when a gateway of yours set the teams and features in it, or --no-trusted to count it by API keys "
                "alone; nothing was counted"
            )
        count.add(file, portion, add(file.source, portion.batch))
        shown(f"{file.path.name}: {count.accepted + count.duplicates:,} records")
    return count


def _place(file: RecordFile, portion: Portion, one: Refused) -> str:
    """Where it stands. Rows of LiteLLM's may span lines, so they are counted."""
    at = portion.first + one.index
    where = f"{file.path}: row {at}" if file.kind is FileKind.LITELLM else f"{file.path}:{at}"
    return f"{where}: {one.why}"


def _told(file: RecordFile, count: _Count, dry: bool) -> Iterator[str]:
    refused = count.refused.total()
    told = [f"{count.accepted:,} {'would be counted, if they are new' if dry else 'counted'}"]
    told += [f"{count.duplicates:,} known already"] if count.duplicates else []
    told += [f"{refused:,} refused"] if refused else []
    told += [f"{counted(count.skipped, 'line')} without a request"] if count.skipped else []
    yield f"{file.path} ({file.kind}, as source {file.source}): {', '.join(told)}"
    yield from (f"  {one}" for one in count.told)
    if refused > len(count.told):
        yield f"  and {refused - len(count.told):,} more: " + _reasons(count.refused)
    if count.disbelieved:
        yield f"  {count.disbelieved:,} say whose they are and were not believed (--trusted does)"


def _reasons(refused: Mapping[str, int]) -> str:
    return ", ".join(f"{reason.replace('_', ' ')} {number:,}" for reason, number in sorted(refused.items()))


def sources(arguments: argparse.Namespace) -> int:
    """Where records come from, and how far behind each source is."""
    settings = settings_of(arguments.fleet)
    standing(settings.ledger_url)
    with closing(AccountReader(settings.ledger_url)) as reader:
        found = {one.source: one for one in reader.sources()}
    configured = [one.name for one in (*settings.account.tokens, *settings.account.sources)]
    names = [*configured, *(name for name in found if name not in configured)]
    if not names:
        raise PennyweightError(
            "no usage record has come yet, and the fleet file names nobody who sends some: all work is "
            "__unattributed__. docs/usage.md shows how to send them; `pennyweight usage import FILE` takes files"
        )
    now, newest = utc_now(), newest_records(settings.ledger_url)
    rows = [_row(name, found.get(name), newest.get(name), settings, now) for name in names]
    headings = ("source", "kind", "newest", "read", "records", "repeated", "refused", "tokens")
    print("\n".join(aligned([headings, *rows], 2, width())))
    for one in found.values():
        if one.refused_for:
            print(f"refused of {one.source}: {', '.join(map(_refused_for, one.refused_for))}")
        if one.beyond_cap:
            print(
                f"{one.beyond_cap:,} records of {one.source} count as __other__: more than "
                f"{settings.account.max_identities:,} identities (account.max_identities)"
            )
    return 0


REFUSED_FOR = {
    Reason.NOT_JSON: "not JSON",
    Reason.FIELD: "with a missing or wrong field",
    Reason.UNKNOWN_SERVICE: "of an unknown service",
    Reason.TIME: "with impossible times",
    Reason.TOO_OLD: "too old",
    Reason.IN_FUTURE: "from the future",
}


def _refused_for(one: RefusedFor) -> str:
    return f"{one.records:,} {REFUSED_FOR[one.reason]} (last on {one.last})"


def _row(
    name: str, seen: SourceState | None, newest: datetime | None, settings: Settings, now: datetime
) -> tuple[str, ...]:
    """Of what is read, the newest record is known to the second; of what is sent, to the hour."""
    kind = _kind(name, settings)
    if seen is None:
        return name, kind, "never", "never", "0", "0", "0", "0"
    counts = (seen.records, seen.duplicates, seen.refused, seen.tokens)
    mark = seen.watermark_at
    to_the_hour = newest is not None and (mark is None or mark < newest)
    when = _hours_ago(newest, now) if newest is not None and to_the_hour else _ago(mark, now)
    return name, kind, when, _ago(seen.read_at, now), *(f"{count:,}" for count in counts)


def _kind(name: str, settings: Settings) -> str:
    if name in {one.name for one in settings.account.tokens}:
        return "sent"
    known = {one.name: one for one in settings.account.sources}.get(name)
    if known is None:
        return "imported"
    return known.kind if isinstance(known, FileSource) else "litellm"


def _hours_ago(hour: datetime, now: datetime) -> str:
    """Of what is known to the hour alone, by that hour's start: the hour that runs, or so many before it."""
    begun = now.replace(minute=0, second=0, microsecond=0)
    return "this hour" if hour >= begun else _ago(hour, begun)


def _ago(at: datetime | None, now: datetime) -> str:
    """ "-" for what is sent and not read."""
    if at is None:
        return "-"
    seconds = max((now - at).total_seconds(), 0.0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
