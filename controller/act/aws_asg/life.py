"""One step in the life of each instance of an Auto Scaling group that is ours. Never waits.

    Pending --healthy--> ready, protected --apply, or its machine goes--> draining --idle or late--> terminated
    Pending, late --> terminated

Only what a tag says of an instance is relied upon: what is kept here in memory saves a call, or spares a pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from controller.act.actuator import Carried
from controller.act.aws_asg.roll import DRAINING, LEFT, READY, WAITING, Roll, seconds, tagged, waiting_of, waiting_text
from controller.act.probe import ask_urls, healthy, idle
from controller.aws import changes
from controller.aws.activities import refreshes
from controller.aws.addresses import address_of
from controller.aws.changes import Changing, Touch
from controller.aws.clients import Aws
from controller.aws.groups import Group, GroupBook, Hook, Instance, Wanted, hooks
from controller.aws.unanswered import Unanswered
from controller.errors import AwsError, HeldError
from controller.facts.actuators import AwsAsgOptions
from controller.facts.interruptions import Notice

log = logging.getLogger(__name__)

BEFORE_THE_END_S = 30.0
"""An instance that is noticed leaves at least so long before its machine does: told to go by us, the group does not
replace it. A guess: two passes."""

HOOKS_KEPT_S = 600.0
"""Lifecycle hooks are read again after so long. A guess: they change with the group's template."""

USUAL_HEARTBEAT_S = 300.0
"""Of a hook whose time-out could not be read. A guess: it is at least 30 s, and an hour unless set."""


@dataclass(slots=True)
class Memo:
    """What one daemon remembers of a group.

    seen        first seen by this daemon
    cold        seen while their engines did not answer yet: nobody was sent there before they did
    ready       first healthy answer, where the tag is not there
    beaten      last heartbeat, by instance
    idle        found idle in a pass before: their last counters have been read since
    going       first seen to go, where the tag is not there
    unwanted    beyond a desired capacity that somebody else lowered, as of the pass before
    hooks       as last read, and when
    unanswered  calls that AWS does not answer, told once
    """

    seen: dict[str, datetime] = field(default_factory=dict)
    ready: dict[str, datetime] = field(default_factory=dict)
    beaten: dict[str, datetime] = field(default_factory=dict)
    cold: set[str] = field(default_factory=set)
    idle: set[str] = field(default_factory=set)
    going: dict[str, datetime] = field(default_factory=dict)
    unwanted: frozenset[str] = frozenset()
    hooks: tuple[Hook, ...] = ()
    hooks_at: datetime | None = None
    unanswered: Unanswered = field(default_factory=Unanswered)

    def look(self, group: Group, carried: Carried, now: datetime) -> None:
        """Who is there, and who is no longer. Where our clock was set back, who was seen ahead of it is seen anew."""
        there = {one.id for one in group.instances}
        self.seen = {one: min(carried(self.seen.get(one, now)), now) for one in there}
        self.idle &= there
        self.cold &= there
        for known in (self.seen, self.ready, self.beaten, self.going):
            for gone in known.keys() - there:
                del known[gone]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """One group in one pass.

    touch  what changes something goes through it, while anything may be touched
    mine   it says that it is ours; what is not is only looked at
    """

    aws: Aws
    touch: Touch
    book: GroupBook
    wanted: Wanted
    options: AwsAsgOptions
    notices: Mapping[str, Notice]
    memo: Memo
    mine: bool
    carried: Carried
    now: datetime

    # --- what is known of an instance ---------------------------------------------------------------------------------

    def url(self, one: Instance) -> str:
        """Of its engine; "" while it has no address."""
        return address_of(self.options.url, one)

    def ready_since(self, one: Instance) -> datetime | None:
        return tagged(one, READY) or self.memo.ready.get(one.id)

    def going_since(self, one: Instance) -> datetime:
        return tagged(one, DRAINING) or self.memo.going.setdefault(one.id, self.now)

    def started_at(self, one: Instance) -> datetime:
        """Its launch. What ran for long before we first saw it has not been starting all the time: it may only have
        been slow to answer, and has the whole time from then on. By our clock nobody was launched after we saw it: a
        start is given up in time also where AWS's clock is ahead of ours."""
        seen = self.memo.seen.get(one.id, self.now)
        launched = min(one.launched_at or seen, seen)
        return seen if seen - launched > timedelta(seconds=self.options.start_timeout_s) else launched

    def refreshes(self, group: Group) -> tuple[str, ...]:
        """Instance refreshes under way; none where AWS cannot tell. A refresh replaces instances and leaves the count
        as it is, what it ends while we drain it is not ended twice, and unless told otherwise it waits for who is
        protected. So not to know of one is no reason to leave a service without what it needs. Raises AwsError."""
        call, unanswered = "DescribeInstanceRefreshes", self.memo.unanswered
        try:
            found = refreshes(self.aws, group)
        except AwsError as error:
            if not unanswered.met(call, str(self.wanted), error, "its count is changed all the same"):
                raise
            return ()
        unanswered.answered(call)
        return found

    # --- one step -----------------------------------------------------------------------------------------------------

    def step(self, roll: Roll) -> frozenset[str]:
        """Take every instance one step on. Gives those whose start has failed."""
        self.memo.look(roll.group, self.carried, self.now)
        self._warm_up(roll)
        failed: set[str] = set()
        if self.mine and self.touch.may():
            try:
                self._act(roll, failed)
            except HeldError as error:
                log.info("%s: %s; what had begun waits where it is", self.wanted, error)
        return frozenset(failed)

    def _act(self, roll: Roll, failed: set[str]) -> None:
        """Raises HeldError once nothing may be touched any more; ``failed`` are told all the same."""
        self._mark_ready(roll)
        failed.update(self._late(roll))
        self._protect(roll)
        self._drain(roll)
        self._settle(roll)
        if waiting_of(roll.group) != tuple(roll.steps):
            self._do("note what is waited for", changes.tag_group, roll.group, {WAITING: waiting_text(roll.steps)})

    def _warm_up(self, roll: Roll) -> None:
        """Who is healthy by now is let into service whatever holds us: its hook would end it otherwise."""
        starting = {
            one.id: one for one in (*roll.alive, *roll.ahead) if self.ready_since(one) is None and self.url(one)
        }
        answers = ask_urls([self.url(one) + self.options.health_path for one in starting.values()], healthy)
        warm = [one for one in starting.values() if answers[self.url(one) + self.options.health_path]]
        self.memo.ready |= {one.id: self.now for one in warm}
        self.memo.cold |= starting.keys() - self.memo.ready.keys()
        if not self.mine:
            return
        for one in (*roll.alive, *roll.ahead):
            if one.pending and one.waits and self.options.launch_hook:
                done = self.ready_since(one) is not None
                self._hook(self.aws, roll.group, self.options.launch_hook, one, done=done)

    def _mark_ready(self, roll: Roll) -> None:
        """Since when they are, for a later daemon; also who became so while nothing was to be touched."""
        since: dict[str, list[str]] = {}
        for one in (*roll.alive, *roll.ahead):
            if READY not in one.tags and one.id in self.memo.ready:
                since.setdefault(seconds(self.memo.ready[one.id]), []).append(one.id)
        for at, names in since.items():
            self._do("mark as ready", changes.tag_instances, roll.group, names, {READY: at})

    def _late(self, roll: Roll) -> Iterator[str]:
        """Instances that did not become healthy in time are given up, one by one."""
        allowed = timedelta(seconds=self.options.start_timeout_s)
        late = [
            one for one in roll.alive if self.ready_since(one) is None and self.now - self.started_at(one) > allowed
        ]
        return (one.id for one in late if self.give_up(one))

    def _protect(self, roll: Roll) -> None:
        """The group itself never chooses a loaded instance: not to balance its zones, nor when somebody lowers its
        capacity. Protection does not keep us from ending one."""
        bare = [
            one.id for one in roll.alive if one.in_service and not one.protected and self.ready_since(one) is not None
        ]
        if bare and self.options.protect:
            self._do("protect", changes.protect, roll.group, bare, protected=True)

    def _drain(self, roll: Roll) -> None:
        leaving = [one for one in roll.group.instances if one.id in roll.leaving]
        self._mark(roll.group, leaving)
        self._send_off(roll)
        answers = ask_urls([url for one in leaving if (url := self.url(one))], idle)
        for one in leaving:
            done = answers.get(self.url(one), True) or self._late_to_drain(one)
            if one.waits and one.ending:
                if self.options.terminate_hook:
                    self._hook(self.touch, roll.group, self.options.terminate_hook, one, done=done)
            elif done and self._ours_to_end(one):
                if one.id in self.memo.idle or one.pending or self._late_to_drain(one):
                    self.remove(one)
                self.memo.idle.add(one.id)

    def _mark(self, group: Group, leaving: Sequence[Instance]) -> None:
        """Since when they go, for a later daemon. What the group ends by itself has left its count already."""
        fresh = [one for one in leaving if DRAINING not in one.tags and (one.waits or self._noticed(one))]
        by_group = [one.id for one in fresh if one.ending]
        by_notice = [one.id for one in fresh if not one.ending]
        since = {DRAINING: seconds(self.now)}
        if by_group:
            self._do("mark as ending", changes.tag_instances, group, by_group, since | {LEFT: seconds(self.now)})
        if by_notice:
            self._do("mark as draining", changes.tag_instances, group, by_notice, since)

    def _send_off(self, roll: Roll) -> None:
        """What somebody else's lower count has no place for drains as anybody does: we protect it, so the group would
        keep it for ever. Seen in two passes, because one answer of AWS may be between two truths."""
        unwanted = frozenset(one.id for one in roll.unwanted)
        sure = [one.id for one in roll.unwanted if one.id in self.memo.unwanted]
        self.memo.unwanted = unwanted
        if sure:
            self._do("send off who is one too many", self._sent_off, roll.group, sure)

    def _sent_off(self, aws: Changing, group: Group, names: Sequence[str]) -> None:
        """But by a refresh that launches first: then the newest are what it replaces the others by."""
        if not self.refreshes(group):
            changes.tag_instances(aws, group, names, {DRAINING: seconds(self.now)})

    def _noticed(self, one: Instance) -> bool:
        notice = self.notices.get(one.id)
        return notice is not None and notice.ends

    def _ours_to_end(self, one: Instance) -> bool:
        return (one.in_service or one.pending) and (DRAINING in one.tags or self._noticed(one))

    def _late_to_drain(self, one: Instance) -> bool:
        end = self.carried(self.going_since(one)) + timedelta(seconds=self.options.drain_timeout_s)
        notice = self.notices.get(one.id)
        if notice is not None and notice.ends and notice.deadline is not None:
            end = min(end, notice.deadline - timedelta(seconds=BEFORE_THE_END_S))
        return self.now >= end

    def _settle(self, roll: Roll) -> None:
        """What we were draining was to leave with its place in the count; where the group (or EC2) was faster, the
        place is still there, and another instance would be launched for it."""
        if not roll.owed:
            return
        desired = roll.group.desired - len(roll.owed)
        empty = roll.taken <= desired and desired >= roll.group.minimum
        if empty and not self._do("lower what is wanted", self.lower, desired):
            return
        names = [one.id for one in roll.owed]
        self._do("mark as left", changes.tag_instances, roll.group, names, {LEFT: seconds(self.now)})

    # --- ends ---------------------------------------------------------------------------------------------------------

    def give_up(self, one: Instance) -> bool:
        """End a start that nobody waits for any more. Whether it was asked for."""
        group = self.book.group(self.wanted, self.now)
        if not self._do("mark as given up", changes.tag_instances, group, [one.id], {DRAINING: seconds(self.now)}):
            return False
        return self.remove(one)

    def remove(self, one: Instance) -> bool:
        """End ``one`` together with its place in the group's count. Whether it was asked for."""
        try:
            return self._removed(one)
        except AwsError as error:
            self._tell("terminate", f"could not end {one.id}", error)
            return False

    def _removed(self, one: Instance) -> bool:
        group = self.book.again(self.wanted, self.now)
        found = group.instance(one.id)
        if found is None or found.ending:
            return False
        if found.pending and found.waits and self.options.launch_hook and self._abandoned(group, found):
            return True  # its place is taken back in ``_settle``
        least = group.desired - 1 >= group.minimum
        if not least and self.ready_since(one) is not None and not self._noticed(one):
            log.warning("%s: %s stays, the group's MinSize is %d", self.wanted, one.id, group.minimum)
            return False
        # Where more are there than the group is to have, one that ends makes no room for another.
        decrement = least and (group.rebalances or len(group.seats) <= group.desired)
        if decrement:
            changes.tag_instances(self.touch, group, [one.id], {LEFT: seconds(self.now)})
        changes.terminate(self.touch, group, one.id, decrement=decrement)
        self.book.forget(self.wanted)
        log.info("%s: ended %s%s", self.wanted, one.id, "" if decrement else ", the group may replace it")
        return True

    def _abandoned(self, group: Group, one: Instance) -> bool:
        """It waits for our word, and ABANDON is that word; where that cannot be said it is ended as any other."""
        try:
            changes.complete(self.touch, group, self.options.launch_hook, one, go_on=False)
        except AwsError as error:
            if self.memo.unanswered.met("abandon", str(self.wanted), error, "what waits for it is ended without"):
                return False
            raise
        return True

    def lower(self, aws: Changing, desired: int) -> None:
        """The one case in which a lower desired capacity ends nobody: no more instances are there than it then says.
        Read right before; one that is being launched in this moment may still be ended by the group, and serves
        nobody yet: those that do are protected. Raises AwsError."""
        group = self.book.again(self.wanted, self.now)
        if len(group.seats) > desired or group.desired <= desired:
            raise AwsError(f"{len(group.seats)} of {group.desired} instances are there by now; none is given up")
        changes.set_desired(aws, group, desired)
        self.book.forget(self.wanted)

    # --- hooks --------------------------------------------------------------------------------------------------------

    def _hook(self, by: Changing, group: Group, name: str, one: Instance, *, done: bool) -> None:
        """Say CONTINUE, or that it shall wait on."""
        if done:
            what = f"complete {name} of {one.id} before its time-out"
            self._do(what, changes.complete, group, name, one, by=by, go_on=True)
            return
        beaten = self.memo.beaten.get(one.id)
        due = beaten is None or self.now - beaten >= self._beat(group, name)
        if due and self._do(f"keep {name} of {one.id} beyond its time-out", changes.heartbeat, group, name, one, by=by):
            self.memo.beaten[one.id] = self.now

    def _beat(self, group: Group, name: str) -> timedelta:
        """Three heartbeats in a hook's time-out: two may be lost."""
        at = self.memo.hooks_at
        if at is None or self.now - at > timedelta(seconds=HOOKS_KEPT_S):
            self._do("read its lifecycle hooks", self._read_hooks, group, by=self.aws)
            self.memo.hooks_at = self.now
        heartbeat_s = next((one.heartbeat_s for one in self.memo.hooks if one.name == name), USUAL_HEARTBEAT_S)
        return timedelta(seconds=heartbeat_s / 3)

    def _read_hooks(self, aws: Aws, group: Group) -> None:
        self.memo.hooks = hooks(aws, group)

    def _do(
        self, what: str, call: Callable[..., None], *arguments: Any, by: Changing | None = None, **named: Any
    ) -> bool:
        """Whether it worked. One instance's trouble hides no other, and the next pass looks again. ``by``: instead of
        what may be touched only while nothing speaks against it."""
        try:
            call(by or self.touch, *arguments, **named)
        except AwsError as error:
            self._tell(call.__name__, f"could not {what}", error)
            return False
        self.memo.unanswered.answered(call.__name__)
        return True

    def _tell(self, call: str, trouble: str, error: AwsError) -> None:
        """What AWS cannot do for us it cannot do in the next pass either: that is told once."""
        if not self.memo.unanswered.met(call, str(self.wanted), error, f"{trouble}, and each pass tries again"):
            log.warning("%s: %s: %s; the next pass looks again", self.wanted, trouble, error)
