"""Usage records in files that somebody has: of which kind a file is, and all of its records, from beginning to end."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import IO, cast

import msgspec

from controller.attribute.batch import Batch
from controller.errors import UsageError
from controller.usage.access_log import AccessLog
from controller.usage.batch import Gathered, Rules, columns
from controller.usage.decode import BAD_JSON, decoded, one_by_one
from controller.usage.otel import Spans
from controller.usage.pull import Mark, Pick, picked_of
from controller.usage.spend_rows import REQUIRED, SpendFile, SpendRows
from controller.usage.told import Told

AT_ONCE = 20_000
"""Lines read and counted together: as many as one transaction of the intake takes."""

PEEKED_BYTES = 16 * 1024 * 1024
"""A first line is no longer than this."""


class FileKind(StrEnum):
    """Of which kind the records in a file are.

    records      as POST /api/v1/usage takes them
    access_log   a server's or gateway's log of JSON lines
    otel         OTLP JSON, as a collector's file exporter writes it
    litellm      rows of LiteLLM's spend logs, CSV or JSON lines
    """

    RECORDS = "records"
    ACCESS_LOG = "access_log"
    OTEL = "otel"
    LITELLM = "litellm"


Fields = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFile:
    """One file. ``trusted``: who wrote it set the identities itself; LiteLLM always does.

    source   whose records they are
    fields   where a record's fields stand, for an access log or spans that have them elsewhere
    rows     how LiteLLM's rows are read
    """

    path: Path
    kind: FileKind
    source: str
    trusted: bool
    fields: Fields = field(default_factory=dict)
    rows: SpendRows = field(default_factory=SpendRows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """Some records of a file.

    first        number of the line at which it begins; refused records count from it
    skipped      lines that are no record of a request
    disbelieved  records that say whose they are, and are not believed
    """

    batch: Batch
    first: int = 1
    skipped: int = 0
    disbelieved: int = 0


def kind_of(path: Path) -> FileKind:
    """By its first line. UsageError when it cannot be read, or is nothing that we know."""
    with _opened(path) as file:
        line = next((one for one in iter(lambda: file.readline(PEEKED_BYTES), b"") if one.strip()), b"").strip()
    if path.suffix.lower() == ".csv" or all(name.encode() in line.split(b",") for name in ("request_id", "startTime")):
        return FileKind.LITELLM
    if line.startswith(b"["):
        return FileKind.RECORDS
    try:
        told = msgspec.json.decode(line)
    except BAD_JSON:
        told = None
    if not isinstance(told, dict):
        raise UsageError(
            f"{path}:1: expected a JSON object, or the header of LiteLLM's spend logs, found {line[:60]!r}; "
            "nothing of it was read"
        )
    return _of_object(told)


def _of_object(told: Mapping[str, object]) -> FileKind:
    if "resourceSpans" in told:
        return FileKind.OTEL
    if all(name in told for name in REQUIRED):
        return FileKind.LITELLM
    return FileKind.RECORDS if "id" in told and "ended_at" in told else FileKind.ACCESS_LOG


def portions(file: RecordFile, rules: Rules, now: datetime) -> Iterator[Portion]:
    """All of its records. UsageError when it cannot be read."""
    if file.kind is FileKind.LITELLM:
        yield from _spent(file, rules, now)
        return
    for first, gathered, skipped in _gathered(file):
        batch = columns(gathered, rules, source=file.source, trusted=file.trusted, now=now)
        disbelieved = 0 if file.trusted else sum(_says_whose(one) for one in gathered.told)
        yield Portion(batch=batch, first=first, skipped=skipped, disbelieved=disbelieved)


def _spent(file: RecordFile, rules: Rules, now: datetime) -> Iterator[Portion]:
    if file.path.suffix.lower() == ".gz":
        raise UsageError(f"{file.path}: rows of LiteLLM's are read unpacked: gunzip it first")
    source = SpendFile(name=file.source, path=file.path, rules=lambda: rules, rows=file.rows)
    for page in source.pages(Mark(), now):
        yield Portion(batch=page.batch, skipped=page.skipped)


def _gathered(file: RecordFile) -> Iterator[tuple[int, Gathered, int]]:
    """The number of the first line, what is in the lines, and how many hold no record."""
    read = _READERS[file.kind](file.fields)
    with _opened(file.path) as lines:
        if file.kind is FileKind.RECORDS and _is_array(lines):
            yield 1, decoded(lines.read()), 0
            return
        first = 1
        while portion := list(islice(lines, AT_ONCE)):
            yield first, *read(portion)
            first += len(portion)


def _is_array(file: IO[bytes]) -> bool:
    start = file.read(1024).lstrip()[:1]
    file.seek(0)
    return start == b"["


Reader = Callable[[Iterable[bytes]], tuple[Gathered, int]]


def _records(_: Fields) -> Reader:
    return lambda lines: (one_by_one((at, line) for at, line in enumerate(lines) if line.strip()), 0)


def _picking(pick: Pick) -> Reader:
    return lambda lines: picked_of(lines, pick)


_READERS: Mapping[FileKind, Callable[[Fields], Reader]] = {
    FileKind.RECORDS: _records,
    FileKind.ACCESS_LOG: lambda fields: _picking(AccessLog(fields).pick),
    FileKind.OTEL: lambda fields: _picking(Spans(fields=fields).pick),
}


def _says_whose(one: Told) -> bool:
    return bool(one.team or one.tenant or one.feature or one.environment)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Unpacked where it is gzipped. UsageError when it cannot be read."""
    try:
        with _open(path) as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"cannot read {path}: {why}; nothing more of it was read") from error


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")
