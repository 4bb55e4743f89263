"""Commands that run something: run, ingest."""

from __future__ import annotations

import argparse

from controller.cli.files import settings_of
from controller.demo.signals import stop_signals
from controller.errors import ConfigError, Problem
from controller.serving import served, served_intake
from controller.wiring import built


def daemon(arguments: argparse.Namespace) -> int:
    """Passes until told to stop."""
    settings = settings_of(arguments.fleet, works=True)
    fresh = built(settings, reload=lambda: settings_of(arguments.fleet, works=True), stands_by=True)
    with fresh as everything, everything.daemon.hearing(), served(settings, everything):
        everything.daemon.run()
    return 0


def ingest(arguments: argparse.Namespace) -> int:
    """Take usage records until told to stop."""
    settings = settings_of(arguments.fleet, works=True)
    if not settings.account.tokens:
        message = "nobody may send: expected a token, such as `{name: gateway, env: PENNYWEIGHT_INGEST_TOKEN}`"
        raise ConfigError([Problem(str(settings.file), 0, 0, "account.ingest.tokens", message)])
    with stop_signals() as stopped, served_intake(settings, settings.host, arguments.port):
        stopped.wait()
    return 0
