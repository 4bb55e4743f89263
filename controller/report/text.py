"""A report for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from controller.report.columns import BY_NAME, Column
from controller.report.query import Report, Row
from controller.report.words import columns_shown, headline, key_cells, notes, period, sections, shown, title, usd

LEFT_OUT_FIRST = (
    "usd_per_million_cached_input",
    "share",
    "usd_per_million_input",
    "overhead_usd",
    "requests",
    "work_usd",
    "idle_usd",
    "usd_per_million_output",
)
"""Columns that a narrow screen does not show; how much it was, and how much more than before, it always does."""

MOST_ROWS = 60
"""What somebody reads on a screen. A guess; files have all."""

GAP = 2


def report_text(report: Report, width: int | None = None) -> str:
    """``width``: of the screen; sentences are wrapped there, and columns left out that do not fit. None: no limit."""
    lines = [title(report), period(report), "", *_wrapped([headline(report)], width), ""]
    lines += [*_table(report, width), "", *_wrapped(notes(report), width), *_sections(report, width)]
    return "\n".join(lines) + "\n"


def _table(report: Report, width: int | None) -> Iterator[str]:
    dims = [str(dim).replace("_", " ") for dim in report.asked.by]
    rows = report.rows[:MOST_ROWS] if width is not None else report.rows
    keys = [key_cells(report.asked.by, row.key) for row in rows]
    counted = list(rows)
    if report.asked.by:
        keys.append(("all", *[""] * (len(dims) - 1)))
        counted.append(report.total)
    names = [[dim, *cells] for dim, *cells in zip(dims, *keys, strict=True)]
    columns = [_cells(column, counted, report) for column in columns_shown()]
    fitting = _fitting(columns, sum(_width(cells) + GAP for cells in names), width)
    table = [*names, *(cells for _, cells in fitting)]
    yield from aligned(list(zip(*table, strict=True)), texts=len(dims))
    kept = [column for column, _ in fitting]
    yield from _left_out(report, len(rows), [column.heading for column, _ in columns if column not in kept], width)


_Told = tuple[Column, list[str]]


def _cells(column: Column, rows: Sequence[Row], report: Report) -> _Told:
    return column, [column.heading, *(shown(row, column, report) for row in rows)]


def _fitting(columns: list[_Told], taken: int, width: int | None) -> list[_Told]:
    """Of ``columns`` those that find room beside what is ``taken``."""
    for name in LEFT_OUT_FIRST:
        if width is None or taken + sum(_width(cells) + GAP for _, cells in columns) - GAP <= width:
            break
        columns = [one for one in columns if one[0] is not BY_NAME[name]]
    return columns


def _left_out(report: Report, rows: int, columns: Sequence[str], width: int | None) -> Iterator[str]:
    """What is not on the screen, and where it is."""
    rest = report.rows[rows:]
    told = [f"and {len(rest):,} more rows, {usd(sum(row.cost_nanousd for row in rest))} together"] if rest else []
    told += [f"on a wider screen also {', '.join(columns)}"] if columns else []
    yield from _wrapped([f"({'; '.join(told)}; --format csv has everything)"] if told else [], width)


def _sections(report: Report, width: int | None) -> Iterator[str]:
    for section in sections(report):
        yield ""
        yield section.title
        yield from aligned([section.headings, *section.rows], section.texts, width)
        yield from _wrapped([section.note] if section.note else [], width)


def _wrapped(sentences: Iterable[str], width: int | None) -> Iterator[str]:
    for sentence in sentences:
        yield from [sentence] if width is None else wrap(sentence, width, break_long_words=False)


def aligned(rows: Sequence[Sequence[str]], texts: int, width: int | None = None) -> Iterator[str]:
    """Words to the left, numbers to the right, two blanks between. What is wider than ``width`` becomes a list."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is not None and len(rows) > 1 and sum(widths) + GAP * (len(widths) - 1) > width:
        yield from _listed(rows, width)
        return
    for row in rows:
        cells = (
            cell.ljust(room) if place < texts else cell.rjust(room)
            for place, (cell, room) in enumerate(zip(row, widths, strict=True))
        )
        yield (" " * GAP).join(cells).rstrip()


def _listed(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """The first cell of each row, and below it the others under their names."""
    headings, *others = rows
    for first, *cells in others:
        yield first
        told = ", ".join(f"{name} {cell}" for name, cell in zip(headings[1:], cells, strict=True) if cell)
        yield from wrap(told, width, initial_indent="  ", subsequent_indent="  ", break_long_words=False)


def _width(cells: Sequence[str]) -> int:
    return max(map(len, cells))
