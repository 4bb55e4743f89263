"""The test cluster's API server: HTTP/1.1 on 127.0.0.1, for any client, kubectl among them.

    with ApiServer(store, evict) as server:
        server.kubeconfig(tmp_path / "kubeconfig")

It is strict where a real one is, counts every call, and breaks on demand (``faults``, ``away``, ``rules``).
"""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import yaml

from tests.cluster.answers import Evict, answer
from tests.cluster.faults import Fault, FaultKind, Faults
from tests.cluster.kinds import BY_KIND
from tests.cluster.requests import Asked, Discovery, parse
from tests.cluster.status import ApiStatus
from tests.cluster.store import Store, encoded
from tests.cluster.watching import Bookmarks, watch

JSON = "application/json"
AFTER = {FaultKind.LOST, FaultKind.HANG, FaultKind.STATUS_AFTER, FaultKind.GARBAGE_AFTER, FaultKind.TRUNCATED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """One call that arrived. ``code`` 0: it got no answer."""

    verb: str
    resource: str
    namespace: str
    name: str
    query: Mapping[str, str]
    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a role allows: as in a Role's rules."""

    groups: tuple[str, ...]
    resources: tuple[str, ...]
    verbs: tuple[str, ...]

    def allows(self, asked: Asked) -> bool:
        name = f"{asked.info.plural}/{asked.sub}" if asked.sub else asked.info.plural
        return asked.info.group in self.groups and name in self.resources and asked.verb in self.verbs


class ApiServer:
    """Use as a context manager. ``absent``: groups whose kinds are not installed, e.g. {"keda.sh"}."""

    def __init__(self, store: Store, evict: Evict, *, absent: Iterable[str] = ()) -> None:
        self.store, self.evict, self.absent = store, evict, frozenset(absent)
        self.faults, self.bookmarks = Faults(), Bookmarks()
        self.rules: tuple[Rule, ...] | None = None
        self.token = ""
        self._lock = Lock()
        self._calls: list[Called] = []
        self._open: set[socket.socket] = set()
        self._down = Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: Thread | None = None
        self.port = 0
        self.watching = 0
        self.drops = 0

    def __enter__(self) -> ApiServer:
        self.back()
        return self

    def __exit__(self, *_: object) -> None:
        self.away()

    # being there, or not

    def back(self) -> None:
        """Answer again, on the same port."""
        if self._server is not None:
            return
        self._down = Event()
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), name="api-server", daemon=True)
        self._thread.start()

    def away(self) -> None:
        """Refuse connections and break those that are open, until ``back``."""
        if self._server is None or self._thread is None:
            return
        self._down.set()
        self._server.shutdown()
        self._thread.join()
        self.drop()
        self._server.server_close()
        self._server = None

    def drop(self) -> None:
        """Break every open connection, watches among them."""
        with self._lock:
            self.drops += 1
            opened = list(self._open)
        for one in opened:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self.store.lock:
            self.store.changed.notify_all()

    def bookmark(self) -> None:
        """Send a bookmark down every watch that allows them."""
        with self.store.lock:
            self.bookmarks.sent += 1
            self.store.changed.notify_all()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kubeconfig(self, path: Path, *, namespace: str = "default", token: str | None = None) -> Path:
        """Write one, with a single context "test"."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": token or self.token or "test"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        }
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    def ask(self, method: str, path: str, body: object = None, content_type: str = JSON) -> tuple[int, dict[str, Any]]:
        """The code and the document of one call."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, method=method, headers={"Content-Type": content_type}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    # what was called

    @property
    def calls(self) -> list[Called]:
        """All that arrived, oldest first."""
        with self._lock:
            return list(self._calls)

    def counts(self) -> Counter[tuple[str, str]]:
        """How often each verb was used on each resource."""
        return Counter((one.verb, one.resource) for one in self.calls)

    def forget_calls(self) -> None:
        with self._lock:
            self._calls.clear()

    def called(self, asked: Asked, code: int) -> None:
        one = Called(
            verb=asked.verb,
            resource=asked.resource,
            namespace=asked.namespace,
            name=asked.name,
            query=asked.query,
            code=code,
        )
        with self._lock:
            self._calls.append(one)

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def began(self, by: int) -> None:
        """A watch began (1), or ended (-1)."""
        with self._lock:
            self.watching += by

    def over(self) -> bool:
        """Whether it is away, so that whoever waits gives up."""
        return self._down.is_set()

    def wait_away(self, seconds: float) -> None:
        self._down.wait(seconds)

    def check(self, asked: Asked, headers: Mapping[str, str]) -> None:
        """401 and 403. Without a ``token`` anybody is let in: kubectl sends none where there is no TLS."""
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if self.token and token != self.token:
            raise ApiStatus(401, "Unauthorized", "Unauthorized")
        if self.rules is None or any(rule.allows(asked) for rule in self.rules):
            return
        plain = f"{asked.info.plural}/{asked.sub}" if asked.sub else asked.info.plural
        who = 'User "system:serviceaccount:test:pennyweight"'
        said = f'{plain}.{asked.info.group} is forbidden: {who} cannot {asked.verb} resource "{plain}"'
        raise ApiStatus(
            403, "Forbidden", f'{said} in API group "{asked.info.group}" in the namespace "{asked.namespace}"'
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no event."""


def _handler(owner: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        server_of = owner

    return Handler


class _Broken(Exception):  # noqa: N818 - no error: the connection is broken on purpose
    pass


class _Handler(BaseHTTPRequestHandler):
    server_of: ApiServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server_of.opened(self.connection)

    def finish(self) -> None:
        self.server_of.closed(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Tests are quiet."""

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the base class names them so

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked: Asked | Discovery | None = None
        try:
            asked = parse(self.command, self.path, self.server_of.absent)
            if isinstance(asked, Discovery):
                self._send(200, encoded(asked.body))
            else:
                self._answer(asked, body)
        except ApiStatus as status:
            if isinstance(asked, Asked):
                self.server_of.called(asked, status.code)
            self._refuse(status)
        except (_Broken, OSError):
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, asked: Asked, body: bytes) -> None:
        self.server_of.check(asked, self.headers)
        fault = self.server_of.faults.next(asked.verb, asked.resource, asked.name)
        if asked.verb == "watch":
            self._watch(asked, fault)
            return
        if fault is not None and fault.kind not in AFTER:
            self._fail(asked, fault, b"")
            return
        content_type = (self.headers.get("Content-Type") or JSON).partition(";")[0].strip()
        code, doc = answer(self.server_of.store, asked, body, content_type, self.server_of.evict)
        if fault is not None:
            self._fail(asked, fault, encoded(doc))
            return
        self.server_of.called(asked, code)
        self._send(code, encoded(doc))

    def _fail(self, asked: Asked, fault: Fault, worked: bytes) -> None:
        if fault.kind in {FaultKind.STATUS, FaultKind.STATUS_AFTER}:
            raise ApiStatus(fault.code, "Injected", fault.message, retry_after_s=fault.retry_after_s)
        self.server_of.called(asked, 0)
        if fault.kind is FaultKind.HANG:
            self.server_of.wait_away(30.0)
        if fault.kind is FaultKind.TRUNCATED:
            self._send(200, worked[: len(worked) // 2])
        elif fault.kind is FaultKind.EMPTY:
            self._send(200, b"{}")
        elif fault.kind in {FaultKind.GARBAGE, FaultKind.GARBAGE_AFTER}:
            self._send(200, b"<html><body>Service Unavailable</body></html>")
        else:
            raise _Broken

    def _watch(self, asked: Asked, fault: Fault | None) -> None:
        if fault is not None and fault.kind is not FaultKind.GARBAGE:
            self._fail(asked, fault, b"")
            return
        server, begun, drops = self.server_of, Event(), self.server_of.drops

        def ended() -> bool:
            return server.over() or server.drops != drops

        def begin() -> None:
            self.send_response(200)
            self.send_header("Content-Type", JSON)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            begun.set()
            self.close_connection = True
            server.called(asked, 200)
            server.began(1)

        try:
            if asked.info.kind not in BY_KIND:
                raise ApiStatus(405, "MethodNotAllowed", "not watchable")
            if fault is not None:
                begin()
                self._chunk(b"<html>\n")
                return
            for event in watch(server.store, asked, server.bookmarks, ended, begin):
                self._chunk(encoded(event) + b"\n")
            self._chunk(b"")
            self.close_connection = False  # as a real one leaves it: to close it here would race with its next user
        finally:
            if begun.is_set():
                server.began(-1)

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.flush()

    def _refuse(self, status: ApiStatus) -> None:
        headers = {"Retry-After": str(status.retry_after_s)} if status.retry_after_s is not None else {}
        self._send(status.code, encoded(status.body()), headers)

    def _send(self, code: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": JSON, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
