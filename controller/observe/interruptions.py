"""What was announced about machines, from everybody who announces: gathered between passes, read by each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Protocol

from controller.aws.clients import Aws
from controller.aws.imds import MetadataPoller
from controller.aws.interruptions import LISTENING, QueueListener
from controller.aws.interruptions_messages import Told
from controller.errors import LedgerError
from controller.facts.interruptions import ENDING, LOCAL, Announcers, Notice, NoticeKind
from controller.facts.missing import Missing
from controller.facts.readings import ReplicaState

log = logging.getLogger(__name__)

Key = tuple[str, NoticeKind, bool, str]
"""``Notice.key``."""

KEPT = timedelta(hours=1)
"""A notice is forgotten so long after its machine ended, and a hint so long after it was given: by then the machine is
gone from every list, or the hint did not come true. A guess."""

MOST_NOTICES = 20_000
"""A queue may tell of a whole account. A guess: more instances than a fleet of 5,000 replicas has."""

URGENT: Mapping[NoticeKind, int] = {
    NoticeKind.STOPPED: 0,
    NoticeKind.SPOT: 1,
    NoticeKind.RESERVATION: 1,
    NoticeKind.MAINTENANCE: 2,
    NoticeKind.REBALANCE: 3,
}
"""Of several about one machine the first of these counts."""


Keep = Callable[[Sequence[Notice], Sequence[Notice], datetime], None]
"""(said, over, now): writes down what was announced, and forgets what is over. Raises LedgerError."""


class Source(Protocol):
    """Somebody who announces, in a thread of its own."""

    @property
    def name(self) -> str: ...

    def start(self) -> None: ...

    def close(self) -> None: ...

    def age_s(self, now: datetime) -> float:
        """Seconds since it was last heard, whether it had something to say or not."""
        ...

    def problem(self, now: datetime) -> Missing | None:
        """Why notices may have been missed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSeen:
    """How long ago one source was heard, and how many events it told since the start."""

    name: str
    age_s: float
    heard: int


class Interruptions:
    """The board that sources write on and passes read. No pass waits for a source; a lock is held for microseconds.

    maintenance_lead   how long before it maintenance begins to count
    """

    def __init__(self, maintenance_lead: timedelta = timedelta()) -> None:
        self._lead = maintenance_lead
        self._sources: tuple[Source, ...] = ()
        self._notices: dict[Key, Notice] = {}
        self._kept: dict[Key, Notice] = {}
        self._keep: Keep = lambda said, over, now: None
        self._words: dict[tuple[str, str], datetime] = {}
        self._told: dict[str, int] = {}
        self._lock, self._keeping = Lock(), Lock()

    def heed(self, sources: Iterable[Source]) -> None:
        """These, once ``begin`` says so."""
        self._sources = tuple(sources)

    def begin(self, kept: Iterable[Notice] = (), keep: Keep | None = None) -> None:
        """Listen from now on, and go on with what was ``kept`` by those who listened before. ``keep``: None: nobody."""
        self._keep = keep or self._keep
        with self._lock:
            self._kept = {one.key: one for one in kept}
            for one in self._kept.values():
                self._put(one)
        for source in self._sources:
            source.start()

    def close(self) -> None:
        for source in self._sources:
            source.close()

    def heard(self, source: str) -> Callable[[Told, datetime], None]:
        """Where ``source`` writes."""

        def write(said: Told, now: datetime) -> None:
            with self._lock:
                self._told[source] = self._told.get(source, 0) + 1
                if said.takes_back:
                    self._take_back(said.takes_back, said.of, said.at or now)
                for notice in said.notices:
                    self._put(_lost_if_past(notice, now))
                if said.running:
                    self._forget_before(said.running, said.at or now)

        return write

    def keep(self, now: datetime) -> None:
        """Have all that was heard by now written down. Raises LedgerError: then it counts all the same, and is written
        with what is heard next. What the daemon's own machine is told is no word on another daemon's, and every machine
        is asked anew."""
        with self._keeping:
            with self._lock:
                self._prune(now)
                stands = {key: one for key, one in self._notices.items() if one.node != LOCAL}
            said = [one for key, one in stands.items() if self._kept.get(key) is not one]
            over = [one for key, one in self._kept.items() if key not in stands]
            if said or over:
                self._keep(said, over, now)
            self._kept = stands

    def notices(self, now: datetime) -> Mapping[str, Notice]:
        """By node, the most urgent that counts now."""
        with self._lock:
            self._prune(now)
            counting = [one for one in self._notices.values() if self._counts(one, now)]
        # The last one of a node stays: the most urgent, with a date where one is told, the soonest.
        counting.sort(
            key=lambda one: (-URGENT[one.kind], one.deadline is not None, -(one.deadline or one.at).timestamp())
        )
        return {one.node: one for one in counting}

    def seen(self, now: datetime) -> tuple[SourceSeen, ...]:
        """For /metrics."""
        told = dict(self._told)
        return tuple(
            SourceSeen(name=one.name, age_s=one.age_s(now), heard=told.get(one.name, 0)) for one in self._sources
        )

    def problems(self, now: datetime) -> tuple[Missing, ...]:
        """Of sources that were not heard for long."""
        return tuple(problem for one in self._sources if (problem := one.problem(now)) is not None)

    def _put(self, notice: Notice) -> None:
        """The first of a kind stays, unless a later one says an earlier end: a warning that comes again is no new one.
        Of hints the last stays."""
        if self._unsaid(notice):
            return
        before = self._notices.get(notice.key)
        if before is None or (notice.kind is NoticeKind.REBALANCE and notice != before) or _sooner(notice, before):
            self._notices[notice.key] = notice
        while len(self._notices) > MOST_NOTICES:
            del self._notices[next(iter(self._notices))]

    def _take_back(self, announcement: str, nodes: Sequence[str], at: datetime) -> None:
        """What was said of it before ``at`` holds no more, also where it comes later. ``nodes``: of whom; (): all."""
        for node in nodes or ("",):
            self._words[announcement, node] = max(at, self._words.pop((announcement, node), at))
        while len(self._words) > MOST_NOTICES:
            del self._words[next(iter(self._words))]
        for key in [key for key, one in self._notices.items() if self._unsaid(one)]:
            del self._notices[key]

    def _unsaid(self, notice: Notice) -> bool:
        """Whether its announcement has said something newer of its machine."""
        words = (self._words.get((notice.announcement, node)) for node in (notice.node, ""))
        return any(word is not None and notice.at < word for word in words)

    def _forget_before(self, node: str, at: datetime) -> None:
        for key in [key for key, one in self._notices.items() if key[0] == node and one.at <= at]:
            del self._notices[key]

    def _prune(self, now: datetime) -> None:
        for key in [key for key, one in self._notices.items() if now - max(one.at, one.deadline or one.at) > KEPT]:
            del self._notices[key]
        for name in [name for name, at in self._words.items() if now - at > KEPT]:
            del self._words[name]

    def _counts(self, notice: Notice, now: datetime) -> bool:
        if notice.kind is not NoticeKind.MAINTENANCE or notice.deadline is None:
            return True
        return now >= notice.deadline - self._lead


def _lost_if_past(notice: Notice, now: datetime) -> Notice:
    """Too late to drain what a notice was about: the machine is gone all the same."""
    if notice.kind in ENDING and notice.deadline is not None and notice.deadline < now:
        return replace(notice, kind=NoticeKind.STOPPED)
    return notice


def _sooner(notice: Notice, before: Notice) -> bool:
    return notice.deadline is not None and (before.deadline is None or notice.deadline < before.deadline)


def listening(to: Announcers, clock: Callable[[], datetime], aws: Aws, leads: Callable[[], bool]) -> Interruptions:
    """A board that whoever is named writes on, once it begins. To be closed. ``leads``: see ``QueueListener``."""
    board = Interruptions(timedelta(seconds=to.maintenance_lead_s))
    sources: list[Source] = []
    if to.queue:
        sources.append(
            QueueListener(
                lambda: aws.client("sqs", to.region, LISTENING),
                to.queue,
                board.heard(QueueListener.name),
                clock,
                keep=board.keep,
                leads=leads,
            )
        )
    if to.metadata:
        sources.append(MetadataPoller(_kept_where_it_can_be(board), clock))
    board.heed(sources)
    return board


def _kept_where_it_can_be(board: Interruptions) -> Callable[[Told, datetime], None]:
    """The machine tells it again to whoever asks there; others know it from the ledger."""
    heard = board.heard(MetadataPoller.name)

    def written(said: Told, now: datetime) -> None:
        heard(said, now)
        try:
            board.keep(now)
        except LedgerError as error:
            log.warning("a notice of this machine is known to this daemon alone: %s", error)

    return written


def joined(
    states: Sequence[ReplicaState] | Missing, notices: Mapping[str, Notice]
) -> tuple[ReplicaState, ...] | Missing:
    """``states`` with what was announced about their machines. A notice that its actuator knows stays.

    The phase is the actuator's to tell: what drains is no supply, and it must count as its own calls do.
    """
    if isinstance(states, Missing):
        return states
    return tuple(
        replace(state, notice=_about(state, notices)) if state.notice is None and notices else state for state in states
    )


def _about(state: ReplicaState, notices: Mapping[str, Notice]) -> Notice | None:
    """By either name of its machine, the more urgent."""
    found = [notices[name] for name in (state.node, state.instance) if name and name in notices]
    return min(found, key=lambda one: URGENT[one.kind], default=None)
