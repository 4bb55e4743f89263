"""Alerts about money that hold or do not: told when they begin, every few hours while they last, and when they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.decide.alerts import Always, stepped
from controller.decide.rules import AlertRule
from controller.facts.decisions import Alert, AlertPhase, AlertState
from controller.facts.missing import Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """What was looked at. ``service`` "": it is about the accounts as a whole.

    holds        Missing: cannot be known now, so nothing changes
    summary      in words, with the numbers
    told_since   a process before this one told that it holds, since then: its end is told too. None: nobody did
    """

    service: str
    name: str
    holds: bool | Missing
    summary: str
    do: str
    severity: str = "warning"
    told_since: datetime | None = None


WHOLE = "accounts"
"""In the place of a service."""


class Alarms:
    """Remembers what was told. It is not kept: after a restart, what still holds is told again."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], AlertState] = {}

    @property
    def states(self) -> tuple[AlertState, ...]:
        return tuple(self._states.values())

    def looked(self, alarms: Sequence[Alarm], channels: Sequence[str], now: datetime) -> tuple[Alert, ...]:
        """What is to be told of ``alarms``, which stand for all that was looked at."""
        found = (self._one(alarm, tuple(channels), now) for alarm in alarms)
        return tuple(alert for alert in found if alert is not None)

    def _one(self, alarm: Alarm, channels: tuple[str, ...], now: datetime) -> Alert | None:
        service = alarm.service or WHOLE
        before = self._states.get((service, alarm.name))
        if before is None and alarm.holds is not True and alarm.told_since is None:
            return None
        before = before or _before(alarm, service, now)
        rule = AlertRule(
            name=alarm.name,
            condition=Always(alarm.name),
            severity=alarm.severity,
            channels=channels,
            do=alarm.do,
        )
        step = stepped(rule, before, alarm.holds, {}, now, alarm.summary)
        self._states[service, alarm.name] = step.state
        return step.message


def _before(alarm: Alarm, service: str, now: datetime) -> AlertState:
    """What was told of it before this process. What holds still is told again, so that only its end counts."""
    if alarm.told_since is None or alarm.holds is True:
        return AlertState(service=service, name=alarm.name, phase=AlertPhase.INACTIVE, since=now)
    return AlertState(service=service, name=alarm.name, phase=AlertPhase.FIRING, since=alarm.told_since, last_sent=now)
