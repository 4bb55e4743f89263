"""A fleet small enough for a test: engines that serve a recorded vLLM page, and the two files that a user would write."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.answering import Answering

PAGE = (Path(__file__).parent / "observe" / "recorded" / "vllm-0.32.0-v1.prom").read_text(encoding="utf-8")

POLICY = """\
service: chat
scaling:
  min_replicas: 1
  max_replicas: 8
  targets: {queue_depth: 10}
  scale_up:   {stabilization: 0s}
  scale_down: {stabilization: 60s, spare: 0s}
alerts:
  - {name: long-queue, when: "queue_depth > 5.0", for: 60s, severity: warning, to: [log]}
"""

FLEET = """\
mode: %s
interval: %s
rate_window: 60s
ledger: sqlite:///ledger/pennyweight.db
policies: [policies/*.yaml]
serve: {port: 0}
services:
  chat:
    model: llama-3.1-8b
    variants:
      h100:
        gpu: H100-SXM
        scrape: {static: [%s]}
        actuator: {%s: {}}
        capacity:
          - {type: on_demand, usd_per_gpu_hour: 2.00}
"""


class Engine(Answering):
    """One vLLM: ``waiting`` requests wait, and each look finds ten more output tokens."""

    def __init__(self) -> None:
        self.waiting, self.tokens, self.looks = 0.0, 50.0, 0
        self.hold = threading.Event()  # cleared, the engine answers nobody
        self.hold.set()
        super().__init__()

    def answer(self, path: str) -> str:
        del path  # there is one page only
        self.hold.wait(20)
        self.looks += 1
        self.tokens += 10.0
        page = PAGE
        for series, value in (
            (r"num_requests_waiting\{.*", self.waiting),
            (r"num_requests_waiting_by_reason\{.*capacity.*", self.waiting),
            (r"generation_tokens_total\{.*", self.tokens),
        ):
            page, found = re.subn(rf"(?m)^(vllm:{series}\}}) \S+$", rf"\g<1> {value}", page)
            assert found, f"the recorded page has no {series}"
        return page


@dataclass
class SmallFleet:
    """Two engines and their files in ``folder``."""

    folder: Path
    engines: list[Engine] = field(default_factory=lambda: [Engine(), Engine()])

    @property
    def file(self) -> Path:
        return self.folder / "fleet.yaml"

    @property
    def policy(self) -> Path:
        return self.folder / "policies" / "chat.yaml"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger" / "pennyweight.db"

    def write(self, *, mode: str = "advise", interval: str = "15s", actuator: str = "dry_run") -> None:
        """Both files, new."""
        self.policy.parent.mkdir(exist_ok=True)
        self.ledger.parent.mkdir(exist_ok=True)
        urls = ", ".join(f'"{engine.url}"' for engine in self.engines)
        self.file.write_text(FLEET % (mode, interval, urls, actuator), encoding="utf-8")
        self.policy.write_text(POLICY, encoding="utf-8")

    def queue(self, waiting: float) -> None:
        for engine in self.engines:
            engine.waiting = waiting

    def close(self) -> None:
        for engine in self.engines:
            engine.close()


def until(condition: Callable[[], object], what: str, deadline_s: float = 60.0, every_s: float = 0.02) -> None:
    """Wait for ``condition``; the test fails when it does not come."""
    ends = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < ends, f"waited {deadline_s:g} s in vain for: {what}"
        time.sleep(every_s)


def free_ports(count: int, *, first: int) -> str:
    """So many ports in a row that nobody listens on, as a fleet file names them; each process looks from elsewhere on."""
    start = first + os.getpid() * 16 % 4_000  # workers of one run have pids that follow each other
    for low in range(start, start + 8_000, count):
        with suppress(OSError):
            for port in range(low, low + count):
                with socket.socket() as probe:
                    probe.bind(("", port))
            return f"{low}-{low + count - 1}"
    raise AssertionError("no free ports")


def free_port(*, first: int = 23_000) -> int:
    """One that nobody listens on, below those that the kernel hands out: it is free still when a slow program binds it."""
    return int(free_ports(1, first=first).split("-")[0])
