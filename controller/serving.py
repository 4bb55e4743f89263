"""The daemon, its exporter and its HTTP server put together."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from controller.daemon import Daemon
from controller.facts.passes import PassResult
from controller.notify.dispatch import Dispatcher
from controller.serve.api import create_app
from controller.serve.exporter import Exporter
from controller.serve.server import Server
from controller.serve.view import Delivered, Standing
from controller.settings.load import Settings
from controller.wiring import Built

log = logging.getLogger("pennyweight")


class DaemonView:
    """The daemon as the endpoints see it."""

    def __init__(self, daemon: Daemon, dispatcher: Dispatcher) -> None:
        self._daemon = daemon
        self._dispatcher = dispatcher

    def latest(self) -> PassResult | None:
        return self._daemon.latest()

    def standing(self) -> Standing:
        daemon = self._daemon
        return Standing(
            reasons=daemon.health().reasons,
            overruns=daemon.overruns,
            failed_passes=daemon.failed_passes,
            reload_ok=daemon.reload_ok,
            reloaded_at=daemon.reloaded_at,
            delivered={
                name: Delivered(sent=one.sent, failed=one.failed, dropped=one.dropped)
                for name, one in self._dispatcher.counts().items()
            },
        )


@contextmanager
def served(settings: Settings, everything: Built) -> Iterator[Server]:
    """Answer HTTP while the daemon runs."""
    view = DaemonView(everything.daemon, everything.dispatcher)
    exporter = Exporter(view)
    everything.daemon.on_pass(exporter.observe)
    with Server(create_app(view, exporter), settings.host, settings.port) as server:
        log.info("listening on %s: /metrics /healthz /readyz /api/v1/fleet", server.url)
        yield server
