"""The controllers side by side in the terminal. What does not fit the width is left out, the least important first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from controller.backtest.results import Backtest, Standing, standings, worth_showing
from controller.backtest.words import DASH, UNKNOWN, Verdict, change, mark, shown_spread, span, verdict
from controller.documents import sentence
from controller.facts.missing import Missing

GAP = 2
"""Blanks between columns."""
NO_NUMBER = (UNKNOWN, DASH)
NARROWEST_NAME = 16
"""A controller's name folds down to this before a column is left out."""

Cell = tuple[str, str]
"""The mean, and the range over the seeds under it."""


@dataclass(frozen=True, slots=True)
class Column:
    """``rank``: 1 is kept longest. ``heading``: one or two lines. ``quantity``: what must be worth showing."""

    rank: int
    heading: str
    cell: Callable[[Standing, Standing], Cell]
    quantity: str = ""

    def width(self, cells: Sequence[Cell]) -> int:
        parts = [*self.heading.split("\n"), *(part for cell in cells for part in cell)]
        return max(map(len, parts)) + GAP


def _of(quantity: str) -> Callable[[Standing, Standing], Cell]:
    return lambda one, _: shown_spread(quantity, one.value(quantity))


def _slo(one: Standing, _: Standing) -> Cell:
    return ("kept" if one.met else "MISSED"), (f"{one.seeds_short} short" if one.seeds_short and one.met else "")


def _against(one: Standing, first: Standing) -> Cell:
    if one is first:
        return "first", ""
    return (change(one.usd / first.usd - 1) if first.usd else UNKNOWN), ""


COLUMNS = (
    Column(1, "SLO", _slo),
    Column(1, "cost", _of("cost")),
    Column(3, "against\nfirst", _against),
    Column(6, "regret", _of("regret")),
    Column(2, "within\nSLO", _of("attainment")),
    Column(10, "within\nTTFT", _of("attainment_ttft")),
    Column(11, "within\nTPOT", _of("attainment_tpot")),
    Column(4, "worst\n5 min", _of("worst_five_minutes")),
    Column(5, "dropped", _of("dropped")),
    Column(12, "unfinished", _of("unfinished")),
    Column(7, "replica\nhours", _of("replica_hours")),
    Column(8, "idle", _of("idle")),
    Column(9, "moves\na day", _of("moves_per_day")),
    Column(13, "reversals\na day", _of("reversals_per_day")),
    Column(14, "forecast\nerror", _of("forecast_error")),
    Column(15, "pass", _of("pass")),
    *(
        Column(rank, heading, _of(quantity), quantity)
        for rank, heading, quantity in (
            (5, "interrup-\ntions", "interruptions"),
            (5, "failures", "failures"),
            (5, "requests\nlost", "lost"),
            (5, "passes\nheld", "held"),
            (6, "reserved", "usd_reserved"),
            (6, "on demand", "usd_on_demand"),
            (6, "spot", "usd_spot"),
        )
    ),
)


EACH_BY_ITSELF = (
    "within TTFT, within TPOT: shares of requests, each judged by its own time to first token and its own mean time per"
    " output token; no percentiles."
)


class Comparison:
    """Print it with rich: it is as wide as the console."""

    def __init__(self, backtest: Backtest) -> None:
        self._backtest = backtest
        self._standings = standings(backtest)
        self._columns = [one for one in COLUMNS if worth_showing(backtest, one.quantity)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        found = verdict(self._backtest)
        kept = self._fitting(options.max_width)
        yield Text(found.headline, style="bold")
        yield Text()
        yield self._title()
        yield self._table(kept, found)
        yield Text()
        yield from map(Text, found.details)
        for warning in found.warnings:
            yield Text(f"WRONG: {warning}", style="bold red")
        for note in (*_explained(kept), *self._unknown(kept), *self._left_out(kept)):
            yield Text(note, style="dim")

    def _title(self) -> Text:
        seeds = len(self._backtest.seeds)
        several = f", {seeds} seeds: mean, range" if seeds > 1 else ""
        return Text(f"{self._backtest.trace}, {span(self._backtest.hours)}{several}; {self._backtest.slo_text}")

    def _cells(self, column: Column) -> list[Cell]:
        return [column.cell(one, self._standings[0]) for one in self._standings]

    def _fitting(self, width: int) -> list[Column]:
        """The most important columns that fit, in their own order; columns without any number only say so once."""
        longest = max(len(one.name) for one in self._standings) + GAP
        left = width - min(longest, NARROWEST_NAME + GAP)
        kept: list[Column] = []
        for column in sorted(self._columns, key=lambda column: column.rank):
            cells = self._cells(column)
            if column.rank > 2 and all(mean in NO_NUMBER for mean, _ in cells):
                continue
            if column.width(cells) <= left:
                left -= column.width(cells)
                kept.append(column)
        return sorted(kept, key=self._columns.index)

    def _table(self, kept: Sequence[Column], found: Verdict) -> Table:
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
        table.add_column("controller", overflow="fold", min_width=10, vertical="top")
        for column in kept:
            table.add_column(column.heading, justify="right", no_wrap=True, vertical="top")
        for row, one in enumerate(self._standings):
            won = found.winner is not None and found.winner.name == one.name
            cells = [_text(self._cells(column)[row], missed=column.heading == "SLO" and not one.met) for column in kept]
            table.add_row(Text(one.name), *cells, style="bold green" if won else "")
        return table

    def _left_out(self, kept: Sequence[Column]) -> list[str]:
        names = [_named(column) for column in self._columns if column not in kept and not self._all_unknown(column)]
        return [f"Not shown at this width: {', '.join(names)}."] if names else []

    def _all_unknown(self, column: Column) -> bool:
        return all(mean in NO_NUMBER for mean, _ in self._cells(column))

    def _unknown(self, kept: Sequence[Column]) -> list[str]:
        """Why something is unknown, once a reason."""
        told: dict[str, list[str]] = {}
        for column in self._columns:
            if column not in kept and not self._all_unknown(column):
                continue
            for one in self._standings:
                reason = _reason(column, one)
                if reason and one.name not in told.setdefault(reason, []):
                    told[reason].append(one.name)
        return [sentence(f"{reason}{_whose(names, len(self._standings))}") for reason, names in told.items()]


def _text(cell: Cell, *, missed: bool) -> Text:
    mean, ranged = cell
    text = Text(mean, style="red" if missed else "")
    return text.append(f"\n{ranged}", style="dim") if ranged else text


def _explained(kept: Sequence[Column]) -> list[str]:
    return [EACH_BY_ITSELF] if any(column.heading.endswith(("TTFT", "TPOT")) for column in kept) else []


def _named(column: Column) -> str:
    return column.heading.replace("\n", " ")


_BY_HEADING = {
    "regret": "regret",
    "worst\n5 min": "worst_five_minutes",
    "within\nSLO": "attainment",
    "forecast\nerror": "forecast_error",
    "pass": "pass",
}
"""The quantities that may be unknown."""


def _reason(column: Column, one: Standing) -> str:
    quantity = _BY_HEADING.get(column.heading)
    found = one.value(quantity) if quantity else None
    return f"{mark(found)} {_named(column)}: {found.why}" if isinstance(found, Missing) else ""


def _whose(names: Sequence[str], everybody: int) -> str:
    return "" if len(names) == everybody else f" ({', '.join(names)})"
