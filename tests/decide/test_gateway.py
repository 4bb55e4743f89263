"""Requests that wait at the gateway wake a service that has no replica, and nothing else does what they do."""

from __future__ import annotations

from typing import Any

import pytest

from controller.decide.memory import proven_idle
from controller.decide.replicas import decide_replicas
from controller.facts.missing import Missing

UNKNOWN = Missing("gateway", "no answer within 5 s")


@pytest.mark.parametrize(
    ("waiting", "current", "desired"),
    [(3.0, 0, 1), (3.0, 1, 1), (0.0, 0, 0), (UNKNOWN, 0, 0)],
    ids=["somebody waits", "one is on its way", "nobody waits", "nobody knows"],
)
def test_one_replica_is_ordered_for_whoever_waits(build: Any, waiting: Any, current: int, desired: int) -> None:
    situation = build.situation(0, current, gateway_waiting=waiting)
    (decision,), _ = decide_replicas(situation, build.policy(min_replicas=0), build.memory())
    assert decision.desired == desired
    if desired > current:
        assert decision.signal == "gateway_waiting"
        assert "3 requests wait at the gateway and no replica is ready: wants 1" in decision.detail


def test_a_service_with_requests_at_its_gateway_is_not_idle(build: Any) -> None:
    quiet = {"running": 0.0, "queue_depth": 0.0, "requests_per_s": 0.0, "token_load_per_s": 0.0}
    assert proven_idle(build.situation(1, **quiet, gateway_waiting=0.0))
    assert not proven_idle(build.situation(1, **quiet, gateway_waiting=1.0))
