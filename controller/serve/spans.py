"""Windows and steps as a URL says them. Accounts are by the hour: windows are widened to whole hours, UTC."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

from controller.facts.account_reader import HOUR, Window

LONGEST = timedelta(days=1100)
"""Three years: what is kept by the week. Longer ones are a slip of the pen."""

MOST_STEPS = 800
"""A month by the hour, two years by the day."""

DAY = timedelta(days=1)
_UNITS = {"m": timedelta(minutes=1), "h": HOUR, "d": DAY, "w": 7 * DAY}
_EXPECTED = (
    "expected today, yesterday, week, lastweek, month, lastmonth, a length like 12h or 7d, "
    "or two times like 2026-11-01T00:00:00Z,2026-11-02T00:00:00Z or as seconds since 1970"
)


def window_of(text: str, now: datetime) -> Window:
    """A period that is still running goes to now. Weeks begin on Monday. ValueError says what was expected."""
    found = _named(text.strip(), now) or _back(text.strip(), now) or _pair(text)
    if found is None:
        raise ValueError(f"window is '{text[:80]}'; {_EXPECTED}")
    start, end = _floor(found[0]), _ceiling(found[1])
    if end <= start:
        raise ValueError(f"window is '{text[:80]}': it ends before it begins")
    if end - start > LONGEST:
        raise ValueError(f"window is {(end - start) // DAY} days; expected at most {LONGEST // DAY}")
    return Window(start=start, end=end)


def step_of(text: str, window: Window) -> timedelta | None:
    """None for the whole window. ValueError says what was expected."""
    if not text:
        return None
    step = _length(text.strip())
    if step is None or step < HOUR or step % HOUR:
        raise ValueError(f"step is '{text[:80]}'; expected whole hours, like 1h, 1d or 7d")
    if (window.end - window.start) / step > MOST_STEPS:
        steps = -((window.start - window.end) // step)
        raise ValueError(f"{steps:,} steps of {text}; expected at most {MOST_STEPS}: ask for longer ones")
    return step


def cut(window: Window, step: timedelta | None) -> list[Window]:
    """The window's steps; the last one may be shorter."""
    if step is None:
        return [window]
    count = -((window.start - window.end) // step)
    starts = [window.start + index * step for index in range(count)]
    return [Window(start=start, end=min(start + step, window.end)) for start in starts]


_Span = tuple[datetime, datetime]


def _named(text: str, now: datetime) -> _Span | None:
    today = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    week, month = today - today.weekday() * DAY, today.replace(day=1)
    spans: dict[str, Callable[[], _Span]] = {
        "today": lambda: (today, today + DAY),
        "yesterday": lambda: (today - DAY, today),
        "week": lambda: (week, week + 7 * DAY),
        "lastweek": lambda: (week - 7 * DAY, week),
        "month": lambda: (month, (month + 32 * DAY).replace(day=1)),
        "lastmonth": lambda: ((month - DAY).replace(day=1), month),
    }
    if text not in spans:
        return None
    start, end = spans[text]()
    return start, min(end, max(_ceiling(now), start + HOUR))


def _back(text: str, now: datetime) -> _Span | None:
    length = _length(text)
    return None if length is None else (now - length, now)


def _length(text: str) -> timedelta | None:
    found = re.fullmatch(r"([0-9]{1,5})([mhdw])", text, re.ASCII)
    return int(found[1]) * _UNITS[found[2]] if found and int(found[1]) else None


def _pair(text: str) -> _Span | None:
    first, comma, second = text.partition(",")
    start, end = _time(first.strip()), _time(second.strip())
    return (start, end) if comma and start and end else None


def _time(text: str) -> datetime | None:
    """Between 1971 and 2199, so that no sum leaves the calendar."""
    try:
        if re.fullmatch(r"[0-9]{1,12}", text, re.ASCII):
            found = datetime.fromtimestamp(int(text), UTC)
        else:
            found = datetime.fromisoformat(text.replace(" ", "+")).astimezone(UTC)  # a "+" not escaped in the URL
    except (ValueError, OverflowError, OSError):
        return None
    return found if 1971 <= found.year < 2200 else None


def _floor(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _ceiling(at: datetime) -> datetime:
    hour = _floor(at)
    return hour if hour == at else hour + HOUR
