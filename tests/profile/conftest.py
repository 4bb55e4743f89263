"""A fake OpenAI-compatible server whose steps take the time that a step model says."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from controller.facts.missing import Missing
from controller.facts.performance import StepModel
from controller.facts.profile import Coefficient, Profile, StepFit
from controller.profile import measure
from controller.profile.client import now_s
from controller.profile.plan import PointPlan, SweepPlan
from controller.profile.sweep import Priced, Sweep
from tests.profile.virtual import held
from tests.profile.virtual_loop import run

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

SPEED = StepModel(
    base_s=6e-3,
    per_sequence_s=0.6e-3,
    per_kv_token_s=4e-6,
    per_prefill_token_s=60e-6,
)


@dataclass
class Behaviour:
    """What the server does; a test may change it while it runs."""

    step: StepModel = SPEED
    usage: bool = True
    key: str | None = None
    models: tuple[str, ...] = ("fake-1b",)
    page: str | None = None  # in place of the models
    max_model_len: int | None = 4096
    refuse_ignore_eos: bool = False
    stalled: bool = False
    fail_after: int | None = None
    fail_every: int | None = None  # one request in so many
    breaks_above: int | None = None  # requests at once; from then on it is dead
    metrics: bool = True
    cached_tokens: int = 0
    asked: list[dict] = field(default_factory=list)


@dataclass
class _Sequence:
    prompt: int
    wanted: int
    queue: asyncio.Queue
    generated: int = 0


class Engine:
    """Continuous batching without limits: a whole prompt a step, then a token a step."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.waiting: list[_Sequence] = []
        self.running: list[_Sequence] = []
        self.steps = self.prompt_tokens = self.output_tokens = 0
        self.came = asyncio.Event()

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            if self.behaviour.stalled or not (self.waiting or self.running):
                self.came.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self.came.wait()
                due = clock()
                continue
            fresh, self.waiting = self.waiting, []
            step, decoding = self.behaviour.step, self.running
            kv = sum(one.prompt + one.generated for one in decoding)
            due += step.decode_s(len(decoding), kv) + step.prefill_s(sum(one.prompt for one in fresh), 0.0)
            await asyncio.sleep(max(0.0, due - clock()))
            self.steps += 1
            self.prompt_tokens += sum(one.prompt for one in fresh)
            self.output_tokens += len(decoding) + len(fresh)
            self.running = []
            for one in (*decoding, *fresh):
                one.generated += 1
                one.queue.put_nowait(one.generated == one.wanted)
                if one.generated < one.wanted:
                    self.running.append(one)


class Served:
    """The server in the event loop that runs."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour, self.engine = behaviour, Engine(behaviour)

    @asynccontextmanager
    async def up(self) -> AsyncIterator[str]:
        """Its address."""
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        work = asyncio.create_task(self.engine.run())
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await runner.cleanup()

    def _refusal(self, request: web.Request) -> web.Response | None:
        key = self.behaviour.key
        if key is not None and request.headers.get("Authorization") != f"Bearer {key}":
            said = request.headers.get("Authorization", "nothing")
            return web.json_response({"error": {"message": f"bad key: {said}"}}, status=401)
        return None

    async def _models(self, request: web.Request) -> web.Response:
        if self.behaviour.page is not None:
            return web.Response(text=self.behaviour.page, content_type="text/html")
        found = [{"id": name, "max_model_len": self.behaviour.max_model_len} for name in self.behaviour.models]
        return self._refusal(request) or web.json_response({"data": found})

    async def _metrics(self, request: web.Request) -> web.Response:
        if not self.behaviour.metrics:
            return web.Response(status=404)
        engine = self.engine
        kv = sum(one.prompt + one.generated for one in engine.running)
        label = '{engine="0",model_name="fake-1b"}'
        lines = (
            f"vllm:num_requests_running{label} {len(engine.running)}",
            f"vllm:num_requests_waiting{label} {len(engine.waiting)}",
            f"vllm:kv_cache_usage_perc{label} {kv / 100_000}",
            f"vllm:prompt_tokens_total{label} {engine.prompt_tokens}",
            f"vllm:generation_tokens_total{label} {engine.output_tokens}",
            f"vllm:iteration_tokens_total_count{label} {engine.steps}",
            'vllm:cache_config_info{block_size="16",num_gpu_blocks="6250",engine="0"} 1.0',
        )
        return web.Response(text="\n".join(lines) + "\n")

    def _inside(self) -> int:
        return len(self.engine.running) + len(self.engine.waiting)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        behaviour, body = self.behaviour, await request.json()
        behaviour.asked.append(body)
        if behaviour.refuse_ignore_eos and "ignore_eos" in body:
            return web.json_response({"error": {"message": "unknown field ignore_eos"}}, status=400)
        if behaviour.breaks_above is not None and self._inside() > behaviour.breaks_above:
            behaviour.fail_after = 0
        if behaviour.fail_after is not None and len(behaviour.asked) > behaviour.fail_after:
            return web.json_response({"detail": "the engine is dead"}, status=500)
        if behaviour.fail_every is not None and len(behaviour.asked) % behaviour.fail_every == 0:
            return web.json_response({"detail": "out of luck"}, status=500)
        chat = "messages" in body
        text = body["messages"][0]["content"] if chat else body["prompt"]
        prompt = len(text.split()) + 3
        sequence = _Sequence(prompt, body["max_tokens"], asyncio.Queue())
        self.engine.waiting.append(sequence)
        self.engine.came.set()
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        with suppress(ConnectionResetError):  # the client went away
            await self._answer(answer, sequence, chat=chat, asks_usage="stream_options" in body)
        return answer

    async def _answer(self, answer: web.StreamResponse, sequence: _Sequence, *, chat: bool, asks_usage: bool) -> None:
        if chat:
            await self._event(answer, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        last = False
        while not last:
            last = await sequence.queue.get()
            reason = "length" if last else None
            choice = {"delta": {"content": "x"}} if chat else {"text": "x"}
            await self._event(answer, {"choices": [{**choice, "finish_reason": reason}], "usage": None})
        if self.behaviour.usage and asks_usage:
            usage = {"prompt_tokens": sequence.prompt, "completion_tokens": sequence.wanted}
            usage["prompt_tokens_details"] = {"cached_tokens": self.behaviour.cached_tokens}
            await self._event(answer, {"choices": [], "usage": usage})
        await answer.write(b"data: [DONE]\n\n")

    async def _event(self, answer: web.StreamResponse, event: dict) -> None:
        await answer.write(f"data: {json.dumps(event)}\n\n".encode())


class FakeServer:
    """The server in a thread of its own."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(60)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        async with Served(self.behaviour).up() as self.url:
            self._ready.set()
            await self._over.wait()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    made = FakeServer()
    yield made
    made.close()


@pytest.fixture
def swept() -> Callable[..., Sweep]:
    """A sweep over such a server, to its end, in virtual time: the same on any machine."""

    def sweep(behaviour: Behaviour, *points: PointPlan, prior: StepModel | None = None, **plan: float) -> Sweep:
        async def through() -> Sweep:
            async with Served(behaviour).up() as url:
                began_s = now_s()
                made = Sweep(
                    plan=SweepPlan(url=url, points=points, **plan),
                    price=Priced(usd_per_hour=2.0),
                    prior=prior,
                    clock=lambda: NOON + timedelta(seconds=now_s() - began_s),
                    began=lambda index, point: None,
                    told=lambda held, share: None,
                    finished=lambda point: None,
                )
                await made.run()
                return made

        return run(through())

    return sweep


@pytest.fixture
def speed() -> StepModel:
    """The fake server's."""
    return SPEED


@pytest.fixture
def later() -> Iterator[Callable[[Callable[[], None], Callable[[], None]], None]]:
    """Does something as soon as a condition holds, in a thread."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def when(holds: Callable[[], bool], act: Callable[[], None]) -> None:
        def wait() -> None:
            while not over.is_set():
                if holds():
                    act()
                    return
                over.wait(0.01)

        threads.append(threading.Thread(target=wait, daemon=True))
        threads[-1].start()

    yield when
    over.set()
    for thread in threads:
        thread.join(60)


@pytest.fixture
def unused_port() -> int:
    """One where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def profile() -> Profile:
    """A small one with everything in it."""
    speed = StepModel(base_s=6e-3, per_sequence_s=6e-4, per_kv_token_s=4e-6, per_prefill_token_s=6e-5)
    fit = StepFit(
        step=speed,
        overhead_s=0.002,
        coefficients=(
            Coefficient(name="base_s", value=6e-3, standard_error_s=1e-5, verdict="measured"),
            Coefficient(
                name="per_kv_token_s",
                value=0.0,
                standard_error_s=Missing("per_kv_token_s", "not excited"),
                verdict="unknown",
            ),
        ),
        observations=100,
        tpot_error_ratio=0.03,
        throughput_error_ratio=0.02,
        ttft_error_ratio=Missing("TTFT error", "no closed loop"),
    )
    return Profile(
        server="http://10.0.0.5:8000",
        model="m",
        at=datetime(2026, 11, 21, 9, tzinfo=UTC),
        seed=1,
        usd_per_hour=2.5,
        price_source="--usd-per-hour",
        points=(measure.point(held(speed, 2, seconds=5), Missing("engine metrics", "none"), 2.5),),
        fit=fit,
        notes=("a note",),
    )
