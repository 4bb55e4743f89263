"""To lead until another one does: what an election comes to, for those who ask before they touch anything."""

from __future__ import annotations

from dataclasses import dataclass

from controller.facts.leadership import LeaderSeen
from controller.leader.leadership import Told


@dataclass
class Leading:
    """One term of one daemon. ``lost``: it is over."""

    epoch: int
    lost: bool = False

    def held(self) -> int | None:
        return None if self.lost else self.epoch

    def lose(self) -> None:
        self.lost = True

    def release(self) -> None:
        """Who dies releases nothing."""

    def seen(self) -> LeaderSeen:
        return LeaderSeen()

    def on_change(self, told: Told) -> None:
        """Nobody is told in the midst of a pass."""
