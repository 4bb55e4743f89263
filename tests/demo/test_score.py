"""The closing words are sums over the run's own passes, and say what they do not know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller.demo.score import Score, Served, StaticFleet, sparkline
from controller.demo.summary import closing
from controller.facts.decisions import Because, Decision
from controller.facts.estimates import Estimate, Estimates, ReplicaCost
from controller.facts.fleet import CapacityType, Mode
from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.facts.readings import Observation

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
SERVED = Served(finished=98, within_slo=97, dropped=2, output_tokens=1_000_000)


def passed(hour: float, desired: int, on_demand: int, price: float | Missing = 14.0) -> PassResult:
    """Two reserved replicas at $8 and ``on_demand`` at ``price``, ``hour`` hours after noon."""
    at = NOON + timedelta(hours=hour)
    bought = [CapacityType.RESERVED] * 2 + [CapacityType.ON_DEMAND] * on_demand
    costs = tuple(
        ReplicaCost(
            service="chat",
            variant="h100",
            replica=f"r{number}",
            capacity_type=kind,
            usd_per_hour=8.0 if kind is CapacityType.RESERVED else price,
        )
        for number, kind in enumerate(bought)
    )
    decision = Decision(
        id="d",
        at=at,
        service="chat",
        variant="h100",
        current=2 + on_demand,
        ready=2 + on_demand,
        desired=desired,
        wanted=desired,
        because=Because.DEMAND,
        detail="a test",
        usd_per_hour_before=1.0,
        usd_per_hour_after=1.0,
    )
    fleet: Estimate = object.__new__(Estimate)
    return PassResult(
        at=at,
        mode=Mode.ACT,
        duration_s=0.1,
        observation=Observation(at=at, targets=(), engines={}, gpus={}, replicas={}),
        estimates=Estimates(at=at, fleet=fleet, services={}, variants={}, replicas={}, costs=costs, findings=()),
        decisions=(decision,),
        outcomes=(),
        alerts=(),
        sent=(),
        pauses={},
    )


def score(*passes: PassResult) -> Score:
    made = Score()
    for one in passes:
        made = made.after(one, SERVED)
    return made


def test_what_is_rented_at_a_pass_is_paid_since_the_one_before() -> None:
    made = score(passed(0, 2, 0), passed(1, 4, 2), passed(3, 2, 0))
    assert made.usd == pytest.approx(44 * 1 + 16 * 2)
    assert made.usd_per_hour == 16
    assert made.replica_hours == pytest.approx(4 * 1 + 2 * 2)


def test_the_static_fleet_is_the_most_ever_wanted_at_the_runs_own_prices() -> None:
    made = score(passed(0, 2, 0), passed(1, 4, 2), passed(3, 2, 0))
    assert made.static() == StaticFleet(replicas=4, usd=pytest.approx((2 * 8 + 2 * 14) * 3))


def test_without_a_price_there_is_no_comparison_and_the_closing_says_so() -> None:
    made = score(passed(0, 2, 0), passed(1, 3, 1, price=Missing("price", "no offer")), passed(2, 2, 0))
    assert isinstance(made.static(), Missing)
    said = "\n".join(closing(made, ledger="sqlite:///x.db", directory="d"))
    assert "No comparison with a static fleet" in said
    assert "In 1 passes something had no price" in said


def test_the_closing_sets_savings_beside_what_was_dropped() -> None:
    made = score(passed(0, 2, 0), passed(1, 4, 2), passed(3, 2, 0))
    said = "\n".join(closing(made, ledger="sqlite:///x.db", directory="d"))
    assert "spent $76.00" in said
    assert "saved $56.00 (42%)" in said
    assert "97.00% of 100 requests within the SLO; 2 dropped, 0 failed actions" in said
    assert "sqlite:///x.db" in said


def test_a_run_that_cost_more_than_static_is_said_to_have() -> None:
    made = score(passed(0, 2, 0), passed(1, 2, 2), passed(3, 2, 0))
    assert "spent $28.00 more (58%)" in "\n".join(closing(made, ledger="l", directory="d"))


def test_bars_are_as_tall_as_the_highest() -> None:
    assert sparkline([2, 4, 8]) == "▃▅█"
    assert sparkline([0, 0]) == "▁▁"


def test_the_closing_says_whose_it_was_and_how_to_read_more() -> None:
    made = score(passed(0, 2, 0), passed(1, 4, 2))
    said = closing(made, ledger="sqlite:///x.db", directory="d", spend=["Spend by team, 1 h:"])
    assert "Spend by team, 1 h:" in said
    assert "Report:       pennyweight report day 2026-05-01 --by team --fleet d/fleet.yaml" in said
