"""Fake engines behind the pods of a world: every pod's own address of 127.0.0.0/8 answers, while the pod runs.

with engines_of(world) as engines:
    world.add(deployment("chat", 2, template("chat", port=engines.port)))
    world.step(10)
    engines.running[name_of_a_pod] = 3.0
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeVar

from tests.cluster.documents import Doc, at
from tests.cluster.kinds import PODS
from tests.cluster.world import World

PAGE = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="{model}"}} {running}
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="{model}"}} {waiting}
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{{engine="0",model_name="{model}"}} 0.1
"""


class Engines:
    """What the pods' engines say. ``running`` and ``waiting``: requests, by pod; 0 where nothing is set."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.running: dict[str, float] = {}
        self.waiting: dict[str, float] = {}
        self.model = "llama"
        self.port = 0

    def page(self, address: str) -> str | None:
        """The metrics of the pod with this address; None where there is none, or its container does not run."""
        pod = next((one for one in self.world.store.all(PODS) if at(one, "status.podIP") == address), None)
        if pod is None or not _runs(pod):
            return None
        name = at(pod, "metadata.name")
        return PAGE.format(model=self.model, running=self.running.get(name, 0), waiting=self.waiting.get(name, 0))


def _runs(pod: Doc) -> bool:
    return any("running" in one["state"] for one in at(pod, "status.containerStatuses") or ())


E = TypeVar("E", bound=Engines)


@contextmanager
def engines_of(world: World, kind: type[E] = Engines) -> Iterator[E]:  # type: ignore[assignment]
    """They answer while the context lasts, all on one port. ``kind``: those that say more."""
    engines = kind(world)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = engines.page(self.connection.getsockname()[0])
            self.close_connection = True
            if page is None:
                return  # no answer at all, as where nobody listens
            body = page.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            """Tests are quiet."""

    server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    engines.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield engines
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
