"""Two short questions to an engine: is it healthy, and has it nothing left to do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import TypeVar
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from controller.act.records import Record

A = TypeVar("A")

TIMEOUT_S = 1.0
"""A pass must not wait: an engine that cannot answer this fast is asked again in the next pass."""

MOST_BYTES = 4_000_000
"""Far above any engine's page of metrics (vLLM's is about 0.1 MB)."""

PARALLEL = 16

WORK = re.compile(
    r"^[a-z_:]*(?:num_requests_(?:running|waiting)|num_(?:running|queue)_reqs|tgi_(?:batch_current|queue)_size)"
    r"(?:\{.*\})?\s+(\S+)",
    re.MULTILINE,
)
"""Running and waiting requests: vLLM's and TensorRT-LLM's names, SGLang's, and TGI's."""

_direct = build_opener(ProxyHandler({}))


def healthy(url: str) -> bool:
    """Whether it answers 200. What else it says does not matter."""
    return _get(url, most_bytes=0) is not None


def idle(url: str, path: str = "/metrics") -> bool:
    """Whether its page of metrics says that nothing runs or waits. False when it does not say."""
    page = _get(f"{url}{path}", most_bytes=MOST_BYTES)
    return page is not None and nothing_left(page)


def nothing_left(page: str) -> bool:
    """Whether every count of running and waiting requests in ``page`` is zero, and there is one."""
    counts = WORK.findall(page)
    return bool(counts) and all(re.fullmatch(r"0+(\.0*)?", count) for count in counts)


def ask_all(records: Sequence[Record], question: Callable[[Record], A]) -> dict[int, A]:
    """The answers by slot, asked side by side: about TIMEOUT_S however many are slow."""
    if not records:
        return {}
    with ThreadPoolExecutor(max_workers=min(PARALLEL, len(records))) as pool:
        return dict(zip([record.slot for record in records], pool.map(question, records), strict=True))


def ask_urls(urls: Iterable[str], question: Callable[[str], A]) -> dict[str, A]:
    """The answers by address, asked side by side."""
    asked = sorted(set(urls))
    if not asked:
        return {}
    with ThreadPoolExecutor(max_workers=min(PARALLEL, len(asked))) as pool:
        return dict(zip(asked, pool.map(question, asked), strict=True))


def _get(url: str, *, most_bytes: int) -> str | None:
    """The body of a 200 answer; None for anything else, and for a body that is not there in time.

    The socket's time-out is for each piece; an engine that sends one byte at a time is stopped by the deadline.
    """
    deadline, body = time.monotonic() + TIMEOUT_S, bytearray()
    try:
        with _direct.open(url, timeout=TIMEOUT_S) as response:
            if response.status != 200:
                return None
            while len(body) < most_bytes and (piece := response.read1(most_bytes - len(body))):
                body += piece
                if time.monotonic() > deadline:
                    return None
            return body.decode("utf-8", "replace")
    except (URLError, HTTPException, OSError, ValueError):
        return None
