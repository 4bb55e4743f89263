"""What the daemon sees of engines, as the story has it: the one double of the harness besides the clock.

Targets come from where the platform's discovery finds them; what engines say is the story's load, spread evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from controller.facts.fleet import EngineKind
from controller.facts.missing import Missing
from controller.facts.readings import Counter, CounterMark, EngineReading, Gauge, Target
from controller.observe.fleet_observer import Seen
from tests.chaos.history import Conditions


class Watching:
    """In the place of a FleetObserver."""

    def __init__(self, targets: Callable[[], Mapping[str, str]], conditions: Callable[[], Conditions]) -> None:
        self._targets, self._conditions = targets, conditions

    def observe(self, now: datetime, unused_until: Mapping[str, datetime] | None = None) -> Seen:
        del unused_until
        found, told = self._targets(), self._conditions()
        targets = tuple(Target(service="chat", variant="l4", replica=name, url=url) for name, url in found.items())
        engines = {one.url: self._reading(one, told, len(targets), now) for one in targets}
        gpus = {("chat", "l4"): Missing("gpus", "not asked for")}
        return Seen(targets=targets, engines=engines, gpus=gpus, problems=(), gateway={})

    def _reading(self, target: Target, told: Conditions, share: int, now: datetime) -> EngineReading | Missing:
        if not told.readable:
            return Missing("scrape", f"{target.url} timed out after 5 s")
        load = told.load / share
        return EngineReading(
            target=target,
            at=now,
            window_s=15.0,
            source="scrape",
            engine=EngineKind.VLLM,
            gauges={Gauge.RUNNING: 1.0, Gauge.QUEUE_DEPTH: load, Gauge.KV_CACHE_RATIO: 0.5},
            counters={Counter.OUTPUT_TOKENS: 1500.0, Counter.PROMPT_TOKENS: 3000.0, Counter.REQUESTS: 15.0},
        )

    def marks(self) -> tuple[CounterMark, ...]:
        return ()

    def restore(self, marks: Iterable[CounterMark], watching_since: datetime | None) -> None:
        """Nothing is counted."""

    def reload(self, fleet: object) -> None:
        """One fleet for ever."""

    def close(self) -> None:
        """Nothing is open."""
