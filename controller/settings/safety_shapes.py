"""The ``safety:`` block of fleet.yaml: the last line in front of every actuator."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, Field, model_validator

from controller.documents import ContradictionError, Place, nearest
from controller.quantities import RatioValue
from controller.safety.rules import (
    FLAP_HOLD_MOST_S,
    FLAP_HOLD_S,
    FLAP_LIMIT,
    FLAP_WINDOW_S,
    HOUR_RATIO,
    HOUR_REPLICAS,
    PASS_RATIO,
    PASS_REPLICAS,
    STORM_LAUNCHES,
    STORM_LAUNCHES_PER_S,
    STORM_LOSSES,
    STORM_QUIET_S,
    STORM_SHARE,
    STORM_WINDOW_S,
    Blast,
    FlapRule,
    Freeze,
    Limit,
    SafetyRules,
    StormRule,
    Week,
)
from controller.settings.base import Shape
from controller.settings.values import Amount, Name, Period, Whole

STOP_FILE = "pennyweight.stop"
"""Its usual name, in the fleet file's folder."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = r"([01]\d|2[0-3]):([0-5]\d)|24:00"
_DAY = "|".join(DAYS)
DAILY = re.compile(rf"({_DAY})(?:-({_DAY}))? ({_TIME})-({_TIME})")
ACROSS = re.compile(rf"({_DAY}) ({_TIME})-({_DAY}) ({_TIME})")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
Direction = Literal["grow", "shrink"]


def weeks_of(text: str) -> tuple[Week, ...]:
    """Of ``mon-fri 08:00-18:00``, ``sun 22:00-06:00`` or ``fri 18:00-mon 06:00``. Raises ValueError."""
    lower = text.strip().lower()
    if across := ACROSS.fullmatch(lower):
        start, end = _minute(across[1], across[2]), _minute(across[5], across[6])
        return (Week(start=start % WEEK_MINUTES, end=end % WEEK_MINUTES),)
    if daily := DAILY.fullmatch(lower):
        first, last = DAYS.index(daily[1]), DAYS.index(daily[2] or daily[1])
        length = (_clock(daily[6]) - _clock(daily[3])) % DAY_MINUTES or DAY_MINUTES
        days = [(first + more) % 7 for more in range((last - first) % 7 + 1)]
        starts = [day * DAY_MINUTES + _clock(daily[3]) for day in days]
        return tuple(Week(start=start, end=(start + length) % WEEK_MINUTES) for start in starts)
    expected = "mon-fri 08:00-18:00, sun 22:00-06:00 or fri 18:00-mon 06:00"
    raise ValueError(f"expected a time of the week, such as {expected}, found '{text}'")


def _minute(day: str, clock: str) -> int:
    return DAYS.index(day) * DAY_MINUTES + _clock(clock)


def _clock(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _weekly(text: str) -> str:
    weeks_of(text)
    return text


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = nearest(name, sorted(available_timezones()))
        raise ValueError(f"expected a time zone, such as Europe/Berlin or UTC, found '{name}'{near}") from None


Weekly = Annotated[str, AfterValidator(_weekly)]
Zone = Annotated[str, AfterValidator(_zone)]
Share = Annotated[RatioValue | Annotated[float, Field(gt=0, le=100)], Field(gt=0)]
Count = Annotated[int, Field(strict=True, ge=0)]


class MoveLimitShape(Shape):
    """What may move within a pass, or an hour. Growth up to min_replicas is never held, and counts."""

    replicas: Count | None = Field(
        default=None, description="so many of the whole fleet; with ratio, the larger of the two"
    )
    ratio: Share | None = Field(
        default=None, description="such a share of the fleet's replicas, one at least; 2 is 200%"
    )
    usd_per_hour: Amount | None = Field(
        default=None,
        description="so many dollars an hour; what costs more may move alone, what has no known price not",
    )

    @property
    def limit(self) -> Limit:
        return Limit(replicas=self.replicas, ratio=self.ratio, usd=self.usd_per_hour)


PASS = MoveLimitShape(replicas=PASS_REPLICAS, ratio=PASS_RATIO)
HOUR = MoveLimitShape(replicas=HOUR_REPLICAS, ratio=HOUR_RATIO)


class BlastShape(Shape):
    """One direction."""

    per_pass: MoveLimitShape = Field(
        default=PASS, description="in one pass; left out: 50 replicas, or half of the fleet"
    )
    per_hour: MoveLimitShape = Field(default=HOUR, description="in any hour; left out: 500, or twice the fleet")

    @property
    def blast(self) -> Blast:
        return Blast(per_pass=self.per_pass.limit, per_hour=self.per_hour.limit)


class FreezeShape(Shape):
    """A time in which nothing grows, or shrinks, or both."""

    name: Name = Field(description="as reasons show it")
    weekly: tuple[Weekly, ...] = Field(
        default=(), description="times of every week: mon-fri 08:00-18:00, fri 18:00-mon 06:00"
    )
    since: datetime | date | None = Field(default=None, alias="from", description="from this day or moment on")
    until: datetime | date | None = Field(default=None, description="up to this day or moment")
    zone: Zone = Field(default="UTC", description="whose clock these times are of, as Europe/Berlin")
    hold: tuple[Direction, ...] = Field(
        default=("grow", "shrink"), min_length=1, description="grow, shrink or both; growth up to min_replicas goes on"
    )
    services: tuple[Name, ...] = Field(default=(), description="left out: all")

    @model_validator(mode="after")
    def _at_some_time(self) -> FreezeShape:
        if not self.weekly and self.since is None and self.until is None:
            raise ValueError("it has no time; expected weekly, from or until")
        freeze = self.freeze
        if freeze.since is not None and freeze.until is not None and freeze.until <= freeze.since:
            raise ContradictionError(f"ends ({self.until}) before it begins ({self.since})")
        return self

    @property
    def freeze(self) -> Freeze:
        zone = ZoneInfo(self.zone)
        return Freeze(
            name=self.name,
            grow="grow" in self.hold,
            shrink="shrink" in self.hold,
            services=frozenset(self.services),
            zone=zone,
            weeks=tuple(week for text in self.weekly for week in weeks_of(text)),
            since=_moment(self.since, zone),
            until=_moment(self.until, zone),
        )


def _moment(given: datetime | date | None, zone: ZoneInfo) -> datetime | None:
    """A day begins at midnight of ``zone``, and a moment without a zone is one of its clock."""
    if given is None:
        return None
    moment = given if isinstance(given, datetime) else datetime.combine(given, time())
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).astimezone(UTC)


class StormShape(Shape):
    """Losses that come together: what counts as a storm, and what holds while it lasts."""

    losses: Whole = Field(default=STORM_LOSSES, description="replicas of one failure domain ...")
    share: Annotated[RatioValue, Field(gt=0)] = Field(
        default=STORM_SHARE, description="... or such a share of the spot replicas, two at least ..."
    )
    window: Period = Field(default=STORM_WINDOW_S, description="... lost or announced within so long")
    quiet: Period = Field(
        default=STORM_QUIET_S,
        description="over so long after the last loss; until then no spot of its domain",
    )
    launches: Count = Field(default=STORM_LAUNCHES, description="replicas launched at most, beyond minimums, ...")
    launches_per: Period = Field(default=STORM_LAUNCHES_PER_S, description="... in so long, while it lasts")

    @property
    def rule(self) -> StormRule:
        return StormRule(
            losses=self.losses,
            share=self.share,
            window_s=self.window,
            quiet_s=self.quiet,
            launches=self.launches,
            launches_per_s=self.launches_per,
        )


class FlapShape(Shape):
    """When a service goes back and forth too much to shrink."""

    window: Period = Field(default=FLAP_WINDOW_S, description="looked back over")
    limit: Amount = Field(
        default=FLAP_LIMIT, description="times the whole service may turn round in it; half of it twice counts as once"
    )
    hold: Period = Field(default=FLAP_HOLD_S, description="it does not shrink for so long, then twice as long ...")
    hold_at_most: Period = Field(default=FLAP_HOLD_MOST_S, description="... and so on up to this")

    @model_validator(mode="after")
    def _ordered(self) -> FlapShape:
        if self.hold_at_most < self.hold:
            raise ContradictionError(f"hold_at_most ({self.hold_at_most:g} s) is shorter than hold ({self.hold:g} s)")
        return self

    @property
    def rule(self) -> FlapRule:
        return FlapRule(window_s=self.window, limit=self.limit, hold_s=self.hold, hold_most_s=self.hold_at_most)


class SafetyShape(Shape):
    """The last line in front of every actuator, whatever policies ask for."""

    stop_file: str = Field(
        default=STOP_FILE,
        description="while it exists nothing is touched; its first line is the reason. Empty: none is looked for",
    )
    grow: BlastShape = Field(default=BlastShape(), description="how much may be added, in the whole fleet")
    shrink: BlastShape = Field(default=BlastShape(), description="how much may go, in the whole fleet")
    freeze: tuple[FreezeShape, ...] = Field(default=(), description="times in which nothing moves")
    storm: StormShape = Field(default=StormShape(), description="when spot is taken from many at once")
    flapping: FlapShape = Field(default=FlapShape(), description="when a service goes back and forth")

    @property
    def rules(self) -> SafetyRules:
        return SafetyRules(
            grow=self.grow.blast,
            shrink=self.shrink.blast,
            freezes=tuple(one.freeze for one in self.freeze),
            storm=self.storm.rule,
            flaps=self.flapping.rule,
        )

    def stop_path(self, folder: Path) -> Path | None:
        """Where the stop file is looked for."""
        return folder / self.stop_file if self.stop_file else None


def strange_services(data: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Freezes of services that the file does not have."""
    safety, services = data.get("safety"), data.get("services")
    freezes = safety.get("freeze") if isinstance(safety, Mapping) else None
    known = tuple(services) if isinstance(services, Mapping) else ()
    for index, freeze in enumerate(freezes if isinstance(freezes, list) else ()):
        named = freeze.get("services") if isinstance(freeze, Mapping) else None
        for position, name in enumerate(named if isinstance(named, list) else ()):
            if isinstance(name, str) and name not in known:
                place = ("safety", "freeze", index, "services", position)
                yield place, f"there is no service '{name}'{nearest(name, known)}"
