from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.demo.ports import PortPicker
from controller.demo.world import EmulatedWorld
from controller.facts.decisions import Because, Decision
from controller.facts.estimates import Estimate, Estimates
from controller.facts.fleet import Mode
from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.facts.readings import Observation

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[EmulatedWorld]:
    made = EmulatedWorld(start_s=79_200.0, seed=1, targets=tmp_path / "targets" / "chat.json", ports=PortPicker())
    yield made
    made.close()


def estimate(**known: Any) -> Estimate:
    lost: dict[str, Any] = {one.name: Missing(one.name, "a test") for one in fields(Estimate)}
    return Estimate(**{**lost, "replicas_current": 3, "replicas_ready": 2, **known})


def _result(desired: int, at: datetime = NOON) -> PassResult:
    decision = Decision(
        id="d",
        at=at,
        service="chat",
        variant="h100",
        current=3,
        ready=2,
        desired=desired,
        wanted=desired,
        because=Because.DEMAND,
        detail="token load 9,000 wants more",
        usd_per_hour_before=29.36,
        usd_per_hour_after=43.12,
    )
    service = estimate(ttft_p95_s=0.8, requests_per_s=12.34)
    return PassResult(
        at=at,
        mode=Mode.ACT,
        duration_s=0.1,
        observation=Observation(at=at, targets=(), engines={}, gpus={}, replicas={}),
        estimates=Estimates(
            at=at, fleet=service, services={"chat": service}, variants={}, replicas={}, costs=(), findings=()
        ),
        decisions=(decision,),
        outcomes=(),
        alerts=(),
        sent=(),
        pauses={},
    )


@pytest.fixture
def result() -> Callable[..., PassResult]:
    """Makes a pass of a service of three replicas that should have ``desired``."""
    return _result
