"""The plots, as SVG. Colours are stand-ins that a page may turn into its own: see ``COLOURS``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from controller.backtest.report.series import averaged, changes_only, hours, rolling_attainment, thinned
from controller.backtest.results import Backtest, Standing, latency, standings
from controller.backtest.words import attained, many, shown, usd, wanted
from controller.facts.missing import Missing
from controller.simulate.score import Number

COLOURS: Mapping[str, str] = {
    "ink": "#1d2733",
    "muted": "#6b7785",
    "line": "#d9dfe6",
    "demand": "#b9c7d6",
    "good": "#1f7a5c",
    "bad": "#b4443c",
    "first": "#2f5d8c",
    "other": "#8a6d3b",
}
"""By meaning; each is also told by shape, position or a word, never by colour alone."""

WIDTH_IN = 9.4
PANEL_IN = 0.95
DPI = 72
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
LINES = ("#2f5d8c", "#b4571c", "#1f7a5c", "#8c4a86", "#6b7785", "#a3852b")
"""Distinct for colour-blind readers together with the dashes: neighbours differ in both."""

STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "path.simplify": False,
    "figure.dpi": DPI,
    "text.parse_math": False,  # two dollar signs in a text are money
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """``name`` for files; ``told``: what it shows, for those who cannot see it."""

    name: str
    title: str
    told: str
    svg: str


def plots(backtest: Backtest) -> Iterator[Plot]:
    """All of them, in reading order."""
    everybody = standings(backtest)
    for name, title, told, draw in _PLOTS:
        with mpl.rc_context({**STYLE, "svg.hashsalt": f"pennyweight-{name}"}):
            figure = draw(backtest, everybody)
        yield Plot(name=name, title=title, told=told, svg=_svg(figure, name))


def _svg(figure: Figure, name: str) -> str:
    """The figure as an element for a page: no prologue, no dates, ids of its own; a tenth of a point is enough."""
    out = StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"pennyweight-{name}"}):
        unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=unsaid)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<[^>]*>", lambda tag: _DECIMALS.sub(r"\1", tag.group()), text)  # words between tags stay
    text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    return re.sub(r" +\n", "\n", text)


_DECIMALS = re.compile(r"(?<=[ \"(\d-])(\d+\.\d)\d+")


def _rows(count: int, each_in: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH_IN, each_in * count + 0.55), layout="constrained")
    found = figure.subplots(count, 1, sharex=True, squeeze=False)
    return figure, [axes for row in found for axes in row]


def _named(axes: Axes, one: Standing, beside: str, *, highlight: bool) -> None:
    axes.set_title(one.name, loc="left", fontsize=10.5, fontweight="bold" if highlight else "normal", pad=3)
    axes.set_title(beside, loc="right", fontsize=9.5, color=COLOURS["muted"], pad=3)


def _time_axis(axes: Axes, hours_long: float) -> None:
    """Minutes, hours or days, whichever a reader would count in."""
    unit, in_hours, steps = next(
        (unit, in_hours, steps) for most, unit, in_hours, steps in _TIME_UNITS if hours_long <= most
    )
    length = hours_long / in_hours
    step = next((each for each in steps if length / each <= 13), steps[-1])
    ticks = np.arange(0, length + 0.001, step)
    axes.set_xlim(0, max(hours_long, 1e-9))
    axes.set_xticks(ticks * in_hours, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel(f"{unit} since the start")


_TIME_UNITS: tuple[tuple[float, str, float, tuple[int, ...]], ...] = (
    (3.0, "minutes", 1 / 60, (1, 5, 10, 15)),
    (72.0, "hours", 1.0, (1, 2, 3, 6)),
    (float("inf"), "days", 24.0, (1, 2, 7, 14, 28, 91, 365)),
)
"""Up to so many hours; the unit; its hours; the steps between ticks."""


def _dollars(axes: Axes, which: str) -> None:
    """A money axis with few ticks; cents where whole dollars would be all the same."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    top = (axes.get_xlim() if which == "x" else axes.get_ylim())[1]
    axis.set_major_locator(MaxNLocator(nbins=5))
    axis.set_major_formatter(lambda value, _: f"${value:,.0f}" if top >= 20 or value == 0 else f"${value:,.2f}")


def _replicas(backtest: Backtest, everybody: Sequence[Standing]) -> Figure:
    figure, rows = _rows(len(everybody), PANEL_IN)
    most = max((int(one.runs[0].series.current.max(initial=1)) for one in everybody), default=1)
    for axes, one in zip(rows, everybody, strict=True):
        series, run = one.runs[0].series, one.runs[0]
        time = hours(series)
        demand = axes.twinx()
        demand.fill_between(*averaged(time, series.arrivals_per_s), color=COLOURS["demand"], alpha=0.55, linewidth=0)
        demand.set_ylim(0, max(float(series.arrivals_per_s.max(initial=0)) * 1.05, 1e-9))
        demand.grid(visible=False)
        demand.tick_params(labelsize=8.5)
        axes.set_zorder(demand.get_zorder() + 1)
        axes.patch.set_visible(False)
        line = COLOURS["first"] if one is everybody[0] else COLOURS["other"]
        ordered = thinned(*changes_only(time, series.current.astype(np.float64)))
        axes.step(*ordered, where="post", color=line, linewidth=0.8, linestyle=(0, (1.5, 1.5)))
        axes.step(
            *thinned(*changes_only(time, series.ready.astype(np.float64))), where="post", color=line, linewidth=1.6
        )
        axes.set_ylim(0, most * 1.12)
        axes.locator_params(axis="y", integer=True, nbins=3)
        beside = f"{usd(run.usd)}, {attained(one)} in time, {many(len(run.moves), 'move')}"
        _named(axes, one, beside, highlight=one is everybody[0])
    _time_axis(rows[-1], backtest.hours)
    figure.supylabel("replicas (lines)", fontsize=9.5, color=COLOURS["muted"])
    return figure


def _attainment(backtest: Backtest, everybody: Sequence[Standing]) -> Figure:
    figure, rows = _rows(len(everybody), PANEL_IN * 0.8)
    target = backtest.slo.attainment_ratio * 100
    curves = [
        thinned(hours(series), rolling_attainment(series) * 100) for series in (_.runs[0].series for _ in everybody)
    ]
    lowest = min((float(np.nanmin(share)) for _, share in curves if not np.isnan(share).all()), default=0.0)
    floor = max(each for each in (0, 50, 80, 90, 95) if each <= max(0.0, min(lowest, target - 1)))
    for axes, one, (time, share) in zip(rows, everybody, curves, strict=True):
        axes.fill_between(time, share, target, where=share < target, color=COLOURS["bad"], alpha=0.35, linewidth=0)
        axes.plot(time, share, color=COLOURS["first"] if one is everybody[0] else COLOURS["other"], linewidth=1.1)
        axes.axhline(target, color=COLOURS["ink"], linewidth=0.9, linestyle=(0, (4, 2)))
        axes.set_ylim(floor, 100 + (100 - floor) * 0.08)
        axes.set_yticks([floor, (floor + 100) / 2, 100], [f"{floor:g}", f"{(floor + 100) / 2:g}", "100 %"])
        worst = one.runs[0].worst_five_minutes_ratio
        _named(axes, one, f"worst five minutes {shown('worst_five_minutes', worst)}", highlight=one is everybody[0])
    _time_axis(rows[-1], backtest.hours)
    return figure


def _frontier(backtest: Backtest, everybody: Sequence[Standing]) -> Figure:
    """One row a controller, cheapest on top: the bill with its range, and beside it what share was in time."""
    ranked = sorted(everybody, key=lambda one: -one.usd)
    figure = Figure(figsize=(WIDTH_IN, 0.3 * len(ranked) + 1.1), layout="constrained")
    money, share = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for row, one in enumerate(ranked):
        colour = COLOURS["good"] if one.met else COLOURS["bad"]
        money.barh(
            row, one.usd, color=colour, alpha=0.85 if one.met else 0.35, height=0.62, hatch="" if one.met else "///"
        )
        bills = [run.usd for run in one.runs]
        if len(bills) > 1:
            money.plot([min(bills), max(bills)], [row, row], color=COLOURS["ink"], linewidth=1.4)
        reached = [100 * run.attainment_ratio for run in one.runs if not isinstance(run.attainment_ratio, Missing)]
        share.plot(reached, [row] * len(reached), "o" if one.met else "X", color=colour, markersize=6, alpha=0.8)
    money.set_yticks(range(len(ranked)), [one.name for one in ranked])
    money.tick_params(axis="y", colors=COLOURS["ink"])
    money.set_xlabel("USD for the run")
    money.set_xlim(0, max(one.usd for one in ranked) * 1.04 or 1.0)
    _dollars(money, "x")
    _bounds(money, backtest)
    share.axvline(backtest.slo.attainment_ratio * 100, color=COLOURS["ink"], linewidth=0.9, linestyle=(0, (4, 2)))
    share.set_title(f"wanted: {wanted(backtest)}", fontsize=9.5, color=COLOURS["muted"], loc="right", pad=3)
    share.set_xlabel("% of requests within the SLO")
    share.margins(x=0.08)
    share.xaxis.set_major_locator(MaxNLocator(nbins=4))
    return figure


def _bounds(axes: Axes, backtest: Backtest) -> None:
    """L and U as lines across the bills."""
    told = []
    bounds: tuple[tuple[str, Number, tuple[float, ...]], ...] = (
        ("lower bound", backtest.lower_usd, (1.5, 1.5)),
        ("clairvoyant", backtest.upper_usd, (4, 2)),
    )
    for name, value, dashes in bounds:
        if not isinstance(value, Missing):
            axes.axvline(value, color=COLOURS["ink"], linewidth=1.1, linestyle=(0, dashes))
            told.append(f"{name} {usd(value)} ({'dotted' if name == 'lower bound' else 'dashed'})")
    axes.set_title(", ".join(told), fontsize=9.5, color=COLOURS["muted"], loc="right", pad=3)


def _cost(backtest: Backtest, everybody: Sequence[Standing]) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, 3.9), layout="constrained")
    axes = figure.subplots()
    for index, one in enumerate(everybody):
        series = one.runs[0].series
        spent = np.cumsum(series.usd)
        time, total = averaged(
            np.append(hours(series), backtest.hours), np.append(spent, spent[-1:] if len(spent) else 0.0), 120
        )
        axes.plot(
            np.append(time, backtest.hours), np.append(total, spent[-1:] if len(spent) else 0.0),
            color=LINES[index % len(LINES)], linestyle=DASHES[index % len(DASHES)],
            linewidth=2.4 if index == 0 else 1.3, label=one.name,
        )  # fmt: skip
    axes.set_ylim(0, max(one.runs[0].usd for one in everybody) * 1.05 or 1.0)
    _dollars(axes, "y")
    _time_axis(axes, backtest.hours)
    _direct_labels(axes, everybody)
    return figure


def _direct_labels(axes: Axes, everybody: Sequence[Standing]) -> None:
    """Names at the lines' ends, kept apart, in their order of cost; a thin line leads to each."""
    bills = [one.runs[0].usd for one in everybody]
    top = axes.get_ylim()[1]
    for index, at in zip(*_apart(bills, top * 0.063, top), strict=True):
        axes.annotate(
            everybody[index].name, (1.0, bills[index]), (1.035, at), xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(), va="center", fontsize=9.5, color=LINES[index % len(LINES)],
            fontweight="bold" if index == 0 else "normal", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": COLOURS["line"], "linewidth": 0.7},
        )  # fmt: skip


def _apart(values: Sequence[float], distance: float, top: float) -> tuple[list[int], list[float]]:
    """Indices in order of value, and places near the values, at least ``distance`` apart, under ``top`` if they can."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    places: list[float] = []
    for index in order:
        places.append(max(values[index], places[-1] + distance) if places else values[index])
    limit = top
    for at in reversed(range(len(places))):
        places[at] = min(places[at], limit)
        limit = places[at] - distance
    return order, places


_DIGITS = ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))
"""Of the ticks of a logarithmic axis: as many as its labels leave room for."""
MOST_TICKS = 6


def _seconds(axes: Axes) -> None:
    """Ticks of an axis of seconds whose labels do not touch: finer where it is short, decades where it is long."""
    low, high = axes.get_xlim()
    for digits in _DIGITS:
        ticks = [digit * 10.0**power for power in range(-4, 6) for digit in digits]
        if sum(low <= tick <= high for tick in ticks) <= MOST_TICKS:
            break
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(lambda value, _: latency(value))
    axes.xaxis.set_minor_locator(NullLocator())


def _latency(backtest: Backtest, everybody: Sequence[Standing]) -> Figure:
    ranked = list(reversed(everybody))
    figure = Figure(figsize=(WIDTH_IN, 0.3 * len(ranked) + 1.0), layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    columns = (("ttft", "time to first token", backtest.slo.ttft), ("tpot", "time per output token", backtest.slo.tpot))
    for axes, (name, title, target) in zip(both, columns, strict=True):
        for row, one in enumerate(ranked):
            _quantiles(axes, row, one, name, COLOURS["first"] if one is everybody[0] else COLOURS["other"])
        axes.set_xscale("log")
        axes.tick_params(axis="x", labelsize=8.5)
        axes.set_xlabel(f"{title}: p50 (ring) and p99 (dot)")
        if target is not None:
            axes.axvline(target.seconds, color=COLOURS["ink"], linewidth=0.9, linestyle=(0, (4, 2)))
            axes.set_title(f"SLO {latency(target.seconds)}", fontsize=9.5, color=COLOURS["muted"], loc="right", pad=3)
        axes.margins(x=0.1, y=0.08)
        _seconds(axes)
    both[0].set_yticks(range(len(ranked)), [one.name for one in ranked])
    both[0].tick_params(axis="y", colors=COLOURS["ink"])
    return figure


def _quantiles(axes: Axes, row: int, one: Standing, name: str, colour: str) -> None:
    median, tail = one.value(f"{name}_p50"), one.value(f"{name}_p99")
    if isinstance(median, Missing) or isinstance(tail, Missing) or median.mean <= 0:
        return
    axes.plot([median.mean, tail.mean], [row, row], color=colour, linewidth=1.6)
    axes.plot([median.mean], [row], "o", color=colour, markerfacecolor="none", markersize=6)
    axes.plot([tail.mean], [row], "o", color=colour, markersize=6)


Draw = Callable[[Backtest, Sequence[Standing]], Figure]

_PLOTS: tuple[tuple[str, str, str, Draw], ...] = (
    (
        "cost-and-attainment",
        "What it cost, and what it kept",
        "Bars: the bill of each controller, hatched where the SLO was not kept. Marks: the share within it.",
        _frontier,
    ),
    (
        "replicas",
        "Replicas against demand",
        "Per controller: ready replicas (solid), ordered ones (dotted); behind them requests per second (grey, right).",
        _replicas,
    ),
    (
        "attainment",
        "Requests in time, any five minutes",
        "Per controller: the share of the last five minutes' requests within the SLO; red where below what is wanted.",
        _attainment,
    ),
    ("cost", "Cost, cumulated", "USD since the start, one line a controller, named at its end.", _cost),
    (
        "latency",
        "Latency",
        "Median and 99th percentile of all requests (time per output token: of each one's mean) against the SLO.",
        _latency,
    ),
)
