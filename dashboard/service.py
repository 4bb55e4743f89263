"""The second page: one service over time, with its decisions marked where they were made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import streamlit as st

from controller.ledger.read import LedgerReader
from controller.ledger.rows import ReplicaMinute, ServiceMinute
from dashboard import look
from dashboard.charts import Curve, Range, timeline
from dashboard.clock import MINUTE, Clock
from dashboard.formats import (
    compact,
    counted,
    dollars,
    dollars_per_hour,
    lasting,
    percent,
    seconds,
    short_hour,
    short_moment,
)
from dashboard.frame import REFRESH_S, framed
from dashboard.look import AMBER, BLUE, MONEY, SKY
from dashboard.shaping import bands, bucket, marks, points, why_unknown

RANGES = {
    "1 h": timedelta(hours=1),
    "6 h": timedelta(hours=6),
    "24 h": timedelta(hours=24),
    "7 d": timedelta(days=7),
    "30 d": timedelta(days=30),
}
CUSTOM = "Days"
USUAL = "24 h"

MOST_MARKS = 300
"""Decisions marked in one range. A guess: more would be a wall of triangles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One small chart: fields of the ledger's minutes, how they are told and drawn."""

    title: str
    fields: Sequence[tuple[str, str, str]]
    """(field, name, colour)"""
    text: Callable[[float | None], str]
    number: str
    """The axis' D3 format."""
    unit: str = ""


FIGURES = (
    Figure(title="Cost per hour", fields=[("usd_per_hour", "cost", MONEY)], text=dollars_per_hour, number="$,.2~f"),
    Figure(
        title="Cost per million output tokens",
        fields=[("usd_per_million_output_tokens", "cost", MONEY)],
        text=dollars,
        number="$,.2~f",
    ),
    Figure(
        title="Tokens per second",
        fields=[("output_tokens_per_s", "output", BLUE), ("prompt_tokens_per_s", "prompt", SKY)],
        text=lambda value: compact(value, "tokens/s"),
        number="~s",
    ),
    Figure(
        title="Queue depth, requests waiting", fields=[("queue_depth", "waiting", AMBER)], text=compact, number="~s"
    ),
    Figure(
        title="Time to first token, p95", fields=[("ttft_p95_s", "TTFT p95", BLUE)], text=seconds, number="~s", unit="s"
    ),
    Figure(
        title="Time per output token, p95",
        fields=[("tpot_p95_s", "TPOT p95", BLUE)],
        text=seconds,
        number="~s",
        unit="s",
    ),
    Figure(title="KV cache in use", fields=[("kv_cache_ratio", "KV cache", BLUE)], text=percent, number=".3~p"),
    Figure(
        title="MFU, share of the GPUs' peak FLOPs", fields=[("mfu_ratio", "MFU", BLUE)], text=percent, number=".3~p"
    ),
)
COLUMNS = 2


@st.fragment(run_every=REFRESH_S)
def page() -> None:
    framed("One service over time", _body)


def _body(reader: LedgerReader, clock: Clock) -> None:
    services = reader.services()
    if not services:
        st.html(look.note("No service.", "The ledger knows of none yet."))
        return
    service, start, end = _pickers(services, clock)
    minutes = reader.service_series(service, start, end)
    if not minutes:
        said = f"Nothing was recorded of {service} from {short_moment(start)} to {short_moment(end)} UTC."
        st.html(look.note("Nothing in this range.", said))
        return
    over = Range(start=start, end=end, gaps=bands(reader.gaps(start, end, service), start, end))
    last = minutes[-1].minute
    uses = reader.replica_minutes(last - MINUTE, last + MINUTE, service)
    st.caption(_about(service, minutes[0].minute, over))
    _replicas(reader, service, minutes, over)
    for first in range(0, len(FIGURES), COLUMNS):
        for column, figure in zip(st.columns(COLUMNS, gap="large"), FIGURES[first:], strict=False):
            with column:
                _figure(figure, minutes, over, uses)


def _about(service: str, first: datetime, over: Range) -> str:
    """What must be known to read the charts."""
    each = bucket(over.start, over.end)
    said = "Times are UTC."
    if over.gaps:
        unseen_s = sum((one.end - one.start).total_seconds() for one in over.gaps)
        said += f" Grey: {counted(len(over.gaps), 'gap')}, {lasting(unseen_s)} in all, in which nobody watched."
    if first - over.start > each:
        said += f" Nothing is recorded of {service} from before {short_hour(first)}."
    if each > timedelta(minutes=1):
        said += (
            f" One point stands for {lasting(each.total_seconds())}: the highest of latencies, queue and KV cache, "
            "the mean of everything else."
        )
    return said


def _pickers(services: tuple[str, ...], clock: Clock) -> tuple[str, datetime, datetime]:
    left, right, more = st.columns([2.4, 4.2, 2.4], vertical_alignment="bottom")
    asked = st.query_params.get("service", "")
    first = services.index(asked) if asked in services else 0
    service = left.selectbox("Service", services, index=first, key="service")
    picked = right.segmented_control("Range", [*RANGES, CUSTOM], default=USUAL, key="range") or USUAL
    if picked != CUSTOM:
        return service, clock.until - RANGES[picked], clock.until
    today = clock.now.astimezone(UTC).date()
    days = more.date_input("Days (UTC)", (today - timedelta(days=1), today), max_value=today, key="days")
    start, end = _days(days, today)
    return service, start, end


def _days(picked: object, today: date) -> tuple[datetime, datetime]:
    """Whole UTC days. While a person has picked only the first one, that day alone."""
    days = [one for one in picked if isinstance(one, date)] if isinstance(picked, tuple) else []
    first, last = (days[0], days[-1]) if days else (today, today)
    midnight = time(tzinfo=UTC)
    return datetime.combine(first, midnight), datetime.combine(last, midnight) + timedelta(days=1)


def _replicas(reader: LedgerReader, service: str, minutes: tuple[ServiceMinute, ...], over: Range) -> None:
    moved = marks(reader.decisions(service, over.start, over.end, limit=MOST_MARKS, moves_only=True))
    st.subheader("Replicas, and the decisions that moved them", anchor=False)
    st.vega_lite_chart(
        timeline(
            [
                _curve(minutes, over, "replicas_current", "current", SKY, width=5.0),
                _curve(minutes, over, "replicas_ready", "ready", BLUE),
                _curve(minutes, over, "replicas_desired", "desired", AMBER, dashed=True),
            ],
            over,
            number="~s",
            marks=moved,
            height=270,
        )
    )
    most = f" (the newest {MOST_MARKS})" if len(moved) == MOST_MARKS else ""
    st.caption(
        f"{counted(len(moved), 'decision')}{most} in this range: ▲ scaled up, ▼ scaled down; hover one for its reason."
        if moved
        else "No decision moved anything in this range."
    )


def _curve(
    minutes: tuple[ServiceMinute, ...],
    over: Range,
    field: str,
    name: str,
    colour: str,
    *,
    dashed: bool = False,
    width: float = 1.8,
) -> Curve:
    line = points(minutes, field, over.start, over.end, compact)
    return Curve(name=name, colour=colour, points=line, stepped=True, dashed=dashed, width=width)


def _figure(figure: Figure, minutes: tuple[ServiceMinute, ...], over: Range, uses: tuple[ReplicaMinute, ...]) -> None:
    """``uses``: of the last minute, which say best why nothing is known."""
    st.subheader(figure.title, anchor=False)
    curves = [
        Curve(name=name, colour=colour, points=points(minutes, field, over.start, over.end, figure.text))
        for field, name, colour in figure.fields
    ]
    if any(one.points for one in curves):
        st.vega_lite_chart(timeline(curves, over, number=figure.number, unit=figure.unit))
    else:
        why = why_unknown(figure.fields[0][0], minutes[-1], uses)
        st.html(look.note("Unknown.", f"It could not be measured at any time in this range. At its end: {why}."))
