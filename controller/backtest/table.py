"""A CSV file as typed columns, or every mistake in it with its line and column."""

from __future__ import annotations

import csv
import difflib
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO, StringIO
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from controller.backtest.words import many
from controller.errors import ConfigError, Problem
from controller.file_kinds import FileKind, misplaced

MOST_SHOWN = 20
"""Mistakes that are told one by one; the others are counted. A guess: a screenful."""

Floats = NDArray[np.float64]

GZIP_MAGIC = b"\x1f\x8b"
UTF_16 = "UTF-16 (save it as UTF-8)"
OTHER_KINDS = {b"PK\x03\x04": "a zip (unpack it, or pack it with gzip)", b"\xff\xfe": UTF_16, b"\xfe\xff": UTF_16}
"""What a file is that begins so."""
PACKED_BYTES = 1 << 16
"""Unpacked at a time."""


class Kind(StrEnum):
    """What a column holds, as a mistake tells it."""

    TIME = "seconds or an ISO time"
    NUMBER = "a number"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column as wanted. ``aliases``: what public data sets call it, compared without case, blanks and underscores.

    least, most, whole   what a number must be
    """

    name: str
    kind: Kind = Kind.NUMBER
    aliases: tuple[str, ...] = ()
    least: float = 0.0
    most: float = float("inf")
    whole: bool = False
    required: bool = True

    def is_called(self, name: str) -> bool:
        return _bare(name) in map(_bare, (self.name, *self.aliases))


@dataclass(slots=True, kw_only=True)
class Table:
    """The columns that were wanted and found, of equal length, blank lines left out.

    called           what the file calls each of them
    lines            in which line of the file each row stands, from 1
    misfits          rows with too many or too few fields: which of them is which nobody knows
    numbers, texts   by the column's own name, whatever the file calls it
    """

    file: str
    data: bytes
    header: tuple[str, ...]
    called: Mapping[str, str]
    lines: NDArray[np.int64]
    misfits: NDArray[np.bool_]
    numbers: dict[str, Floats] = field(default_factory=dict)
    texts: dict[str, NDArray[np.str_]] = field(default_factory=dict)
    _mistakes: list[_Mistake] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines)

    def wrong(self, column: str, which: NDArray[np.bool_], message: str | Callable[[int], str]) -> None:
        """Note a mistake in ``column`` of every row of ``which``, but for misfits; ``column`` "": in the whole row.

        ``{found}`` in the message becomes what stands there, ``{at 7}`` what stands in that line; a message that
        differs by row is asked for those shown.
        """
        rows = np.flatnonzero(which & ~self.misfits if column else which)
        if len(rows):
            texts = [message if isinstance(message, str) else message(int(row)) for row in rows[:MOST_SHOWN]]
            shown = tuple(zip(self.lines[rows[:MOST_SHOWN]].tolist(), texts, strict=True))
            self._mistakes.append(_Mistake(column=column, count=len(rows), shown=shown))

    def finish(self) -> None:
        """Raise ConfigError if anything was wrong: the first mistakes by line, and how many there are."""
        if not self._mistakes:
            return
        total = sum(mistake.count for mistake in self._mistakes)
        told = sorted((line, mistake.column, text) for mistake in self._mistakes for line, text in mistake.shown)
        told = told[:MOST_SHOWN]
        named = [int(line) for _, _, text in told for line in _AT.findall(text)]
        lines = _lines(self.data, [*(line for line, _, _ in told), *named])
        problems = [self._problem(line, column, message, lines) for line, column, message in told]
        raise ConfigError([*_heading(self.file, total), *problems])

    def _problem(self, line: int, column: str, message: str, lines: Mapping[int, str]) -> Problem:
        if not column:
            return Problem(self.file, line, 1, "", message)
        place = self.header.index(self.called[column])
        begins = 1 + sum(len(one) + 1 for one in _fields(lines[line])[:place])
        message = message.replace("{found}", _found(lines[line], place))
        message = _AT.sub(lambda other: _found(lines[int(other[1])], place), message)
        return Problem(self.file, line, begins, column, message)


_AT = re.compile(r"\{at (\d+)\}")


def _fields(line: str) -> list[str]:
    """As they stand there, quotes and blanks included."""
    return re.findall(r'(?:^|,)((?:\s*"[^"]*"|[^,"])*)', line)


def _found(line: str, place: int) -> str:
    fields = _fields(line)
    return fields[place].strip(' "') if place < len(fields) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mistake:
    """The same mistake in one or more rows of a column."""

    column: str
    count: int
    shown: tuple[tuple[int, str], ...]


def read_header(path: Path, shown_as: str | None = None) -> tuple[str, bytes, tuple[str, ...]]:
    """The name to tell mistakes under, the file's bytes (unpacked if they are gzip's) and the names in its first line.

    Raises ConfigError when there is nothing to read a table from."""
    file = shown_as or str(path)
    data = _unpacked(file, path).removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        _refuse(file, 0, "is empty; expected a header line and rows")
    instead = misplaced(data, FileKind.TABLE)
    if instead:
        _refuse(file, 0, instead)
    text = _first_line(file, data)
    other = next((mark for mark in (";", "\t", "|") if mark in text and "," not in text), None)
    if other:
        _refuse(file, 1, f"columns are separated by {other!r}; expected ','")
    header = tuple(name.strip() for name in next(csv.reader([text]), []))
    if header and all(map(_is_number, header)):
        _refuse(file, 1, "holds numbers where the names of the columns should stand")
    return file, data, header


def read_columns(file: str, data: bytes, header: tuple[str, ...], wanted: Sequence[Column]) -> Table:
    """The wanted columns. Wrong values are noted in the table, to be told with whatever else is wrong with it.

    Raises ConfigError at once where columns cannot be told apart: missing or named twice.
    """
    called = _called(file, header, wanted)
    places = [header.index(name) for name in called.values()]
    try:
        counts = _counted(data)
        frame = _frame(_cut(data, counts, len(header)), header, places)
    except (pd.errors.ParserError, csv.Error):
        _refuse(file, 0, "is not CSV: a quote is opened and never closed")
    blank = frame.isna().all(axis=1).to_numpy()
    frame = frame[~blank]
    if not len(frame):
        _refuse(file, 0, "has a header line but no rows")
    lines = np.flatnonzero(~blank).astype(np.int64) + 2
    fields = counts[np.minimum(lines, len(counts)) - 1]
    misfits = (fields > len(header)) | (fields <= max(places))
    table = Table(file=file, data=data, header=header, called=called, lines=lines, misfits=misfits)
    table.wrong("", misfits, lambda row: f"has {many(int(fields[row]), 'field')}, the header {len(header)}")
    for column in wanted:
        if column.name in called:
            values = frame[header.index(called[column.name])]
            if column.kind is Kind.TEXT:
                table.texts[column.name] = _text_values(table, column, values)
            else:
                table.numbers[column.name] = _number_values(table, column, values)
    return table


def missing_columns(header: Sequence[str], wanted: Sequence[Column]) -> list[Column]:
    """What is wanted and in no column of ``header``."""
    return [one for one in wanted if one.required and not any(map(one.is_called, header))]


# --- bytes and lines -------------------------------------------------------------------------------------------------


def _unpacked(file: str, path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(file, 0, 0, "", f"cannot be read: {error.strerror}")]) from error
    if not data.startswith(GZIP_MAGIC):
        return data
    parts: list[bytes] = []
    try:
        parts.extend(_members(data))
    except (EOFError, zlib.error) as error:
        lines, size = sum(part.count(b"\n") for part in parts), sum(map(len, parts))
        why = "the gzip file is cut off" if isinstance(error, EOFError) else f"the gzip file is damaged ({error})"
        where = f"after line {lines:,}" if lines else "within its first line"
        had = f"{size:,} bytes could be unpacked of the {len(data):,} that are there"
        _refuse(file, 0, f"{why} {where}: {had}. Nothing of it is used; fetch the file again")
    return b"".join(parts)


def _members(data: bytes) -> Iterator[bytes]:
    """What one gzip file after the other holds, part by part. EOFError where the last ends early; zlib.error."""
    at = 0
    while at < len(data) and any(data[at : at + 1]):  # zeros may fill the end
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while not member.eof:
            packed = data[at : at + PACKED_BYTES]
            if not packed:
                raise EOFError
            yield member.decompress(packed)
            at += len(packed) - len(member.unused_data)


def _first_line(file: str, data: bytes) -> str:
    first = data.split(b"\n", 1)[0].rstrip(b"\r")
    other = next((what for mark, what in OTHER_KINDS.items() if data.startswith(mark)), None)
    if other or b"\0" in first:
        _refuse(file, 1, f"is {other or 'not text'}: expected a CSV file, gzip-packed or not")
    if data.lstrip().startswith((b"{", b"[")):
        _refuse(file, 1, "is JSON: expected a CSV file, whose first line names its columns")
    try:
        text = first.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 (byte 0x{first[error.start]:02x}): expected a CSV file in UTF-8, gzip-packed or not"
        _refuse(file, 1, what, error.start + 1)
    _check_line_ends(file, data)
    return text


def _check_line_ends(file: str, data: bytes) -> None:
    """Refuse a carriage return alone: one reader takes it for the end of a line, another for a part of it."""
    if data.count(b"\r") == data.count(b"\r\n"):
        return
    bare = _BARE_RETURN.search(data)
    if bare:
        line, begin = data.count(b"\n", 0, bare.start()) + 1, data.rfind(b"\n", 0, bare.start()) + 1
        ends = "a line ends in a bare carriage return (\\r); expected \\n or \\r\\n"
        _refuse(file, line, ends, bare.start() - begin + 1)


_BARE_RETURN = re.compile(rb"\r(?!\n)")


def _lines(data: bytes, numbers: Sequence[int]) -> dict[int, str]:
    """The text of some lines, by number from 1."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    found = {}
    for number in numbers:
        begin = int(ends[number - 2]) + 1 if number > 1 else 0
        end = int(ends[number - 1]) if number <= len(ends) else len(data)
        found[number] = data[begin:end].decode("utf-8", errors="replace").rstrip("\r")
    return found


def _heading(file: str, total: int) -> list[Problem]:
    """What stands above the mistakes when there are more than are shown, for the others. (A problem of the whole file
    comes first.)"""
    if total <= MOST_SHOWN:
        return []
    return [Problem(file, 0, 0, "", f"{total} mistakes; the first {MOST_SHOWN} by line:", total - MOST_SHOWN)]


def _refuse(file: str, line: int, message: str, column: int = 1) -> NoReturn:
    raise ConfigError([Problem(file, line, column if line else 0, "", message)])


# --- columns ---------------------------------------------------------------------------------------------------------


def _bare(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in " _-")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _called(file: str, header: Sequence[str], wanted: Sequence[Column]) -> dict[str, str]:
    """What the file calls each wanted column."""
    problems = [_missing(file, header, column, wanted) for column in missing_columns(header, wanted)]
    found: dict[str, str] = {}
    for column in wanted:
        names = [name for name in header if column.is_called(name)]
        if len(names) > 1:
            problems.append(Problem(file, 1, 1, column.name, f"stands in {len(names)} columns: {', '.join(names)}"))
        if names:
            found[column.name] = names[0]
    if problems:
        raise ConfigError(problems)
    return found


def _missing(file: str, header: Sequence[str], column: Column, wanted: Sequence[Column]) -> Problem:
    unknown = [name for name in header if not any(one.is_called(name) for one in wanted)]
    close = difflib.get_close_matches(column.name, unknown, n=1, cutoff=0.8)
    hint = f"; is it the one named '{close[0]}'?" if close else f"; found {', '.join(map(repr, header))}"
    return Problem(file, 1, 1, column.name, f"the column is missing{hint}")


def _frame(data: bytes, header: Sequence[str], kept: Sequence[int]) -> pd.DataFrame:
    """All rows, columns by place; numbers where one of the kept holds nothing else, text where it does."""
    return pd.read_csv(
        BytesIO(data),
        names=range(len(header)),
        header=0,
        dtype={place: "category" for place in range(len(header)) if place not in kept},
        keep_default_na=False,
        na_values=[""],
        skip_blank_lines=False,
        skipinitialspace=True,
        low_memory=False,
        index_col=False,
        encoding="utf-8",
        encoding_errors="replace",
    )


def _counted(data: bytes) -> NDArray[np.int64]:
    """How many fields each line has."""
    if b'"' in data:
        return np.array([len(record) for record in _records(data)], np.int64)
    letters = np.frombuffer(data, np.uint8)
    ends = np.append(np.flatnonzero(letters == ord("\n")), len(letters))
    commas = np.searchsorted(np.flatnonzero(letters == ord(",")), ends)
    return np.diff(commas, prepend=0) + 1


def _cut(data: bytes, counts: NDArray[np.int64], most: int) -> bytes:
    """Without the fields beyond the header's: such rows are told, and the others are looked at all the same."""
    long = np.flatnonzero(counts > most)
    if not len(long):
        return data
    cut = StringIO()
    csv.writer(cut, lineterminator="\n").writerows(record[:most] for record in _records(data))
    return cut.getvalue().encode()


def _records(data: bytes) -> Iterator[list[str]]:
    return csv.reader(StringIO(data.decode("utf-8", errors="replace"), newline=""), skipinitialspace=True)


# --- values ----------------------------------------------------------------------------------------------------------


def _text_values(table: Table, column: Column, values: pd.Series) -> NDArray[np.str_]:
    table.wrong(column.name, values.isna().to_numpy(), "is empty; expected text")
    return np.asarray(values.astype(str).where(values.notna(), "").to_numpy(), dtype=np.str_)


def _number_values(table: Table, column: Column, values: pd.Series) -> Floats:
    """The column as numbers; NaN where there is none, which is noted."""
    empty = values.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(values.dtype) and values.dtype != bool:
        numbers, stated = values.to_numpy(np.float64), ~empty
    else:
        numbers, stated = _from_text(column, values, empty)
    finite = np.isfinite(numbers)
    low, high = finite & (numbers < column.least), finite & (numbers > column.most)
    table.wrong(column.name, empty, f"is empty; expected {column.kind}")
    table.wrong(column.name, ~empty & ~stated, f"expected {column.kind}, found '{{found}}'")
    table.wrong(column.name, stated & ~finite, "expected a finite number, found {found}")
    table.wrong(column.name, low, f"must be at least {column.least:g}, found {{found}}")
    table.wrong(column.name, high, f"must be at most {column.most:g}, found {{found}}")
    if column.whole:
        broken = finite & ~low & ~high & (numbers != np.rint(numbers))
        table.wrong(column.name, broken, "expected a whole number, found {found}")
    return np.where(finite, numbers, np.nan)


def _from_text(column: Column, values: pd.Series, empty: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Numbers of a column that holds other things too, and where there was a number (NaN and infinity are some)."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    if column.kind is Kind.TIME and not np.isfinite(numbers).any():
        times = pd.to_datetime(values.where(~empty), format="ISO8601", utc=True, errors="coerce")
        return (times - times.min()).dt.total_seconds().to_numpy(np.float64), times.notna().to_numpy()
    stated = ~np.isnan(numbers)
    odd = np.flatnonzero(~stated & ~empty)
    stated[odd] = values.iloc[odd].astype(str).str.strip(" +-").str.casefold().isin(["nan", "inf", "infinity"])
    return numbers, stated
