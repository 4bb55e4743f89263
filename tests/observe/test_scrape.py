"""Scraping real servers: connections stay open, limits hold, and one bad target costs only itself."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from controller.facts.fleet import EngineKind
from controller.facts.missing import Missing
from controller.facts.readings import EngineReading, Gauge, Target
from controller.observe.assemble import metrics_url
from controller.observe.scrape import ACCEPT, ScrapeLimits, Scraper

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = b"vllm:num_requests_running 4\n"
LIMITS = ScrapeLimits(deadline_s=20.0, target_timeout_s=10.0, max_body_bytes=10_000)


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), length or len(body), body)


class Servers:
    """Small HTTP servers on an event loop of their own; an answer of None is never sent."""

    def __init__(self) -> None:
        self.connections = 0
        self.heads: list[bytes] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []

    def serve(self, answer: bytes | None, hang_up: bool = False) -> str:
        """The address of a new server that gives ``answer`` to every request."""

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            self._writers.append(writer)
            try:
                while True:
                    self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                    if answer is not None:
                        writer.write(answer)
                        await writer.drain()
                    if hang_up:
                        writer.close()
                        return
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        async def start() -> asyncio.Server:
            return await asyncio.start_server(client, "127.0.0.1", 0)

        server = asyncio.run_coroutine_threadsafe(start(), self._loop).result()
        self._servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        async def stop() -> None:
            for server in self._servers:
                server.close()
            for writer in self._writers:
                writer.close()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 5)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def servers() -> Iterator[Servers]:
    running = Servers()
    yield running
    running.close()


@pytest.fixture
def scraper_with() -> Iterator[Callable[[ScrapeLimits], Scraper]]:
    opened: list[Scraper] = []

    def start(limits: ScrapeLimits) -> Scraper:
        opened.append(Scraper(limits))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


Start = Callable[[ScrapeLimits], Scraper]


def read(scraper: Scraper, *urls: str) -> dict[str, EngineReading | Missing]:
    targets = [(Target(service="s", variant="v", replica=url, url=url), EngineKind.VLLM) for url in urls]
    return scraper.read(targets, NOON)


def why(found: EngineReading | Missing) -> str:
    assert isinstance(found, Missing), found
    return found.why


def test_passes_reuse_one_connection_and_ask_for_text(servers: Servers, scraper_with: Start) -> None:
    scraper, url = scraper_with(LIMITS), servers.serve(http(GOOD))
    for _ in range(5):
        found = read(scraper, url)[url]
        assert isinstance(found, EngineReading)
        assert found.gauge(Gauge.RUNNING) == 4
    assert (servers.connections, len(servers.heads)) == (1, 5)
    assert servers.heads[0].startswith(b"GET /metrics HTTP/1.1\r\n")
    assert f"Accept: {ACCEPT}\r\n".encode() in servers.heads[0]


@pytest.mark.parametrize(
    ("answer", "hang_up", "reason"),
    [
        (http(b"no", "500 Internal Server Error"), False, "HTTP 500"),
        (http(GOOD * 1000), False, "more than 10,000 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + GOOD * 1000, True, "more than 10,000 bytes"),  # says no length
        (http(GOOD, length=1000), True, "broke off"),
        (b"SSH-2.0-OpenSSH\r\n", True, "failed"),
        (http(b"<html></html>\n"), False, "HTML"),
        (http(b"python_info 1\n"), False, "--disable-log-stats"),
    ],
)
def test_a_bad_answer_has_its_own_reason(
    servers: Servers, scraper_with: Start, answer: bytes, hang_up: bool, reason: str
) -> None:
    url = servers.serve(answer, hang_up)
    assert reason in why(read(scraper_with(LIMITS), url)[url])


def test_a_refused_connection_has_its_own_reason(scraper_with: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert "cannot be reached" in why(read(scraper_with(LIMITS), url)[url])


def test_a_silent_target_times_out_and_the_others_are_read(servers: Servers, scraper_with: Start) -> None:
    limits = ScrapeLimits(target_timeout_s=2.0)
    silent, good = servers.serve(None), [servers.serve(http(GOOD)) for _ in range(5)]
    found = read(scraper_with(limits), silent, *good)
    assert "timed out after 2 s" in why(found[silent])
    assert all(isinstance(found[url], EngineReading) for url in good)


def test_the_deadline_ends_the_pass_for_whatever_is_left(servers: Servers, scraper_with: Start) -> None:
    limits = ScrapeLimits(deadline_s=2.0, target_timeout_s=600.0, concurrency=2)
    good, silent = servers.serve(http(GOOD)), [servers.serve(None) for _ in range(4)]
    found = read(scraper_with(limits), good, *silent)
    assert isinstance(found[good], EngineReading)
    assert all("deadline of 2 s" in why(found[url]) for url in silent)


def test_silent_targets_give_their_places_to_the_others(servers: Servers, scraper_with: Start) -> None:
    limits = ScrapeLimits(deadline_s=60.0, target_timeout_s=2.0, concurrency=2)
    silent, good = [servers.serve(None) for _ in range(2)], servers.serve(http(GOOD))
    assert isinstance(read(scraper_with(limits), *silent, good)[good], EngineReading)


def test_an_address_that_is_none_is_missing(scraper_with: Start) -> None:
    for url in ("http://", "nonsense", "http://[::1", "http://127.0.0.1:99999999"):
        assert isinstance(read(scraper_with(LIMITS), url)[url], Missing)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://a:1", "http://a:1/metrics"),
        ("http://a:1/", "http://a:1/metrics"),
        ("http://a:1/t/7/metrics", "http://a:1/t/7/metrics"),
    ],
)
def test_metrics_are_asked_for_unless_the_address_names_a_path(url: str, asked: str) -> None:
    assert metrics_url(url) == asked
