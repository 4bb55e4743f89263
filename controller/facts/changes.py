"""Engines that are started otherwise than the fleet file says, and how far the change of them is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ChangeStage(StrEnum):
    """How far it is."""

    WANTED = "wanted"  # nothing has begun
    BLOCKED = "blocked"  # it cannot begin as its target is: old engines would go before new ones come
    ROLLING = "rolling"  # new engines come, and old ones go
    TAKEN_BACK = "taken_back"  # it did not come through, and is not tried again as it is written


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one variant's engines are to be started with instead, as its actuator sees it.

    what     in short, such as "image vllm:0.12, args"
    detail   how far it is, or why it gets no further
    surge    replicas that stand beside the others while it lasts
    """

    what: str
    stage: ChangeStage
    detail: str = ""
    surge: int = 0
