"""A fleet of emulated engines behind one router: replicas start, serve, drain and go."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from controller.facts.readings import Phase
from controller.simulate.engine import EmulatedEngine, Finished, Request
from controller.simulate.stepmodel import EngineSpec

SLICE_S = 1.0
"""The router looks at the replicas' load this often; in between it counts what it has sent. A guess: gateways see
queue lengths about once a second."""

GIVE_UP_S = 60.0
"""A client that finds nobody ready keeps trying for this long, then its request is dropped. A common HTTP time-out."""


@dataclass(slots=True, kw_only=True)
class EmulatedReplica:
    """One replica. ``ready_s``: when it can serve; ``outstanding`` tokens were sent to it and are not finished."""

    name: str
    engine: EmulatedEngine
    created_s: float
    ready_s: float
    draining_since_s: float | None = None
    outstanding: int = 0

    def phase(self, now_s: float) -> Phase:
        if self.draining_since_s is not None:
            return Phase.DRAINING
        return Phase.READY if now_s >= self.ready_s else Phase.STARTING


class EmulatedFleet:
    """Replicas by name, and the requests nobody could take yet."""

    def __init__(self, spec: EngineSpec, now_s: float) -> None:
        self._spec = spec
        self._now_s = now_s
        self._replicas: dict[str, EmulatedReplica] = {}
        self._unrouted: deque[Request] = deque()
        self.dropped = 0

    @property
    def now_s(self) -> float:
        return self._now_s

    @property
    def replicas(self) -> Mapping[str, EmulatedReplica]:
        return self._replicas

    @property
    def unrouted(self) -> int:
        """Requests whose clients are trying again."""
        return len(self._unrouted)

    def start(self, name: str, delay_s: float) -> None:
        """A replica that will be ready ``delay_s`` from now. A name can be used once at a time."""
        if name in self._replicas:
            raise ValueError(f"replica {name} exists already")
        ready_s = self._now_s + delay_s
        engine = EmulatedEngine(self._spec, started_s=ready_s)
        self._replicas[name] = EmulatedReplica(name=name, engine=engine, created_s=self._now_s, ready_s=ready_s)

    def drain(self, name: str) -> None:
        """No new requests for it; it goes when the last one is answered, or at once if it never served."""
        one = self._replicas[name]
        if one.draining_since_s is None:
            one.draining_since_s = self._now_s

    def advance(self, until_s: float, requests: Sequence[Request]) -> list[Finished]:
        """Serve until ``until_s``. ``requests`` come in order of time, none later than that."""
        finished: list[Finished] = []
        coming = deque(requests)
        while self._now_s < until_s:
            end_s = min(self._now_s + SLICE_S, until_s)
            while coming and coming[0].arrival_s < end_s:
                self._unrouted.append(coming.popleft())
            self._slice(end_s, finished)
            self._now_s = end_s
        self._unrouted.extend(coming)
        return finished

    def _slice(self, end_s: float, finished: list[Finished]) -> None:
        sent = self._route(end_s)
        for one in self._replicas.values():
            if one.ready_s >= end_s:
                continue
            done = one.engine.advance(end_s, sent.get(one.name, ()))
            for each in done:
                one.outstanding -= each.request.tokens
            finished.extend(done)
        for name in [name for name, one in self._replicas.items() if self._may_go(one)]:
            del self._replicas[name]

    def _route(self, end_s: float) -> dict[str, list[Request]]:
        """Each request to the ready replica with the fewest tokens outstanding; nobody ready: it is tried again."""
        ready = [one for one in self._replicas.values() if one.phase(self._now_s) is Phase.READY]
        sent: dict[str, list[Request]] = {one.name: [] for one in ready}
        if not ready:
            self._give_up(end_s)
            return sent
        while self._unrouted:
            request = self._unrouted.popleft()
            to = min(ready, key=lambda one: one.outstanding)
            to.outstanding += request.tokens
            late = request.arrival_s < self._now_s
            sent[to.name].append(replace(request, arrival_s=self._now_s) if late else request)
        return sent

    def _give_up(self, end_s: float) -> None:
        while self._unrouted and end_s - self._unrouted[0].sent_s > GIVE_UP_S:
            self._unrouted.popleft()
            self.dropped += 1

    def _may_go(self, one: EmulatedReplica) -> bool:
        return one.draining_since_s is not None and one.engine.idle
