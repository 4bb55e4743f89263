"""A stage for the actuator of Auto Scaling groups: groups on moto's server with what it lacks (tests/auto_scaling.py)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from controller.act.aws_asg.actuator import AwsAsgActuator
from controller.aws.groups import GroupBook
from controller.facts.interruptions import Notice, NoticeKind
from controller.facts.readings import ReplicaState

if TYPE_CHECKING:  # moto takes longer to import than most tests here take
    from tests.act.conftest import Hand
    from tests.auto_scaling import World


class Fleet:
    """One variant on one group, and the daemon that holds it."""

    def __init__(self, cloud: World, hand: Hand, group: str) -> None:
        self.cloud, self.hand, self.group = cloud, hand, group
        self.notices: dict[str, Notice] = {}
        hand.now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251
        self.restart()

    def restart(self) -> None:
        """A new daemon: it knows what AWS tells, and nothing else."""
        book = GroupBook(self.cloud.aws)
        self.hand.actuator = AwsAsgActuator(self.cloud.aws, book, pause=lambda seconds: None)

    def look(self, after_s: float = 15.0) -> tuple[ReplicaState, ...]:
        self.hand.actuator.warn(self.notices)
        return self.hand.look(after_s)

    def phases(self, after_s: float = 15.0) -> list[str]:
        return sorted(str(one.phase) for one in self.look(after_s))

    def ids(self, state: str = "") -> list[str]:
        return self.cloud.ids(self.group, state)

    @property
    def desired(self) -> int:
        return self.cloud.desired(self.group)


def notice(instance: str, now: datetime, *, kind: NoticeKind = NoticeKind.SPOT, left_s: float = 120.0) -> Notice:
    return Notice(node=instance, kind=kind, at=now, deadline=now + timedelta(seconds=left_s), source="test")
