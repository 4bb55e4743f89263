"""The third page: what arrives, what was expected and what came, how good that was, and what one replica carries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from controller.facts.demand import Forecast, ForecastAccuracy
from controller.facts.missing import Missing
from controller.ledger.read import LedgerReader
from controller.ledger.rows import DemandMinute, HourlyCapacity
from dashboard import look
from dashboard.charts import Area, Curve, Range, timeline
from dashboard.clock import Clock
from dashboard.expected import (
    ACCURACY_HEADS,
    BASES,
    BINDINGS,
    CAPACITY_HEADS,
    HIGHEST,
    MEDIAN,
    PLANNED,
    accuracy_row,
    ahead,
    arriving,
    band_points,
    capacity_row,
    leaning,
    line_points,
    newest_accuracy,
    newest_capacity,
    rate,
    request_size,
    scored_words,
    usual_horizon,
    why_unseen,
)
from dashboard.formats import UNKNOWN, lasting, percent, plain
from dashboard.frame import REFRESH_S, framed
from dashboard.look import AMBER, INK, PALE, PALER, Card
from dashboard.shaping import bands, points, spark

RANGES = {"3 h": timedelta(hours=3), "24 h": timedelta(hours=24), "7 d": timedelta(days=7)}
USUAL = "24 h"

LATELY = timedelta(days=1)
"""Accuracy and capacity older than this say nothing of now."""

HOW = (
    "Forecasts begin some minutes after the daemon could first read how many requests this service finished, and are "
    "recorded every five minutes. Until then, and whenever they are missing, replicas follow the reactive rules alone."
)


@st.fragment(run_every=REFRESH_S)
def page() -> None:
    framed("Forecast: what is expected, and what came", _body)


def _body(reader: LedgerReader, clock: Clock) -> None:
    services = reader.services()
    if not services:
        st.html(look.note("No service.", "The ledger knows of none yet."))
        return
    left, middle, right = st.columns([2.4, 2.1, 4.5], vertical_alignment="bottom")
    asked = st.query_params.get("service", "")
    first = services.index(asked) if asked in services else 0
    service = left.selectbox("Service", services, index=first, key="forecast_service")
    latest = {one.horizon_s: one for one in reader.latest_forecasts(service)}
    picked = middle.segmented_control("Range", list(RANGES), default=USUAL, key="forecast_range") or USUAL
    horizon_s = _horizon(right, sorted(latest))
    minutes = reader.demand_history(service, clock.until - RANGES[picked], clock.until)
    lately = clock.until - LATELY
    good = newest_accuracy(reader.forecast_accuracy(service, lately, clock.until))
    able = newest_capacity(reader.capacities(service, lately, clock.until))
    st.html(look.cards(_cards(minutes, latest.get(horizon_s), good.get(horizon_s), list(able.values()))))
    _over_time(reader, service, minutes, horizon_s, clock)
    if latest:
        st.subheader("How good the forecasts were, by how far ahead they looked", anchor=False)
        rows = [accuracy_row(one, latest.get(one), good.get(one)) for one in sorted({*latest, *good})]
        st.html(look.table(ACCURACY_HEADS, rows))
        st.caption(
            "A line is honest when as many cases stay under it as its name says. Newer forecasts count more: those of "
            "12 hours ago count half."
        )
    _capacity(able)


def _horizon(place: DeltaGenerator, horizons_s: list[float]) -> float:
    """How far ahead the page looks; 0 when nothing was forecast."""
    if not horizons_s:
        return 0.0
    usual = horizons_s[usual_horizon(horizons_s)]
    picked = place.segmented_control(
        "Looking ahead", horizons_s, format_func=lasting, default=usual, key="forecast_horizon"
    )
    return picked or usual


def _cards(
    minutes: Sequence[DemandMinute],
    made: Forecast | None,
    was: ForecastAccuracy | None,
    able: Sequence[HourlyCapacity],
) -> list[Card]:
    now, why = arriving(minutes)
    drawn = spark([one.arrivals_per_s for one in minutes[-180:]])
    return [
        Card(label="Arriving now", value=rate(now), why=why, sub="mean of the last 5 min", spark=drawn),
        _expected(made),
        _off(was),
        _honest(was),
        _size(minutes),
        _carries(able),
    ]


def _expected(made: Forecast | None) -> Card:
    label = f"Expected in {lasting(made.horizon_s)}" if made else "Expected"
    if made is None or MEDIAN not in made.quantiles:
        return Card(label=label, value=UNKNOWN, why="no forecast was recorded yet")
    most = rate(made.quantiles.get(PLANNED))
    return Card(
        label=label,
        value=rate(made.quantiles[MEDIAN]),
        sub=f"at most {most} in 95 of 100 cases; from {BASES.get(made.basis, made.basis)}",
    )


def _off(was: ForecastAccuracy | None) -> Card:
    if was is None or isinstance(was.error_ratio, Missing):
        why = was.error_ratio.why if was and isinstance(was.error_ratio, Missing) else "no forecast came due yet"
        return Card(label="Typically off by", value=UNKNOWN, why=why)
    said = f"{leaning(was.bias_ratio)} on average; {scored_words(was)}"
    return Card(label="Typically off by", value=percent(was.error_ratio), sub=said)


def _honest(was: ForecastAccuracy | None) -> Card:
    held = was.coverage_ratio.get(PLANNED) if was else None
    why = "no forecast came due yet" if held is None else ""
    return Card(label="Stayed under the 95 % line", value=percent(held), why=why, sub="95 % would be exact")


def _size(minutes: Sequence[DemandMinute]) -> Card:
    prompt, cached, output = request_size(minutes[-60:])
    if prompt is None or output is None:
        return Card(label="Size of a request", value=UNKNOWN, why="no request with known tokens in the last hour")
    share = "" if cached is None else f" ({percent(cached)} of it from the prefix cache)"
    sizes = f"{plain(round(prompt))} + {plain(round(output))}"
    return Card(label="Tokens of a request", value=sizes, sub=f"prompt{share} + output; mean of the last hour")


def _carries(able: Sequence[HourlyCapacity]) -> Card:
    for one in able:
        if not isinstance(one.capacity, Missing):
            stops = BINDINGS.get(one.capacity.binding, (one.capacity.binding, ""))[0]
            sub = f"{one.variant}; {stops} stops it there"
            return Card(label="One replica carries", value=rate(one.capacity.requests_per_s), sub=sub)
    whys = [one.capacity.why for one in able if isinstance(one.capacity, Missing)]
    return Card(label="One replica carries", value=UNKNOWN, why=whys[0] if whys else "not worked out yet")


def _over_time(
    reader: LedgerReader, service: str, minutes: Sequence[DemandMinute], horizon_s: float, clock: Clock
) -> None:
    start, end = minutes[0].minute, clock.until + timedelta(seconds=horizon_s)
    made = reader.forecasts(service, start, end, horizon_s) if horizon_s else ()
    over = Range(start=start, end=end, gaps=bands(reader.gaps(start, end, service), start, end))
    title = f"What was expected {ahead(horizon_s)}, and what came" if made else "What came"
    st.subheader(title, anchor=False)
    if not made:
        st.html(look.note("No forecast yet.", HOW))
    curves = [
        Curve(name="expected, the middle", colour=AMBER, points=line_points(made, MEDIAN), dashed=True),
        Curve(name="came", colour=INK, points=points(minutes, "arrivals_per_s", start, end, rate), width=1.4),
    ]
    if not any(one.points for one in curves):
        st.html(look.note("Unknown.", f"What arrived could not be seen: {why_unseen(minutes)}."))
        return
    areas = [
        Area(name="up to its 95 % line", colour=PALE, points=band_points(made, MEDIAN, PLANNED)),
        Area(name="up to its 99 % line", colour=PALER, points=band_points(made, PLANNED, HIGHEST)),
    ]
    st.vega_lite_chart(timeline(curves, over, number="~s", areas=areas if made else (), height=320))
    st.caption("Requests per second; times are UTC. What came: requests finished and refused, minute by minute.")


def _capacity(able: dict[str, HourlyCapacity]) -> None:
    st.subheader("What one replica carries inside the latency targets, and what stops it there", anchor=False)
    if not able:
        st.html(
            look.note(
                "Not worked out yet.",
                "It needs the size of this service's requests, and a variant whose GPU and model are known. "
                "pennyweight profile measures it.",
            )
        )
        return
    st.html(look.table(CAPACITY_HEADS, [capacity_row(one) for _, one in sorted(able.items())]))
