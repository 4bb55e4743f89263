"""Reads the server's own metrics while a point is measured, with the adapters that the daemon reads engines with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import aiohttp

from controller.facts.fleet import EngineKind
from controller.facts.missing import Missing, known, ratio
from controller.facts.profile import EngineSeen
from controller.facts.readings import Counter, EngineReading, Gauge, Target
from controller.observe.assemble import Assembler
from controller.profile.client import Client, now_s

EVERY_S = 1.0
"""Between two readings. A guess: vLLM's page costs its front end some milliseconds."""


@dataclass(slots=True, kw_only=True)
class Watched:
    """The readings of one window, with when each was asked for."""

    readings: list[tuple[float, EngineReading]] = field(default_factory=list)
    why: str = "the server's metrics were not read"

    @property
    def span(self) -> tuple[float, float] | None:
        """From the first to the last reading; None when there are not two."""
        return (self.readings[0][0], self.readings[-1][0]) if len(self.readings) > 1 else None

    @property
    def always_busy(self) -> bool:
        return bool(self.readings) and all(one.gauges.get(Gauge.RUNNING, 0.0) >= 1 for _, one in self.readings)

    def seen(self) -> EngineSeen | Missing:
        """Means of the levels and sums of the increases."""
        if not self.readings:
            return Missing("engine metrics", self.why)
        return EngineSeen(
            steps=self._total(Counter.ENGINE_STEPS),
            running=self._mean(Gauge.RUNNING),
            queue_depth=self._mean(Gauge.QUEUE_DEPTH),
            kv_cache_ratio=self._mean(Gauge.KV_CACHE_RATIO),
            cached_prompt_ratio=ratio(
                "cached_prompt_ratio",
                self._total(Counter.CACHED_PROMPT_TOKENS),
                self._total(Counter.PROMPT_TOKENS),
            ),
            kv_capacity_tokens=self.readings[-1][1].gauge(Gauge.KV_CAPACITY_TOKENS),
            preemptions=self._total(Counter.PREEMPTIONS),
        )

    def steps(self) -> float | Missing:
        """Engine steps within ``span``."""
        return self._total(Counter.ENGINE_STEPS)

    def _mean(self, gauge: Gauge) -> float | Missing:
        said = [one.gauge(gauge) for _, one in self.readings]
        values = known(said)
        return sum(values) / len(values) if values else said[-1]

    def _total(self, counter: Counter) -> float | Missing:
        said = [one.counter(counter) for _, one in self.readings[1:]]
        if not said:
            return Missing(counter.value, "read only once")
        values = known(said)
        return sum(values) if len(values) == len(said) else next(one for one in said if isinstance(one, Missing))


class EngineWatch:
    """The server's /metrics, whichever engine it is."""

    def __init__(self, client: Client, clock: Callable[[], datetime]) -> None:
        self._client, self._clock = client, clock
        self._assembler = Assembler()
        self._target = Target(service="", variant="", replica="", url=client.root)
        self._kinds: Sequence[EngineKind] = tuple(EngineKind)

    async def watch(self, watched: Watched, start_s: float, end_s: float) -> None:
        """Read from ``start_s`` to ``end_s``. A page that cannot be read is no error: it is said in ``watched.why``."""
        at = start_s
        while True:
            await asyncio.sleep(max(0.0, at - now_s()))
            asked_s, reading = now_s(), await self.read()
            if isinstance(reading, Missing):
                watched.why = reading.why
            else:
                watched.readings.append((asked_s, reading))
            if at >= end_s:
                return
            at = min(at + EVERY_S, end_s)

    async def read(self) -> EngineReading | Missing:
        """One reading, or why there is none."""
        try:
            status, body = await self._client.get("/metrics")
        except (aiohttp.ClientError, OSError) as error:
            return Missing("engine metrics", f"/metrics failed: {type(error).__name__}")
        if status != 200:
            return Missing("engine metrics", f"/metrics answered HTTP {status}")
        reading: EngineReading | Missing = Missing("engine metrics", "not read")
        for kind in self._kinds:
            reading = self._assembler.text(body, self._target, kind, self._clock())
            if isinstance(reading, EngineReading):
                self._kinds = (kind,)
                return reading
        return Missing("engine metrics", "/metrics is no engine's that is known here")
