"""A report as one HTML file that needs nothing else: no network, no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from controller.attribute.bridge import DRIVERS
from controller.report.columns import COLUMNS
from controller.report.query import Report
from controller.report.words import headline, key_cells, notes, period, sections, shown, signed, title, usd

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d8dde3; --soft: #5b6672; --up: #b3261e;
  --down: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #14171a; --line: #353b42; --soft: #9aa5b1;
  --up: #ff8a80; --down: #6fdd8b; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 110rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.soft, .note { color: var(--soft); } .headline { font-size: 1.1rem; max-width: 60rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); } .text { text-align: left; } tr.all td { font-weight: 600; }
.up { color: var(--up); } .down { color: var(--down); }
"""


def html_page(report: Report) -> str:
    """Equal reports give equal pages."""
    body = "\n".join((*_head(report), *_bridge(report), *_table(report), *_rest(report)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title(report))}, {escape(period(report))}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(report: Report) -> Iterator[str]:
    yield f'<header><h1>{escape(title(report))}</h1><p class="soft">{escape(period(report))}</p></header>'
    yield f'<p class="headline">{escape(headline(report))}</p>'
    yield "<ul>"
    yield from (f"<li>{escape(note)}</li>" for note in notes(report))
    yield "</ul>"


def _bridge(report: Report) -> Iterator[str]:
    """From the last period to this one, step by step."""
    total = report.total
    yield "<h2>Why it changed</h2>"
    steps = [("last period", usd(total.last_nanousd), 0)]
    steps += [
        (name, signed(getattr(total.bridge, name), total.cost_nanousd), getattr(total.bridge, name)) for name in DRIVERS
    ]
    steps.append(("this period", usd(total.cost_nanousd), 0))
    yield '<div class="scroll"><table><tbody>'
    for name, amount, change in steps:
        colour = ' class="up"' if change > 0 else ' class="down"' if change < 0 else ""
        yield f'<tr><th class="text" scope="row">{name}</th><td{colour}>{escape(amount)}</td></tr>'
    yield "</tbody></table></div>"
    yield '<p class="note">Between pools. A row\'s own price, volume, mix and efficiency add up to its own change.</p>'


def _table(report: Report) -> Iterator[str]:
    dims = [str(dim).replace("_", " ") for dim in report.asked.by]
    rows = [
        (*key_cells(report.asked.by, row.key), *(shown(row, column, report) for column in COLUMNS))
        for row in report.rows
    ]
    if dims:
        blanks = ("all", *[""] * (len(dims) - 1))
        rows.append((*blanks, *(shown(report.total, column, report) for column in COLUMNS)))
    yield f"<h2>{escape(title(report))}</h2>"
    abouts = [*("" for _ in dims), *(column.about for column in COLUMNS)]
    yield from table((*dims, *(column.heading for column in COLUMNS)), rows, len(dims), abouts, total=bool(dims))


def _rest(report: Report) -> Iterator[str]:
    for section in sections(report):
        yield f"<h2>{escape(section.title)}</h2>"
        yield from table(section.headings, section.rows, section.texts)
        if section.note:
            yield f'<p class="note">{escape(section.note)}</p>'


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    texts: int,
    abouts: Sequence[str] = (),
    *,
    total: bool = False,
) -> Iterator[str]:
    """The first ``texts`` columns are words. ``total``: the last row is of all."""
    yield '<div class="scroll" tabindex="0"><table><thead><tr>'
    for place, heading in enumerate(headings):
        about = f' title="{escape(abouts[place])}"' if place < len(abouts) and abouts[place] else ""
        yield f'<th scope="col"{_text(place, texts)}{about}>{escape(heading)}</th>'
    yield "</tr></thead><tbody>"
    for number, row in enumerate(rows):
        marked = ' class="all"' if total and number == len(rows) - 1 else ""
        cells = "".join(f"<td{_text(place, texts)}>{escape(cell)}</td>" for place, cell in enumerate(row))
        yield f"<tr{marked}>{cells}</tr>"
    yield "</tbody></table></div>"


def _text(place: int, texts: int) -> str:
    return ' class="text"' if place < texts else ""
