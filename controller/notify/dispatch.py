"""Between the pass and the channels: a bounded queue and a thread a channel, so that nobody waits for a webhook."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.errors import NotifyError
from controller.facts.decisions import Alert
from controller.notify.channel import Channel

log = logging.getLogger("pennyweight.notify")

QUEUE_LIMIT = 256
"""Alerts waiting for one channel. A guess: at Slack's one a second, four minutes of an alert storm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelCounts:
    """What became of a channel's alerts since the start. ``dropped``: never tried (overflow, shutdown)."""

    sent: int
    failed: int
    dropped: int


class Dispatcher:
    """Hands alerts to the channels they name. ``post`` never waits and never raises."""

    def __init__(self, channels: Mapping[str, Channel], *, queue_limit: int = QUEUE_LIMIT) -> None:
        self._lanes = {name: _Lane(name, channel, queue_limit) for name, channel in channels.items()}

    def post(self, alerts: Iterable[Alert]) -> None:
        """Queue each alert for each of its channels. A channel that is not there is said and skipped."""
        for alert in alerts:
            for name in dict.fromkeys(alert.channels):
                lane = self._lanes.get(name)
                if lane is None:
                    log.error("alert %s/%s names channel %s, which is not set up", alert.service, alert.name, name)
                else:
                    lane.put(alert)

    def counts(self) -> dict[str, ChannelCounts]:
        """By channel."""
        return {name: lane.counts() for name, lane in self._lanes.items()}

    def close(self, deadline_s: float = 5.0) -> None:
        """Send what is queued for at most ``deadline_s`` seconds over all channels; the rest counts as dropped."""
        until = time.monotonic() + deadline_s
        for lane in self._lanes.values():
            lane.finish()
        for lane in self._lanes.values():
            lane.join(max(0.0, until - time.monotonic()))


class _Lane:
    """One channel's queue and thread."""

    def __init__(self, name: str, channel: Channel, limit: int) -> None:
        self._name = name
        self._channel = channel
        self._limit = limit
        self._queue: deque[Alert] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._sent = self._failed = self._dropped = 0
        # A daemon thread: a webhook that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=f"notify-{name}", daemon=True)
        self._thread.start()

    def put(self, alert: Alert) -> None:
        with self._wake:
            if self._closing:
                self._dropped += 1
                return
            if len(self._queue) >= self._limit:
                self._queue.popleft()  # the newest says most about now
                self._dropped += 1
            self._queue.append(alert)
            self._wake.notify()

    def counts(self) -> ChannelCounts:
        with self._wake:
            return ChannelCounts(sent=self._sent, failed=self._failed, dropped=self._dropped)

    def finish(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)
        with self._wake:
            left = len(self._queue)
            self._dropped += left
            self._queue.clear()
        if left:
            log.error("channel %s: %d alerts were not sent before the daemon stopped", self._name, left)

    def _run(self) -> None:
        while (alert := self._next()) is not None:
            sent = self._deliver(alert)
            with self._wake:
                self._sent += sent
                self._failed += not sent

    def _next(self) -> Alert | None:
        """The oldest alert, waiting for one; None when there will be no more."""
        with self._wake:
            self._wake.wait_for(lambda: self._queue or self._closing)
            return self._queue.popleft() if self._queue else None

    def _deliver(self, alert: Alert) -> bool:
        try:
            self._channel.send(alert)
        except NotifyError as error:
            log.error("%s", error)
            return False
        except Exception as error:  # a broken channel must not end its thread; its message might hold a secret
            log.error(
                "channel %s broke on alert %s/%s: %s", self._name, alert.service, alert.name, type(error).__name__
            )
            return False
        return True
