"""Who is who in an Auto Scaling group: which instances are replicas, which are on their way out, and which are still to
come. Nothing here asks AWS or changes anything.

What must outlive the daemon is in tags: of the group, whose it is and since when its missing instances are waited for;
of an instance, since when it is ready, since when it drains, and that it was told to go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from controller.aws.groups import Group, Instance
from controller.facts.interruptions import Notice

MANAGED = "pennyweight:managed-by"
"""Of a group: "service/variant". Without it a group is only looked at."""

WAITING = "pennyweight:waiting"
"""Of a group: "COUNT@SECONDS …": since when it is to have so many instances, where it has fewer."""

READY = "pennyweight:ready-since"
DRAINING = "pennyweight:draining-since"
LEFT = "pennyweight:left-at"
"""Of an instance, in seconds since 1970. LEFT: it was told to go, so that the group's count is lower by it already."""

MOST_STEPS = 12
"""Of WAITING: a tag's value has 256 characters, and a step takes some 16 of them."""


class Step(NamedTuple):
    """The group is to have so many instances ``since`` then."""

    upto: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Placeholder:
    """An instance that the group is to have and has not. Its name is its own: a later one is another try."""

    name: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """A group's instances by what they are to us.

    alive     replicas: ready, or starting
    leaving   no supply any more: why, by instance
    ahead     launched by the group itself in advance of instances at risk; each takes one's place when that goes
    missing   replicas that are still to come
    owed      instances that we were draining when the group ended them by itself: it is to have fewer by so many
    unwanted  those among the leaving that somebody else's lower capacity has no place for: they serve as long as
              the group lets them, and are not counted, so that his count is seen
    """

    group: Group
    alive: tuple[Instance, ...]
    leaving: Mapping[str, str]
    ahead: tuple[Instance, ...]
    missing: tuple[Placeholder, ...]
    steps: tuple[Step, ...]
    owed: tuple[Instance, ...]
    unwanted: tuple[Instance, ...] = ()

    @property
    def counted(self) -> int:
        return len(self.alive) + len(self.missing)

    @property
    def taken(self) -> int:
        """Instances that count towards the group's desired capacity."""
        return len(self.group.seats)


def roll_of(group: Group, notices: Mapping[str, Notice], known: Sequence[Step], now: datetime) -> Roll:
    """``known``: what WAITING said when it was last written, where the group does not carry it."""
    leaving = {one.id: why for one in group.instances if (why := _leaves(one, group, notices.get(one.id)))}
    staying = [one for one in group.seats if one.id not in leaving]
    owed = tuple(one for one in group.instances if one.ending and DRAINING in one.tags and LEFT not in one.tags)
    desired = group.desired - len(owed)
    ahead: tuple[Instance, ...] = ()
    surplus = len(group.seats) - desired
    if group.rebalances and surplus > 0:
        ahead, at_risk = _ahead(staying, surplus, notices)
        leaving |= {one.id: "the group has replaced it ahead of its end" for one in at_risk}
    unwanted = () if group.rebalances else _newest(staying)[: max(0, len(staying) - desired)]
    leaving |= {one.id: f"one more than the group is to have, {group.desired}" for one in unwanted}
    apart = {one.id for one in ahead} | leaving.keys()
    steps = _steps(waiting_of(group) or known, len(group.seats), desired, now)
    return Roll(
        group=group,
        alive=tuple(one for one in staying if one.id not in apart),
        leaving=leaving,
        ahead=ahead,
        missing=_missing(group, desired, steps),
        steps=steps,
        owed=owed,
        unwanted=unwanted,
    )


def _leaves(one: Instance, group: Group, notice: Notice | None) -> str:
    """Why it is no supply any more; "" when it is."""
    if one.state in ("Terminated", "Detached") or one.state.startswith("Warmed"):
        return ""  # nothing is left of it here, or it never was
    if one.ending:
        return f"the group ends it ({one.state})"
    if "Standby" in one.state:
        return f"somebody took it out of service ({one.state})"
    if DRAINING in one.tags:
        return "draining"
    if notice is not None and notice.ends:
        return f"its machine goes: {notice.kind}"
    return "" if one in group.seats else "not healthy, the group replaces it"


def _ahead(
    staying: Sequence[Instance], surplus: int, notices: Mapping[str, Notice]
) -> tuple[tuple[Instance, ...], tuple[Instance, ...]]:
    """Those that the group launched in advance, and those whose place they have taken. A new one is no replica before
    it is in service, and the one at risk serves until then."""
    newest = _newest(staying)[:surplus]
    coming = tuple(one for one in newest if one.pending)
    at_risk = tuple(one for one in staying if one.id in notices and one.in_service)[: surplus - len(coming)]
    untold = surplus - len(coming) - len(at_risk)
    rest = [one for one in newest if not one.pending and one not in at_risk]
    return (*coming, *rest[: max(0, untold)]), at_risk


def _newest(staying: Sequence[Instance]) -> tuple[Instance, ...]:
    return tuple(sorted(staying, key=lambda one: (one.pending, _launched(one), one.id), reverse=True))


def _launched(one: Instance) -> datetime:
    return one.launched_at or datetime.max.replace(tzinfo=UTC)


# --- what is waited for -----------------------------------------------------------------------------------------------


def waiting_of(group: Group) -> tuple[Step, ...]:
    """As its tag says. What cannot be read there is as if it were not there: then the wait begins anew."""
    steps = []
    for part in group.tags.get(WAITING, "").split():
        count, _, since = part.partition("@")
        if count.isdigit() and (at := moment(since)) is not None:
            steps.append(Step(int(count), at))
    return tuple(steps)


def waiting_text(steps: Sequence[Step]) -> str:
    """For the tag; "none" where nothing is waited for, because AWS takes no tag away with the same call."""
    return " ".join(f"{one.upto}@{seconds(one.since)}" for one in steps) or "none"


def _steps(before: Sequence[Step], taken: int, desired: int, now: datetime) -> tuple[Step, ...]:
    """Without those that have been reached, and up to ``desired``."""
    if taken >= desired:
        return ()
    steps = [one for one in before if one.upto > taken][-MOST_STEPS:]
    covered = steps[-1].upto if steps else taken
    return (*steps, Step(desired, now)) if covered < desired else tuple(steps)


def _missing(group: Group, desired: int, steps: Sequence[Step]) -> tuple[Placeholder, ...]:
    made: list[Placeholder] = []
    for seat in range(len(group.seats) + 1, desired + 1):
        since = next(one.since for one in steps if one.upto >= seat)
        number = 1 + sum(one.since == since for one in made)
        made.append(Placeholder(name=f"{group.name}-waits-{since:%m%dT%H%M%S}-{number}", since=since))
    return tuple(made)


def moment(text: str) -> datetime | None:
    """Of a tag's seconds; None where they are none."""
    return datetime.fromtimestamp(int(text), UTC) if text.isdigit() and len(text) < 12 else None


def seconds(at: datetime) -> str:
    return str(int(at.timestamp()))


def tagged(one: Instance, key: str) -> datetime | None:
    """When ``one`` was marked so."""
    return moment(one.tags.get(key, ""))
