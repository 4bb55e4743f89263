"""The log channel: always there, needs nothing."""

from __future__ import annotations

import logging

from controller.facts.decisions import Alert, AlertPhase
from controller.notify.channel import headline, worded

log = logging.getLogger("pennyweight.alerts")

LEVELS = {"critical": logging.ERROR, "warning": logging.WARNING}
"""Anything else, and whatever is resolved, is information."""


class LogChannel:
    """Writes each alert as one line, with its numbers and what to do."""

    name = "log"

    def send(self, alert: Alert) -> None:
        level = LEVELS.get(alert.severity, logging.INFO) if alert.phase is AlertPhase.FIRING else logging.INFO
        numbers = ", ".join(f"{name} {worded(name, value)}" for name, value in alert.numbers.items())
        parts = [headline(alert), f"since {alert.since:%Y-%m-%d %H:%M:%S} UTC", numbers]
        if alert.phase is AlertPhase.FIRING:
            parts.append(alert.do)
        log.log(level, "%s", "; ".join(part for part in parts if part))
