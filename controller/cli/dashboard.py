"""The command that shows the pages: dashboard."""

from __future__ import annotations

import argparse
import os

from controller.cli.files import settings_of
from controller.demo.dashboard import command


def dashboard(arguments: argparse.Namespace) -> int:
    """Become the dashboard's server over the fleet file's ledger."""
    settings = settings_of(arguments.fleet)
    print(f"dashboard: http://127.0.0.1:{arguments.port} (Ctrl-C ends it)", flush=True)
    words = command(arguments.port)
    os.execve(words[0], words, {**os.environ, "PENNYWEIGHT_LEDGER": settings.ledger_url})
