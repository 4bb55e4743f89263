"""The first page: what the fleet costs now, what it gives for that, and what needs a person."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import streamlit as st

from controller.facts.decisions import AlertPhase, Pause
from controller.facts.money import EPOCH
from controller.facts.safety import Stop, stop_of
from controller.ledger.queries import RecordedDecision
from controller.ledger.read import LedgerReader
from controller.ledger.rows import Cost, FleetNow, RecordedPass, ReplicaMinute, ServiceMinute
from dashboard import look
from dashboard.clock import MINUTE, STALE_AFTER, Clock
from dashboard.formats import (
    UNKNOWN,
    compact,
    counted,
    dollars,
    dollars_per_hour,
    lasting,
    percent,
    seconds,
    short_moment,
    whole_dollars,
    words,
)
from dashboard.frame import REFRESH_S, framed
from dashboard.look import Card, Cell
from dashboard.shaping import HOURS_PER_MONTH, bands, per_month, points, spark, spent, why_unknown

DAY = timedelta(days=1)

ROW_FIELDS = (
    "usd_per_hour",
    "usd_per_million_output_tokens",
    "output_tokens_per_s",
    "queue_depth",
    "kv_cache_ratio",
    "ttft_p95_s",
    "tpot_p95_s",
)

FOLDS = "pw-num pw-fold"
"""Numbers with words beside them, which may take two lines where there is little room."""

HEADS = (
    ("Service", ""),
    ("Cost", "pw-num"),
    ("Per 1M output", "pw-num"),
    ("Output", "pw-num"),
    ("Replicas", "pw-num"),
    ("Queue", "pw-num"),
    ("KV cache", "pw-num"),
    ("TTFT p95", "pw-num"),
    ("TPOT p95", "pw-num"),
    ("Mode", ""),
    ("Last decision", "pw-wide pw-over"),
)


@st.fragment(run_every=REFRESH_S)
def page() -> None:
    framed("Fleet now", _body)


def _body(reader: LedgerReader, clock: Clock) -> None:
    now = reader.fleet_now()
    if now is None:
        return
    uses = _uses(reader, now)
    st.html(look.cards(_cards(reader, clock, now.fleet, uses)))
    _attention(reader, clock, now)
    st.subheader("Services", anchor=False)
    pauses, stops = reader.pauses(), reader.stops()
    rows = [
        _row(
            one,
            uses,
            reader.last_decision(one.service),
            _mode_cell(
                str(now.pass_of(one.service).mode),
                pauses.get(one.service),
                stop_of(stops, one.service, clock.now),
            ),
        )
        for one in now.services
    ]
    if rows:
        st.html(look.table(HEADS, rows))
        if unknown := [look.when(line) for one in now.services if (line := _unknowns(one, uses))]:
            st.html("".join(unknown))
    else:
        st.html(look.note("No service.", "The last pass saw none; its minute may have been forgotten already."))


def _uses(reader: LedgerReader, now: FleetNow) -> tuple[ReplicaMinute, ...]:
    """Of the minute of each fleet's last pass, and of the one before: what a pass looked back on may lie in that."""
    minutes = {one.at.replace(second=0, microsecond=0): None for one in now.passes}
    found = [use for at in minutes for use in reader.replica_minutes(at - MINUTE, at + MINUTE)]
    return tuple(dict.fromkeys(found))


def _cards(
    reader: LedgerReader, clock: Clock, fleet: ServiceMinute | None, uses: tuple[ReplicaMinute, ...]
) -> list[Card]:
    start = clock.until - DAY
    day = reader.service_series("", start, clock.until)
    today_costs = reader.cost(start, clock.until, by=())
    today, today_note = spent(today_costs)
    ever, ever_note = spent((*_earlier(repr(reader), start, reader), *today_costs))

    def why(field: str) -> str:
        return why_unknown(field, fleet, uses) if fleet is None or getattr(fleet, field) is None else ""

    def line(field: str) -> list[str]:
        drawn = points(day, field, start, clock.until, compact)
        return spark([value if isinstance(value := one["value"], float) else None for one in drawn])

    rate = fleet.usd_per_hour if fleet else None
    per_usd = fleet.tokens_per_usd if fleet else None
    per_million = fleet.usd_per_million_output_tokens if fleet else None
    since = f"{dollars(ever)} since the ledger began" + (f", {ever_note}" if ever_note and not today_note else "")
    return [
        Card(
            label="Cost now",
            value=dollars_per_hour(rate),
            sub="the line: last 24 h",
            why=why("usd_per_hour"),
            spark=line("usd_per_hour"),
        ),
        Card(
            label="Projected month",
            value=whole_dollars(per_month(rate)),
            why=why("usd_per_hour"),
            sub=f"at this rate, {HOURS_PER_MONTH} hours",
        ),
        Card(
            label="Spent in the last 24 h",
            value=dollars(today),
            why=today_note if today is None else "",
            sub=since + (f" ({today_note})" if today_note else ""),
        ),
        Card(
            label="Tokens per dollar",
            value=compact(per_usd),
            sub="prompt and output, now",
            why=why("tokens_per_usd"),
            spark=line("tokens_per_usd"),
        ),
        Card(
            label="Per million output tokens",
            value=dollars(per_million),
            sub="now",
            why=why("usd_per_million_output_tokens"),
            spark=line("usd_per_million_output_tokens"),
        ),
        _replicas_card(fleet, line("replicas_current")),
    ]


@st.cache_data(max_entries=8, show_spinner=False)
def _earlier(ledger: str, until: datetime, _reader: LedgerReader) -> tuple[Cost, ...]:
    """What ``ledger`` (a name for the cache) holds before ``until``: long, done, and so summed up once a minute."""
    return _reader.cost(EPOCH, until, by=())


def _replicas_card(fleet: ServiceMinute | None, line: list[str]) -> Card:
    label = "Replicas ready"
    if fleet is None:
        return Card(label=label, value=UNKNOWN, why="the last pass recorded no fleet")
    return Card(
        label=label,
        value=f"{fleet.replicas_ready} of {fleet.replicas_current}",
        sub=f"on {counted(fleet.gpus, 'GPU')}",
        spark=line,
    )


def _attention(reader: LedgerReader, clock: Clock, now: FleetNow) -> None:
    """Alerts, problems of the last pass, and time that nobody watched: only when there are any."""
    notes = [*_alerts(reader, clock)]
    notes += [_stopped(one) for one in now.passes[1:] if clock.live and clock.now - one.at > STALE_AFTER]
    notes += [look.note(f"Last pass{_of(last)}:", one, "warn") for last in now.passes for one in last.problems]
    gaps = bands(reader.gaps(clock.until - DAY, clock.until), clock.until - DAY, clock.until)
    notes += [
        look.note(f"Gap, {one.name}", f"from {short_moment(one.start)} to {short_moment(one.end)} UTC: {one.why}")
        for one in gaps
    ]
    if notes:
        st.subheader("Needs attention", anchor=False)
        st.html("".join(notes))


def _stopped(last: RecordedPass) -> str:
    """Of a fleet whose daemon is silent while that of another one works."""
    asked = "is its daemon running? Its services are shown as they were."
    return look.note("Stale.", f"Last pass{_of(last)} at {short_moment(last.at)} UTC: {asked}", "warn")


def _of(last: RecordedPass) -> str:
    return f" of the fleet {last.fleet}" if last.fleet else ""


def _alerts(reader: LedgerReader, clock: Clock) -> list[str]:
    firing = [one for one in reader.alert_states() if one.phase is AlertPhase.FIRING]
    if not firing:
        return []
    sent = reader.alerts(min(one.since for one in firing), clock.until)
    words_of = {(one.service, one.name): one for one in sent if one.phase is AlertPhase.FIRING}
    notes = []
    for one in firing:
        event = words_of.get((one.service, one.name))
        lasts = f"Firing for {lasting((clock.last_pass - one.since).total_seconds())}."
        text = f"{event.summary} {lasts} {event.do}" if event else lasts
        notes.append(look.note(f"{one.service or 'fleet'}, {words(one.name)}:", text, "bad"))
    return notes


def _row(
    one: ServiceMinute,
    uses: tuple[ReplicaMinute, ...],
    decision: RecordedDecision | None,
    mode: Cell,
) -> list[Cell]:
    def number(field: str, text: str, sub: str = "", kind: str = "pw-num") -> Cell:
        unknown = getattr(one, field) is None
        return Cell(text=text, why=why_unknown(field, one, uses) if unknown else "", kind=kind, sub=sub)

    return [
        Cell(text=one.service, link=f"service?service={one.service}", sub=counted(one.gpus, "GPU"), kind="pw-name"),
        number(
            "usd_per_hour",
            dollars_per_hour(one.usd_per_hour),
            "" if one.usd_per_hour is None else f"{whole_dollars(per_month(one.usd_per_hour))}/month",
        ),
        number(
            "usd_per_million_output_tokens",
            dollars(one.usd_per_million_output_tokens),
            "" if one.tokens_per_usd is None else f"{compact(one.tokens_per_usd)} tokens/$",
        ),
        number(
            "output_tokens_per_s",
            compact(one.output_tokens_per_s, "tok/s"),
            "" if one.requests_per_s is None else f"{compact(one.requests_per_s)} req/s",
            FOLDS,
        ),
        _replicas_cell(one),
        number("queue_depth", compact(one.queue_depth)),
        number("kv_cache_ratio", percent(one.kv_cache_ratio)),
        number("ttft_p95_s", seconds(one.ttft_p95_s)),
        number("tpot_p95_s", seconds(one.tpot_p95_s)),
        mode,
        _decision_cell(decision),
    ]


def _unknowns(one: ServiceMinute, uses: tuple[ReplicaMinute, ...]) -> str:
    """Why figures of a service's row are unknown, in words: a tooltip alone is not read on a phone at night."""
    reasons = {why_unknown(name, one, uses): None for name in ROW_FIELDS if getattr(one, name) is None}
    return f"Unknown of {one.service}: {'; '.join(reasons)}." if reasons else ""


def _replicas_cell(one: ServiceMinute) -> Cell:
    desired = "nothing decided" if one.replicas_desired is None else f"desired {one.replicas_desired}"
    cell = Cell(text=f"{one.replicas_ready} of {one.replicas_current} ready", sub=desired, kind=FOLDS)
    return replace(cell, tag="warn") if one.replicas_ready < one.replicas_current else cell


def _mode_cell(mode: str, pause: Pause | None, stop: Stop | None) -> Cell:
    """A stop holds whatever the mode is, and is louder than a pause."""
    if stop is not None:
        return Cell(text="stopped", tag="bad", sub=f"mode {mode}{', and paused' if pause else ''}", kind="pw-tight")
    if pause is None:
        return Cell(text=mode, tag="good" if mode == "act" else "busy", kind="pw-tight")
    return Cell(text="paused", tag="warn", sub=f"by {pause.by}: {pause.reason}")


def _decision_cell(one: RecordedDecision | None) -> Cell:
    if one is None:
        return Cell(text="no decision yet", kind="pw-wide pw-over")
    made = one.decision
    moved = f"{made.verb} to {made.change}" if made.change else f"{made.verb} {made.current} → {made.desired}"
    change = f"hold at {made.current}" if made.holds else moved
    return Cell(
        text=f"{change} ({words(made.because)})",
        sub=f"{made.detail}; {short_moment(made.at)} UTC",
        kind="pw-wide pw-over",
    )
