"""Discovery finds targets as Prometheus does, and never takes an unreadable list for an empty fleet."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controller.facts.fleet import CapacityType, Discovery, EngineKind, FileSd, Gpu, HttpSd, StaticTargets, Variant
from controller.observe.discovery import Discoverer, parse_groups, static_address

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GPU = Gpu(name="T4", memory_bytes=16e9, bandwidth_bytes_per_s=3e11, peak_flop_per_s={"bf16": 6.5e13}, tdp_w=70.0)


def variant(*discovery: Discovery) -> Variant:
    return Variant(
        service="chat",
        name="t4",
        gpu=GPU,
        gpus_per_replica=1,
        quantization="bf16",
        kv_cache_dtype="bf16",
        engine=EngineKind.VLLM,
        capacity=(),
        discovery=discovery,
        gpu_discovery=discovery,
    )


def groups(*targets: str, **labels: str) -> list[dict[str, object]]:
    return [{"targets": list(targets), "labels": labels}]


@pytest.fixture
def discoverer() -> Discoverer:
    return Discoverer(timeout_s=60.0)


def urls(found: tuple[object, ...]) -> list[str]:
    return [target.url for target in found]


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://10.0.0.5:9400", "http://10.0.0.5:9400"),
        ("http://10.0.0.5:9400/", "http://10.0.0.5:9400"),
        ("http://10.0.0.5:9400/metrics", "http://10.0.0.5:9400"),
        ("10.0.0.5:9400", "http://10.0.0.5:9400"),
        ("https://host/engine/stats", "https://host/engine/stats"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_an_address_in_the_fleet_file_becomes_one_url(written: str, url: str) -> None:
    assert static_address(written).url == url


def test_labels_say_where_metrics_are_and_who_the_replica_is(discoverer: Discoverer, tmp_path: Path) -> None:
    labels = {
        "__scheme__": "https",
        "__metrics_path__": "/stats",
        "pod": "chat-0",
        "capacity_type": "spot",
        "phase": "ready",
    }
    (tmp_path / "a.json").write_text(json.dumps([{"targets": ["10.0.0.1:8000"], "labels": labels}]))
    (target,), problems = discoverer.targets(variant(FileSd(patterns=(f"{tmp_path}/a.json",))), NOON)
    assert problems == ()
    assert (target.url, target.replica) == ("https://10.0.0.1:8000/stats", "chat-0")
    assert target.capacity_type is CapacityType.SPOT
    assert dict(target.labels) == {"pod": "chat-0", "capacity_type": "spot", "phase": "ready"}


@pytest.mark.parametrize(
    ("labels", "replica"),
    [({"replica": "r1", "pod": "p1"}, "r1"), ({"pod": "p1"}, "p1"), ({}, "h:1"), ({"replica": ""}, "h:1")],
)
def test_a_replica_is_named_by_label_or_address(labels: dict[str, str], replica: str) -> None:
    (address,) = parse_groups([{"targets": ["h:1"], "labels": labels}])
    assert address.replica == replica


def test_a_password_in_an_address_never_becomes_a_replica_name() -> None:
    assert static_address("http://user:secret@h:1").replica == "h:1"


def test_files_in_json_and_yaml_match_a_pattern_and_others_do_not(discoverer: Discoverer, tmp_path: Path) -> None:
    (tmp_path / "chat-1.json").write_text(json.dumps(groups("h:1")))
    (tmp_path / "chat-2.yaml").write_text("- targets: ['h:2']\n  labels: {rack: 7}\n")
    (tmp_path / "chat-3.yml").write_text("- targets: ['h:3', 'h:1']\n")
    (tmp_path / "chat-4.json.tmp").write_text("half")
    found, problems = discoverer.targets(variant(FileSd(patterns=(f"{tmp_path}/chat-*",))), NOON)
    assert problems == ()
    assert urls(found) == ["http://h:1", "http://h:2", "http://h:3"]
    assert found[1].labels == {"rack": "7"}


def test_a_changed_file_is_read_again(discoverer: Discoverer, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    chat = variant(FileSd(patterns=(str(file),)))
    file.write_text(json.dumps(groups("h:1")))
    assert urls(discoverer.targets(chat, NOON)[0]) == ["http://h:1"]
    replacement = tmp_path / "new"
    replacement.write_text(json.dumps(groups("h:2")))
    os.utime(replacement, ns=(file.stat().st_mtime_ns, file.stat().st_mtime_ns))
    replacement.rename(file)  # same size, same time: only the inode tells
    assert urls(discoverer.targets(chat, NOON)[0]) == ["http://h:2"]


@pytest.mark.parametrize(
    ("suffix", "text", "why"),
    [
        ("json", "[{", "not a valid target list: Expecting property name"),
        ("yaml", "a: [", "not a valid target list: while parsing"),
        ("json", "{}", "expected a list of target groups, found dict"),
        ("json", "[3]", "group 1: expected targets and labels, found int"),
        ("json", '[{"targets": "h:1"}]', "group 1: targets: expected a list, found str"),
        ("json", '[{"targets": [8000]}]', "group 1: expected a target as host:port, found 8000"),
        ("json", '[{"targets": ["http://h:1"]}]', "group 1: expected a target as host:port, found 'http://h:1'"),
        ("json", '[{"targets": [], "labels": {"a": []}}]', "group 1: label a: expected text, found list"),
        ("json", "\xff", "cannot be read: "),
    ],
)
def test_a_file_gone_wrong_keeps_its_last_good_list_until_mended(
    discoverer: Discoverer, tmp_path: Path, suffix: str, text: str, why: str
) -> None:
    file = tmp_path / f"a.{suffix}"
    chat = variant(FileSd(patterns=(str(file),)))
    file.write_text(json.dumps(groups("h:1")))
    discoverer.targets(chat, NOON)
    file.write_bytes(text.encode("latin-1"))
    for _ in range(2):  # reported on every pass, read or not
        found, (problem,) = discoverer.targets(chat, NOON)
        assert urls(found) == ["http://h:1"]
        assert problem.what == "targets of chat/t4"
        assert str(file) in problem.why
        assert why in problem.why
        assert "its last good list (1 targets) stays in use" in problem.why
    file.write_text(json.dumps(groups("h:1", "h:2")))
    assert discoverer.targets(chat, NOON)[1] == ()


def test_a_file_that_never_was_good_says_so(discoverer: Discoverer, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[{")
    found, (problem,) = discoverer.targets(variant(FileSd(patterns=(f"{tmp_path}/*.json",))), NOON)
    assert found == ()
    assert "it named none yet" in problem.why


def test_a_pattern_that_matches_nothing_is_a_problem_and_a_file_that_goes_is_told(
    discoverer: Discoverer, tmp_path: Path
) -> None:
    chat = variant(FileSd(patterns=(f"{tmp_path}/*.json",)))
    assert "no such file" in discoverer.targets(chat, NOON)[1][0].why
    (tmp_path / "a.json").write_text(json.dumps(groups("h:1", "h:2")))
    (tmp_path / "b.json").write_text(json.dumps(groups("h:3")))
    assert len(discoverer.targets(chat, NOON)[0]) == 3
    (tmp_path / "a.json").unlink()
    found, (problem,) = discoverer.targets(chat, NOON)
    assert urls(found) == ["http://h:3"]
    assert "the file is gone, and the 2 targets that it listed with it" in problem.why


def test_an_empty_list_is_a_problem_only_where_targets_used_to_be(discoverer: Discoverer, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    chat = variant(FileSd(patterns=(str(file),)))
    file.write_text("[]")
    assert discoverer.targets(chat, NOON) == ((), ())
    file.write_text(json.dumps(groups("h:1", "h:2")))
    discoverer.targets(chat, NOON)
    file.write_text("[ ]")
    found, (problem,) = discoverer.targets(chat, NOON)
    assert found == ()
    assert "lists no targets now; it listed 2 before" in problem.why


def test_two_addresses_with_one_replica_name_stay_two_replicas(discoverer: Discoverer, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(groups("h:1", "h:2", replica="r")))
    found, (problem,) = discoverer.targets(variant(FileSd(patterns=(f"{tmp_path}/a.json",))), NOON)
    assert [target.replica for target in found] == ["r", "h:2"]
    assert "another address is already replica r" in problem.why


def test_gpu_exporters_come_from_their_own_sources(discoverer: Discoverer) -> None:
    found, problems = discoverer.gpu_targets(variant(StaticTargets(urls=("http://h:9400",))), NOON)
    assert (urls(found), problems) == (["http://h:9400"], ())


class SdServer(ThreadingHTTPServer):
    """Answers with what the test sets; ``hits`` counts requests; ``hold`` keeps it from answering."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SdHandler)
        self.status, self.content_type, self.body, self.hits = 200, "application/json", b"[]", 0
        self.free = threading.Event()
        self.free.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/sd"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has given up is no news."""


class SdHandler(BaseHTTPRequestHandler):
    server: SdServer

    def do_GET(self) -> None:
        self.server.hits += 1
        self.server.free.wait(10)
        self.send_response(self.server.status)
        self.send_header("Content-Type", self.server.content_type)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def sd() -> Iterator[SdServer]:
    server = SdServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.free.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_http_list_is_asked_again_only_after_its_refresh_interval(discoverer: Discoverer, sd: SdServer) -> None:
    chat = variant(HttpSd(url=sd.url, refresh_s=60.0))
    sd.body = json.dumps(groups("h:1")).encode()
    assert urls(discoverer.targets(chat, NOON)[0]) == ["http://h:1"]
    sd.body, sd.content_type = json.dumps(groups("h:2")).encode(), "application/json; charset=utf-8"
    assert urls(discoverer.targets(chat, NOON + timedelta(seconds=59))[0]) == ["http://h:1"]
    assert urls(discoverer.targets(chat, NOON + timedelta(seconds=60))[0]) == ["http://h:2"]
    assert sd.hits == 2


@pytest.mark.parametrize(
    ("status", "content_type", "body", "why"),
    [
        (503, "application/json", b"[]", "HTTP status 503 where 200 was expected"),
        (200, "text/html", b"[]", "content type text/html where application/json was expected"),
        (200, "application/json", b"[{", "not a valid target list: Expecting"),
        (200, "application/json", b'{"targets": []}', "expected a list of target groups, found dict"),
    ],
)
def test_a_bad_http_answer_keeps_the_last_good_list(
    discoverer: Discoverer, sd: SdServer, status: int, content_type: str, body: bytes, why: str
) -> None:
    chat = variant(HttpSd(url=sd.url, refresh_s=10.0))
    sd.body = json.dumps(groups("h:1")).encode()
    discoverer.targets(chat, NOON)
    sd.status, sd.content_type, sd.body = status, content_type, body
    found, (problem,) = discoverer.targets(chat, NOON + timedelta(seconds=10))
    assert urls(found) == ["http://h:1"]
    assert why in problem.why
    assert "its last good list (1 targets) stays in use" in problem.why


def test_an_http_source_that_hangs_or_is_not_there_is_given_up_in_time(sd: SdServer) -> None:
    sd.free.clear()
    discoverer = Discoverer(timeout_s=0.2)
    hanging = variant(HttpSd(url=sd.url))
    assert "no complete answer within 0.2 s" in discoverer.targets(hanging, NOON)[1][0].why
    absent = variant(HttpSd(url="http://user:secret@127.0.0.1:1/sd?token=hush"))
    (problem,) = discoverer.targets(absent, NOON)[1]
    assert "http://127.0.0.1:1/sd: cannot be reached" in problem.why
    assert "secret" not in problem.why
    assert "hush" not in problem.why


def test_an_http_source_without_a_list_yet_is_asked_on_every_pass(discoverer: Discoverer, sd: SdServer) -> None:
    chat = variant(HttpSd(url=sd.url, refresh_s=60.0))
    sd.status = 500
    assert discoverer.targets(chat, NOON)[0] == ()
    sd.status, sd.body = 200, json.dumps(groups("h:1")).encode()
    assert urls(discoverer.targets(chat, NOON + timedelta(seconds=15))[0]) == ["http://h:1"]
