"""A load generator for OpenAI-compatible servers: closed-loop clients over the replicas that a targets file names."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from random import Random
from uuid import uuid4

import aiohttp

from controller.clock import utc_now
from controller.demo.gateway import CALLERS
from controller.facts.usage import UsageRecord

RETRY_PAUSE_S = 0.2
"""How long a client waits when no replica is ready or one refused. A guess: short beside any start-up."""

REQUEST_TIMEOUT_S = 300.0
"""Give a request up after this. A guess: far longer than the tiny model ever takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What the clients got. Tokens are the server's own usage numbers, as each client received them.

    within_slo   answered by their deadline: TTFT target + (output tokens - 1) x TPOT target after they were sent
    """

    requests: int = 0
    within_slo: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0


class LoadGenerator:
    """Keeps ``clients`` requests in flight, each to the ready replica with the fewest of ours outstanding.

    The number of clients may be changed at any time; a request that has begun is always finished. A failed request is
    counted and repeated as a new one. Replicas come from a Prometheus file_sd file; their ``phase`` must be ``ready``.
    As a gateway would, it keeps a usage record of each answer: of ``service``, for one of CALLERS.
    """

    def __init__(
        self, targets_file: Path, *, service: str, model: str, prompt: str, output_tokens: int, deadline_s: float
    ) -> None:
        self._targets_file = targets_file
        self._service = service
        self._deadline_s = deadline_s
        self._body = {
            "model": model,
            "prompt": prompt,
            "max_tokens": output_tokens,
            "ignore_eos": True,
            "temperature": 1.0,
        }
        self._wanted = 0
        self._outstanding: Counter[str] = Counter()
        self._received = Received()
        self._records: deque[UsageRecord] = deque()  # filled by one thread, emptied by another
        self._random = Random(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    @property
    def received(self) -> Received:
        """Everything received so far."""
        return self._received

    def take_records(self) -> list[UsageRecord]:
        """The records since the last call. Requests that nobody labelled have none."""
        return [self._records.popleft() for _ in range(len(self._records))]

    @property
    def in_flight(self) -> int:
        """Requests that wait for their answer."""
        return self._outstanding.total()

    def set_clients(self, count: int) -> None:
        """How many requests to keep in flight from now on."""
        self._wanted = count

    def close(self) -> None:
        """Finish what is in flight, then stop."""
        self._wanted, self._closing = 0, True
        self._thread.join(timeout=REQUEST_TIMEOUT_S)

    def _run(self) -> None:
        self._loop.run_until_complete(self._supervise())
        self._loop.close()

    async def _supervise(self) -> None:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        # A new connection each time: an engine closes idle ones after 5 s (uvicorn's default), which would look like a
        # refused request to whoever uses one just then.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while not self._closing or self._tasks:
                for index in range(len(self._tasks), self._wanted):
                    self._tasks.add(asyncio.create_task(self._client(session, index)))
                await asyncio.sleep(RETRY_PAUSE_S / 2)
                self._tasks = {task for task in self._tasks if not task.done()}

    async def _client(self, session: aiohttp.ClientSession, index: int) -> None:
        while index < self._wanted:
            url = self._least_loaded()
            if url is None:
                await asyncio.sleep(RETRY_PAUSE_S)
                continue
            self._outstanding[url] += 1
            try:
                await self._ask(session, url)
            except (aiohttp.ClientError, TimeoutError):
                self._received = replace(self._received, failed=self._received.failed + 1)
                await asyncio.sleep(RETRY_PAUSE_S)
            finally:
                self._outstanding[url] -= 1

    async def _ask(self, session: aiohttp.ClientSession, url: str) -> None:
        sent_s, sent_at = self._loop.time(), utc_now()
        async with session.post(f"{url}/v1/completions", json=self._body) as answer:
            answer.raise_for_status()
            usage = (await answer.json())["usage"]
        self._received = replace(
            self._received,
            requests=self._received.requests + 1,
            within_slo=self._received.within_slo + (self._loop.time() - sent_s <= self._deadline_s),
            prompt_tokens=self._received.prompt_tokens + usage["prompt_tokens"],
            output_tokens=self._received.output_tokens + usage["completion_tokens"],
        )
        self._record(sent_at, usage)

    def _record(self, sent_at: datetime, usage: Mapping[str, int]) -> None:
        (caller,) = self._random.choices(CALLERS, [one.share for one in CALLERS])
        if caller.who is None:
            return
        record = UsageRecord(
            id=uuid4().hex,
            service=self._service,
            started_at=sent_at,
            ended_at=utc_now(),
            prompt_tokens=usage["prompt_tokens"],
            output_tokens=usage["completion_tokens"],
            identity=caller.who,
        )
        self._records.append(record)

    def _least_loaded(self) -> str | None:
        ready = ready_urls(self._targets_file)
        return min(ready, key=lambda url: self._outstanding[url], default=None)


def ready_urls(targets_file: Path) -> tuple[str, ...]:
    """Base addresses of the ready replicas in a file_sd file; none while the file is not there yet."""
    try:
        groups = json.loads(targets_file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return ()
    return tuple(
        address if "://" in address else f"http://{address}"
        for group in groups
        if group.get("labels", {}).get("phase", "ready") == "ready"
        for address in group["targets"]
    )
