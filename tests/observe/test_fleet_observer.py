"""One look at a fleet: scraped or asked of Prometheus, every replica is counted once and what is silent says why."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from controller.errors import ObserveError
from controller.facts.fleet import (
    Discovery,
    EngineKind,
    Fleet,
    Gpu,
    GpuDiscovery,
    LocalNvml,
    Model,
    PrometheusServer,
    Service,
    StaticTargets,
    Variant,
)
from controller.facts.missing import Missing
from controller.facts.readings import Counter, EngineReading, Gauge, GpuReading, Target
from controller.observe.fleet_observer import FleetObserver, own_gpus
from controller.observe.nvml import Library, NvmlSource
from controller.observe.prometheus import PrometheusReader
from controller.observe.scrape import ScrapeLimits, Scraper

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECORDED = Path(__file__).parent / "recorded"
GPU = Gpu(name="T4", memory_bytes=16e9, bandwidth_bytes_per_s=3e11, peak_flop_per_s={"bf16": 6.5e13}, tdp_w=70.0)
MODEL = Model(
    name="tiny",
    params_total=1e6,
    params_active=1e6,
    matmul_params_active=1e6,
    lm_head_params=1e5,
    layers=2,
    heads=2,
    head_dim=16,
    kv_bytes_per_token_16bit=128.0,
)


def variant(name: str, discovery: tuple[Discovery, ...], gpus: tuple[GpuDiscovery, ...] = ()) -> Variant:
    return Variant(
        service="chat",
        name=name,
        gpu=GPU,
        gpus_per_replica=1,
        quantization="bf16",
        kv_cache_dtype="bf16",
        engine=EngineKind.VLLM,
        capacity=(),
        discovery=discovery,
        gpu_discovery=gpus,
    )


def fleet(*variants: Variant) -> Fleet:
    return Fleet(services={"chat": Service(name="chat", model=MODEL, variants={one.name: one for one in variants})})


class World(ThreadingHTTPServer):
    """A vLLM under /vllm, a dcgm-exporter under /dcgm, and a Prometheus server that knows one replica."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = {
            "/vllm": (RECORDED / "vllm-0.32.0-v1.prom").read_text(),
            "/dcgm": (RECORDED / "dcgm-exporter-3.1-t4x2-k8s.prom").read_text(),
        }
        self.tokens, self.sampled_s, self.up = 100.0, NOON.timestamp(), "1"
        self.broken = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, query: str) -> str:
        own = {"job": "vllm", "instance": "h:8000", "pod": "chat-0"}
        asked_s = self.sampled_s + 1
        if "timestamp" in query:
            result = [{"metric": {**own, "pennyweight_time_of": "up"}, "value": [asked_s, str(self.sampled_s)]}]
        else:
            samples = {
                "up": self.up,
                "vllm:num_requests_running": "3",
                "vllm:generation_tokens_total": str(self.tokens),
            }
            result = [{"metric": {**own, "__name__": name}, "value": [asked_s, text]} for name, text in samples.items()]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


class Handler(BaseHTTPRequestHandler):
    server: World

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        body = self.server.answer(self.path) if path.endswith("/query") else self.server.pages.get(path, "")
        self.send_response(503 if self.server.broken or not body else 200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def world() -> Iterator[World]:
    server = World()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def no_nvml() -> Library:
    raise ObserveError("no NVML library on this host: not for this test")


@pytest.fixture
def observer() -> Iterator[FleetObserver]:
    made = FleetObserver(
        fleet(),
        Scraper(ScrapeLimits(deadline_s=60.0, target_timeout_s=60.0)),
        nvml=NvmlSource(no_nvml, "here"),
        prometheus=PrometheusReader(timeout_s=60.0),
        deadline_s=60.0,
    )
    yield made
    made.close()


def test_replicas_and_gpus_are_read_side_by_side(world: World, observer: FleetObserver) -> None:
    scraped = StaticTargets(urls=(f"{world.url}/vllm",))
    exporters = StaticTargets(urls=(f"{world.url}/dcgm",))
    observer.reload(fleet(variant("t4", (scraped,), (exporters,)), variant("other", (), (exporters,))))
    first = observer.observe(NOON)
    assert [target.url for target in first.targets] == [f"{world.url}/vllm"]
    assert isinstance(first.engines[f"{world.url}/vllm"], EngineReading)
    assert first.problems == ()
    world.pages["/dcgm"] = (
        world.pages["/dcgm"].replace(" 9022652", " 9022652000", 1).replace(" 9022652000", " 9032652", 1)
    )
    second = observer.observe(NOON + timedelta(seconds=15))
    for owner in (("chat", "t4"), ("chat", "other")):  # one exporter, two variants: its energy is counted once
        gpus = second.gpus[owner]
        assert not isinstance(gpus, Missing)
        assert sorted(gpu.energy_j for gpu in gpus) == [0.0, 10.0]
        assert {gpu.window_s for gpu in gpus} == {15.0}


def test_one_address_in_two_variants_is_counted_once_and_reported(world: World, observer: FleetObserver) -> None:
    scraped = StaticTargets(urls=(f"{world.url}/vllm",))
    observer.reload(fleet(variant("a", (scraped,)), variant("b", (scraped,))))
    seen = observer.observe(NOON)
    assert [target.variant for target in seen.targets] == ["a"]
    (problem,) = seen.problems
    assert problem.what == "targets of chat/b"
    assert "is already a replica of chat/a" in problem.why


def test_sources_that_are_silent_say_why_for_engines_and_gpus(observer: FleetObserver) -> None:
    dead = StaticTargets(urls=("http://127.0.0.1:1",))
    observer.reload(fleet(variant("a", (dead,), (dead,)), variant("b", (), (LocalNvml(),)), variant("c", ())))
    seen = observer.observe(NOON)
    engine, exporter = seen.engines["http://127.0.0.1:1"], seen.gpus["chat", "a"]
    assert isinstance(engine, Missing)
    assert isinstance(exporter, Missing)
    assert "cannot be reached" in engine.why
    assert "cannot be reached" in exporter.why
    nvml, none = seen.gpus["chat", "b"], seen.gpus["chat", "c"]
    assert isinstance(nvml, Missing)
    assert isinstance(none, Missing)
    assert "no NVML library on this host" in nvml.why
    assert "names no source of GPU readings" in none.why


def asked_of_prometheus(world: World, observer: FleetObserver) -> FleetObserver:
    observer.reload(fleet(variant("a", (PrometheusServer(url=world.url, selector='job="vllm"'),))))
    return observer


def reading(observer: FleetObserver, now: datetime) -> EngineReading:
    found = observer.observe(now).engines["http://h:8000"]
    assert isinstance(found, EngineReading), found
    return found


def test_prometheus_samples_count_by_their_own_time_and_an_old_one_adds_nothing(
    world: World, observer: FleetObserver
) -> None:
    asked_of_prometheus(world, observer)
    first = reading(observer, NOON)
    assert (first.target.replica, first.source, first.window_s) == ("chat-0", "prometheus", 0.0)
    assert first.gauge(Gauge.RUNNING) == 3.0
    world.tokens, world.sampled_s = 160.0, NOON.timestamp() + 30
    second = reading(observer, NOON + timedelta(seconds=31))
    assert (second.counter(Counter.OUTPUT_TOKENS), second.window_s) == (60.0, 30.0)
    again = reading(observer, NOON + timedelta(seconds=46))
    assert (again.window_s, again.at, dict(again.counters)) == (0.0, second.at, {})
    unread = again.counter(Counter.OUTPUT_TOKENS)
    assert isinstance(unread, Missing)
    assert "no newer sample" in unread.why


def test_a_restart_seen_through_prometheus_counts_the_new_value(world: World, observer: FleetObserver) -> None:
    asked_of_prometheus(world, observer)
    reading(observer, NOON)
    world.tokens, world.sampled_s = 7.0, NOON.timestamp() + 30
    assert reading(observer, NOON + timedelta(seconds=31)).counter(Counter.OUTPUT_TOKENS) == 7.0


def test_while_prometheus_is_down_its_replicas_stay_and_are_unread(world: World, observer: FleetObserver) -> None:
    asked_of_prometheus(world, observer)
    reading(observer, NOON)
    world.broken = True
    seen = observer.observe(NOON + timedelta(seconds=15))
    assert [target.replica for target in seen.targets] == ["chat-0"]
    engine = seen.engines["http://h:8000"]
    assert isinstance(engine, Missing)
    assert "503" in engine.why
    assert [problem.what for problem in seen.problems] == ["targets of chat/a"]


def test_a_replica_that_prometheus_cannot_scrape_is_there_and_missing(world: World, observer: FleetObserver) -> None:
    world.up = "0"
    seen = asked_of_prometheus(world, observer).observe(NOON)
    assert [target.replica for target in seen.targets] == ["chat-0"]
    engine = seen.engines["http://h:8000"]
    assert isinstance(engine, Missing)
    assert "up is 0" in engine.why


def test_counting_goes_on_from_the_marks_of_an_earlier_process(world: World, observer: FleetObserver) -> None:
    asked_of_prometheus(world, observer)
    reading(observer, NOON)
    marks = observer.marks()
    later = FleetObserver(fleet(), Scraper(), nvml=NvmlSource(no_nvml, "here"))
    later.restore(marks, NOON)
    asked_of_prometheus(world, later)
    world.tokens, world.sampled_s = 142.0, NOON.timestamp() + 60
    assert reading(later, NOON + timedelta(seconds=61)).counter(Counter.OUTPUT_TOKENS) == 42.0
    later.close()


def gpu(gpu_id: str, pod: str) -> GpuReading:
    unread = Missing("x", "not part of this test")
    return GpuReading(
        gpu_id=gpu_id,
        model_name="T4",
        host="n",
        at=NOON,
        window_s=0.0,
        source="scrape",
        pod=pod,
        utilization_ratio=unread,
        tensor_active_ratio=unread,
        dram_active_ratio=unread,
        memory_used_bytes=unread,
        memory_free_bytes=unread,
        power_w=unread,
        energy_j=unread,
    )


def target(replica: str, **labels: str) -> Target:
    return Target(service="chat", variant="a", replica=replica, url=f"http://{replica}", labels=labels)


@pytest.mark.parametrize(
    ("case", "pods", "target_", "kept"),
    [
        ("pods on both sides", ["chat-0", "chat-1", ""], target("r", pod="chat-0"), 1),
        ("a replica named like its pod", ["chat-0", "chat-1", ""], target("chat-1"), 1),
        ("no pods on the GPUs", ["", ""], target("r", pod="chat-0"), 2),
        ("no pods on the targets", ["chat-0", "chat-1"], target("h:8000"), 2),
        ("other pods only", ["else-0"], target("r", pod="chat-0"), None),
    ],
)
def test_gpus_belong_to_the_variant_whose_pods_own_them(
    case: str, pods: list[str], target_: Target, kept: int | None
) -> None:
    found = own_gpus(tuple(gpu(f"GPU-{index}", pod) for index, pod in enumerate(pods)), [target_])
    assert (None if isinstance(found, Missing) else len(found)) == kept, case
