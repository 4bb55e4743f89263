"""What people are told of who led."""

from __future__ import annotations

from datetime import UTC, datetime

from controller.decide.explain import explain
from controller.facts.decisions import Because, Decision
from controller.facts.leadership import Term

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_a_decision_is_explained_with_the_daemon_that_made_it_where_that_is_known():
    decision = Decision(
        id="d1",
        at=NOON,
        service="chat",
        variant="h100",
        current=2,
        ready=2,
        desired=3,
        wanted=3,
        because=Because.DEMAND,
        detail="queue_depth 120 of 50",
        usd_per_hour_before=4.0,
        usd_per_hour_after=6.0,
    )
    assert "  Leader    pod-0_1a2b, epoch 7.\n" in explain([decision], {}, NOON, {"d1": "pod-0_1a2b, epoch 7"})
    assert "Leader" not in explain([decision], {}, NOON)


def test_a_term_tells_who_since_when_and_its_number():
    assert str(Term(epoch=7, holder="pod-0_1a2b", since=NOON)) == (
        "pod-0_1a2b leads since 2026-11-21 12:00:00 UTC (epoch 7)"
    )
    assert str(Term(epoch=0, holder="pod-0")) == "pod-0 leads (epoch 0)"
