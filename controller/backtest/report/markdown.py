"""The same as Markdown, for a pull request or a wiki; its plots are files beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from controller.backtest.report.content import Cell, figures, method, unknowns, words
from controller.backtest.report.decisions import biggest, reasons
from controller.backtest.report.plots import Plot
from controller.backtest.results import Backtest, Standing, standings
from controller.backtest.words import many, signed_usd, span, verdict

_SPECIAL = str.maketrans({each: f"\\{each}" for each in "\\`*_[]<>|#~"} | {"\n": " ", "\r": " "})


def markdown_page(backtest: Backtest, plots: Iterable[Plot], picture: Callable[[Plot], str]) -> str:
    """The report. ``picture``: where a plot's file is, seen from the page."""
    found = verdict(backtest)
    parts = [f"# Backtest of {_plain(backtest.trace)}, {span(backtest.hours)}", f"**{_plain(found.headline)}**"]
    parts += [f"> **Wrong:** {_plain(warning)}" for warning in found.warnings]
    parts += ["\n".join(f"- {_plain(sentence)}" for sentence in found.details)]
    parts += _figures(backtest)
    parts += [f"## {plot.title}\n\n![{_plain(plot.told)}]({picture(plot)})\n\n{plot.told}" for plot in plots]
    parts += _decisions(backtest)
    parts += _method(backtest)
    return "\n\n".join(part for part in parts if part) + "\n"


def _plain(text: str) -> str:
    """``text`` as it stands, whatever Markdown would make of it."""
    return text.translate(_SPECIAL)


def _table(headings: Sequence[str], body: Iterable[Sequence[str]], *, words: int = 0) -> str:
    """``words``: the column that holds sentences, beside the first."""
    rule = [":--" if index in (0, words) else "--:" for index in range(len(headings))]
    lines = (headings, rule, *([_plain(cell) for cell in row] for row in body))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figures(backtest: Backtest) -> Iterator[str]:
    yield f"## All controllers\n\n{_plain(backtest.slo_text)}."
    for table in figures(backtest):
        judged = [("kept" if row.met else "MISSED",) if table.judged else () for row in table.rows]
        body = [(row.name, *said, *map(_cell, row.cells)) for row, said in zip(table.rows, judged, strict=True)]
        yield f"### {table.title}"
        yield _table(("controller", *(("SLO",) if table.judged else ()), *table.headings), body)
    yield "\n".join(f"- {_plain(reason)}" for reason in unknowns(backtest))


def _cell(cell: Cell) -> str:
    return f"{cell.mean} ({cell.ranged})" if cell.ranged else cell.mean


def _decisions(backtest: Backtest) -> Iterator[str]:
    yield "## Decisions and their reasons"
    for one in standings(backtest):
        yield f"### {_plain(one.name)}: {many(len(one.runs[0].moves), 'move')}"
        if one.runs[0].moves:
            yield from _moves(one)


def _moves(one: Standing) -> Iterator[str]:
    listed, others = reasons(one.runs[0])
    yield _table(
        ("reason (numbers of the largest move)", "moves", "added", "removed"),
        [(reason.example, f"{reason.times:,}", f"{reason.added:,}", f"{reason.removed:,}") for reason in listed],
    )
    yield f"{many(others, 'more move')} had other reasons." if others else ""
    yield _table(
        ("biggest moves, since the start", "replicas", "USD an hour at the run's mean price", "reason"),
        [
            (move.when, f"{move.before} → {move.after}", signed_usd(move.usd_per_hour), move.reason)
            for move in biggest(one.runs[0])
        ],
        words=3,
    )


def _method(backtest: Backtest) -> Iterator[str]:
    yield "## Method and limits"
    for part in method(backtest):
        yield f"### {part.title}"
        yield _plain(part.told)
        yield "\n".join(f"- {name}: {_plain(text)}" for name, text in part.rows)
        yield "\n".join(f"- {_plain(note)}" for note in part.notes)
    yield "### Words"
    yield "\n".join(f"- {name}: {_plain(text)}" for name, text in words(backtest))
