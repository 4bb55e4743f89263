"""Who else writes spec.replicas: read from the object's managedFields, and from what we last wrote down about it. Pure.

    applied manifest    owns the count while it is its field manager: nothing is written
    autoscaler          owns the count while it is there: nothing is written (``Standing.owner``)
    anybody else        overrides ours for ten minutes; a program that does so again and again, for a day

Whoever made the object with a count does not own it for that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from controller.kubernetes.objects import ReplicasManager, Target
from controller.kubernetes.resources import FIELD_MANAGER, PREFIX

NOTE = f"{PREFIX}replicas"

OVERRIDE_HOLD = timedelta(minutes=10)
"""So long an operator's count is left alone. The same as a policy's usual `foreign_hold`, which holds as well."""

OWNED_HOLD = timedelta(days=1)
"""So long the count of a program that keeps writing it. A guess: seldom enough to be no fight, and whoever takes the
count out of a manifest has us back by the next day, or at once with `kubectl scale`."""

OFTEN = 3
"""So many times in a row, each after we had scaled, before a program is taken for one that owns the count. A guess."""

AGAIN = timedelta(hours=2)
"""So soon after its hold another change of the same program is the next in a row. A guess: controllers of manifests
look every 3 to 60 minutes, and people bring versions out more seldom."""

MADE = timedelta(seconds=60)
"""So soon after the object was made a write belongs to its making. A guess: tools that create and then annotate."""

BY_HAND = "kubectl"
"""What the field managers of people begin with: kubectl, kubectl-edit, kubectl-client-side-apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Somebody else changed spec.replicas after us. ``at`` None: when is not told. ``times``: in a row."""

    by: str
    at: datetime | None
    times: int = 1

    @property
    def owns(self) -> bool:
        """Whether a program keeps writing it."""
        return self.times >= OFTEN and not self.by.startswith(BY_HAND)

    @property
    def hold(self) -> timedelta:
        """How long it is left alone."""
        return OWNED_HOLD if self.owns else OVERRIDE_HOLD

    def holds(self, now: datetime) -> bool:
        """A time far ahead is that of a clock that was set since: then the policy's own hold counts, which goes by our
        clock."""
        return abs(now - (self.at or now)) < self.hold

    def __str__(self) -> str:
        told = f"'{self.by}' changed spec.replicas{f' at {self.at:%Y-%m-%d %H:%M:%S} UTC' if self.at else ''}"
        if not self.owns:
            return told
        return (
            f"{told}, {self.times} times in a row: it seems to own it, and has it for a day; leave spec.replicas out "
            "of what it writes, see docs/kubernetes.md, One writer"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What we last wrote down about a target.

    counted   replicas that are to stay
    seen      who had written spec.replicas by then, and when
    stood     spec.replicas by then; None: not written down
    to        what we were about to make of it
    by        who had changed it after us, where somebody had; ``at`` is the time of that then
    rival     who had changed it last, also after we have scaled again
    """

    counted: int
    at: datetime
    seen: str = ""
    stood: int | None = None
    to: int | None = None
    by: str = ""
    rival: Override | None = None

    @property
    def text(self) -> str:
        told = {"counted": self.counted, "at": self.at.isoformat(), "seen": self.seen, "by": self.by}
        counts = {"stood": self.stood, "to": self.to}
        rival = {"rival": _told(self.rival) if self.rival is not None else None}
        return json.dumps({key: value for key, value in (told | counts | rival).items() if value not in ("", None)})

    @property
    def label(self) -> str:
        return f"{self.counted}.{self.at.astimezone(UTC):%Y%m%dT%H%M%SZ}"

    def ours(self, replicas: int) -> bool:
        """Whether such a count lies on our way from what stood there to those that are to stay."""
        way = [self.counted, *(one for one in (self.stood, self.to) if one is not None)]
        return self.stood is None or min(way) <= replicas <= max(way)

    @property
    def override(self) -> Override | None:
        """That of somebody after whom we have not scaled."""
        if not self.by:
            return None
        times = self.rival.times if self.rival is not None and self.rival.by == self.by else 1
        return Override(by=self.by, at=self.at, times=times)

    def after(self, by: str, at: datetime | None) -> Override:
        """Another change after this note."""
        last = self.rival
        if last is None or last.by != by or last.at is None:
            return Override(by=by, at=at)
        if self.by:  # we have not scaled since: still the same one
            return Override(by=by, at=at, times=last.times)
        soon = (at or self.at) - (last.at + last.hold) < AGAIN
        return Override(by=by, at=at, times=last.times + 1 if soon else 1)


def _told(rival: Override) -> dict[str, object]:
    return {"by": rival.by, "at": rival.at.isoformat() if rival.at else None, "times": rival.times}


def note_of(target: Target) -> Note | None:
    """None where we never wrote one, somebody wrote over it, or it is an older one that came back."""
    try:
        told = json.loads(target.annotations[NOTE])
        at = datetime.fromisoformat(told["at"])
        seen, by = str(told.get("seen", "")), str(told.get("by", ""))
        stood, to = (int(told[key]) if key in told else None for key in ("stood", "to"))
        rival = _rival(told["rival"]) if "rival" in told else None
        note = Note(counted=int(told["counted"]), at=at, seen=seen, stood=stood, to=to, by=by, rival=rival)
        return note if at.tzinfo is not None and target.labels.get(NOTE) == note.label else None
    except (KeyError, TypeError, ValueError):
        return None


def _rival(told: dict[str, str]) -> Override | None:
    at = datetime.fromisoformat(told["at"])
    return Override(by=told["by"], at=at, times=int(told["times"])) if at.tzinfo is not None else None


def writer_of(target: Target) -> str:
    """Who wrote spec.replicas last, and when: another text after every change of it by another one, or by another way
    than the scale subresource, which leaves no time."""
    newest = target.managers[-1] if target.managers else None
    return f"{newest.manager} {newest.at.isoformat() if newest.at else ''}".strip() if newest is not None else ""


def ours(manager: ReplicasManager) -> bool:
    """Whether it is us."""
    return manager.manager == FIELD_MANAGER


def foreign(target: Target, note: Note | None) -> Override | None:
    """A change of spec.replicas that is not ours and not yet noted. Ours is whatever managedFields say is ours, and
    whatever was so when we wrote the note: until the first scale of ours it is somebody else's, as it should be.

    Counts are compared as well: who scales by the scale subresource leaves no time, so twice looks like once; and a
    count of 0 is nobody's field, nor is any that comes after it by that way.
    """
    managers, count = target.managers, target.replicas
    if note is None or any(map(ours, managers)):
        return None
    if not managers:
        return None if note.ours(count) else note.after("somebody", None)
    if writer_of(target) == note.seen and note.stood in (None, count):
        return None
    return note.after(managers[-1].manager, managers[-1].at)


def before_us(target: Target) -> Override | None:
    """Where we never scaled: a program's change that is no part of the object's making. Who used the scale subresource
    left no time, and may be long gone."""
    newest = target.managers[-1] if target.managers else None
    if newest is None or newest.at is None or target.created is None or newest.manager.startswith(BY_HAND):
        return None
    if any(map(ours, target.managers)) or newest.at - target.created < MADE:
        return None
    return Override(by=newest.manager, at=newest.at)


def applied_by(target: Target) -> str:
    """Whose manifest applies spec.replicas, server-side; "" where nobody's does, or ours."""
    return next((one.manager for one in target.managers if one.operation == "Apply" and not ours(one)), "")
