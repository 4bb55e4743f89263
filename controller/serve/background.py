"""An event loop in a thread of the daemon, for what is served beside the HTTP of people."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

Result = TypeVar("Result")

LONGEST_S = 15.0
"""Starting or stopping a server takes well under a second, and a stop its grace; whoever waits longer is told."""


class Background:
    """Runs from ``start`` to ``stop``."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Whatever still runs is cancelled."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LONGEST_S)
        if not self._thread.is_alive():
            self._loop.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """What ``work`` gives, done in the loop's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LONGEST_S)

    def tell(self, what: Callable[[], object]) -> None:
        """Call ``what`` in the loop's thread, soon; after the end, never."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())


class Listener(ABC):
    """A server in a thread of its own, from ``__enter__`` to ``__exit__``."""

    def __init__(self, name: str) -> None:
        self._background = Background(name)

    def __enter__(self) -> Self:
        self._background.start()
        try:
            self._background.run(self._begin())
        except BaseException:
            self._background.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._background.run(self._end())
        finally:
            self._background.stop()

    @abstractmethod
    async def _begin(self) -> None:
        """Listen, or raise PennyweightError."""

    @abstractmethod
    async def _end(self) -> None:
        """Let go of every caller."""
