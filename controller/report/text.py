"""A report for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controller.report.query import Report
from controller.report.words import columns_shown, headline, key_cell, notes, period, sections, shown, title


def report_text(report: Report) -> str:
    return "\n".join((title(report), period(report), "", headline(report), "", *_table(report), *_rest(report))) + "\n"


def _table(report: Report) -> Iterator[str]:
    columns = columns_shown()
    dims = [str(dim).replace("_", " ") for dim in report.asked.by]
    rows = [(*map(key_cell, row.key), *(shown(row, column, report) for column in columns)) for row in report.rows]
    if report.asked.by:
        blanks = ("all", *[""] * (len(dims) - 1))
        rows.append((*blanks, *(shown(report.total, column, report) for column in columns)))
    yield from aligned([(*dims, *(column.heading for column in columns)), *rows], texts=len(dims))


def _rest(report: Report) -> Iterator[str]:
    yield ""
    yield from notes(report)
    for section in sections(report):
        yield ""
        yield section.title
        yield from aligned([section.headings, *section.rows], texts=section.texts)
        if section.note:
            yield section.note


def aligned(rows: Sequence[Sequence[str]], texts: int) -> Iterator[str]:
    """Words to the left, numbers to the right, two blanks between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if place < texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
