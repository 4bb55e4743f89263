"""Engines as the instances of an EC2 Auto Scaling group, one replica an instance.

It grows by SetDesiredCapacity and shrinks by ending the chosen instance when it is drained: a lower desired capacity
would let AWS choose. A group is touched only when its tag says that it is this variant's, or when a decision is carried
out for the first time, which sets the tag.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock

from controller.act.actuator import Acts, Carried, always, as_it_is
from controller.act.aws_asg.life import Keeper, Memo
from controller.act.aws_asg.roll import (
    DRAINING,
    MANAGED,
    WAITING,
    Placeholder,
    Roll,
    Step,
    roll_of,
    seconds,
    waiting_text,
)
from controller.act.aws_asg.told import alive, labels, leaving, missing
from controller.act.targets import group_of, publish_groups
from controller.aws import changes
from controller.aws.activities import Activity, activities, changed_by, others, stuck
from controller.aws.changes import CONTENDED, Touch
from controller.aws.clients import Aws
from controller.aws.groups import Group, GroupBook, Instance, Wanted
from controller.errors import ActError, AwsError, HeldError, StaleActError
from controller.facts.actuators import AwsAsgOptions
from controller.facts.decisions import Decision, Outcome, OutcomeKind
from controller.facts.fleet import Variant
from controller.facts.interruptions import Notice, Stuck, StuckKind
from controller.facts.missing import Missing
from controller.facts.readings import Bounds, Phase, ReplicaState

log = logging.getLogger(__name__)

TRIES = 3
"""Of a change that the group is too busy for. A guess: with the pauses between them under 3 s, and the next pass
decides again in any case."""

PAUSE_S = 0.5
"""Before the second try, doubled for the third, each times 0.5 to 1.5 by chance, so that several do not meet again."""

LAUNCH, TERMINATE = "Launch", "Terminate"
"""Processes that a group's owner can suspend. Of the others, none keeps us from changing its count.
Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html"""

Key = tuple[str, str]
"""(service, variant)."""


class AwsAsgActuator:
    """Starts and stops instances of Auto Scaling groups.

    book   the groups as of this pass
    """

    name = "aws_asg"

    def __init__(
        self,
        aws: Aws | None = None,
        book: GroupBook | None = None,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._aws = aws or Aws()
        self._book = book or GroupBook(self._aws)
        self._notices: Mapping[str, Notice] = {}
        self._pause = pause
        self._acts: Acts = always
        self._carried: Carried = as_it_is
        self._memos: dict[Key, Memo] = {}
        self._steps: dict[Key, tuple[Step, ...]] = {}
        self._bounds: dict[Key, Bounds] = {}
        self._lock = Lock()

    def replicas(self, variant: Variant, now: datetime) -> tuple[ReplicaState, ...] | Missing:
        """What exists, and what is still to come; each instance moved one step on where the group is ours."""
        with self._lock:
            wanted = wanted_of(variant)
            try:
                group = self._book.group(wanted, now)
                _countable(group)
            except (AwsError, ActError) as error:
                return Missing("replicas", str(error))
            roll = self._roll(variant, group, now)
            self._bounds[variant.service, variant.name] = bounds_of(roll)
            keeper = self._keeper(variant, group, now)
            failed = keeper.step(roll)
            why = self._stuck(variant, roll)
            states = (
                *(alive(keeper, variant, one, one.id in failed) for one in roll.alive),
                *(leaving(keeper, variant, one, roll) for one in group.instances if one.id in roll.leaving),
                *(missing(variant, one, why) for one in roll.missing),
            )
            self._publish(variant, states)
            return states

    def apply(self, decision: Decision, variant: Variant, now: datetime) -> Outcome:
        """Raise the group's capacity, or drain and end as many instances as the decision says."""
        with self._lock:
            where = f"{decision.service}/{decision.variant}"
            try:
                group = self._book.again(wanted_of(variant), now)
            except AwsError as error:
                return Outcome.of(decision, OutcomeKind.REFUSED, f"did not touch {where}: {error}", now)
            try:
                _countable(group)
                roll = self._roll(variant, group, now)
                if roll.counted == decision.desired:
                    return Outcome.of(decision, OutcomeKind.ALREADY, f"there are {roll.counted} already", now)
                if roll.counted != decision.current:
                    why = self._author(variant, group)
                    raise StaleActError(where=where, expected=decision.current, found=roll.counted, why=why)
                if why := barred(roll, decision):
                    return Outcome.of(decision, OutcomeKind.REFUSED, f"{why}; nothing was changed", now)
                if owners := self._owners(variant, group, now):
                    detail = f"{group.name} is scaled by {'; '.join(owners)} as well; expected one writer"
                    return Outcome.of(decision, OutcomeKind.REFUSED, detail, now)
                act = self._grow if decision.desired > decision.current else self._shrink
                return Outcome.of(decision, OutcomeKind.DONE, act(variant, roll, decision, now), now)
            except HeldError as error:
                return self._held(variant, decision, error, now)
            except AwsError as error:
                raise ActError(f"did not scale {where}: {error}; the next pass decides again") from error

    def heed(self, acts: Acts) -> None:
        """Ask before each single change. One that starts is let into service all the same: its hook would end it
        otherwise."""
        self._acts = acts

    def carry(self, carried: Carried) -> None:
        """Who drains or starts has its whole time also where the clock is set ahead."""
        self._carried = carried

    def warn(self, notices: Mapping[str, Notice]) -> None:
        """What is announced about machines now, by instance id."""
        with self._lock:
            self._notices = dict(notices)

    def bounds(self, variant: Variant) -> Bounds | None:
        """The group's MinSize and MaxSize, as they were last read."""
        return self._bounds.get((variant.service, variant.name))

    def close(self) -> None:
        """Nothing is open; instances keep running."""

    @property
    def calls(self) -> Mapping[str, int]:
        """How often each operation of AWS was called."""
        return dict(self._aws.calls)

    # --- looking ------------------------------------------------------------------------------------------------------

    def _roll(self, variant: Variant, group: Group, now: datetime) -> Roll:
        key = (variant.service, variant.name)
        roll = roll_of(group, self._notices, self._steps.get(key, ()), now)
        self._steps[key] = roll.steps
        return roll

    def _keeper(self, variant: Variant, group: Group, now: datetime) -> Keeper:
        key = (variant.service, variant.name)
        return Keeper(
            aws=self._aws,
            book=self._book,
            wanted=wanted_of(variant),
            options=options_of(variant),
            notices=self._notices,
            memo=self._memo(variant),
            mine=group.tags.get(MANAGED) == "/".join(key),
            touch=self._touch(variant),
            carried=self._carried,
            now=now,
        )

    def _touch(self, variant: Variant) -> Touch:
        return Touch(self._aws, lambda: self._acts(variant.service))

    def _memo(self, variant: Variant) -> Memo:
        return self._memos.setdefault((variant.service, variant.name), Memo())

    def _stuck(self, variant: Variant, roll: Roll) -> Stuck | None:
        """Why what is missing does not come: asked only where something is. Where launches are suspended nothing is
        tried, so no activity tells of it."""
        if not roll.missing:
            return None
        since = min(one.since for one in roll.missing)
        if held := roll.group.held(LAUNCH):
            return Stuck(kind=StuckKind.REFUSED, since=since, detail=held)
        return stuck(self._activities(variant, roll.group), since)

    def _author(self, variant: Variant, group: Group) -> str:
        """Who changed its count, as far as is known."""
        return changed_by(self._activities(variant, group))

    def _activities(self, variant: Variant, group: Group) -> tuple[Activity, ...]:
        """What it says of its doings. Nothing where it does not: they explain, and nobody acts on there being none."""
        unanswered = self._memo(variant).unanswered
        try:
            found = activities(self._aws, group)
        except AwsError as error:
            unknown = "why instances do not come is not known"
            if not unanswered.met("DescribeScalingActivities", group.name, error, unknown):
                log.warning("%s: %s: %s", group.name, unknown, error)
            return ()
        unanswered.answered("DescribeScalingActivities")
        return found

    def _publish(self, variant: Variant, states: Iterable[ReplicaState]) -> None:
        options = options_of(variant)
        if options.targets_file:
            shown = (Phase.READY, Phase.DRAINING)
            groups = [group_of(one.url, labels(variant, one)) for one in states if one.url and one.phase in shown]
            publish_groups(Path(options.targets_file), groups)

    def _owners(self, variant: Variant, group: Group, now: datetime) -> tuple[str, ...]:
        """Whoever else writes the group's count."""
        owner = group.tags.get(MANAGED)
        foreign = (
            (f"{owner}, says its tag {MANAGED},",) if owner not in (None, f"{variant.service}/{variant.name}") else ()
        )
        return (*foreign, *others(self._aws, group), *self._keeper(variant, group, now).refreshes(group))

    def _held(self, variant: Variant, decision: Decision, error: HeldError, now: datetime) -> Outcome:
        """How far it came is looked at: nowhere, all the way but for what nobody counts, or in between."""
        try:
            roll = self._roll(variant, self._book.again(wanted_of(variant), now), now)
        except AwsError as unread:
            raise ActError(f"{error}; how far it came cannot be read: {unread}") from error
        said = f"{error}; {roll.counted} of {decision.desired} are there; what had begun waits where it is"
        if roll.counted == decision.current:
            return Outcome.of(decision, OutcomeKind.REFUSED, said, now)
        if roll.counted == decision.desired:
            return Outcome.of(decision, OutcomeKind.DONE, said, now)
        raise ActError(f"did not scale {roll.group.name} all the way: {said}") from error

    # --- growing ------------------------------------------------------------------------------------------------------

    def _grow(self, variant: Variant, roll: Roll, decision: Decision, now: datetime) -> str:
        group, desired = roll.group, raised(roll, decision.desired - decision.current)
        steps = (*(one for one in roll.steps if one.upto <= group.desired), Step(desired, now))
        self._claim(variant, group, {WAITING: waiting_text(steps)})
        self._busy(lambda: self._raised(variant, desired, group.desired, now))
        self._steps[variant.service, variant.name] = steps
        return f"desired capacity of {group.name}: {group.desired} -> {desired}"

    def _raised(self, variant: Variant, desired: int, before: int, now: datetime) -> None:
        """Set it, if nobody else has set it to something else since."""
        group = self._book.again(wanted_of(variant), now)
        if group.desired == desired:
            return  # an earlier try had worked, and only its answer was lost
        if group.desired != before:
            raise AwsError(f"the desired capacity became {group.desired} in between")
        changes.set_desired(self._touch(variant), group, desired)
        self._book.forget(wanted_of(variant))

    def _busy(self, change: Callable[[], None]) -> None:
        """Try again a little later while the group is busy. Raises AwsError."""
        for attempt in range(1, TRIES + 1):
            try:
                return change()
            except AwsError as error:
                if error.code not in CONTENDED or attempt == TRIES:
                    raise
                self._pause(PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
        return None

    def _claim(self, variant: Variant, group: Group, tags: Mapping[str, str]) -> None:
        """Before anything else is changed: the group says whose it is from now on."""
        mine = f"{variant.service}/{variant.name}"
        owner = {} if MANAGED in group.tags else {MANAGED: mine}
        try:
            if owner or tags:
                changes.tag_group(self._touch(variant), group, {**owner, **tags})
        except AwsError as error:
            if not owner or "AccessDenied" not in error.code:
                raise
            do = f"tag it {MANAGED}={mine} yourself: the policy that we ship lets us scale no group without that tag"
            raise AwsError(f"{group.name} is not ours yet: {error}; {do}", code=error.code) from error

    # --- shrinking ----------------------------------------------------------------------------------------------------

    def _shrink(self, variant: Variant, roll: Roll, decision: Decision, now: datetime) -> str:
        group = roll.group
        keeper = self._keeper(variant, group, now)
        unborn, starting, loaded = _chosen(keeper, roll, decision)
        self._claim(variant, group, {})
        if unborn:
            self._busy(lambda: keeper.lower(keeper.touch, group.desired - len(unborn)))
        given_up = [one.id for one in starting if keeper.give_up(one)]
        if len(given_up) < len(starting):
            left = ", ".join(one.id for one in starting if one.id not in given_up)
            raise ActError(f"{left} of {group.name} could not be ended yet; the next pass tries again")
        self._begin_draining(keeper.touch, group, loaded, now)
        return f"removing {', '.join([*(one.name for one in unborn), *given_up, *(one.id for one in loaded)])}"

    def _begin_draining(self, touch: Touch, group: Group, loaded: Sequence[Instance], now: datetime) -> None:
        """From now on they get no new requests; the passes after this one end them when they are idle."""
        names = [one.id for one in loaded]
        if names:
            changes.tag_instances(touch, group, names, {DRAINING: seconds(now)})
            self._book.forget(Wanted(name=group.name, region=group.region))
        if shielded := [one.id for one in loaded if one.protected]:
            changes.protect(touch, group, shielded, protected=False)


def options_of(variant: Variant) -> AwsAsgOptions:
    if not isinstance(variant.actuator_options, AwsAsgOptions):
        raise ActError(f"{variant.service}/{variant.name} has no options of an Auto Scaling group")
    return variant.actuator_options


def wanted_of(variant: Variant) -> Wanted:
    options = options_of(variant)
    return Wanted(name=options.group, tags=options.tags, region=options.region)


def _countable(group: Group) -> None:
    """Raises ActError where a number of instances is not what the group counts."""
    if group.weights:
        raise ActError(f"{group.name} cannot be scaled in replicas, each of which is one instance: {group.weights}")
    if group.deleting:
        raise ActError(f"{group.name} is being deleted")


def barred(roll: Roll, decision: Decision) -> str:
    """What its owner does not let the group do; "" when nothing is against it. It is his to change."""
    group, grows = roll.group, decision.desired > decision.current
    if held := group.held(LAUNCH if grows else TERMINATE):
        return held
    if grows and (to := raised(roll, decision.desired - decision.current)) > group.maximum:
        leaving = f", {len(roll.leaving)} of them on their way out" if roll.leaving else ""
        return f"{group.name} does not grow to {to} instances{leaving}: its MaxSize is {group.maximum}"
    if not grows and decision.desired < group.minimum:
        return f"{group.name} does not shrink to {decision.desired} instances: its MinSize is {group.minimum}"
    return ""


def raised(roll: Roll, more: int) -> int:
    """The desired capacity with which there are so many more."""
    return max(roll.group.desired, roll.taken - len(roll.ahead) - len(roll.unwanted)) + more


def bounds_of(roll: Roll) -> Bounds:
    """Who is on its way out has its place until it is gone. While launches are suspended there is none, and while
    terminations are, all that it has stays."""
    group, leaving = roll.group, len(roll.leaving)
    going = f", {leaving} of its instances on their way out" if leaving else ""
    said = f"{group.name} has MinSize {group.minimum} and MaxSize {group.maximum}{going}"
    return Bounds(
        least=max(group.minimum, roll.counted) if group.held(TERMINATE) else group.minimum,
        most=group.maximum,
        free=0 if group.held(LAUNCH) else max(0, group.maximum - raised(roll, 0)),
        said="; ".join(part for part in (said, group.held(LAUNCH), group.held(TERMINATE)) if part),
    )


def _chosen(keeper: Keeper, roll: Roll, decision: Decision) -> tuple[list[Placeholder], list[Instance], list[Instance]]:
    """Who goes: the decision's victims in their order, then what is still to come, then the newest that are not ready,
    then the newest. Those to come, those that start, those that may have requests."""

    def rank(one: Placeholder | Instance) -> tuple[float, ...]:
        name = one.name if isinstance(one, Placeholder) else one.id
        if name in decision.victims:
            return (0, decision.victims.index(name))
        if isinstance(one, Placeholder):
            return (1, -one.since.timestamp())
        return (2 if keeper.ready_since(one) is None else 3, -keeper.started_at(one).timestamp())

    everyone: list[Placeholder | Instance] = [*roll.missing, *roll.alive]
    leaving = sorted(everyone, key=rank)[: decision.current - decision.desired]
    instances = [one for one in leaving if isinstance(one, Instance)]
    return (
        [one for one in leaving if isinstance(one, Placeholder)],
        [one for one in instances if keeper.ready_since(one) is None],
        [one for one in instances if keeper.ready_since(one) is not None],
    )
