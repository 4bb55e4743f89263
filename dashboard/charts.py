"""Charts over time: lines that break where nothing is known, gaps shaded and named, decisions marked with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import altair as alt

from dashboard.formats import moment
from dashboard.look import BLUE, GAP, LINE, MONEY, MUTED
from dashboard.shaping import Band, Mark, Point

HOURS = (
    "utchours(datum.value) == 0 && utcminutes(datum.value) == 0"
    " ? utcFormat(datum.value, '%e %b') : utcFormat(datum.value, '%H:%M')"
)
"""24 hours in UTC, as everything on the pages, and the day at midnight."""

BELOW_ONE = {"~s": ".3~f", "$,.2~f": "$.3~r"}
"""The formats of an axis that say too little of values below one, and what takes their place there."""

ROOM_RATIO = 0.04
"""A gap that is a smaller part of the chart has no room for its name, which would lie on lines. A guess."""

ABOVE_PX = -9
"""Decisions stand above the plot, where they hide no line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line. ``stepped`` for counts, which jump; ``dashed`` for what is wished and not yet so."""

    name: str
    colour: str
    points: Sequence[Point]
    stepped: bool = False
    dashed: bool = False
    width: float = 1.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """What lies between two lines; of each point ``low`` and ``high`` are drawn and ``shown`` is told."""

    name: str
    colour: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What every chart of a page shares."""

    start: datetime
    end: datetime
    gaps: Sequence[Band] = ()

    def axis(self, field: str) -> alt.X:
        scale = alt.Scale(type="utc", domain=[self.start.isoformat(), self.end.isoformat()], nice=False)
        return alt.X(
            field, type="temporal", title=None, scale=scale, axis=alt.Axis(grid=False, tickCount=7, labelExpr=HOURS)
        )


def timeline(
    curves: Sequence[Curve],
    over: Range,
    *,
    number: str,
    unit: str = "",
    marks: Sequence[Mark] = (),
    areas: Sequence[Area] = (),
    height: int = 190,
) -> dict[str, Any]:
    """A Vega-Lite specification. ``number`` is the D3 format of the axis, ``unit`` what follows it.

    Altair checks every value of data that it is given, for a second a page; so it builds the layers around names, and
    the data joins them at the end.
    """
    both: list[Curve | Area] = [*areas, *curves]
    drawn = [one for one in both if one.points]
    named = alt.Scale(domain=[one.name for one in drawn], range=[one.colour for one in drawn])
    legend = alt.Legend(orient="top", title=None, symbolType="stroke", symbolOpacity=1) if len(drawn) > 1 else None
    colour = alt.Color("name", type="nominal", scale=named, legend=legend)
    label = _label(number, unit)
    gaps, up, down = _gap_rows(over), _mark_rows(marks, up=True), _mark_rows(marks, up=False)
    layers: list[Any] = [
        *(_gap_layers(over) if gaps else ()),
        *(_drawn(one, over, label, colour) for one in drawn),
        *(_mark_layers(over, "up", "triangle-up", BLUE) if up else ()),
        *(_mark_layers(over, "down", "triangle-down", MONEY) if down else ()),
    ]
    chart = (
        alt.layer(*layers)
        .properties(height=height, width="container")
        .configure_view(stroke=None)
        .configure_axis(labelColor=MUTED, domainColor=LINE, tickColor=LINE, gridColor="#eef1f4", labelFontSize=11)
        .configure_legend(labelColor=MUTED, labelFontSize=12)
    )
    rows = {"gaps": gaps, "up": up, "down": down, **{one.name: _rows(one) for one in drawn}}
    return {**chart.to_dict(), "datasets": {name: found for name, found in rows.items() if found}}


def _label(number: str, unit: str) -> str:
    """Half a request waits, not "500m" of them, and ticks of tenths of a cent differ; seconds take their prefixes."""
    told = f"format(datum.value, '{number}') + '{unit}'"
    small = "" if unit else BELOW_ONE.get(number, "")
    return f"abs(datum.value) < 1 ? format(datum.value, '{small}') : {told}" if small else told


def _drawn(one: Curve | Area, over: Range, label: str, colour: alt.Color) -> alt.Chart:
    return _area(one, over, label, colour) if isinstance(one, Area) else _line(one, over, label, colour)


def _area(area: Area, over: Range, label: str, colour: alt.Color) -> alt.Chart:
    mark = alt.Chart(alt.NamedData(name=area.name)).mark_area(
        opacity=1.0, invalid="break-paths-show-domains", line=False
    )
    chart: alt.Chart = mark.encode(
        x=over.axis("at"),
        y=alt.Y("low", type="quantitative", title=None, axis=alt.Axis(labelExpr=label, tickCount=4)),
        y2="high",
        color=colour,
        tooltip=[_told("when", "at"), _told("shown", area.name)],
    )
    return chart


def _line(curve: Curve, over: Range, label: str, colour: alt.Color) -> alt.Chart:
    mark = alt.Chart(alt.NamedData(name=curve.name)).mark_line(
        interpolate="step-after" if curve.stepped else "linear",
        strokeWidth=curve.width,
        strokeDash=[5, 3] if curve.dashed else [1, 0],
        invalid="break-paths-show-domains",
    )
    axis = alt.Axis(labelExpr=label, tickCount=4, tickMinStep=1 if curve.stepped else alt.Undefined)
    chart: alt.Chart = mark.encode(
        x=over.axis("at"),
        y=alt.Y("value", type="quantitative", title=None, scale=alt.Scale(zero=True), axis=axis),
        color=colour,
        tooltip=[_told("when", "at"), _told("shown", curve.name)],
    )
    return chart


def _rows(drawn: Curve | Area) -> list[Point]:
    return [{**one, "name": drawn.name, "when": moment(datetime.fromisoformat(str(one["at"])))} for one in drawn.points]


def _gap_layers(over: Range) -> list[alt.Chart]:
    base = alt.Chart(alt.NamedData(name="gaps"))
    tooltip = [_told("name", "gap"), _told("since", "from"), _told("why", "why")]
    shade = base.mark_rect(color=GAP, opacity=0.22).encode(x=over.axis("from"), x2="to", tooltip=tooltip)
    text = base.mark_text(color=MUTED, fontSize=10.5, baseline="top", fontStyle="italic").encode(
        x=over.axis("middle"), y=alt.value(4), text=alt.Text("text", type="nominal"), tooltip=tooltip
    )
    return [shade, text]


def _gap_rows(over: Range) -> list[Point]:
    room = ROOM_RATIO * (over.end - over.start)
    return [
        {
            "from": one.start.isoformat(),
            "to": one.end.isoformat(),
            "middle": (one.start + (one.end - one.start) / 2).isoformat(),
            "name": one.name,
            "text": one.name if one.end - one.start >= room else "",
            "why": one.why,
            "since": moment(one.start),
        }
        for one in over.gaps
    ]


def _mark_layers(over: Range, name: str, shape: str, colour: str) -> list[alt.Chart]:
    base = alt.Chart(alt.NamedData(name=name)).encode(
        x=over.axis("at"), tooltip=[_told("when", "at"), _told("reason", "decision")]
    )
    rule = base.mark_rule(color=colour, opacity=0.28, strokeWidth=1)
    point = base.mark_point(shape=shape, size=70, filled=True, color=colour, opacity=0.9).encode(y=alt.value(ABOVE_PX))
    return [rule, point]


def _mark_rows(marks: Sequence[Mark], *, up: bool) -> list[Point]:
    return [{"at": one.at.isoformat(), "reason": one.sentence, "when": moment(one.at)} for one in marks if one.up == up]


def _told(field: str, title: str) -> alt.Tooltip:
    return alt.Tooltip(field, type="nominal", title=title)
