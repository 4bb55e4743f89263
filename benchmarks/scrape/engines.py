"""A process that serves N engines' metrics pages, each on a port of its own, with values that change every scrape.

Run as ``python -m benchmarks.scrape.engines N PAGE``; prints the ports as a JSON list and serves until stdin closes.
It speaks just enough HTTP/1.1 to be cheap: it shares the machine with what is measured.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

_SAMPLE = re.compile(rb"^(vllm:\S+(?:_total|_bucket|_sum|_count|_running|_waiting)\{[^}]*\}) \S+$", re.MULTILINE)
VARIANTS = 16
"""How many different states of the page are made ahead; every connection walks through them in turn."""


def pages(page: bytes) -> list[bytes]:
    """Answers with ever larger values of the engine's counters, histograms and gauges."""
    made = []
    for step in range(1, VARIANTS + 1):

        def moved(match: re.Match[bytes], step: int = step) -> bytes:
            return match[1] + b" %d.0" % (step * 1000 + len(match[1]))

        body = _SAMPLE.sub(moved, page)
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
        )
        made.append(head % len(body) + body)
    return made


class Engine(asyncio.Protocol):
    """One keep-alive connection: an answer for each request head."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = answers
        self._served = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Every request comes whole: both clients send their heads in one piece."""
        if data.endswith(b"\r\n\r\n") and self._transport is not None:
            self._transport.write(self._answers[self._served % len(self._answers)])
            self._served += 1


async def _serve(count: int, page: bytes) -> None:
    loop = asyncio.get_running_loop()
    answers = pages(page)
    servers = [await loop.create_server(lambda: Engine(answers), "127.0.0.1", 0) for _ in range(count)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
