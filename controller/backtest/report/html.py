"""One HTML file that needs nothing else: no network, no script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from controller.backtest.report.content import Cell, Row, figures, method, unknowns, words
from controller.backtest.report.decisions import biggest, reasons
from controller.backtest.report.look import STYLE
from controller.backtest.report.plots import COLOURS, LINES, Plot, plots
from controller.backtest.results import Backtest, Standing, standings
from controller.backtest.words import (
    Verdict,
    a_year,
    attained,
    lasts_for_a_year,
    many,
    percent,
    signed_usd,
    span,
    usd,
    verdict,
    wanted,
)
from controller.documents import sentence

_VARIABLES = {colour: f"var(--{name})" for name, colour in COLOURS.items()} | {
    colour: f"var(--l{index})" for index, colour in enumerate(LINES) if colour not in COLOURS.values()
}
"""What the plots' colours are called in the style sheet, so that they follow the reader's colour scheme."""


def html_page(backtest: Backtest) -> str:
    """The report. Equal backtests give equal pages."""
    found = verdict(backtest)
    body = "\n".join(
        (
            *_head(backtest, found),
            *_figures(backtest, found),
            *_plots(backtest),
            *_decisions(backtest),
            *_method(backtest),
        )
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Backtest of {escape(backtest.trace)}</title>\n<style>\n{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(backtest: Backtest, found: Verdict) -> Iterator[str]:
    yield f'<header><p class="kicker">Pennyweight backtest · {escape(backtest.trace)} · {span(backtest.hours)}</p>'
    yield f"<h1>{escape(found.headline).replace(' %', '&nbsp;%')}</h1></header>"
    yield from (f'<p class="wrong" role="alert">{escape(warning)}</p>' for warning in found.warnings)
    yield '<div class="tiles">'
    yield from (
        f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(note)}</span></div>'
        for name, value, note in _tiles(backtest, found)
    )
    yield "</div>"
    yield '<ul class="details">'
    yield from (f"<li>{escape(detail)}</li>" for detail in found.details)
    yield "</ul>"


def _tiles(backtest: Backtest, found: Verdict) -> Iterator[tuple[str, str, str]]:
    """Four numbers to take away: of the winner, or of the first when nobody kept the SLO."""
    everybody = standings(backtest)
    one = found.winner or everybody[0]
    chosen = "cheapest that kept the SLO" if found.winner else "first; nobody kept the SLO"
    yield "Bill of this run", usd(one.usd), f"{one.name}, {chosen}"
    yield "Requests within the SLO", attained(one), f"{wanted(backtest)} wanted: {'kept' if one.met else 'MISSED'}"
    dearer = [other.usd for other in everybody if other.met and other.name != one.name]
    if found.winner and dearer and min(dearer) > 0:
        yield "Less than the next", percent(1 - one.usd / min(dearer)), usd(min(dearer) - one.usd) + " in this run"
    if lasts_for_a_year(backtest):
        yield "A year like this", a_year(backtest, one), f"extrapolated from {span(backtest.hours)}, not measured"


def _figures(backtest: Backtest, found: Verdict) -> Iterator[str]:
    several = ": mean over the seeds, range below" if len(backtest.seeds) > 1 else ""
    yield f'<h2>All controllers</h2>\n<p class="small">{escape(backtest.slo_text)}{several}.</p>'
    for table in figures(backtest):
        yield f'<h3>{table.title}</h3>\n<div class="scroll" tabindex="0" role="region" aria-label="{table.title}">'
        yield '<table class="figures"><thead><tr>'
        heads = ("controller", *(("SLO",) if table.judged else ()), *table.headings)
        yield "".join(f'<th scope="col">{escape(heading)}</th>' for heading in heads)
        yield "</tr></thead><tbody>"
        for row in table.rows:
            yield _row(row, judged=table.judged, won=found.winner is not None and found.winner.name == row.name)
        yield "</tbody></table></div>"
    yield from (f'<p class="small">{escape(sentence(reason))}</p>' for reason in unknowns(backtest))


def _row(row: Row, *, judged: bool, won: bool) -> str:
    tag = '<span class="tag">kept</span>' if row.met else '<span class="tag missed">missed</span>'
    cells = (f"<td>{tag}</td>" if judged else "") + "".join(_cell(cell) for cell in row.cells)
    return f'<tr{" class=won" if won else ""}><th scope="row">{escape(row.name)}</th>{cells}</tr>'


def _cell(cell: Cell) -> str:
    title = f' title="{escape(cell.why)}"' if cell.why else ""
    ranged = f"<small>{escape(cell.ranged)}</small>" if cell.ranged else ""
    return f"<td{title}>{escape(cell.mean)}{ranged}</td>"


def _plots(backtest: Backtest) -> Iterator[str]:
    for plot in plots(backtest):
        yield f"<h2>{escape(plot.title)}</h2>"
        yield f"<figure><figcaption>{escape(plot.told)}</figcaption>\n{inline(plot)}</figure>"


def inline(plot: Plot) -> str:
    """The plot in the page's colours, with a description, as wide as the page."""
    svg = re.sub(r'^<svg([^>]*?) width="[^"]*"', r"<svg\1", plot.svg, count=1)
    svg = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(f"{plot.title}. {plot.told}")}"', 1)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg


def _decisions(backtest: Backtest) -> Iterator[str]:
    yield "<h2>Decisions and their reasons</h2>"
    for index, one in enumerate(standings(backtest)):
        run = one.runs[0]
        what = f"{many(len(run.moves), 'move')}, {many(run.reversals, 'reversal')}"
        yield f"<details{' open' if index == 0 else ''}><summary>{escape(one.name)} <span>{what}</span></summary>"
        yield from _moves(one) if run.moves else ('<p class="small">It never changed the number of replicas.</p>',)
        yield "</details>"


def _moves(one: Standing) -> Iterator[str]:
    listed, others = reasons(one.runs[0])
    yield "<h3>Reasons, counted; numbers of the largest move</h3>"
    yield _table(
        ("reason", "moves", "replicas added", "removed"),
        [(reason.example, f"{reason.times:,}", f"{reason.added:,}", f"{reason.removed:,}") for reason in listed],
        words=0,
    )
    if others:
        yield f'<p class="small">{many(others, "more move")} had other reasons.</p>'
    yield "<h3>Biggest moves</h3>"
    yield _table(
        ("since the start", "replicas", "USD an hour at the run's mean price", "reason"),
        [
            (move.when, f"{move.before} → {move.after}", signed_usd(move.usd_per_hour), move.reason)
            for move in biggest(one.runs[0])
        ],
        words=3,
    )


def _table(headings: Sequence[str], body: Iterable[Sequence[str]], *, words: int) -> str:
    """``words``: the column that holds sentences."""

    def row(tag: str, cells: Sequence[str]) -> str:
        kinds = (" class=words" if index == words else "" for index in range(len(cells)))
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))

    lines = "".join(f"<tr>{row('td', cells)}</tr>" for cells in body)
    table = f"<table><thead><tr>{row('th', headings)}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _method(backtest: Backtest) -> Iterator[str]:
    yield '<h2>Method and limits</h2>\n<div class="method">'
    for part in method(backtest):
        yield f"<h3>{escape(part.title)}</h3>"
        if part.told:
            yield f"<p>{escape(part.told)}</p>"
        if part.rows:
            yield f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(text)}</dd>' for name, text in part.rows)}</dl>"
        if part.notes:
            yield f'<ul class="details">{"".join(f"<li>{escape(note)}</li>" for note in part.notes)}</ul>'
    yield "<h3>Words</h3><dl>"
    yield from (f"<dt>{escape(name)}</dt><dd>{escape(sentence(text))}</dd>" for name, text in words(backtest))
    yield "</dl></div>"
