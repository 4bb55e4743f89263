"""By which rules costs that nobody's tokens took are handed on; ``sharing`` does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Group(StrEnum):
    """What a rule is for."""

    IDLE = "idle"
    OVERHEAD = "overhead"
    SHARED = "shared"


class RuleKind(StrEnum):
    """How a group is handed on; whatever nobody takes keeps its own line.

    own_line   not at all
    by_use     in proportion to the work of the hour, unattributed work included
    by_floor   each team bears what it left unused of the replicas reserved for it
    even       the same for each of the teams
    fixed      per cent by team
    """

    OWN_LINE = "own_line"
    BY_USE = "by_use"
    BY_FLOOR = "by_floor"
    EVEN = "even"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """teams: by_floor: replicas reserved for each; even: any number each; fixed: per cent each, 100 in all or less."""

    kind: RuleKind = RuleKind.OWN_LINE
    teams: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(not weight >= 0 for weight in self.teams.values()):
            raise ValueError(f"a rule's weights cannot be below zero: {dict(self.teams)}")
        if self.kind is RuleKind.FIXED and sum(self.teams.values()) > 100 + 1e-6:
            raise ValueError(f"fixed weights add up to {sum(self.teams.values()):g} per cent")


Rules = Mapping[tuple[str, Group], Rule]
"""By service; "" is for every service that has none of its own, and for costs of no service."""

OWN_LINE = Rule()


def rule_of(rules: Rules, service: str, group: Group) -> Rule:
    return rules.get((service, group)) or rules.get(("", group)) or OWN_LINE


def described(rules: Rules) -> str:
    """The rules in force, for the hour's record: "idle chat by_use, overhead by_floor"; "" when all are own lines."""
    some = {key: rule for key, rule in rules.items() if rule.kind is not RuleKind.OWN_LINE}
    names = (
        " ".join(filter(None, (group, service, some[service, group].kind)))
        for group in Group
        for service, one in sorted(some)
        if one is group
    )
    return ", ".join(names)
