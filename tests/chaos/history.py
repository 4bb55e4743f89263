"""What a cell leaves behind, for the invariants to be held against: every pass, and what the platform really had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controller.facts.decisions import Decision, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One replica as the platform has it, whatever anybody believes.

    ready     it serves
    leaving   somebody told it to go: it drains, or ends
    busy      requests run on it
    noticed   its machine was announced to end
    """

    name: str
    ready: bool
    leaving: bool = False
    busy: bool = False
    noticed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What the platform has. ``wanted``: what it was last told to have, those among it who drain or end."""

    members: Mapping[str, Member]
    wanted: int

    @property
    def staying(self) -> int:
        """Replicas that are there or on their way, and do not leave."""
        stay = sum(not one.leaving for one in self.members.values())
        return min(self.wanted, stay + max(0, self.wanted - len(self.members)))

    @property
    def serving(self) -> int:
        return sum(one.ready and not one.leaving for one in self.members.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What held in one pass, as the story has it.

    load        requests that wait in all of the service
    readable    whether engines answered
    stopped     an operator's stop stood
    foreign     somebody else has just set the count; ``owned``: another controller owns the target
    kept        so many must serve, says a disruption budget
    priced      whether prices were known
    refused     a budget refused growth
    away        the platform does not answer; ``deaf_to``: of this kind of things it says nothing
    ill         what is wrong with the ledger
    jump_s      by so much the daemon's clock was set just now
    """

    load: float
    readable: bool = True
    stopped: bool = False
    foreign: int | None = None
    owned: bool = False
    kept: int = 0
    priced: bool = True
    refused: bool = False
    away: bool = False
    deaf_to: str = ""
    ill: str = ""
    jump_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSeen:
    """One pass of one daemon.

    at         by nobody's clock: the world's time
    decisions  as they were to be recorded; ``again``: what the same inputs decide once more
    recorded   whether the ledger has the pass's intent
    failed     what ended the pass, where nothing should
    died       killed before its end, or deposed
    """

    number: int
    at: datetime
    life: int
    conditions: Conditions
    before: Census
    after: Census
    decisions: tuple[Decision, ...] = ()
    again: tuple[Decision, ...] | None = None
    outcomes: tuple[Outcome, ...] = ()
    problems: tuple[str, ...] = ()
    all_read: bool = False
    recorded: bool = False
    failed: str = ""
    died: bool = False

    @property
    def moves(self) -> tuple[Decision, ...]:
        return tuple(one for one in self.decisions if not one.holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One change of what the platform shall have, as it arrived there: ``by`` more (or fewer) replicas.

    decision   that was being acted on; None: none was, as when ``replicas`` takes who is drained
    intended   whether the ledger had its intent at that moment
    """

    made: int
    what: str
    by: int
    decision: Decision | None = None
    intended: bool = False


@dataclass
class History:
    """All of one cell."""

    passes: list[PassSeen] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)
    lost: list[tuple[int, str]] = field(default_factory=list)
    """(pass, replica) that the world took."""
    ended_in_order: bool = False
    """Whether the lost ended as somebody ends them who wants it so: nothing of theirs tells the one from the other."""
    replaced: list[int] = field(default_factory=list)
    """Passes before which a noticed replica ended while the platform did not answer, or the ledger did not take what was to
    be done: its cover was there already, and the platform made it anew, for nobody could lower the count."""
    ended_busy: list[tuple[int, str]] = field(default_factory=list)
    """(pass, replica) that ended by our hand while requests ran on it, before its drain time-out."""
    after_lead: tuple[str, ...] = ()
    """What was changed by a daemon that led no longer."""
    unsettled: tuple[str, ...] = ()
    """Decisions whose intent stands in the ledger without an outcome, at the end."""
    unbalanced: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    """What runs at the end and is known to nobody."""
    final: Census | None = None
