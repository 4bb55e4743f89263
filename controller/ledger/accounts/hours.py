"""Time as the accounts count it: whole hours since 1970 UTC, shifts and days from midnight, weeks from Monday."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from controller.facts.money import EPOCH

HOUR = timedelta(hours=1)
SHIFT, DAY, WEEK = 6, 24, 168
"""Lengths in hours; with 1 the grains of the cubes. A shift is a quarter of a day, so that a window which ends within a
day is made of no more than five hours and three shifts of it."""

MONDAY = 96
"""1970-01-05, the first Monday."""


def hour_of(at: datetime) -> int:
    """The hour in which ``at`` lies."""
    return (at - EPOCH) // HOUR


def up(end: datetime) -> int:
    """The hour at or after ``end``."""
    return -((EPOCH - end) // HOUR)


def time_of(hour: int) -> datetime:
    """Its start."""
    return (EPOCH + hour * HOUR).astimezone(UTC)


def begin(hour: int, grain: int) -> int:
    """The start of the hour, shift, day or week in which ``hour`` lies."""
    offset = MONDAY if grain == WEEK else 0
    return (hour - offset) // grain * grain + offset


def midnight(day: date) -> int:
    """The first hour of ``day``."""
    return hour_of(datetime.combine(day, time(), UTC))


def day_of(day: date) -> int:
    """Days since 1970."""
    return day.toordinal() - EPOCH.date().toordinal()


def date_of(day: int) -> date:
    return date.fromordinal(EPOCH.date().toordinal() + day)


def shown(hour: int) -> str:
    """For messages."""
    return f"{time_of(hour):%Y-%m-%d %H:00} UTC"
