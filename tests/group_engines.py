"""Engines of many instances behind one port."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Engines(ThreadingHTTPServer):
    """All engines behind one port: /INSTANCE/health and /INSTANCE/metrics. By instance: how many requests run, or None
    while it is not healthy; an instance that is not named here is not healthy. ``waiting``: how many wait at one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Engine)
        self.running: dict[str, int | None] = {}
        self.waiting: Callable[[str], float] = lambda instance: 0.0
        self.looks = 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{{instance_id}}"


class _Engine(BaseHTTPRequestHandler):
    server: Engines

    def do_GET(self) -> None:
        instance, _, what = self.path.strip("/").partition("/")
        running = self.server.running.get(instance)
        self.server.looks += 1
        told = {
            "num_requests_running": running,
            "num_requests_waiting": self.server.waiting(instance),
            "generation_tokens_total": 10 * self.server.looks,
        }
        page = "" if what == "health" else "".join(f"vllm:{name} {value}\n" for name, value in told.items())
        self.send_response(503 if running is None else 200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *arguments: object) -> None:
        del arguments
