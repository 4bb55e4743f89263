"""Scrapes targets directly: all at once, within one deadline, over connections that stay open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from controller.facts.fleet import EngineKind
from controller.facts.missing import Missing
from controller.facts.readings import EngineReading, Target
from controller.observe.assemble import Assembler, metrics_url

ACCEPT = "text/plain; version=0.0.4"
"""Asked for OpenMetrics, prometheus_client 0.26 would rewrite ``vllm:`` to ``vllm_``."""

READ_AHEAD_BYTES = 256 * 1024
"""Read so far before pausing a connection: a guess, several pages of vLLM's 45 kB, so that reading never pauses."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeLimits:
    """What one pass may cost.

    deadline_s        for all targets together; Prometheus' default scrape_timeout
    target_timeout_s  for one target. A guess: half the deadline
    max_body_bytes    larger pages are refused. A guess: 100 times vLLM's
    max_series        samples read of one page. A guess: 40 times vLLM's
    concurrency       connections in use at once. A guess: far below the usual limit of 1,024 open files
    """

    deadline_s: float = 10.0
    target_timeout_s: float = 5.0
    max_body_bytes: int = 8 * 1024 * 1024
    max_series: int = 20_000
    concurrency: int = 256


class Scraper:
    """One event loop in a thread of its own, so that connections outlive a pass. Never raises for a target."""

    def __init__(self, limits: ScrapeLimits | None = None) -> None:
        self._limits = limits or ScrapeLimits()
        self.assembler = Assembler(self._limits.max_series)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scrape", daemon=True)
        self._thread.start()
        self._session: aiohttp.ClientSession | None = None

    def read(self, targets: Sequence[tuple[Target, EngineKind]], now: datetime) -> dict[str, EngineReading | Missing]:
        """One reading a target, or why there is none."""
        pages = self.fetch(target.url for target, _ in targets)
        readings: dict[str, EngineReading | Missing] = {}
        for target, engine in targets:
            page = pages.pop(target.url, None)
            if page is None:
                continue  # the same address twice: read once
            readings[target.url] = page if isinstance(page, Missing) else self.assembler.text(page, target, engine, now)
        self.assembler.book.forget(now)
        return readings

    def fetch(self, urls: Iterable[str]) -> dict[str, bytes | Missing]:
        """The body of each address, or why there is none, within the deadline."""
        return self._call(self._fetch_all(tuple(dict.fromkeys(urls))))

    def close(self) -> None:
        """Close all connections and end the thread."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _fetch_all(self, urls: Sequence[str]) -> dict[str, bytes | Missing]:
        if self._session is None:
            self._session = self._open()
        session, waiting, found = self._session, iter(urls), dict[str, bytes | Missing]()

        async def work() -> None:
            for url in waiting:  # shared: every worker takes the next address that nobody took
                found[url] = await self._fetch(session, url)

        workers = [asyncio.create_task(work()) for _ in range(min(self._limits.concurrency, len(urls)))]
        if workers:
            await asyncio.wait(workers, timeout=self._limits.deadline_s)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        why = f"not read within the pass's deadline of {self._limits.deadline_s:g} s"
        return {url: found.get(url, Missing("scrape", f"{url}: {why}")) for url in urls}

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=120, ttl_dns_cache=60),  # the workers limit
            timeout=aiohttp.ClientTimeout(total=None),  # _fetch has its own, which is cheaper
            read_bufsize=READ_AHEAD_BYTES,
            # Compression costs more CPU than a fleet's own network saves.
            headers={"Accept": ACCEPT, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def _fetch(self, session: aiohttp.ClientSession, url: str) -> bytes | Missing:
        limit_s = self._limits.target_timeout_s
        try:
            async with asyncio.timeout(limit_s), session.get(_address(url)) as answer:
                if answer.status != 200:
                    return Missing("scrape", f"{metrics_url(url)} answered HTTP {answer.status}, not 200")
                return await self._body(answer, url)
        except TimeoutError:
            return Missing("scrape", f"{url} timed out after {limit_s:g} s")
        except aiohttp.ClientPayloadError:
            return Missing("scrape", f"{url} broke off in the middle of its answer")
        except aiohttp.ClientConnectorError as error:
            return Missing("scrape", f"{url} cannot be reached: {error.os_error.strerror or error.os_error}")
        except (aiohttp.ClientError, ValueError, OSError) as error:
            return Missing("scrape", f"{url} failed: {type(error).__name__}")

    async def _body(self, answer: aiohttp.ClientResponse, url: str) -> bytes | Missing:
        most = self._limits.max_body_bytes
        too_large = Missing("scrape", f"{url} answered more than {most:,} bytes")
        if (answer.content_length or 0) > most:
            return too_large
        chunks, size = [], 0
        async for chunk in answer.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > most:
                return too_large
        return b"".join(chunks)

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()


@lru_cache(maxsize=20_000)
def _address(url: str) -> URL:
    """Parsed once: parsing costs as much as a small request. The size is a guess: four of the largest fleets."""
    return URL(metrics_url(url))
