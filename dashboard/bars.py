"""Charts of money: bars by day, a sum that grows over a period, a waterfall, budgets side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from dashboard.look import AMBER, BLUE, GAP, INK, LINE, MONEY, MUTED, PALE, RED, SKY
from dashboard.shaping import Point

KIND_COLOURS = {"work": BLUE, "idle": "#e3b566", "overhead": GAP}
"""What a cost bought."""

EXPECTED = "#5aa88b"
"""Paler than what was spent: a legend shows no dashes."""

TONES = {"total": BLUE, "more": RED, "less": MONEY}
DOLLARS = (
    "(datum.value < 0 ? '-' : '') + '$' + format(abs(datum.value), "
    "abs(datum.value) < 1 ? '.3~r' : abs(datum.value) < 10 ? ',.2~f' : ',.3~s')"
)


def stacked(rows: Sequence[Point], *, height: int = 230) -> dict[str, Any]:
    """Bars by ``day``, with ``usd`` of each ``name`` on one another."""
    days = list(dict.fromkeys(str(one["day"]) for one in rows))
    names = [name for name in KIND_COLOURS if any(one["name"] == name and one["usd"] for one in rows)]
    scale = alt.Scale(domain=names, range=[KIND_COLOURS[one] for one in names])
    chart = (
        alt.Chart(alt.NamedData(name="days"))
        .mark_bar()
        .encode(
            x=alt.X("day", type="ordinal", sort=days, title=None, axis=_days_axis(len(days))),
            y=alt.Y("usd", type="quantitative", title=None, stack="zero", axis=_dollars()),
            color=alt.Color("name", type="nominal", scale=scale, legend=_legend()),
            order=alt.Order("order", type="quantitative"),
            tooltip=[_told("day", "day"), _told("name", "for"), _told("shown", "cost")],
        )
    )
    return _made(chart, height, {"days": rows})


def ratios(rows: Sequence[Point], limit: float, *, height: int = 200) -> dict[str, Any]:
    """Shares by ``day``, those above ``limit`` in another colour, with the limit as a line."""
    days = list(dict.fromkeys(str(one["day"]) for one in rows))
    highest = max(limit, *(float(one["value"] or 0.0) for one in rows))
    scale = alt.Scale(domain=[0, min(1.0, highest * 1.2)], nice=False)
    axis = alt.Axis(labelExpr="format(datum.value, '.1~%')", tickCount=4)
    base = alt.Chart(alt.NamedData(name="days"))
    bars = base.mark_bar().encode(
        x=alt.X("day", type="ordinal", sort=days, title=None, axis=_days_axis(len(days))),
        y=alt.Y("value", type="quantitative", title=None, scale=scale, axis=axis),
        color=alt.condition(f"datum.value > {limit}", alt.value(AMBER), alt.value(SKY)),
        tooltip=[_told("day", "day"), _told("shown", "share")],
    )
    line = alt.Chart(alt.NamedData(name="limit")).mark_rule(color=RED, strokeDash=[5, 3], strokeWidth=1.5)
    rule = line.encode(y=alt.Y("value", type="quantitative", scale=scale))
    return _made(alt.layer(bars, rule), height, {"days": rows, "limit": [{"value": limit}]})


def growing(
    this: Sequence[Point],
    last: Sequence[Point],
    ahead: Sequence[Point],
    budget: Sequence[Point],
    names: tuple[str, str],
    days: int,
    *,
    height: int = 300,
) -> dict[str, Any]:
    """Sums since a period began, over its days: this period, the last, what is expected, and the budget.

    ``names`` of this period and the last.
    """
    forecast = "expected (P50), up to P90"
    lines = {names[0]: (this, MONEY, [1, 0], 2.6), names[1]: (last, GAP, [1, 0], 1.8)}
    lines |= {forecast: (ahead, EXPECTED, [5, 3], 1.8), "budget": (budget, RED, [2, 2], 1.5)}
    drawn = {name: one for name, one in lines.items() if one[0]}
    scale = alt.Scale(domain=list(drawn), range=[one[1] for one in drawn.values()])
    legend = alt.Legend(orient="top", title=None, symbolType="stroke", symbolStrokeWidth=3)
    layers: list[alt.Chart] = []
    if ahead:
        band = alt.Chart(alt.NamedData(name="ahead")).mark_area(color="#d7ebe3", line=False)
        layers.append(band.encode(x=_day_of(days), y=_amount("low"), y2="high"))
    for name, (_, _, dash, width) in drawn.items():
        line = alt.Chart(alt.NamedData(name=name)).mark_line(strokeDash=dash, strokeWidth=width)
        layers.append(
            line.encode(
                x=_day_of(days),
                y=_amount("value"),
                color=alt.Color("name", type="nominal", scale=scale, legend=legend),
                tooltip=[_told("when", "until"), _told("shown", name)],
            )
        )
    rows = {name: [{**row, "name": name} for row in one[0]] for name, one in drawn.items()}
    return _made(alt.layer(*layers), height, {**rows, "ahead": ahead})


def waterfall(rows: Sequence[Point], axis: float, *, height: int = 290) -> dict[str, Any]:
    """From one total to another: ``low``, ``high``, ``told`` and ``tone`` of each ``name``."""
    highest = max(float(one["high"] or 0.0) for one in rows)
    scale = alt.Scale(domain=[axis, highest + (highest - axis) * 0.12], nice=False, zero=False)
    base = alt.Chart(alt.NamedData(name="steps")).encode(
        x=alt.X(
            "name",
            type="ordinal",
            sort=[str(one["name"]) for one in rows],
            title=None,
            axis=alt.Axis(labelAngle=0, grid=False, labelLimit=150, labelFontSize=12, labelColor=INK),
        ),
        tooltip=[_told("name", "for"), _told("told", "amount")],
    )
    tones = alt.Scale(domain=list(TONES), range=list(TONES.values()))
    bars = base.mark_bar(size=54).encode(
        y=alt.Y("low", type="quantitative", title=None, scale=scale, axis=_dollars()),
        y2="high",
        color=alt.Color("tone", type="nominal", scale=tones, legend=None),
    )
    texts = base.mark_text(baseline="bottom", dy=-4, color=INK, fontSize=12).encode(
        y=alt.Y("high", type="quantitative", scale=scale), text=alt.Text("told", type="nominal")
    )
    return _made(alt.layer(bars, texts), height, {"steps": rows})


def costs(rows: Sequence[Point], colours: Mapping[str, str], *, height: int | None = None) -> dict[str, Any]:
    """Lying bars of ``usd`` by ``name``, in the colour of their ``kind``."""
    names = [str(one["name"]) for one in rows]
    kinds = [kind for kind in colours if any(one["kind"] == kind for one in rows)]
    highest = max((float(one["usd"] or 0.0) for one in rows), default=1.0)
    base = alt.Chart(alt.NamedData(name="costs")).encode(
        y=alt.Y(
            "name", type="ordinal", sort=names, title=None, axis=alt.Axis(labelLimit=220, ticks=False, domain=False)
        ),
        x=alt.X(
            "usd",
            type="quantitative",
            title=None,
            axis=_dollars(),
            scale=alt.Scale(domain=[0, highest * 1.18], nice=False),
        ),
        tooltip=[_told("name", "for"), _told("shown", "cost")],
    )
    scale = alt.Scale(domain=kinds, range=[colours[kind] for kind in kinds])
    bars = base.mark_bar(height={"band": 0.62}).encode(
        color=alt.Color("kind", type="nominal", scale=scale, legend=_legend() if len(kinds) > 1 else None)
    )
    texts = base.mark_text(align="left", dx=5, color=INK, fontSize=11.5).encode(text=alt.Text("shown", type="nominal"))
    return _made(alt.layer(bars, texts), height or 34 * len(rows) + 40, {"costs": rows})


def budgets(rows: Sequence[Point]) -> dict[str, Any]:
    """A bar a budget, as shares of it: ``used``, what is expected (``p50`` to ``p90``), ``even`` spend as a mark."""
    names = [str(one["name"]) for one in rows]
    most = max(1.0, *(float(one[key] or 0.0) for one in rows for key in ("used", "p90")))
    scale = alt.Scale(domain=[0, min(most * 1.05, 3.0)], nice=False, clamp=True)
    axis = alt.Axis(labelExpr="format(datum.value, '.0%')", tickCount=6)
    told = [
        _told("name", "budget"),
        _told("used_shown", "spent"),
        _told("even_shown", "even spend"),
        _told("ahead_shown", "expected"),
    ]
    base = alt.Chart(alt.NamedData(name="budgets")).encode(
        y=alt.Y(
            "name", type="ordinal", sort=names, title=None, axis=alt.Axis(labelLimit=220, ticks=False, domain=False)
        ),
        tooltip=told,
    )
    expected = base.mark_bar(height={"band": 0.3}, color=PALE).encode(
        x=alt.X("p50", type="quantitative", title=None, scale=scale, axis=axis), x2="p90"
    )
    used = base.mark_bar(height={"band": 0.62}).encode(
        x=alt.X("used", type="quantitative", title=None, scale=scale, axis=axis),
        color=alt.Color("colour", type="nominal", scale=None),
    )
    even = base.mark_tick(color=INK, thickness=2, height={"band": 0.85}).encode(
        x=alt.X("even", type="quantitative", scale=scale)
    )
    limit = alt.Chart(alt.NamedData(name="limit")).mark_rule(color=RED, strokeDash=[5, 3])
    whole = limit.encode(x=alt.X("value", type="quantitative", scale=scale))
    return _made(
        alt.layer(used, expected, even, whole), 46 * len(rows) + 40, {"budgets": rows, "limit": [{"value": 1.0}]}
    )


def _made(
    chart: alt.Chart | alt.LayerChart | alt.FacetChart, height: int, rows: Mapping[str, Sequence[Point]]
) -> dict[str, Any]:
    """The layers are built around names, and the data joins them at the end: Altair would check every value."""
    finished = (
        chart.properties(height=height, width="container")
        .configure_view(stroke=None)
        .configure_axis(labelColor=MUTED, domainColor=LINE, tickColor=LINE, gridColor="#eef1f4", labelFontSize=11)
        .configure_legend(labelColor=MUTED, labelFontSize=12)
    )
    return {**finished.to_dict(), "datasets": {name: list(found) for name, found in rows.items() if found}}


def _days_axis(many: int) -> alt.Axis:
    return alt.Axis(grid=False, labelAngle=0, labelOverlap="greedy", tickCount=many)


def _day_of(days: int) -> alt.X:
    scale = alt.Scale(domain=[0, days], nice=False)
    step = 5 if days > 10 else 1
    told = [*(day for day in range(0, days, step) if 2 * (days - day) > step), days]
    axis = alt.Axis(grid=False, values=told, labelExpr=_DAY_LABEL)
    return alt.X("x", type="quantitative", title=None, scale=scale, axis=axis)


_DAY_LABEL = "datum.value == 0 ? 'start' : 'day ' + datum.value"


def _amount(field: str) -> alt.Y:
    return alt.Y(field, type="quantitative", title=None, axis=_dollars())


def _dollars() -> alt.Axis:
    return alt.Axis(labelExpr=DOLLARS, tickCount=5)


def _legend() -> alt.Legend:
    return alt.Legend(orient="top", title=None)


def _told(field: str, title: str) -> alt.Tooltip:
    return alt.Tooltip(field, type="nominal", title=title)
