"""Starts the dashboard: beside the demo, which ends it too, or for `pennyweight dashboard`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
FIRST_PORT = 8501
"""Streamlit's own default."""

THEME = {
    "base": "light",
    "primaryColor": "#2f5d8c",
    "backgroundColor": "#ffffff",
    "secondaryBackgroundColor": "#f5f7fa",
    "textColor": "#1d2733",
    "borderColor": "#e3e8ee",
    "baseRadius": "8px",
}
"""As .streamlit/config.toml has it, which Streamlit finds only from the repository's own folder."""

STOP_S = 5.0
"""How long it may take to end before it is killed. A guess: it has nothing to save."""


def command(port: int) -> list[str]:
    """Streamlit on loopback, without its own telemetry and browser, looking the same wherever it is started from."""
    options = {
        "server.address": "127.0.0.1",
        "server.port": str(port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        **{f"theme.{name}": value for name, value in THEME.items()},
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    return [sys.executable, "-m", "streamlit", "run", str(APP), *arguments]


class DashboardProcess:
    """One Streamlit server, reading the ledger at ``ledger_url``."""

    def __init__(self, ledger_url: str, port: int, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command(port),
                env={**os.environ, "PENNYWEIGHT_LEDGER": ledger_url},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends the dashboard itself
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """Ended when this returns."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
