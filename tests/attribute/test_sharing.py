"""Who bears idle capacity, overhead and shared costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given

from controller.attribute.rules import Group, Rule, RuleKind, described
from controller.attribute.settle import HourSeen, Settled, settled
from controller.attribute.tables import IDLE_ID, OVERHEAD_ID, SHARED_ID, UNATTRIBUTED_ID
from controller.facts.accounts import IDLE, OVERHEAD, PARTS
from tests.attribute.hours import EXAMPLES, MINUTE_US, SALES, SALES_TEAM, SEARCH, SEARCH_TEAM, hour, hours, usage

HALF_IDLE = {"ready_us": MINUTE_US, "cost": 1_000_000, "output": 6e3}
STARTING = {"seat": 2, "starting_us": MINUTE_US, "cost": 1_000_000}
RECORDS = usage({"identity": SEARCH, "output": 4000}, {"identity": SALES, "output": 1000})
"""Of 6,000 output tokens: two thirds, a sixth, and a sixth unattributed."""


def borne(result: Settled, group: Group) -> dict[int, int]:
    """Nanodollars of idle or overhead by identity."""
    places = [PARTS.index(part) for part in (IDLE if group is Group.IDLE else OVERHEAD)]
    amounts = result.lines.parts[:, places].sum(axis=1)
    return {who: one for who, one in zip(result.lines.identity.tolist(), amounts.tolist(), strict=True) if one}


@pytest.mark.parametrize(
    ("what", "rule", "expected"),
    [
        ("its own line", Rule(), {IDLE_ID: 500_000}),
        ("by use, the unattributed included", Rule(kind=RuleKind.BY_USE), {SEARCH: 333_333, SALES: 83_333, UNATTRIBUTED_ID: 83_334}),
        ("even", Rule(kind=RuleKind.EVEN, teams={"search": 1, "sales": 1}), {SEARCH_TEAM: 250_000, SALES_TEAM: 250_000}),
        ("even among nobody", Rule(kind=RuleKind.EVEN), {IDLE_ID: 500_000}),
        ("fixed", Rule(kind=RuleKind.FIXED, teams={"search": 60, "sales": 40}), {SEARCH_TEAM: 300_000, SALES_TEAM: 200_000}),
        ("fixed, the rest its own line", Rule(kind=RuleKind.FIXED, teams={"search": 12.5}), {SEARCH_TEAM: 62_500, IDLE_ID: 437_500}),
    ],
)  # fmt: skip
def test_idle_is_handed_on(what: str, rule: Rule, expected: Mapping[int, int]) -> None:
    got = settled(hour(HALF_IDLE, records=RECORDS, rules={("chat", Group.IDLE): rule}))
    assert borne(got, Group.IDLE) == expected, what
    assert got.lines.cost.sum() == 1_000_000


@pytest.mark.parametrize(
    ("what", "floors", "expected"),
    [
        ("a floor that is worked off", {"search": 0.3}, {IDLE_ID: 500_000}),
        ("half a replica: 500,000, of which 333,333 worked", {"search": 0.5}, {SEARCH_TEAM: 166_667, IDLE_ID: 333_333}),
        ("floors of more than the idle", {"search": 1, "sales": 1}, {SEARCH_TEAM: 210_526, SALES_TEAM: 289_474}),
    ],
)
def test_a_team_bears_what_it_left_unused_of_its_floor(
    what: str, floors: Mapping[str, float], expected: Mapping[int, int]
) -> None:
    rule = Rule(kind=RuleKind.BY_FLOOR, teams=floors)
    got = settled(hour(HALF_IDLE, records=RECORDS, rules={("chat", Group.IDLE): rule}))
    assert borne(got, Group.IDLE) == expected, what


def test_by_use_without_any_use_is_its_own_line() -> None:
    rules = {("", Group.IDLE): Rule(kind=RuleKind.BY_USE)}
    got = settled(hour({"ready_us": MINUTE_US, "cost": 9}, rules=rules))
    assert borne(got, Group.IDLE) == {IDLE_ID: 9}


def test_each_group_and_service_has_its_own_rule() -> None:
    rules = {
        ("chat", Group.OVERHEAD): Rule(kind=RuleKind.FIXED, teams={"sales": 100}),
        ("code", Group.IDLE): Rule(kind=RuleKind.EVEN, teams={"search": 1}),
    }
    coder = {**HALF_IDLE, "seat": 7}
    got = settled(hour(HALF_IDLE, STARTING, coder, records=RECORDS, rules=rules))
    assert borne(got, Group.IDLE) == {IDLE_ID: 500_000, SEARCH_TEAM: 500_000}
    assert borne(got, Group.OVERHEAD) == {SALES_TEAM: 1_000_000}
    assert OVERHEAD_ID not in got.lines.identity
    assert got.method == "work-v1; idle code even, overhead chat fixed"


def test_a_rule_of_a_service_goes_before_the_rule_of_all() -> None:
    rules = {("", Group.IDLE): Rule(kind=RuleKind.BY_USE), ("chat", Group.IDLE): Rule()}
    assert borne(settled(hour(HALF_IDLE, records=RECORDS, rules=rules)), Group.IDLE) == {IDLE_ID: 500_000}
    assert described(rules) == "idle by_use"


def test_shared_costs_stand_alone_until_a_rule_hands_them_on() -> None:
    """A gateway for 6,000 nanodollars an hour; all services' work decides."""
    applied = {9: (6000, 6000, 6000, 6000)}
    got = settled(hour(HALF_IDLE, records=RECORDS, applied=applied))
    assert dict(zip(got.lines.identity.tolist(), got.lines.cost.tolist(), strict=True))[SHARED_ID] == 6000
    rules = {("", Group.SHARED): Rule(kind=RuleKind.BY_USE)}
    got = settled(hour(HALF_IDLE, records=RECORDS, applied=applied, rules=rules))
    of_gateway = got.lines.pool == 6
    assert got.lines.identity[of_gateway].tolist() == [UNATTRIBUTED_ID, SEARCH, SALES]
    assert got.lines.cost[of_gateway].tolist() == [1000, 4000, 1000]


def test_weights_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="below zero"):
        Rule(kind=RuleKind.FIXED, teams={"search": -1})
    with pytest.raises(ValueError, match="120 per cent"):
        Rule(kind=RuleKind.FIXED, teams={"search": 60, "sales": 60})


def test_a_rule_for_a_team_without_an_identity_says_so() -> None:
    rules = {("chat", Group.IDLE): Rule(kind=RuleKind.EVEN, teams={"search": 1, "legal": 1})}
    with pytest.raises(ValueError, match="names legal"):
        settled(hour(HALF_IDLE, rules=rules))


@EXAMPLES
@given(some=hours())
def test_rules_move_what_they_are_for_and_never_change_its_sum(some: HourSeen) -> None:
    got, plain = settled(some), settled(replace(some, rules={}))
    assert (got.lines.parts.sum(axis=0) == plain.lines.parts.sum(axis=0)).all()
    assert (got.pools.parts == plain.pools.parts).all()
    assert (got.lines.parts >= 0).all()
