"""Asks an OpenAI-compatible server, one streamed request at a time, and notes when each part of the answer came."""

from __future__ import annotations

import asyncio
import json
from array import array
from dataclasses import dataclass, field
from math import nan
from typing import Any

import aiohttp

OK, TIMED_OUT, NO_USAGE = "ok", "timed out", "no usage"

KEEP_ALIVE_S = 2.0
"""Idle connections are closed before the server does it: uvicorn, under vLLM, does it after 5 s, and a request sent at
that moment would fail through nobody's fault."""

READ_AHEAD_BYTES = 1024 * 1024
"""Longest line of a stream that can be read. A guess: far above any chunk of text."""

TELL_CHARACTERS = 300
"""So much of a server's refusal is repeated."""


def now_s() -> float:
    """The clock of the running event loop: sleeps and time-outs go by it, and so must what is measured between them."""
    return asyncio.get_running_loop().time()


@dataclass(slots=True, kw_only=True)
class Flight:
    """One request and what became of it. Times are seconds of ``now_s``; NaN: did not happen.

    due_s         when it should have been sent; latency counts from here
    chunk_s       when each part with output came
    asked_tokens  the prompt's length as wanted; ``prompt_tokens`` is the server's word
    outcome       "" while under way; OK; TIMED_OUT; or what went wrong
    detail        the server's own words about it
    """

    due_s: float
    asked_tokens: int = 0
    sent_s: float = nan
    ended_s: float = nan
    chunk_s: array[float] = field(default_factory=lambda: array("d"))
    closing_s: float = nan
    finished: bool = False
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    outcome: str = ""
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome == OK

    @property
    def first_s(self) -> float:
        return self.chunk_s[0] if self.chunk_s else nan

    @property
    def last_s(self) -> float:
        return self.chunk_s[-1] if self.chunk_s else nan


class Client:
    """The server. Use as an asynchronous context manager. The key goes into one header and into no message."""

    def __init__(self, root: str, *, api: str, api_key: str | None, timeout_s: float) -> None:
        self.root = root
        self._path = "/v1/chat/completions" if api == "chat" else "/v1/completions"
        self._chat = api == "chat"
        self._key = api_key
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s),
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_AHEAD_BYTES,
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.session.close()

    @property
    def has_key(self) -> bool:
        return self._key is not None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is used outside of its context")
        return self._session

    def body(self, model: str, text: str, output_tokens: int, *, ignore_eos: bool) -> dict[str, Any]:
        """A streamed request whose usage is asked for. ``ignore_eos`` is vLLM's and SGLang's extension."""
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": text}]} if self._chat else {"prompt": text}
        return {
            "model": model,
            **asked,
            "max_tokens": output_tokens,
            "temperature": 1.0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **({"ignore_eos": True} if ignore_eos else {}),
        }

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body. Raises what aiohttp raises."""
        async with asyncio.timeout(self._timeout_s), self.session.get(self.root + path) as answer:
            return answer.status, await answer.read()

    async def ask(self, flight: Flight, body: dict[str, Any]) -> None:
        """Send ``body`` and note everything in ``flight``. Never raises but when cancelled."""
        try:
            async with asyncio.timeout(max(0.0, flight.due_s + self._timeout_s - now_s())):
                await self._stream(flight, body)
        except TimeoutError:
            flight.outcome = TIMED_OUT
        except aiohttp.ClientConnectorError as error:
            flight.outcome = f"cannot be reached: {error.os_error.strerror or error.os_error}"
        except (aiohttp.ClientError, OSError):
            flight.outcome = "the connection broke off"
        except (ValueError, TypeError, AttributeError):  # JSON of another shape
            flight.outcome = "the stream is not the OpenAI API's"
        finally:
            flight.ended_s = now_s()

    async def _stream(self, flight: Flight, body: dict[str, Any]) -> None:
        flight.sent_s = now_s()
        async with self.session.post(self.root + self._path, json=body) as answer:
            if answer.status != 200:
                flight.outcome = f"HTTP {answer.status}"
                flight.detail = self._told(await answer.read())
                return
            rest = b""
            async for data in answer.content.iter_any():
                now = now_s()
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._line(flight, line, now)
        self._close(flight)

    def _line(self, flight: Flight, line: bytes, now: float) -> None:
        line = line.strip()
        if not line.startswith(b"data:") or line.endswith(b"[DONE]"):
            return
        event = json.loads(line.removeprefix(b"data:"))
        if event.get("error"):
            flight.outcome, flight.detail = "an error inside the stream", self._told(line)
        usage = event.get("usage")
        if usage:
            flight.prompt_tokens = int(usage.get("prompt_tokens") or 0)
            flight.output_tokens = int(usage.get("completion_tokens") or 0)
            flight.cached_tokens = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        for choice in event.get("choices") or ():
            self._choice(flight, choice, now)

    def _choice(self, flight: Flight, choice: dict[str, Any], now: float) -> None:
        """A part with output; a chat's opening part, which only names the role, is none."""
        ends = choice.get("finish_reason") is not None
        if self._chat:
            delta = choice.get("delta") or {}
            output = any(delta.get(key) for key in ("content", "reasoning", "reasoning_content", "tool_calls"))
            output = output or (not ends and "role" not in delta)
        else:
            output = bool(choice.get("text")) or not ends
        if output:
            flight.chunk_s.append(now)
        elif ends:
            flight.closing_s = now
        flight.finished = flight.finished or ends

    def _close(self, flight: Flight) -> None:
        """The stream is at its end: was it the answer's?"""
        if flight.outcome:
            return
        if not flight.finished:
            flight.outcome = "the connection broke off"
        elif not flight.prompt_tokens:
            flight.outcome = NO_USAGE
        else:
            if len(flight.chunk_s) < flight.output_tokens and flight.closing_s == flight.closing_s:
                flight.chunk_s.append(flight.closing_s)  # its last token had no text of its own
            flight.outcome = OK if flight.chunk_s else "an answer without any output"

    def _told(self, body: bytes) -> str:
        """A server's own words, short, and without our key should it repeat that."""
        text = body.decode("utf-8", "replace").strip()
        try:
            found = json.loads(text.removeprefix("data:"))
            error = found.get("error", found)
            text = str(error.get("message") or error.get("detail") or text) if isinstance(error, dict) else str(error)
        except (ValueError, AttributeError):
            pass
        return (text.replace(self._key, "***") if self._key else text)[:TELL_CHARACTERS]
