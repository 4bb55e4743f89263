"""A webhook on loopback that answers as each test tells it to, and an alert to send."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from controller.facts.decisions import Alert, AlertPhase
from controller.facts.missing import Missing

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@dataclass
class Webhook:
    """``answers``: (status, headers) one a request, the last one for ever. ``gate``: answers wait until it is set."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(200, {})])
    received: list[dict] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    hook.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, headers = hook.answers[0] if len(hook.answers) == 1 else hook.answers.pop(0)
            hook.gate.wait(20)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"invalid_blocks" if status == 400 else b"ok")

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hook.url = f"http://127.0.0.1:{server.server_address[1]}/services/T000/B000/secret-token"
    yield hook
    hook.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def alert():
    def made(phase: AlertPhase = AlertPhase.FIRING, **changes: object) -> Alert:
        plain = {
            "service": "chat",
            "name": "paying-for-idle",
            "phase": phase,
            "severity": "critical",
            "condition": "mfu_ratio < 0.5 && queue_depth > 0",
            "summary": "mfu_ratio < 0.5 && queue_depth > 0 has held for 600 s",
            "do": "Raise max_num_seqs & watch KV.",
            "since": NOON,
            "at": NOON,
            "numbers": {"usd_per_hour": 48.5, "mfu_ratio": 0.213, "power_w": Missing("power_w", "no DCGM")},
            "channels": ("slack",),
        }
        return Alert(**(plain | changes))

    return made
