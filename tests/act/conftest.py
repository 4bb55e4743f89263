"""A variant of tiny real engines, and a hand to drive its actuator pass by pass."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from controller.act import probe
from controller.act.actuator import Actuator
from controller.act.process import MARKER, ProcessActuator
from controller.facts.actuators import ProcessOptions
from controller.facts.decisions import Because, Decision, Outcome
from controller.facts.fleet import EngineKind, Gpu, Variant
from controller.facts.missing import Missing
from controller.facts.readings import Phase, ReplicaState

DEADLINE_S = 60.0
START = datetime(2026, 7, 1, tzinfo=UTC)


def variant_of(service: str, options: object, actuator: str) -> Variant:
    return Variant(
        service=service,
        name="l4",
        gpu=Gpu(name="L4", memory_bytes=24e9, bandwidth_bytes_per_s=3e11, peak_flop_per_s={}, tdp_w=72.0),
        gpus_per_replica=1,
        quantization="none",
        kv_cache_dtype="auto",
        engine=EngineKind.VLLM,
        capacity=(),
        actuator=actuator,
        actuator_options=options,
    )


class Hand:
    """One actuator over one variant, with a clock that the test moves."""

    def __init__(self, actuator: Actuator, variant: Variant, targets: Path) -> None:
        self.actuator, self.variant, self.targets_file, self.now = actuator, variant, targets, START

    def look(self, after_s: float = 0.0) -> tuple[ReplicaState, ...]:
        """One call of replicas(), ``after_s`` later."""
        self.now += timedelta(seconds=after_s)
        states = self.actuator.replicas(self.variant, self.now)
        assert not isinstance(states, Missing), states
        return states

    def until(self, wanted: Callable[[tuple[ReplicaState, ...]], bool]) -> tuple[ReplicaState, ...]:
        """Look again and again, at the same time of the clock, until it is as wanted."""
        deadline = time.monotonic() + DEADLINE_S
        while not wanted(states := self.look()):
            assert time.monotonic() < deadline, states
            time.sleep(0.02)
        return states

    def phases(self, *phases: Phase) -> tuple[ReplicaState, ...]:
        return self.until(lambda states: sorted(one.phase for one in states) == sorted(phases))

    def scale(self, current: int, desired: int, *victims: str) -> Outcome:
        decision = Decision(
            id=f"{current}-{desired}",
            at=self.now,
            service=self.variant.service,
            variant=self.variant.name,
            current=current,
            ready=current,
            desired=desired,
            wanted=desired,
            because=Because.DEMAND,
            detail="a test",
            usd_per_hour_before=Missing("price", "a test"),
            usd_per_hour_after=Missing("price", "a test"),
            victims=victims,
        )
        return self.actuator.apply(decision, self.variant, self.now)

    def grown(self, count: int) -> tuple[ReplicaState, ...]:
        self.scale(0, count)
        return self.phases(*[Phase.READY] * count)

    def targets(self) -> dict[str, str]:
        """Phase by replica, as the targets file says."""
        groups = json.loads(self.targets_file.read_text())
        return {group["labels"]["replica"]: group["labels"]["phase"] for group in groups}


class Engines(Hand):
    """Real processes."""

    def __init__(self, folder: Path, service: str, ports: tuple[int, int], command: tuple[str, ...] = ()) -> None:
        self.folder, self.control = folder, folder / "control.json"
        self.tell()
        script = str(Path(__file__).with_name("fake_engine.py"))
        options = ProcessOptions(
            command=command or (sys.executable, script, "{port}", str(self.control)),
            ports=ports,
            state_directory=str(folder / "run"),
            targets_file=str(folder / "run" / "targets.json"),
            stop_timeout_s=5.0,
        )
        super().__init__(ProcessActuator(), variant_of(service, options, "process"), Path(options.targets_file))

    def tell(self, **said: object) -> None:
        """What the engines read at each request, and at their start."""
        self.control.with_suffix(".part").write_text(json.dumps(said))
        self.control.with_suffix(".part").replace(self.control)

    def with_options(self, **changes: object) -> None:
        options = self.variant.actuator_options
        assert isinstance(options, ProcessOptions)
        self.variant = replace(self.variant, actuator_options=replace(options, **changes))

    def restart(self) -> None:
        """A new daemon: it knows what is on disk and what runs, and nothing else."""
        self.actuator = ProcessActuator()

    def processes(self) -> list[psutil.Process]:
        """Every live process that carries this service's marker, workers included."""
        found = []
        for process in psutil.process_iter():
            try:
                marked = process.environ().get(MARKER, "").startswith(f"{self.variant.service}/")
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def leaders(self) -> list[int]:
        return [process.pid for process in self.processes() if os.getsid(process.pid) == process.pid]


def free_ports(count: int) -> tuple[int, int]:
    """``count`` neighbouring ports that nobody uses."""
    for first in range(20000 + os.getpid() * 16 % 8000, 32000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as tried:
                    tried.bind(("", port))
        except OSError:
            continue
        return first, first + count - 1
    raise AssertionError("no free ports")


@pytest.fixture
def patient_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's engine has longer to answer than one pass gives it: many tests look once."""
    monkeypatch.setattr(probe, "TIMEOUT_S", 20.0)


@pytest.fixture
def engines(tmp_path: Path, request: pytest.FixtureRequest, patient_probes: None) -> Iterator[Engines]:
    hand = Engines(tmp_path, f"t{os.getpid()}-{abs(hash(request.node.name)) % 10**6}", free_ports(4))
    yield hand
    deadline = time.monotonic() + DEADLINE_S
    while left := hand.processes():
        assert time.monotonic() < deadline
        for process in left:
            with suppress(psutil.Error):
                process.kill()
            with suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
        time.sleep(0.02)


@pytest.fixture
def make_hand(tmp_path: Path) -> Callable[[Actuator, object, str], Hand]:
    def make(actuator: Actuator, options: object, name: str) -> Hand:
        return Hand(actuator, variant_of("chat", options, name), tmp_path / "run" / "targets.json")

    return make
