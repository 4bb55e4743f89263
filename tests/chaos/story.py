"""Short stories: what befalls one service of a few replicas, pass by pass. The faults of the matrix come on top."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

PER_REPLICA = 10.0
"""Requests that may wait for one replica."""

MINIMUM, MAXIMUM = 1, 5
UP_S, DOWN_S = 15.0, 30.0
START_DEADLINE_S = 60.0
FOREIGN_HOLD_S = 120.0
INTERVAL_S = 15.0
HEADROOM = 0.15


class Event(StrEnum):
    """What may befall it before a pass."""

    LOSE = "lose"  # one that serves ends by itself
    NOTICE = "notice"  # the machine of one is announced to end in two minutes
    HINT = "hint"  # ... or may be
    OPERATOR = "operator"  # somebody sets the count to three
    OWNED = "owned"  # another controller owns the target
    FREE = "free"  # and does no longer
    DOWN = "down"  # nothing that is started becomes healthy
    UP = "up"  # it does again, also what was started before
    STOP = "stop"  # an operator's stop file
    GO = "go"  # it is removed
    BLIND = "blind"  # engines do not answer
    SIGHT = "sight"  # they do again
    UNPRICED = "unpriced"  # no price is known
    PRICED = "priced"
    BUDGET = "budget"  # a budget refuses all growth
    FUNDED = "funded"
    KEPT = "kept"  # a disruption budget keeps three that serve
    UNKEPT = "unkept"  # it is taken away


OPERATORS = 3
KEPT = 3

OF_KUBERNETES = ("kubernetes", "kubernetes behind", "kubernetes watched", "statefulset")
OF_PROVIDERS = (*OF_KUBERNETES, "aws_asg")
"""Platforms that take machines away, and on which others have a say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One.

    passes   in which faults may strike; what follows is recovery
    load     requests waiting in all, by pass
    ends     replicas that serve at its end, whatever went wrong in between; None: as many as the events leave
    only     platforms on which it can happen
    """

    name: str
    starts: int
    passes: int
    load: Callable[[int], float]
    ends: tuple[int, ...]
    events: Mapping[int, tuple[Event, ...]] = field(default_factory=dict)
    only: tuple[str, ...] = ()

    @property
    def settles(self) -> int:
        """From which pass on nothing befalls it any more."""
        changes = (made for made in range(1, self.passes + 1) if self.load(made) != self.load(made - 1))
        return max((0, *self.events, *changes))

    def at(self, made: int) -> tuple[Event, ...]:
        return self.events.get(made, ())


def steady(load: float) -> Callable[[int], float]:
    return lambda made: load


def then(first: float, *changes: tuple[int, float]) -> Callable[[int], float]:
    """``first``, and from each pass on another one."""

    def load(made: int) -> float:
        now = first
        for since, level in changes:
            now = level if made >= since else now
        return now

    return load


STORIES = (
    Story(name="grow", starts=2, passes=6, load=then(18, (1, 38)), ends=(4,)),
    Story(name="shrink", starts=3, passes=9, load=then(28, (1, 14)), ends=(2,)),
    Story(name="tight", starts=3, passes=5, load=then(28, (1, 18)), ends=(3,)),
    Story(name="too much", starts=3, passes=5, load=then(28, (1, 80)), ends=(5,)),
    Story(name="there and back", starts=2, passes=10, load=then(18, (1, 28), (4, 14)), ends=(2,)),
    Story(name="lost", starts=2, passes=6, load=steady(18), events={1: (Event.LOSE,)}, ends=(2,)),
    Story(
        name="noticed",
        starts=2,
        passes=9,
        load=steady(18),
        events={1: (Event.NOTICE,)},
        ends=(2,),
        only=OF_PROVIDERS,
    ),
    Story(
        name="never up",
        starts=2,
        passes=13,
        load=then(18, (1, 28)),
        events={0: (Event.DOWN,), 12: (Event.UP,)},
        ends=(3,),
    ),
    Story(
        name="second writer",
        starts=2,
        passes=9,
        load=then(18, (1, 38), (4, 48)),
        events={4: (Event.OPERATOR,)},
        ends=(5,),
        only=OF_PROVIDERS,
    ),
    Story(
        name="owned",
        starts=2,
        passes=8,
        load=then(18, (1, 38)),
        events={2: (Event.OWNED,), 6: (Event.FREE,)},
        ends=(4,),
        only=OF_PROVIDERS,
    ),
    Story(
        name="kept",
        starts=4,
        passes=12,
        load=then(38, (1, 14)),
        events={0: (Event.KEPT,), 8: (Event.UNKEPT,)},
        ends=(2,),
        only=OF_KUBERNETES,
    ),
    Story(
        name="stopped",
        starts=2,
        passes=8,
        load=then(18, (1, 38)),
        events={2: (Event.STOP,), 6: (Event.GO,)},
        ends=(4,),
    ),
    Story(
        name="blind",
        starts=3,
        passes=10,
        load=then(28, (1, 14)),
        events={3: (Event.BLIND,), 5: (Event.SIGHT,)},
        ends=(2,),
    ),
    Story(
        name="no money, no price",
        starts=2,
        passes=8,
        load=then(18, (1, 38)),
        events={1: (Event.BUDGET, Event.UNPRICED), 2: (Event.LOSE,), 6: (Event.FUNDED, Event.PRICED)},
        ends=(4,),
    ),
)
