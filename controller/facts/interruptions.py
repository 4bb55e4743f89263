"""Why a replica will end soon, or gets no further with its start: what platforms say of the machines they lend."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NoticeKind(StrEnum):
    """What was announced."""

    SPOT = "spot"  # a spot instance is taken back
    RESERVATION = "reservation"  # so is an instance of a capacity reservation
    MAINTENANCE = "maintenance"  # the provider, or whoever drains the node, needs the machine
    STOPPED = "stopped"  # it is going down, or gone
    REBALANCE = "rebalance"  # a hint that it may be taken back: nothing ends for it alone


ENDING = frozenset(NoticeKind) - {NoticeKind.REBALANCE}
"""Those that end the machine: what runs there is no supply any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An announcement about one machine.

    node       as ``ReplicaState.node`` names it
    at         when it was made
    deadline   when the machine ends; None: not said
    source     who said so, e.g. "sqs", "imds", "kubernetes"
    """

    node: str
    kind: NoticeKind
    at: datetime
    deadline: datetime | None = None
    source: str = ""

    @property
    def ends(self) -> bool:
        """Whether the machine goes for sure."""
        return self.kind in ENDING


class StuckKind(StrEnum):
    """What keeps a start from going on. A label of metrics and a word of alerts."""

    UNSCHEDULABLE = "unschedulable"  # no node has room for it
    IMAGE = "image"  # its image cannot be pulled
    CRASH = "crash"  # it ends again and again before it is ready
    CAPACITY = "capacity"  # the provider has no such machine to lend now
    QUOTA = "quota"  # the account may not have more of them
    REFUSED = "refused"  # the platform does not accept it as it is written


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """Why a starting replica gets no further, since when, and in the platform's words."""

    kind: StuckKind
    since: datetime
    detail: str = ""
