"""What a channel is, and the words that every channel uses for an alert."""

from __future__ import annotations

from typing import Protocol

from controller.facts.decisions import Alert, AlertPhase
from controller.facts.missing import Missing


class Channel(Protocol):
    """One way of telling people. Called from one background thread of its own, so it may be slow."""

    @property
    def name(self) -> str: ...

    def send(self, alert: Alert) -> None:
        """Deliver ``alert`` or raise NotifyError, whose message holds no secret."""
        ...


def headline(alert: Alert) -> str:
    """One line for a phone's lock screen: "FIRING critical chat/queue: queue_depth > 50 has held for 60 s"."""
    severity = f" {alert.severity}" if alert.phase is AlertPhase.FIRING else ""
    return f"{alert.phase.upper()}{severity} {alert.service}/{alert.name}: {alert.summary}"


def worded(name: str, value: float | Missing) -> str:
    """A number as people read it: dollars with $, ratios in percent; what is missing, with its reason."""
    if isinstance(value, Missing):
        return f"missing: {value.why}"
    if "usd_per" in name:
        return f"${value:,.2f}" if abs(value) >= 0.01 or value == 0 else f"${value:.3g}"
    if name.endswith("_ratio"):
        return f"{value:.1%}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
