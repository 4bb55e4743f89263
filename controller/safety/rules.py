"""The kernel's rules, frozen: the ``safety:`` block of fleet.yaml after it was read and checked.

The usual ones are a last line far behind the limits of every policy: what is normal anywhere never meets them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, tzinfo
from math import floor, inf

PASS_REPLICAS = 50
"""May move in one pass, whatever the fleet's size. A guess: more than any policy of a small fleet asks for at once."""

PASS_RATIO = 0.5
"""Of a fleet of more than a hundred. A guess: half of all at once is a mistake more often than a need."""

HOUR_REPLICAS = 500
"""A guess: ten passes at their limit, after which a person should have looked."""

HOUR_RATIO = 2.0
"""A guess: a day's load that rises threefold within an hour is unheard of in the traces that we have."""

STORM_LOSSES = 3
"""A guess: two replicas may lie on one machine; a third is no accident."""

STORM_SHARE = 0.3
"""Of the spot replicas. A guess: of four it takes two (the least that may be called correlated), of ten three."""

STORM_WINDOW_S = 300.0
"""A guess: reclaims of one pool come within minutes of each other; AWS announces each two minutes ahead."""

STORM_QUIET_S = 1800.0
"""No spot of the struck domain for so long after its last loss. It must be longer than a launch takes to fail, or the
fleet goes back and forth between the two (SkyServe's fork: ten minutes, equal to it, did); a start may take the ten
minutes of the usual start deadline, and three times that is a guess."""

STORM_LAUNCHES = 20
"""A guess: a control plane takes as many at once without throttling (EC2 refills 2 RunInstances calls a second)."""

STORM_LAUNCHES_PER_S = 60.0

FLAP_WINDOW_S = 3600.0
"""A guess: long enough for several slow turns, short enough for a service to live down its morning."""

FLAP_LIMIT = 12.0
"""A guess: the whole service up and down six times in an hour costs more in starts than any load is worth."""

FLAP_HOLD_S = 600.0
"""A guess: as long as the spare of a policy usually stays."""

FLAP_HOLD_MOST_S = 7200.0
"""A guess: two hours of a service at its peak are dear enough for somebody to have looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What may move in one direction within a pass or an hour; all None: no limit.

    replicas   so many; with ``ratio``, the larger of the two
    ratio      such a share of the fleet's replicas before, one at least
    usd        so many dollars an hour more (or less); what costs more than all of it may still move alone
    """

    replicas: int | None = None
    ratio: float | None = None
    usd: float | None = None

    def most(self, fleet: int) -> float:
        """Replicas that may move in a fleet of ``fleet``."""
        if self.replicas is None and self.ratio is None:
            return inf
        share = max(1, floor((self.ratio or 0.0) * fleet)) if self.ratio is not None else 0
        return max(self.replicas or 0, share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blast:
    """The limits of one direction."""

    per_pass: Limit = Limit(replicas=PASS_REPLICAS, ratio=PASS_RATIO)
    per_hour: Limit = Limit(replicas=HOUR_REPLICAS, ratio=HOUR_RATIO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """A time of every week, by the local clock. Minutes from Monday 00:00; an end before its start is in the next."""

    start: int
    end: int

    def holds(self, local: datetime) -> bool:
        minute = (local.weekday() * 24 + local.hour) * 60 + local.minute
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """When nothing grows, or shrinks, or both. ``services`` empty: all of them.

    weeks          in any of these, by the clock of ``zone``
    since, until   or between these two moments; None: that side is open
    """

    name: str
    grow: bool = True
    shrink: bool = True
    services: Collection[str] = ()
    zone: tzinfo
    weeks: tuple[Week, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, service: str, growing: bool, now: datetime) -> bool:
        if not (self.grow if growing else self.shrink) or (self.services and service not in self.services):
            return False
        if (self.since is not None and now < self.since) or (self.until is not None and now >= self.until):
            return False
        return not self.weeks or any(week.holds(now.astimezone(self.zone)) for week in self.weeks)


@dataclass(frozen=True, slots=True, kw_only=True)
class StormRule:
    """What correlated loss is, and what holds during it.

    losses, share   a storm: so many replicas of one domain, or such a share of the spot replicas (two at least) ...
    window_s        ... within so long
    quiet_s         it is over so long after its last loss; until then the domain's spot is not used
    launches        while it lasts no more than so many replicas are launched ...
    launches_per_s  ... in so many seconds
    """

    losses: int = STORM_LOSSES
    share: float = STORM_SHARE
    window_s: float = STORM_WINDOW_S
    quiet_s: float = STORM_QUIET_S
    launches: int = STORM_LAUNCHES
    launches_per_s: float = STORM_LAUNCHES_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class FlapRule:
    """When going back and forth is too much.

    window_s        looked back over
    limit           times the whole service turned, see flaps.py
    hold_s          no shrink for so long; doubled when it goes on, up to ``hold_most_s``
    """

    window_s: float = FLAP_WINDOW_S
    limit: float = FLAP_LIMIT
    hold_s: float = FLAP_HOLD_S
    hold_most_s: float = FLAP_HOLD_MOST_S


HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyRules:
    """All of them."""

    grow: Blast = Blast()
    shrink: Blast = Blast()
    freezes: tuple[Freeze, ...] = ()
    storm: StormRule = StormRule()
    flaps: FlapRule = FlapRule()

    @property
    def reach_s(self) -> float:
        """How far back moves are looked for."""
        return max(HOUR_S, self.flaps.window_s, self.storm.launches_per_s)
