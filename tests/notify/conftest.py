"""A webhook on loopback that answers as each test tells it to, and an alert to send."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from controller.facts.decisions import Alert, AlertPhase
from controller.facts.missing import Missing
from tests.webhook import Webhook, listening

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with listening() as hook:
        yield hook


@pytest.fixture
def alert():
    def made(phase: AlertPhase = AlertPhase.FIRING, **changes: object) -> Alert:
        plain = {
            "service": "chat",
            "name": "paying-for-idle",
            "phase": phase,
            "severity": "critical",
            "condition": "mfu_ratio < 0.5 && queue_depth > 0",
            "summary": "mfu_ratio < 0.5 && queue_depth > 0 has held for 600 s",
            "do": "Raise max_num_seqs & watch KV.",
            "since": NOON,
            "at": NOON,
            "numbers": {"usd_per_hour": 48.5, "mfu_ratio": 0.213, "power_w": Missing("power_w", "no DCGM")},
            "channels": ("slack",),
        }
        return Alert(**(plain | changes))

    return made
