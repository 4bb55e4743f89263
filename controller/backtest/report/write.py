"""Reports as files."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from controller.backtest.report.html import html_page
from controller.backtest.report.markdown import markdown_page
from controller.backtest.report.plots import COLOURS, Plot, plots
from controller.backtest.results import Backtest
from controller.errors import ConfigError, Problem

HTML = (".html", ".htm")
MARKDOWN = (".md", ".markdown")


def check_path(path: Path) -> None:
    """Raises ConfigError when no report can be written to ``path``: better told before a long run than after it."""
    if path.suffix.lower() not in (*HTML, *MARKDOWN):
        kinds = " or ".join((HTML[0], MARKDOWN[0]))
        raise ConfigError([Problem(str(path), 0, 0, "", f"a report's name ends in {kinds}, not in '{path.suffix}'")])
    if path.is_dir() or not path.absolute().parent.is_dir():
        why = "is a folder" if path.is_dir() else f"cannot be written: there is no folder {path.parent}"
        raise ConfigError([Problem(str(path), 0, 0, "", why)])


def write_report(backtest: Backtest, path: Path) -> tuple[Path, ...]:
    """Writes the report of the kind that ``path`` ends in, and returns what was written. Raises ConfigError."""
    check_path(path)
    texts = {path: html_page(backtest)} if path.suffix.lower() in HTML else _markdown(backtest, path)
    try:
        for where, text in texts.items():
            where.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, 0, "", f"cannot be written: {error.strerror}")]) from error
    return tuple(texts)


def _markdown(backtest: Backtest, path: Path) -> dict[Path, str]:
    drawn = tuple(plots(backtest))

    def beside(plot: Plot) -> Path:
        return path.with_name(f"{path.stem}-{plot.name}.svg")

    page = markdown_page(backtest, drawn, lambda plot: quote(beside(plot).name))
    return {path: page, **{beside(plot): _alone(plot) for plot in drawn}}


def _alone(plot: Plot) -> str:
    """A picture with its own white ground: a viewer's may be dark, and the ink would be lost."""
    before, after = plot.svg.split(">", 1)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n{before} color="{COLOURS["ink"]}" style="background: #ffffff">{after}'
    )
