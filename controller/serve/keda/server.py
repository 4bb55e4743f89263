"""Serves KEDA's external scaler: gRPC in a thread of the daemon."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc

from controller.errors import PennyweightError
from controller.facts.actuators import Through
from controller.facts.doors import Door, Tls
from controller.serve.background import Listener
from controller.serve.certificates import Renewed
from controller.serve.keda.answers import TARGET, Answers, Code, RefusedError
from controller.serve.keda.messages import (
    SERVICE,
    MetricsRequest,
    ScaledObjectRef,
    is_active,
    metric_specs,
    metric_values,
)
from controller.serve.wanted import METRIC, Asked

log = logging.getLogger("pennyweight")

Question = TypeVar("Question")

GRACE_S = 3.0
"""For questions under way at the end; streams end at once, so that KEDA dials again without waiting. A guess."""

OPTIONS = (
    ("grpc.so_reuseport", 0),  # two daemons at one address would each answer half of the questions
    ("grpc.max_receive_message_length", 256 * 1024),  # a question is some text: names and a trigger's metadata
    ("grpc.keepalive_time_ms", 60_000),  # a caller that is gone does not keep its streams
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


LOOK_S = 1.0
"""How often a daemon that may stand by looks whether it leads. A guess: well within KEDA's shortest wait, 2 s."""


class KedaServer(Listener):
    """Listens from ``__enter__`` to ``__exit__``. ``passed`` is to be called after every pass.

    leads   While this daemon stands by for another one it does not listen at all: KEDA keeps one connection for good,
            and one that ended here would hear of nothing but that.
    """

    def __init__(self, answers: Answers, door: Door, asked: Asked, leads: Callable[[], bool] = lambda: True) -> None:
        super().__init__("keda")
        self._answers, self._door, self._asked, self._leads = answers, door, asked, leads
        self._streams: set[asyncio.Event] = set()
        self._ends = False
        self._server: Any = None
        self.port = 0

    @property
    def address(self) -> str:
        host = f"[{self._door.host}]" if ":" in self._door.host else self._door.host
        return f"{host}:{self.port or self._door.port}"

    def passed(self) -> None:
        """There are new numbers: whoever listens is told what changed."""
        self._background.tell(self._wake)

    async def _begin(self) -> None:
        if self._leads():
            await self._start()
        self._watch = asyncio.create_task(self._watching())

    async def _watching(self) -> None:
        """Listen from when this daemon leads, and no longer."""
        told = ""
        while not self._ends:
            await asyncio.sleep(LOOK_S)
            leads = self._leads()
            if leads == (self._server is not None):
                continue
            try:
                await (self._start() if leads else self._stop())
                told = ""
            except PennyweightError as error:
                if told != str(error):
                    log.error("%s", error)
                told = str(error)

    async def _end(self) -> None:
        self._ends = True
        self._watch.cancel()
        await self._stop()

    async def _start(self) -> None:
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._handlers()),))
        try:
            if self._door.tls is None:
                self.port = server.add_insecure_port(self.address)
            else:
                self.port = server.add_secure_port(self.address, _credentials(self._door.tls))
        except (RuntimeError, OSError, ValueError) as error:
            raise PennyweightError(
                f"cannot listen on {self.address} for KEDA: {error}; see `serve: {{keda: …}}` in fleet.yaml"
            ) from error
        await server.start()
        self._server = server

    async def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            self._wake()  # streams see that nobody listens any more, and end
            await server.stop(GRACE_S)

    def _handlers(self) -> dict[str, Any]:
        one = {"IsActive": self._is_active, "GetMetricSpec": self._metric_spec, "GetMetrics": self._metrics}
        many = {"StreamIsActive": self._is_active, "StreamMetricSpec": self._metric_spec}
        return {
            name: grpc.unary_unary_rpc_method_handler(partial(self._answered, name, answer))
            for name, answer in one.items()
        } | {
            name: grpc.unary_stream_rpc_method_handler(partial(self._streamed, name, answer))
            for name, answer in many.items()
        }

    # one question, one answer: bytes to bytes, RefusedError where there is none

    def _is_active(self, wire: bytes, header: str) -> bytes:
        return is_active(self._answers.replicas(self._let_in(wire, header)) > 0)

    def _metric_spec(self, wire: bytes, header: str) -> bytes:
        """Always the same, and known before the first pass: KEDA builds its HPA from it, once."""
        self._answers.variant(self._let_in(wire, header))
        return metric_specs(METRIC, TARGET)

    def _metrics(self, wire: bytes, header: str) -> bytes:
        request = _read(MetricsRequest.read, wire)
        self._answers.let_in(request.ref, header)
        return metric_values(request.metric or METRIC, self._answers.value(request.ref, request.metric))

    def _let_in(self, wire: bytes, header: str) -> ScaledObjectRef:
        ref = _read(ScaledObjectRef.read, wire)
        self._answers.let_in(ref, header)
        return ref

    # calls

    async def _answered(self, name: str, answer: Callable[[bytes, str], bytes], wire: bytes, context: Any) -> bytes:
        try:
            made = answer(wire, _header(context))
        except Exception as error:
            await self._abort(name, error, context)
            raise  # abort has raised; this says so to the reader
        self._asked.count(Through.KEDA, name, "OK")
        return made

    async def _streamed(
        self, name: str, answer: Callable[[bytes, str], bytes], wire: bytes, context: Any
    ) -> AsyncIterator[bytes]:
        """What is so now, and then whatever changes. While it is not known nothing is said: KEDA waits ever longer
        before it dials again a stream that broke."""
        woken = asyncio.Event()
        self._streams.add(woken)
        try:
            said = await self._first(name, answer, wire, context)
            if said is not None:
                yield said
            while self._server is not None:
                await woken.wait()
                woken.clear()
                now = _now(answer, wire, _header(context))
                if now is not None and now != said:
                    said = now
                    yield said
        finally:
            self._streams.discard(woken)

    async def _first(self, name: str, answer: Callable[[bytes, str], bytes], wire: bytes, context: Any) -> bytes | None:
        """What is so now; None while that is not known."""
        try:
            said = answer(wire, _header(context))
        except Exception as error:
            if not isinstance(error, RefusedError) or error.code is not Code.UNAVAILABLE:
                await self._abort(name, error, context)
                raise
            self._asked.count(Through.KEDA, name, error.code)
            return None
        self._asked.count(Through.KEDA, name, "OK")
        return said

    async def _abort(self, name: str, error: Exception, context: Any) -> None:
        code = error.code if isinstance(error, RefusedError) else Code.INTERNAL
        if code is Code.INTERNAL:
            log.exception("KEDA's %s could not be answered", name, exc_info=error)
        self._asked.count(Through.KEDA, name, code)
        await context.abort(grpc.StatusCode[code], str(error))

    def _wake(self) -> None:
        for woken in self._streams:
            woken.set()


def _now(answer: Callable[[bytes, str], bytes], wire: bytes, header: str) -> bytes | None:
    try:
        return answer(wire, header)
    except RefusedError:
        return None


def _read(read: Callable[[bytes], Question], wire: bytes) -> Question:
    try:
        return read(wire)
    except ValueError as error:
        raise RefusedError(Code.INVALID_ARGUMENT, str(error)) from error


def _header(context: Any) -> str:
    found = dict(context.invocation_metadata() or ()).get("authorization", "")
    return found if isinstance(found, str) else ""


def _credentials(tls: Tls) -> Any:
    renewed = Renewed(tls, _certificate)
    return grpc.dynamic_ssl_server_credentials(
        renewed.now,
        lambda: renewed.now if renewed.changed() else None,
        require_client_authentication=bool(tls.client_ca),
    )


def _certificate(tls: Tls) -> Any:
    pair = (Path(tls.key).read_bytes(), Path(tls.certificate).read_bytes())
    return grpc.ssl_server_certificate_configuration(
        [pair], Path(tls.client_ca).read_bytes() if tls.client_ca else None
    )
