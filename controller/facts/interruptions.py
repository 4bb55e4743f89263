"""Why a replica will end soon, or gets no further with its start: what platforms say of the machines they lend."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NoticeKind(StrEnum):
    """What was announced."""

    SPOT = "spot"  # a spot instance is taken back
    RESERVATION = "reservation"  # so is an instance of a capacity reservation
    MAINTENANCE = "maintenance"  # the provider, its group, or whoever drains the node, ends the machine
    STOPPED = "stopped"  # it is going down, or gone
    REBALANCE = "rebalance"  # a hint that it may be taken back: nothing ends for it alone


ENDING = frozenset(NoticeKind) - {NoticeKind.REBALANCE}
"""Those that end the machine: what runs there is no supply any more."""

LOCAL = "localhost"
"""The machine that the daemon itself runs on, as a node: engines that it starts as processes or units lie there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An announcement about one machine.

    node           as ``ReplicaState.node`` or ``ReplicaState.instance`` names it
    at             when it was made
    deadline       when the machine ends; None: not said
    source         who said so, e.g. "sqs", "imds", "kubernetes"
    announcement   of what it is a part, where its source may say more of that; "": it stands by itself
    """

    node: str
    kind: NoticeKind
    at: datetime
    deadline: datetime | None = None
    source: str = ""
    announcement: str = ""

    @property
    def key(self) -> tuple[str, NoticeKind, bool, str]:
        """Two of the same are words on the same end. Maintenance without a date may be now, and is no word on another
        of a later date."""
        undated = self.kind is NoticeKind.MAINTENANCE and self.deadline is None
        return self.node, self.kind, undated, self.announcement

    @property
    def ends(self) -> bool:
        """Whether the machine goes for sure."""
        return self.kind in ENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcers:
    """Who is listened to.

    queue                the URL or the name of the SQS queue that EventBridge's events go to; "": none
    region               of the queue; "": as its URL says, or AWS's own settings
    metadata             the daemon runs on an EC2 instance, whose own metadata is asked
    maintenance_lead_s   maintenance is announced days ahead and counts from so long before it
    """

    queue: str = ""
    region: str = ""
    metadata: bool = False
    maintenance_lead_s: float = 1800.0


NOBODY = Announcers()


class StuckKind(StrEnum):
    """What keeps a start from going on. A label of metrics and a word of alerts."""

    UNSCHEDULABLE = "unschedulable"  # no node has room for it
    IMAGE = "image"  # its image cannot be pulled
    CRASH = "crash"  # it ends again and again before it is ready
    CAPACITY = "capacity"  # the provider has no such machine to lend now
    QUOTA = "quota"  # the account may not have more of them
    REFUSED = "refused"  # the platform does not accept it as it is written, or its owner lets it start nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """Why a starting replica gets no further, since when, and in the platform's words."""

    kind: StuckKind
    since: datetime
    detail: str = ""
