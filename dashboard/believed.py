"""From the accounts' rows to what says whether they can be believed. Pure; amounts are integer nanodollars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.facts.account_reader import (
    HOUR,
    AllocationRow,
    SeatRow,
    Window,
    added_tokens,
    part_sum,
)
from controller.facts.accounts import IDLE, OVERHEAD, PARTS, UNATTRIBUTED, WORK, Part, Tokens
from controller.facts.money import usd
from controller.facts.usage import Reason
from controller.ledger.accounts.rows import SourceState
from dashboard.formats import UNKNOWN, counted, lasting, percent, short_hour
from dashboard.look import Cell
from dashboard.money import day_told, every_token, millions, money, share, whole_parts
from dashboard.shaping import Point

UNATTRIBUTED_LIMIT = 0.02
"""Share of the work's cost without a usage record above which a person must look: the built-in alert's."""

EXPLAINED_TOO_MUCH = 1.02
"""Records of more tokens than the engines counted, by so much, are of another fleet or came twice."""

COVERED_HEADS = (
    ("Service", ""),
    ("Million tokens, as the engines counted", "pw-num"),
    ("Million tokens in usage records", "pw-num"),
    ("Explained by records", "pw-num"),
    ("Unattributed", "pw-num"),
    ("Of its work's cost", "pw-num"),
)
WASTE_HEADS = (
    ("Kind", ""),
    ("Cost", "pw-num"),
    ("Of all cost", "pw-num"),
    ("What it is", "pw-wide"),
    ("What helps", ""),
)
SOURCE_HEADS = (
    ("Source", ""),
    ("Read last (UTC)", "pw-num"),
    ("Read up to (UTC)", "pw-num"),
    ("Records", "pw-num"),
    ("Million tokens", "pw-num"),
    ("Duplicates", "pw-num"),
    ("Refused", "pw-num"),
)

REFUSED_WORDS: Mapping[Reason, str] = {
    Reason.NOT_JSON: "not JSON",
    Reason.FIELD: "with a wrong field",
    Reason.UNKNOWN_SERVICE: "of an unknown service",
    Reason.TIME: "with a wrong time",
    Reason.TOO_OLD: "too old",
    Reason.IN_FUTURE: "in the future",
}

WASTE_WORDS: Mapping[Part, tuple[str, str, str]] = {
    Part.IDLE_WARM: (
        "Warm",
        "ready and unused, as the policy asked: headroom and minimums",
        "less headroom, lower min",
    ),
    Part.IDLE_UNSCHEDULED: (
        "Unscheduled",
        "ready or committed, unused, and nobody asked for it",
        "mode act, fewer commitments",
    ),
    Part.IDLE_STUCK: (
        "Stuck",
        "requests waited and nothing came of them, or it had failed",
        "look at the engine's log",
    ),
    Part.IDLE_STRANDED: ("Stranded", "GPUs of a rented node that no replica can use", "other node sizes"),
    Part.OVERHEAD_STARTING: ("Starting", "ordered and not ready yet", "weights at hand, faster starts"),
    Part.OVERHEAD_DRAINING: ("Draining", "on its way out, without work", "shorter drains"),
    Part.OVERHEAD_SWAPPING: ("Swapping", "starting in the place of another variant", "rarer changes of variant"),
    Part.OVERHEAD_INTERRUPTED: (
        "Interrupted",
        "lost with an interrupted spot replica, or starting in its place",
        "other zones, less spot",
    ),
}
"""Of every kind of idle and overhead: its name, what it is, what helps against it."""


def work_of(row: AllocationRow) -> int:
    return part_sum(row.parts, WORK)


def unattributed_days(rows: Iterable[AllocationRow]) -> list[Point]:
    """The share of each day's work cost that no record explains, of rows by team and day. Days without work: none."""
    work: dict[datetime, int] = {}
    lost: dict[datetime, int] = {}
    for row in rows:
        work[row.start] = work.get(row.start, 0) + work_of(row)
        if row.identity.team == UNATTRIBUTED.team:
            lost[row.start] = lost.get(row.start, 0) + work_of(row)
    return [
        {
            "day": day_told(at),
            "value": max(0.0, lost.get(at, 0) / work[at]),
            "shown": f"{percent(lost.get(at, 0) / work[at])}: {money(lost.get(at, 0))} of {money(work[at])}",
        }
        for at in sorted(work)
        if work[at] > 0
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """Of one service. ``engine`` tokens were counted, ``logged`` ones told; costs are of work."""

    service: str
    engine: int
    logged: int
    work: int
    lost: int

    @property
    def ratio(self) -> float | None:
        """None: the engines counted nothing."""
        return self.logged / self.engine if self.engine else None


def covered(seats: Iterable[SeatRow], rows: Iterable[AllocationRow]) -> list[Covered]:
    """By service, the dearest first. ``rows`` by team and service."""
    engine: dict[str, Tokens] = {}
    for seat in seats:
        engine[seat.service] = added_tokens(engine.get(seat.service, Tokens()), seat.tokens)
    logged: dict[str, int] = {}
    work: dict[str, int] = {}
    lost: dict[str, int] = {}
    for row in rows:
        service = row.pool.service if row.pool else ""
        explained = row.identity.team != UNATTRIBUTED.team
        logged[service] = logged.get(service, 0) + (every_token(row.tokens) if explained else 0)
        work[service] = work.get(service, 0) + work_of(row)
        lost[service] = lost.get(service, 0) + (0 if explained else work_of(row))
    found = [
        Covered(
            service=one,
            engine=every_token(engine.get(one, Tokens())),
            logged=logged.get(one, 0),
            work=work.get(one, 0),
            lost=lost.get(one, 0),
        )
        for one in {*engine, *logged}
        if one
    ]
    return sorted(found, key=lambda one: (-one.work, one.service))


def together(found: Sequence[Covered]) -> Covered:
    return Covered(
        service="Total",
        engine=sum(one.engine for one in found),
        logged=sum(one.logged for one in found),
        work=sum(one.work for one in found),
        lost=sum(one.lost for one in found),
    )


def covered_row(one: Covered) -> list[Cell]:
    return [
        Cell(text=one.service, kind="pw-tight"),
        Cell(text=millions(one.engine), kind="pw-num"),
        Cell(text=millions(one.logged), kind="pw-num"),
        _explained(one),
        *_lost(one),
    ]


def _explained(one: Covered) -> Cell:
    if one.ratio is None:
        return Cell(text=UNKNOWN, why="the engines counted no token", kind="pw-num")
    if one.ratio > EXPLAINED_TOO_MUCH:
        why = "more than there were: records of another fleet, or two sources of the same"
        return Cell(text=percent(one.ratio), tag="warn", sub=why, kind="pw-num")
    return Cell(text=percent(one.ratio), kind="pw-num")


def _lost(one: Covered) -> list[Cell]:
    if one.work <= 0:
        return [Cell(text=UNKNOWN, why="none of its work has a known price", kind="pw-num") for _ in range(2)]
    ratio = one.lost / one.work
    tag = "warn" if ratio > UNATTRIBUTED_LIMIT else "good"
    return [Cell(text=money(one.lost), kind="pw-num"), Cell(text=percent(ratio), tag=tag, kind="pw-num")]


Waste = Sequence[tuple[Part, int]]


def waste(seats: Iterable[SeatRow]) -> list[tuple[Part, int]]:
    """Idle and overhead by kind, the dearest first."""
    parts = dict(zip(PARTS, whole_parts(seats), strict=True))
    return sorted(((part, parts[part]) for part in (*IDLE, *OVERHEAD)), key=lambda one: -one[1])


def waste_points(found: Waste) -> list[Point]:
    return [
        {
            "name": WASTE_WORDS[part][0],
            "kind": "idle" if part in IDLE else "overhead",
            "usd": usd(amount),
            "shown": money(amount),
        }
        for part, amount in found
        if amount > 0
    ]


def waste_row(part: Part, amount: int, whole: int) -> list[Cell]:
    name, meaning, help_ = WASTE_WORDS[part]
    return [
        Cell(text=name, sub="idle" if part in IDLE else "overhead", kind="pw-tight"),
        Cell(text=money(amount) if amount else "-", kind="pw-num"),
        Cell(text=share(amount, whole) if amount else "-", kind="pw-num"),
        Cell(text=meaning, kind="pw-wide"),
        Cell(text=help_),
    ]


def source_row(one: SourceState, now: datetime) -> list[Cell]:
    return [
        Cell(text=one.source, kind="pw-tight"),
        _time(one.read_at, now, "it is sent to us, not read by us" if one.records else "nothing came yet"),
        _time(one.watermark_at, now, ""),
        Cell(text=f"{one.records:,}", kind="pw-num"),
        Cell(text=millions(one.tokens), kind="pw-num"),
        Cell(text=f"{one.duplicates:,}", kind="pw-num"),
        _refused(one),
    ]


def _time(at: datetime | None, now: datetime, why: str) -> Cell:
    if at is None:
        return Cell(text="-", sub=why, kind="pw-num")
    return Cell(text=f"{lasting(max(0.0, (now - at).total_seconds()))} ago", sub=short_hour(at), kind="pw-num")


def _refused(one: SourceState) -> Cell:
    told = [f"{why.records:,} {REFUSED_WORDS[why.reason]}" for why in one.refused_for]
    told += [f"{counted(one.beyond_cap, 'record')} of too many identities"] if one.beyond_cap else []
    return Cell(text=f"{one.refused:,}", tag="warn" if one.refused else "", sub=", ".join(told), kind="pw-num")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """Whole hours of a window that have ended and are accounted, and how many of them may still change."""

    ended: int
    open: int


def hours_in(
    window: Window, first: datetime, until: datetime, unsettled: int, settled_until: datetime | None = None
) -> Hours:
    """An hour that is settled has ended, also where the last pass, which tells the time, lies before its end."""
    told = until if settled_until is None else max(until, settled_until)
    ended = (min(window.end, told) - max(window.start, first)) // HOUR
    return Hours(ended=max(0, ended), open=min(max(0, ended), unsettled))


def difference(seats: Iterable[SeatRow], rows: Iterable[AllocationRow]) -> int:
    """What places cost less what was handed to identities: nothing, to the nanodollar."""
    return sum(one.effective_nanousd for one in seats) - sum(sum(row.parts) for row in rows)
