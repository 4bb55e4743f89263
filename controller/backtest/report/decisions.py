"""What a controller did, and why: its biggest moves, and its reasons counted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from controller.backtest.report.series import start_s
from controller.simulate.score import Move, RunScore

MOST_MOVES = 8
"""Moves that are listed one by one. A guess: more are not read."""
MOST_REASONS = 8

_NUMBER = re.compile(r"(?<![A-Za-z_])[+-]?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class BigMove:
    """``usd_per_hour``: what it added to the bill, at the run's own mean price of a replica."""

    when: str
    before: int
    after: int
    usd_per_hour: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Moves whose reasons differ in nothing but their numbers. ``example``: the reason of the largest."""

    example: str
    times: int
    added: int
    removed: int


def biggest(run: RunScore) -> list[BigMove]:
    """Those that changed the bill most, the earlier first among equals, in order of time."""
    price = run.usd / run.replica_hours if run.replica_hours else 0.0
    ranked = sorted(run.moves, key=lambda move: (-abs(move.after - move.before), move.at_s))[:MOST_MOVES]
    return [
        BigMove(
            when=clock(move.at_s - start_s(run.series)),
            before=move.before,
            after=move.after,
            usd_per_hour=(move.after - move.before) * price,
            reason=move.reason,
        )
        for move in sorted(ranked, key=lambda move: move.at_s)
    ]


def reasons(run: RunScore) -> tuple[list[Reason], int]:
    """The most frequent ones, and how many moves had others."""
    groups: dict[str, list[Move]] = {}
    for move in run.moves:
        groups.setdefault(_NUMBER.sub("#", move.reason), []).append(move)
    ranked = sorted(groups.values(), key=lambda moves: -len(moves))
    return [_reason(moves) for moves in ranked[:MOST_REASONS]], sum(map(len, ranked[MOST_REASONS:]))


def _reason(moves: Sequence[Move]) -> Reason:
    steps = [move.after - move.before for move in moves]
    largest = max(moves, key=lambda move: abs(move.after - move.before))
    return Reason(
        example=largest.reason,
        times=len(moves),
        added=sum(step for step in steps if step > 0),
        removed=-sum(step for step in steps if step < 0),
    )


def clock(seconds: float) -> str:
    """Time since the start: 14:05:30, or day 3, 14:05:30."""
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86_400)
    time = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"day {days + 1}, {time}" if days else time
