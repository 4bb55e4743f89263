"""What every actuator does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from controller.facts.changes import Change
from controller.facts.decisions import Decision, Outcome
from controller.facts.fleet import Variant
from controller.facts.interruptions import Notice
from controller.facts.missing import Missing
from controller.facts.readings import Bounds, ReplicaState, Target


class Actuator(Protocol):
    """Starts and stops replicas. Level triggered: it looks at what is there, never at what it remembers having done."""

    name: str

    def replicas(self, variant: Variant, now: datetime) -> tuple[ReplicaState, ...] | Missing:
        """What exists; Missing when it cannot know. Called at the start of every pass, it also moves every replica one
        step on through its life. A replica that failed is reported once, as failed. Never waits."""

    def apply(self, decision: Decision, variant: Variant, now: datetime) -> Outcome:
        """Bring the count from ``decision.current`` to ``decision.desired``. Acting twice is acting once.

        StaleActError when the count found is neither of the two; ActError when it could not be done.
        """

    def close(self) -> None:
        """Let go. Engines keep running; the next daemon adopts them."""


@runtime_checkable
class CountsTargets(Protocol):
    """An actuator with nothing of its own to look at: what discovery finds are its replicas."""

    def resume(self, left: Mapping[tuple[str, str], int], now: datetime) -> None:
        """At the start: how many of each (service, variant) the ledger says that we left; all else is forgotten."""

    def counted(
        self, variant: Variant, targets: Sequence[Target], problems: Sequence[Missing], now: datetime
    ) -> tuple[ReplicaState, ...] | Missing:
        """In place of ``replicas``, which comes before discovery. ``problems``: what discovery could not see."""


Acts = Callable[[str], bool]
"""Whether anything of a service may be touched now: the mode is act, nobody stopped it, and this daemon leads. Read
anew each time, so it is asked only where there is something to do."""


def always(service: str) -> bool:
    """Nothing speaks against it: for who has nobody to ask."""
    del service
    return True


@runtime_checkable
class Heeding(Protocol):
    """An actuator whose ``replicas`` takes steps of its own. It asks before each; while the answer is no it only looks
    and tells, and what had begun waits where it is. Where ``apply`` is several writes, it asks before each of them as
    well, and the outcome says what was not done."""

    def heed(self, acts: Acts) -> None:
        """Ask ``acts`` from now on."""


Carried = Callable[[datetime], datetime]
"""A time that was written down, by the clock as it is now: it may have been set since."""


def as_it_is(at: datetime) -> datetime:
    """Nobody sets the clock: for who has nobody to ask."""
    return at


@runtime_checkable
class Waiting(Protocol):
    """An actuator that ends what drains when its time is over."""

    def carry(self, carried: Carried) -> None:
        """Measure by ``carried`` from now on."""


@runtime_checkable
class Changing(Protocol):
    """An actuator that can start a variant's engines otherwise: ``apply`` begins it for a decision with a ``change``,
    and ``replicas`` sees it through or takes it back."""

    def change(self, variant: Variant) -> Change | None:
        """What its engines are to be started with instead, as of the last ``replicas``; None: as they are."""


@runtime_checkable
class Bounded(Protocol):
    """An actuator whose platform's owner says how many replicas there may be."""

    def bounds(self, variant: Variant) -> Bounds | None:
        """As of the last ``replicas``; None where nothing is known of any."""


@runtime_checkable
class Warned(Protocol):
    """An actuator that drains by itself what lies on a machine that ends, and tells it as draining from then on."""

    def warn(self, notices: Mapping[str, Notice]) -> None:
        """What is announced now, by node; before each pass's ``replicas``. What is announced no more is over."""
