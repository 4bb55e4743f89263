"""What AWS announces about instances, in EventBridge's envelopes: each body tells notices, or why it tells none.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitor-interruptible-cr.html
https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html
https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from controller.facts.interruptions import Notice, NoticeKind

SOURCE = "sqs"
"""As notices of this origin are labelled."""

SPOT_NOTICE = timedelta(seconds=120)
"""From a spot warning to the end. A hibernation begins with its warning."""

INSTANCE = re.compile(r"(?:^|/)(i-[0-9a-f]{8,17})$")
"""An instance's id, by itself or at the end of its ARN."""

MOST_WRAPPED = 2
"""Notifications of SNS around a body. A guess: a topic that forwards to a topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one body says.

    id       the event's; the same event may come more than once
    running  an instance that runs again: what ended it before is over
    takes_back  an announcement of which what was said earlier holds no more: of the instances ``of``, or of all; ""
    why      why it says nothing; "" when it does
    """

    id: str = ""
    notices: tuple[Notice, ...] = ()
    running: str = ""
    takes_back: str = ""
    of: tuple[str, ...] = ()
    at: datetime | None = None
    why: str = ""


class _SaysNothingError(Exception):
    """Why a body says nothing that matters here."""


@dataclass(frozen=True, slots=True)
class _Event:
    """An envelope. ``at``: when it happened, or when it was heard where that is not written."""

    id: str
    kind: tuple[str, str]
    at: datetime
    detail: Mapping[str, Any]

    def text(self, key: str) -> str:
        value = self.detail.get(key)
        return value if isinstance(value, str) else ""

    @property
    def instance(self) -> str:
        found = INSTANCE.search(self.text("instance-id") or self.text("EC2InstanceId"))
        if found is None:
            raise _SaysNothingError("it names no instance")
        return found[1]


def told(body: str, now: datetime) -> Told:
    """What ``body`` says; never raises. ``now``: when it was heard."""
    try:
        event = _event(body, now)
    except _SaysNothingError as error:
        return Told(why=str(error))
    rule = RULES.get(event.kind)
    if rule is None:
        source, kind = (part[:80] for part in event.kind)
        return Told(id=event.id, at=event.at, why=f"nobody here knows '{kind}' of {source}")
    try:
        return replace(rule(event), id=event.id, at=event.at)
    except _SaysNothingError as error:
        return Told(id=event.id, at=event.at, why=f"'{event.kind[1]}': {error}")


def _event(body: str, now: datetime) -> _Event:
    data = _mapping(body)
    for _ in range(MOST_WRAPPED):
        if data.get("Type") != "Notification" or "Message" not in data:
            break
        data = _mapping(data["Message"])
    source, kind, detail = data.get("source"), data.get("detail-type"), data.get("detail")
    if not isinstance(source, str) or not isinstance(kind, str):
        raise _SaysNothingError("it is no event of EventBridge: it has no source or detail-type")
    number = data.get("id")
    return _Event(
        id=number if isinstance(number, str) else "",
        kind=(source, kind),
        at=_time(data.get("time")) or now,
        detail=detail if isinstance(detail, Mapping) else {},
    )


def _mapping(text: object) -> Mapping[str, Any]:
    try:
        data = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        raise _SaysNothingError("it is no JSON") from None
    if not isinstance(data, Mapping):
        raise _SaysNothingError("it is no JSON object")
    return data


def _time(value: object) -> datetime | None:
    """ISO 8601, or as e-mail writes it (AWS Health). None: it is neither, or no time that a calendar has."""
    if not isinstance(value, str):
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            at = read(value)
            return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


# --- one rule a kind of event ----------------------------------------------------------------------------------------


def _notice(event: _Event, kind: NoticeKind, deadline: datetime | None, node: str = "") -> Notice:
    return Notice(node=node or event.instance, kind=kind, at=event.at, deadline=deadline, source=SOURCE)


def _spot(event: _Event) -> Told:
    at_once = event.text("instance-action") == "hibernate"
    deadline = event.at if at_once else _later(event.at, SPOT_NOTICE)
    return Told(notices=(_notice(event, NoticeKind.SPOT, deadline),))


def _reservation(event: _Event) -> Told:
    deadline = _time(event.detail.get("instance-termination-time")) or _later(event.at, SPOT_NOTICE)
    return Told(notices=(_notice(event, NoticeKind.RESERVATION, deadline),))


def _rebalance(event: _Event) -> Told:
    return Told(notices=(_notice(event, NoticeKind.REBALANCE, None),))


GOING = ("stopping", "stopped", "shutting-down", "terminated")


def _state(event: _Event) -> Told:
    state = event.text("state")
    if state in GOING:
        return Told(notices=(_notice(event, NoticeKind.STOPPED, event.at),))
    if state == "running":
        return Told(running=event.instance)
    raise _SaysNothingError(f"the state '{state[:40]}' ends nothing")


def _health(event: _Event) -> Told:
    """One change may be scheduled for several instances. It is told again when it changes, with all that holds now of
    the instances that the message names (there may be more of them than one message holds), and when it is over."""
    category, service = event.text("eventTypeCategory"), event.text("service")
    if category != "scheduledChange" or service != "EC2":
        raise _SaysNothingError(f"a {category[:40] or 'nameless event'} of {service[:40] or 'no service'} ends nothing")
    change = f"{event.text('eventArn')} {event.text('affectedAccount')}" if event.text("eventArn") else ""
    if event.text("statusCode") == "closed":
        if change:
            return Told(takes_back=change)
        raise _SaysNothingError("the change is over")
    entities = event.detail.get("affectedEntities")
    found = [one for one in entities if isinstance(one, Mapping)] if isinstance(entities, list) else []
    nodes = {node: one.get("status") for one in found if (node := _entity(one))}
    if not nodes:
        raise _SaysNothingError("it names no instance")
    going = [node for node, status in nodes.items() if status != "RESOLVED"]
    if not going and not change:
        raise _SaysNothingError("the change is over")
    deadline = _time(event.detail.get("startTime"))
    notices = (_notice(event, NoticeKind.MAINTENANCE, deadline, node) for node in going)
    return Told(
        notices=tuple(replace(one, announcement=change) for one in notices),
        takes_back=change,
        of=tuple(nodes) if change else (),
    )


def _entity(entity: Mapping[str, object]) -> str:
    """The instance's id; "" where it is no instance."""
    value = entity.get("entityValue")
    found = INSTANCE.search(value) if isinstance(value, str) else None
    return found[1] if found else ""


def _launch(event: _Event) -> Told:
    raise _SaysNothingError(f"{event.instance} starts: its group is read in each pass, and its hook answered then")


def _terminate(event: _Event) -> Told:
    """Its group ends the instance, and has asked those who named a hook for it to wait. Engines that run there under
    another platform than the group hear of it in no other way; of its own actuator the group is read in each pass."""
    if event.text("Destination") == "WarmPool":
        raise _SaysNothingError("it goes to a warm pool, from which it may come back")
    return Told(notices=(_notice(event, NoticeKind.MAINTENANCE, None),))


def _later(at: datetime, by: timedelta) -> datetime:
    """A time at the end of the calendar stays where it is."""
    return at + by if at < datetime.max.replace(tzinfo=UTC) - by else at


RULES: Mapping[tuple[str, str], Callable[[_Event], Told]] = {
    ("aws.ec2", "EC2 Spot Instance Interruption Warning"): _spot,
    ("aws.ec2", "EC2 Instance Rebalance Recommendation"): _rebalance,
    ("aws.ec2", "EC2 Instance State-change Notification"): _state,
    ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"): _reservation,
    ("aws.ec2", "EC2 Interruptible Capacity Reservation Instance Interruption Warning"): _reservation,
    ("aws.health", "AWS Health Event"): _health,
    ("aws.autoscaling", "EC2 Instance-launch Lifecycle Action"): _launch,
    ("aws.autoscaling", "EC2 Instance-terminate Lifecycle Action"): _terminate,
}
"""By source and detail-type. The reservations' warning has had both names in AWS's pages."""
