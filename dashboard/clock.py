"""What "now" means: the wall clock for a daemon at work, the ledger's own last moment for a finished or virtual day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboard.formats import lasting, moment

LIVE_WITHIN = timedelta(days=1)
"""A last pass older than this is no hung daemon but a record of the past: a demo's virtual day, an old file."""

AHEAD_AT_MOST = timedelta(minutes=1)
"""Clocks of two machines may differ; a ledger further ahead than this has a time of its own. A guess."""

STALE_AFTER = timedelta(minutes=2)
"""A guess: eight passes at the usual interval of 15 s."""

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """``now`` for every question asked on a page.

    live   whether the ledger's time is the wall clock's; else it is virtual or past, and nothing is called stale
    """

    now: datetime
    last_pass: datetime
    live: bool

    @property
    def stale(self) -> bool:
        return self.live and self.now - self.last_pass > STALE_AFTER

    @property
    def until(self) -> datetime:
        """The end of every range: whole minutes are recorded, so the last one counts in full."""
        return self.now.replace(second=0, microsecond=0) + MINUTE

    @property
    def shown(self) -> str:
        """One line for the head of a page."""
        if not self.live:
            return f"Ledger time {moment(self.last_pass)} (a simulated or finished day; not the clock on your wall)"
        age = max(0.0, (self.now - self.last_pass).total_seconds())
        return f"Last pass {moment(self.last_pass)}, {lasting(age)} ago"

    @property
    def warning(self) -> str:
        """What to say about stale data; "" when it is fresh."""
        if not self.stale:
            return ""
        age = lasting((self.now - self.last_pass).total_seconds())
        return f"Last pass {age} ago: is the daemon running? Everything below is as it was at {moment(self.last_pass)}."


def clock(last_pass: datetime, wall: datetime) -> Clock:
    """The rule: live when the last pass is less than a day before ``wall`` and at most a minute ahead of it."""
    live = -AHEAD_AT_MOST <= wall - last_pass < LIVE_WITHIN
    return Clock(now=max(wall, last_pass) if live else last_pass, last_pass=last_pass, live=live)
