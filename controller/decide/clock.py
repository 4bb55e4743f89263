"""Memory when the clock was set, or when nobody looked for a while: windows are of time that was watched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from controller.facts.decisions import Memory

USUAL_GAP = 2.0
"""Intervals. One pass may overrun into the next; after more than that time is missing."""


def carried_over(
    memory: Memory,
    last_pass_at: datetime | None,
    interval_s: float,
    now: datetime,
    set_ahead: timedelta = timedelta(0),
) -> Memory:
    """``memory`` as it is to be read at ``now``. ``set_ahead``: the clock, since the last pass.

    Where the clock was set, all of it is moved as far, so that every window is as long as it was: times that lie ahead
    would hold growth and shrink alike until the clock has come there again, and an operator's hold would be over at
    once. Where no pass was made for a while nobody knows what was in between: no signal has been live, and no idleness
    proven, as after a restart.
    """
    newest = _newest(memory)
    if newest is not None and newest > now:
        return _set(memory, now - newest)
    if set_ahead:
        memory = _set(memory, set_ahead)
        last_pass_at = last_pass_at + set_ahead if last_pass_at is not None else None
    if last_pass_at is None or now - last_pass_at <= USUAL_GAP * timedelta(seconds=interval_s):
        return memory
    unwatched = {name: replace(one, live_since=None, idle_since=None) for name, one in memory.services.items()}
    return replace(memory, services=unwatched)


def _set(memory: Memory, by: timedelta) -> Memory:
    """``memory`` moved with the clock. What operators said of times stays as they said it."""
    moved: Memory = _moved(memory, by)
    return replace(moved, safety=replace(moved.safety, stops=memory.safety.stops))


def _newest(memory: Memory) -> datetime | None:
    """When something was last wanted, which every pass notes."""
    last = [one.recommendations[-1].at for one in memory.services.values() if one.recommendations]
    return max(last, default=None)


def _moved(value: Any, by: timedelta) -> Any:
    """``value`` with every time in it moved."""
    if isinstance(value, datetime):
        return value + by
    if isinstance(value, tuple):
        return tuple(_moved(one, by) for one in value)
    if isinstance(value, Mapping):
        return {key: _moved(one, by) for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _moved(getattr(value, one.name), by) for one in fields(value)})
    return value
