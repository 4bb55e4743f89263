"""A stop is told on every page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controller.facts.safety import Stop
from dashboard.frame import stopped

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_the_banner_says_who_since_when_why_and_what_lifts_it() -> None:
    shown = stopped((Stop(service="chat", since=NOON, by="ann", reason="<wrong> image"),), NOON)
    assert "STOPPED." in shown
    assert "chat is stopped by ann since 2026-11-21 12:00 UTC: &lt;wrong&gt; image" in shown
    assert "lifted by: pennyweight go chat" in shown


def test_a_stop_that_has_ended_is_not_told() -> None:
    ended = Stop(since=NOON, by="ann", reason="x", until=NOON + timedelta(hours=1))
    assert stopped((ended,), NOON + timedelta(hours=1)) == ""
