"""Servers on loopback that answer every GET: with any text, or as the query API of a Prometheus server."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Answering(ThreadingHTTPServer, ABC):
    """Answers from its making until ``close``. What ``answer`` needs is to be there before ``__init__`` is called."""

    daemon_threads = True
    content_type = "text/plain"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._serving = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._serving.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @abstractmethod
    def answer(self, path: str) -> str:
        """What a GET of ``path`` finds."""

    def close(self) -> None:
        """From now on nobody listens there. It may be closed already."""
        self.shutdown()
        self._serving.join()
        self.server_close()

    def __exit__(self, *raised: object) -> None:
        self.close()


class _Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_GET(self) -> None:
        body = self.server.answer(self.path).encode()
        self.send_response(200)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


class AnsweringQueries(Answering):
    """Answers each query of PromQL with the vector that ``rows`` makes of it."""

    content_type = "application/json"

    def answer(self, path: str) -> str:
        (query,) = parse_qs(urlsplit(path).query)["query"]
        data = {"resultType": "vector", "result": self.rows(query)}
        return json.dumps({"status": "success", "data": data})

    @abstractmethod
    def rows(self, query: str) -> list[dict[str, Any]]:
        """Each ``{"metric": {label: value}, "value": [at_s, "value"]}``."""
