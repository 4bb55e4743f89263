"""A webhook on loopback, as Slack's: it keeps what it got and answers as each test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Webhook:
    """``answers``: (status, headers) one a request, the last one for ever. ``gate``: answers wait until it is set."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(200, {})])
    received: list[dict] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)


@contextmanager
def listening() -> Iterator[Webhook]:
    """A webhook that takes everything, until the end."""
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
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    hook.url = f"http://127.0.0.1:{server.server_address[1]}/services/T000/B000/secret-token"
    yield hook
    hook.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()
