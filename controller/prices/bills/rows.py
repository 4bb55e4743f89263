"""Rows of CSV (also gzipped) and Parquet files by the names of their columns, however these are spelled."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any, TextIO

from controller.attribute.charges import BillLine
from controller.errors import BillError

CHUNK_BYTES = 1 << 20


class Row:
    """One row. Columns are found by their letters and digits alone: lineItem/UsageStartDate is
    line_item_usage_start_date. An empty cell is one that is not there."""

    def __init__(self, place: str, cells: Mapping[str, Any]) -> None:
        self.place = place
        self._cells = cells

    def text(self, *names: str) -> str:
        """The first of ``names`` that is there, "" when none is."""
        for name in names:
            cell = self._cells.get(_plain(name))
            if cell is not None and cell != "":
                return str(cell)
        return ""

    def number(self, name: str) -> Decimal | None:
        cell = self._cells.get(_plain(name))
        if cell is None or cell == "":
            return None
        try:
            number = (
                cell if isinstance(cell, Decimal) else Decimal(repr(cell) if isinstance(cell, float) else str(cell))
            )
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite():
            raise BillError(f"{self.place}: {name}: expected a number, found {cell!r}; nothing of this bill was read")
        return number

    def needed(self, name: str) -> Decimal:
        number = self.number(name)
        if number is None:
            raise BillError(f"{self.place}: {name} is not there; nothing of this bill was read")
        return number

    def time(self, name: str) -> datetime:
        """In UTC; a time without a zone is taken to be."""
        cell = self._cells.get(_plain(name))
        try:
            at = cell if isinstance(cell, datetime) else datetime.fromisoformat(str(cell))
        except ValueError:
            raise BillError(f"{self.place}: {name}: expected a time, found {cell!r}; nothing of it was read") from None
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)

    def items(self, name: str) -> Mapping[str, Any]:
        """A map, or an object written as JSON; {} when it is not there."""
        cell = self._cells.get(_plain(name))
        if isinstance(cell, str) and cell:
            try:
                cell = json.loads(cell)
            except ValueError:
                raise BillError(f"{self.place}: {name}: expected a JSON object, found {cell[:80]!r}") from None
        if isinstance(cell, list):
            cell = dict(cell)
        return cell if isinstance(cell, Mapping) else {}


def rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of one file, one after the other; ``columns``: the ones that are asked for. Raises BillError."""
    wanted = {_plain(name) for name in columns}
    try:
        yield from _parquet(path, wanted) if path.suffix == ".parquet" else _csv(path, wanted)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise BillError(f"{path}: {error}; nothing of this bill was read") from error


def digest(paths: Iterable[Path]) -> str:
    """Of the contents of all files, whatever they are called and in whatever order."""
    parts = []
    for path in paths:
        whole = sha256()
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    whole.update(chunk)
        except OSError as error:
            raise BillError(f"{path}: {error}; nothing of this bill was read") from error
        parts.append(whole.hexdigest())
    return sha256("".join(sorted(parts)).encode()).hexdigest()


def added_up(lines: Iterable[BillLine]) -> tuple[BillLine, ...]:
    """Lines that differ in nothing but their amounts as one. An amount that one of them does not say is not said."""
    found: dict[tuple[object, ...], BillLine] = {}
    sums: dict[tuple[object, ...], tuple[Decimal | None, ...]] = {}
    for line in lines:
        key, amounts = _WHAT(line), (line.billed, line.effective, line.list_, line.contracted)
        before = sums.get(key)
        sums[key] = amounts if before is None else tuple(map(_sum, before, amounts))
        found.setdefault(key, line)
    return tuple(
        replace(found[key], billed=billed, effective=effective, list_=list_, contracted=contracted)
        for key, (billed, effective, list_, contracted) in sums.items()
    )


_AMOUNTS = {"billed", "effective", "list_", "contracted"}
_WHAT = attrgetter(*(one.name for one in fields(BillLine) if one.name not in _AMOUNTS))


def whole_days(start: datetime, end: datetime) -> tuple[date, date]:
    """The days that a time touches, the second one exclusive."""
    last = max(end - timedelta(microseconds=1), start)
    return start.date(), last.date() + timedelta(days=1)


def _csv(path: Path, wanted: set[str]) -> Iterator[Row]:
    with _opened(path) as file:
        reader = csv.reader(file)
        names = [_plain(name) for name in next(reader, [])]
        kept = [(at, name) for at, name in enumerate(names) if name in wanted]
        for cells in reader:
            if cells and len(cells) != len(names):
                raise BillError(
                    f"{path}:{reader.line_num}: {len(cells)} cells under {len(names)} columns; is the file whole?"
                )
            if cells:
                yield Row(f"{path}:{reader.line_num}", {name: cells[at] for at, name in kept})


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.GzipFile(path), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _parquet(path: Path, wanted: set[str]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if _plain(name) in wanted]
            number = 0
            for batch in file.iter_batches(columns=columns):
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}: row {number}", {_plain(name): cell for name, cell in cells.items()})
    except pa.ArrowException as error:
        raise BillError(f"{path}: {error}; nothing of this bill was read") from error


def _plain(name: str) -> str:
    found = _PLAIN.get(name)
    if found is None:
        found = _PLAIN[name] = re.sub(r"[^a-z0-9]", "", name.lower())
    return found


_PLAIN: dict[str, str] = {}
"""A bill has a million rows and a hundred names."""


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else one + other
