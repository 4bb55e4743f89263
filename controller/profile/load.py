"""Holds one load on the server: so many requests in flight, or arrivals at their due time, answered or not.

Measured is what was due within the window. The load is kept up until the last of that is answered or given up, so that
the end of a window is no quieter than its middle; what was sent after the window is then dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from controller.profile.client import TIMED_OUT, Client, Flight, now_s
from controller.profile.plan import CONCURRENCY, Draw, PointPlan
from controller.profile.words import TokenScale, prompt

TICK_S = 0.2
"""How often progress is told and the end is looked for. A guess: fluent to the eye, no load."""

PAUSE_AFTER_FAILURE_S = 0.2
"""A closed-loop client whose request failed waits so long, so that a dead server is not hammered. A guess."""

MOST_FAILURES_IN_A_ROW = 20
"""After so many without one answer between them the server is taken for dead. A guess: a few seconds' worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What every request of a sweep has in common."""

    client: Client
    model: str
    scale: TokenScale
    ignore_eos: bool
    most_tokens: int | None
    timeout_s: float


@dataclass(slots=True, kw_only=True)
class Held:
    """One point while and after its load was held. The window is [start_s, end_s) on the flights' clock.

    cut    why it ended early; "" when it did not
    """

    plan: PointPlan
    start_s: float = 0.0
    end_s: float = 0.0
    flights: list[Flight] = field(default_factory=list)
    cut: str = ""

    @property
    def measured(self) -> list[Flight]:
        """What was due within the window; when that was cut short, without what we dropped ourselves."""
        due = (one for one in self.flights if self.start_s <= one.due_s < self.end_s)
        return [one for one in due if one.outcome or not self.cut]


Told = Callable[[Held, float], None]
"""Hears about progress: the point so far, and the share of its time that is over."""

Watch = Callable[[float, float], Coroutine[Any, Any, None]]
"""Runs beside the window from its start to its end, both on the flights' clock."""


class Point:
    """One point of the sweep."""

    def __init__(self, asking: Asking, held: Held, draw: Draw, stop: asyncio.Event) -> None:
        self._asking, self._held, self._draw, self._stop = asking, held, draw, stop
        self._running: set[asyncio.Task[None]] = set()
        self._failures = 0

    async def hold(self, warm_up_s: float, duration_s: float, told: Told, watch: Watch) -> None:
        """Hold the load through warm-up, window and the answers to what was due in the window."""
        held, began = self._held, now_s()
        held.start_s = began + warm_up_s
        held.end_s = held.start_s + duration_s
        self._start(watch(held.start_s, held.end_s))
        drive = self._closed if held.plan.kind == CONCURRENCY else self._open
        self._start(drive(began, warm_up_s))
        try:
            while not self._over():
                told(held, min(1.0, (now_s() - began) / (warm_up_s + duration_s)))
                await self._wait(TICK_S)
        finally:
            held.end_s = min(held.end_s, now_s())
            await self._drop()
        told(held, 1.0)

    def _over(self) -> bool:
        """The window is over and everything due in it is settled, or there is a reason to end early."""
        now, held = now_s(), self._held
        if self._stop.is_set():
            held.cut = "stopped"
        elif self._failures >= MOST_FAILURES_IN_A_ROW:
            held.cut = f"{self._failures} requests failed in a row, the last: {self._last_failure()}"
        if held.cut:
            return True
        given_up = held.end_s + self._asking.timeout_s + 2 * TICK_S
        return now >= held.end_s and (all(one.outcome for one in held.measured) or now > given_up)

    def _last_failure(self) -> str:
        failed = [one for one in self._held.flights if one.outcome and not one.ok]
        return " ".join(part for part in (failed[-1].outcome, failed[-1].detail) if part)

    async def _closed(self, began: float, warm_up_s: float) -> None:
        """``load`` clients, started one after the other over half the warm-up so that they do not move in step."""
        count = ceil(self._held.plan.load)
        for index in range(count):
            self._start(self._client(began + index / count * warm_up_s / 2))

    async def _client(self, starts_s: float) -> None:
        await asyncio.sleep(starts_s - now_s())
        while True:
            flight = await self._send(now_s())
            if not flight.ok:
                await asyncio.sleep(PAUSE_AFTER_FAILURE_S)

    async def _open(self, began: float, warm_up_s: float) -> None:
        """Each request in a task of its own, at its due time or, when we are late, at once: none is left out."""
        for after_s in self._draw.arrivals():
            await asyncio.sleep(max(0.0, began + after_s - now_s()))
            self._start(self._sent(began + after_s))

    async def _sent(self, due_s: float) -> None:
        await self._send(due_s)

    async def _send(self, due_s: float) -> Flight:
        lengths, asking = self._draw.lengths(), self._asking
        flight = Flight(due_s=due_s, asked_tokens=lengths.prompt)
        self._held.flights.append(flight)
        text = prompt(asking.scale.words(lengths.prompt), self._draw.words)
        body = asking.client.body(asking.model, text, lengths.output, ignore_eos=asking.ignore_eos)
        await asking.client.ask(flight, body)
        failed = not flight.ok and flight.outcome != TIMED_OUT
        self._failures = self._failures + 1 if failed else 0
        return flight

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:  # a broken one stays, to be raised at the end
            self._running.discard(task)

    async def _wait(self, seconds: float) -> None:
        """Until a moment has passed, or sooner when told to stop."""
        await _within(self._stop.wait(), seconds)

    async def _drop(self) -> None:
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):  # our own mistake: the server's are outcomes of its flights
                raise ended


async def _within(work: Awaitable[object], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        pass
