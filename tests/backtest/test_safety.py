"""The safety kernel's rules of a rehearsal, in words."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from controller.backtest.safety import safety_told
from controller.safety.rules import Blast, FlapRule, Freeze, Limit, SafetyRules, StormRule

FILE = Path("fleet.yaml")
NIGHT = Freeze(name="night", zone=UTC)


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (SafetyRules(grow=Blast(per_pass=Limit(replicas=1))), "grows by at most 1 replica in a pass"),
        (SafetyRules(shrink=Blast(per_hour=Limit(ratio=0.25))), "shrinks by at most 25 % of the fleet within an hour"),
        (
            SafetyRules(grow=Blast(per_pass=Limit(replicas=2, ratio=2.0, usd=30.0), per_hour=Limit())),
            "grows by at most 2 replicas or 200 % of the fleet and $30/h in a pass; grows by any number within an hour",
        ),
        (SafetyRules(storm=StormRule(losses=9), flaps=FlapRule(limit=1.0)), "storm; flapping"),
    ],
)
def test_what_differs_from_the_usual_rules_is_told(rules: SafetyRules, told: str) -> None:
    assert safety_told(rules, FILE, dated=False) == (
        f"fleet.yaml: {told}; the rest as usual; the other autoscalers know none"
    )


def test_freezes_are_named_with_the_clock_that_they_go_by() -> None:
    rules = SafetyRules(freezes=(NIGHT,))
    assert "freezes night" in safety_told(rules, FILE, dated=True)
    assert "Sunday 2024-05-12 00:00 UTC" not in safety_told(rules, FILE, dated=True)
    assert "Sunday 2024-05-12 00:00 UTC" in safety_told(rules, FILE, dated=False)


def test_the_usual_rules_are_told_as_such() -> None:
    assert safety_told(SafetyRules(), None, dated=False) == "the usual rules: no fleet file says others"
    assert safety_told(SafetyRules(), FILE, dated=False) == "the usual rules: fleet.yaml has no others"
