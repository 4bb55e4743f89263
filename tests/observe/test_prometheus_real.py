"""A real Prometheus server, scraping recorded pages: what is read through it is what the engines said."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import pytest

from controller.facts.fleet import EngineKind, PrometheusServer
from controller.facts.missing import Missing
from controller.facts.readings import EngineReading, Target
from controller.observe import dcgm
from controller.observe.assemble import Assembler
from controller.observe.engines import ADAPTERS
from controller.observe.gpus import EnergyUse
from controller.observe.prometheus import (
    GAUGE_WINDOW_S,
    SUBQUERY_STEPS,
    PrometheusReader,
    ServedTarget,
)
from controller.observe.prometheus_pages import asked_of, page_of
from tests.small_fleet import free_port

T = TypeVar("T")
RECORDED = Path(__file__).parent / "recorded"
RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
TOKENS, TTFT = "vllm:generation_tokens", "vllm:time_to_first_token_seconds"
NAMES = (RUNNING, WAITING, TOKENS, TTFT)
GAUGES = (RUNNING, WAITING)
WIRE_NAMES = rf"({'|'.join(NAMES)})(_total|_bucket|_sum|_count|_created)?{{"


def until(what: str, check: Callable[[], T | None], deadline_s: float = 60.0) -> T:
    """The first answer of ``check`` that is not None."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if (found := check()) is not None:
            return found
        threading.Event().wait(0.05)
    raise AssertionError(f"{what} did not happen within {deadline_s:g} s")


@pytest.fixture
def reader() -> Iterator[PrometheusReader]:
    made = PrometheusReader(timeout_s=60.0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def prometheus_binary() -> str:
    found = shutil.which("prometheus")
    if found is None and os.environ.get("PENNYWEIGHT_REQUIRE_TOOLS"):
        pytest.fail("PENNYWEIGHT_REQUIRE_TOOLS is set and there is no `prometheus` on PATH")
    if found is None:
        pytest.skip("no `prometheus` on PATH (Debian: apt install prometheus)")
    return found


class Pages(ThreadingHTTPServer):
    """Serves one recorded page under each path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), PagesHandler)
        self.pages = {
            "/vllm": (RECORDED / "vllm-0.32.0-v1.prom").read_bytes(),
            "/dcgm": (RECORDED / "dcgm-exporter-3.1-t4x2-k8s.prom").read_bytes(),
        }


class PagesHandler(BaseHTTPRequestHandler):
    server: Pages

    def do_GET(self) -> None:
        body = self.server.pages.get(self.path)
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args: object) -> None:
        """Quiet."""


CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: vllm
    metrics_path: /vllm
    static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{pod: chat-0}}}}]
  - job_name: gone
    metrics_path: /none
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
  - job_name: dcgm
    metrics_path: /dcgm
    static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{pod: dcgm-x}}}}]
"""


@pytest.fixture(scope="module")
def real_server(prometheus_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Pages]]:
    pages = Pages()
    thread = threading.Thread(target=pages.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").write_text(CONFIG.format(port=pages.server_port))
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                prometheus_binary,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    yield f"http://127.0.0.1:{port}", pages
    process.terminate()
    process.wait(timeout=20)
    pages.shutdown()
    thread.join()
    pages.server_close()


def ask(reader: PrometheusReader, url: str, selector: str = 'job="vllm"') -> tuple[ServedTarget, ...] | Missing:
    return reader.read(PrometheusServer(url=url, selector=selector), NAMES, GAUGES, GAUGES)


def seen(reader: PrometheusReader, url: str, job: str, *names: str) -> tuple[ServedTarget, ...]:
    """What the real server says of one job, once it has scraped it; a scrape that a busy machine let fail is waited out."""

    def check() -> tuple[ServedTarget, ...] | None:
        server = PrometheusServer(url=url, selector=f'job="{job}"')
        found = reader.read(server, names or NAMES, GAUGES, names or GAUGES)
        if isinstance(found, Missing) or (job != "gone" and any(target.why for target in found)):
            return None
        return found

    return until(f"a scrape of job {job}", check)


def test_a_real_server_gives_the_page_that_it_scraped(real_server: tuple[str, Pages], reader: PrometheusReader) -> None:
    url, pages = real_server
    (target,) = seen(reader, url, "vllm")
    assert (target.labels["pod"], target.url, target.why) == ("chat-0", f"http://127.0.0.1:{pages.server_port}", "")
    assert target.at is not None
    wanted = [line for line in pages.pages["/vllm"].decode().splitlines() if re.match(WIRE_NAMES, line)]
    scraped = [name for name, _, _ in target.samples]
    assert sorted(scraped) == sorted(line.split("{")[0] for line in wanted)
    (tokens,) = (value for name, _, value in target.samples if name == f"{TOKENS}_total")
    (written,) = (float(line.split()[-1]) for line in wanted if line.startswith(f"{TOKENS}_total"))
    assert tokens == written


def test_a_reading_through_a_real_server_equals_the_scraped_one(
    real_server: tuple[str, Pages], reader: PrometheusReader
) -> None:
    url, pages = real_server
    asked = asked_of(ADAPTERS[EngineKind.VLLM])

    def whole() -> ServedTarget | None:
        found = reader.read(PrometheusServer(url=url, selector='job="vllm"'), asked.names, asked.gauges, asked.dated)
        return None if isinstance(found, Missing) or found[0].why else found[0]

    served = until("a scrape of everything asked for", whole)
    assert served.at is not None
    target = Target(service="chat", variant="a", replica="chat-0", url=served.url)
    through, direct = Assembler(), Assembler()
    page = page_of(served, through.binder(EngineKind.VLLM))
    asked_for = through.page(page, target, EngineKind.VLLM, served.at, "prometheus")
    scraped = direct.text(pages.pages["/vllm"], target, EngineKind.VLLM, served.at)
    assert isinstance(asked_for, EngineReading)
    assert isinstance(scraped, EngineReading)
    assert asked_for.gauges == scraped.gauges
    assert asked_for.names == scraped.names
    assert asked_for.missing == scraped.missing
    assert {(mark.series, mark.value) for mark in through.book.marks()} == {
        (mark.series, mark.value) for mark in direct.book.marks()
    }


def test_a_real_server_gives_the_largest_queue_of_the_window_when_it_has_gone(
    real_server: tuple[str, Pages], reader: PrometheusReader
) -> None:
    url, pages = real_server
    before = pages.pages["/vllm"]
    line = next(line for line in before.decode().splitlines() if line.startswith(WAITING + "{"))
    seen(reader, url, "vllm")

    def newest_waiting(window: PrometheusReader, wanted: float) -> float | None:
        (target,) = seen(window, url, "vllm")
        value = next((value for name, _, value in target.samples if name == WAITING), None)
        return value if value == wanted else None

    pages.pages["/vllm"] = before.replace(line.encode(), (line.rsplit(" ", 1)[0] + " 41.0").encode())
    until("the queue being seen", lambda: newest_waiting(reader, 41.0))
    # The window is looked at every few seconds, so the peak must last longer than that, as it does between real scrapes.
    lasts_until = time.monotonic() + GAUGE_WINDOW_S / SUBQUERY_STEPS + 1
    until("the peak having lasted", lambda: time.monotonic() > lasts_until or None)
    pages.pages["/vllm"] = before
    short = PrometheusReader(gauge_window_s=1)
    until("the queue being gone", lambda: newest_waiting(short, float(line.rsplit(" ", 1)[1])))
    short.close()
    assert newest_waiting(reader, 41.0) == 41.0


def test_a_target_that_a_real_server_cannot_scrape_is_known_and_missing(
    real_server: tuple[str, Pages], reader: PrometheusReader
) -> None:
    (target,) = seen(reader, real_server[0], "gone")
    assert target.why == "Prometheus cannot scrape it: up is 0"


def test_a_selector_that_matches_nothing_on_a_real_server_says_so(
    real_server: tuple[str, Pages], reader: PrometheusReader
) -> None:
    seen(reader, real_server[0], "vllm")
    found = ask(reader, real_server[0], 'job="nobody"')
    assert isinstance(found, Missing)
    assert 'has no series for {job="nobody"}' in found.why


def test_a_query_that_a_real_server_refuses_says_why(real_server: tuple[str, Pages], reader: PrometheusReader) -> None:
    seen(reader, real_server[0], "vllm")
    found = ask(reader, real_server[0], "job=")
    assert isinstance(found, Missing)
    assert "refused the query" in found.why
    assert "parse error" in found.why


def test_gpus_behind_a_real_server_keep_their_owner_and_not_the_exporters(
    real_server: tuple[str, Pages], reader: PrometheusReader
) -> None:
    (target,) = seen(reader, real_server[0], "dcgm", *dcgm.NAMES)

    def energy(_gpu_id: str, _millijoules: float | Missing) -> EnergyUse:
        return EnergyUse(window_s=0.0, joules=Missing("energy_j", "first reading"))

    assert target.at is not None
    gpus = dcgm.read_gpus(target.samples, at=target.at, source="prometheus", energy=energy)
    assert not isinstance(gpus, Missing)
    owners = sorted(gpu.pod for gpu in gpus)
    assert owners == ["", "runai-reservation-gpu-qa-mig-worker-gpu-1-kvltw"]
