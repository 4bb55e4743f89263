"""An emulated fleet behind real HTTP: each replica on its own loopback port, /metrics and /health as vLLM answers."""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from controller.demo.ports import PortPicker
from controller.facts.readings import Phase
from controller.simulate.arrivals import Requests
from controller.simulate.fleet import Finished, SimulatedFleet, SimulatedReplica
from controller.simulate.stepmodel import EngineSpec
from controller.simulate.vllm_page import vllm_page

FIRST_PORT = 8101
"""Above vLLM's own default, 8000, which a reader may have in use."""

Answer = tuple[HTTPStatus, str]


class ServedFleet:
    """The one owner of the emulated fleet. Everything that touches it holds the lock: scrapes come at any time."""

    def __init__(self, fleet: SimulatedFleet, spec: EngineSpec, ports: PortPicker) -> None:
        self._fleet = fleet
        self._spec = spec
        self._ports = ports
        self._lock = threading.RLock()
        self._servers: dict[str, ThreadingHTTPServer] = {}

    @property
    def dropped(self) -> int:
        return self._fleet.dropped

    @property
    def now_s(self) -> float:
        return self._fleet.now_s

    def start(self, name: str, delay_s: float) -> None:
        """A replica that will be ready ``delay_s`` from now; its port answers 503 until then."""
        with self._lock:
            self._fleet.start(name, self._spec, delay_s)
            self._servers[name] = self._listening(name)

    def _listening(self, name: str) -> ThreadingHTTPServer:
        """OSError when no port is free. One that somebody took since it was picked stays given away."""
        while True:
            port = self._ports.pick(FIRST_PORT, f"replica {name}")
            try:
                return _serve(self, name, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise

    def drain(self, name: str) -> None:
        with self._lock:
            self._fleet.drain(name)

    def advance(self, until_s: float, requests: Requests) -> Finished:
        """Serve until ``until_s``; the ports of replicas that went on the way are closed."""
        with self._lock:
            finished = self._fleet.advance(until_s, requests)
            gone = [name for name in self._servers if name not in self._fleet.replicas]
        for name in gone:
            self._shut(name)
        return finished

    def replicas(self) -> Mapping[str, SimulatedReplica]:
        with self._lock:
            return dict(self._fleet.replicas)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._servers[name].server_port}"

    def answer(self, name: str, path: str) -> Answer:
        """What the replica says to GET ``path`` now."""
        with self._lock:
            one = self._fleet.replicas.get(name)
            if one is None or one.phase(self._fleet.now_s) is Phase.STARTING:
                return HTTPStatus.SERVICE_UNAVAILABLE, "the engine is starting\n"
            if path == "/health":
                return HTTPStatus.OK, ""
            if path == "/metrics":
                return HTTPStatus.OK, vllm_page(self._fleet, name)
            return HTTPStatus.NOT_FOUND, "only /metrics and /health are emulated\n"

    def close(self) -> None:
        """Every port closed."""
        for name in list(self._servers):
            self._shut(name)

    def _shut(self, name: str) -> None:
        server = self._servers.pop(name)
        server.shutdown()
        server.server_close()
        self._ports.release(server.server_port)


class QuietServer(ThreadingHTTPServer):
    """A client that hangs up, such as a daemon that ends, is nobody's error."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # the stubs want a socket here


def _serve(fleet: ServedFleet, name: str, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = fleet.answer(name, self.path)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
            """A demo that logs every scrape hides its own summary."""

    server = QuietServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True, name=name).start()
    return server
