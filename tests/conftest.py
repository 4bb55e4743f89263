"""A fake world for whole passes: one shell that tests can break at every step."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from controller.catalog.load import find_gpu, find_model
from controller.decide.rules import Behaviour, ReplicaRule, ServicePolicy, Targets
from controller.errors import LedgerError
from controller.facts.budgets import Guard
from controller.facts.decisions import Alert, Decision, Memory, Outcome, OutcomeKind, Pause
from controller.facts.fleet import Capacity, CapacityType, EngineKind, Fleet, Mode, Service, Variant
from controller.facts.missing import Missing
from controller.facts.passes import PassRecord, PassResult
from controller.facts.prices import Price
from controller.facts.readings import (
    Counter,
    Distribution,
    EngineReading,
    Gauge,
    Histogram,
    Observation,
    Phase,
    ReplicaState,
    Target,
)
from controller.facts.safety import Stop
from controller.facts.slo import Slo
from controller.ledger import engine
from controller.loop import Plan
from tests.cluster.fixtures import real, real_cluster
from tests.postgres import postgres_folder

__all__ = ["postgres_folder", "real", "real_cluster"]

# How long an example takes says nothing on a loaded machine.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

gc.set_threshold(10_000, 10, 10)
"""New values until Python looks for cycles; its own default is 700. What waits meanwhile is some megabytes."""

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@dataclass
class World:
    """What the shell sees and does. ``queue`` is per replica; None: the engines do not answer. ``lengths``: of requests,
    where the engines tell them. ``roles``: of the first replicas, as their pods say; the others say none."""

    queue: float | None = 0.0
    roles: tuple[str, ...] = ()
    lengths: Mapping[Distribution, Histogram] = field(default_factory=dict)
    replicas: int = 2
    paused: dict[str, Pause] = field(default_factory=dict)
    guarded: dict[str, tuple[Guard, ...]] = field(default_factory=dict)
    stopped: tuple[Stop, ...] = ()
    ledger_down: bool = False
    outcomes_down: bool = False
    actuator_breaks: Exception | None = None
    records: list[PassRecord] = field(default_factory=list)
    results: list[PassResult] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    acted: list[Decision] = field(default_factory=list)
    told: list[Alert] = field(default_factory=list)
    elapsed: float = 0.0

    def observe(self, now: datetime) -> Observation:
        names = [f"r{index}" for index in range(self.replicas)]
        targets = tuple(Target(service="chat", variant="h100", replica=name, url=f"http://{name}") for name in names)
        states = tuple(
            ReplicaState(replica=one.replica, variant="h100", phase=Phase.READY, since=NOON, url=one.url, role=role)
            for one, role in zip_longest(targets, self.roles[: len(targets)], fillvalue="")
        )
        return Observation(
            at=now,
            targets=targets,
            engines={one.url: self._reading(one, now) for one in targets},
            gpus={("chat", "h100"): Missing("gpus", "not asked for")},
            replicas={("chat", "h100"): states},
        )

    def _reading(self, target: Target, now: datetime) -> EngineReading | Missing:
        if self.queue is None:
            return Missing("scrape", f"{target.url} timed out after 5 s")
        return EngineReading(
            target=target,
            at=now,
            window_s=15.0,
            source="scrape",
            engine=EngineKind.VLLM,
            gauges={Gauge.RUNNING: 4.0, Gauge.QUEUE_DEPTH: self.queue, Gauge.KV_CACHE_RATIO: 0.5},
            counters={Counter.OUTPUT_TOKENS: 1500.0, Counter.PROMPT_TOKENS: 3000.0, Counter.REQUESTS: 15.0},
            histograms=self.lengths,
        )

    def prices(self, now: datetime) -> dict:
        price = Price(usd_per_gpu_hour=2.0, capacity_type=CapacityType.ON_DEMAND, source="test")
        return {("chat", "h100", CapacityType.ON_DEMAND): price}

    def pauses(self) -> dict[str, Pause]:
        return self.paused

    def stops(self, now: datetime) -> tuple[Stop, ...]:
        del now
        return self.stopped

    def guards(self) -> dict[str, tuple[Guard, ...]]:
        return self.guarded

    def marks(self) -> tuple:
        return ()

    def record_intent(self, record: PassRecord) -> None:
        if self.ledger_down:
            raise LedgerError("the ledger cannot be written: disk full")
        assert not self.acted or self.acted[-1].at < record.at, "acted before recording"
        self.records.append(record)

    def act(self, decision: Decision, now: datetime) -> Outcome:
        assert self.records[-1].at == now, "acted without a recorded intent"
        if self.actuator_breaks is not None:
            raise self.actuator_breaks
        self.acted.append(decision)
        self.replicas = decision.desired
        return Outcome(
            decision_id=decision.id, service="chat", variant="h100", kind=OutcomeKind.DONE, detail="done", at=now
        )

    def record_outcomes(self, result: PassResult, memory: Memory) -> None:
        if self.outcomes_down:
            raise LedgerError("the ledger cannot be written: disk full")
        self.results.append(result)
        self.memories.append(memory)

    def notify(self, alerts: Sequence[Alert]) -> None:
        self.told.extend(alerts)

    def elapsed_s(self) -> float:
        self.elapsed += 0.25
        return self.elapsed


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def plan() -> Plan:
    gpu, model = find_gpu("H100-SXM"), find_model("llama-3.1-8b")
    assert gpu is not None
    assert model is not None
    variant = Variant(
        service="chat",
        name="h100",
        gpu=gpu,
        gpus_per_replica=1,
        quantization="bf16",
        kv_cache_dtype="auto",
        engine=EngineKind.VLLM,
        capacity=(Capacity(type=CapacityType.ON_DEMAND),),
        actuator="fake",
    )
    fleet = Fleet(services={"chat": Service(name="chat", model=model, variants={"h100": variant})})
    policy = ServicePolicy(
        service="chat",
        source="chat.yaml",
        slo=Slo(),
        replicas=ReplicaRule(
            min_replicas=1,
            max_replicas=8,
            targets=Targets(queue_depth=10.0),
            scale_up=Behaviour(stabilization_s=0),
            scale_down=Behaviour(stabilization_s=30),
        ),
    )
    return Plan(fleet=fleet, policies={"chat": policy}, mode=Mode.ACT, interval_s=15.0, rate_window_s=60.0)


@pytest.fixture
def in_mode():
    return lambda plan, mode: replace(plan, mode=mode)


@pytest.fixture
def after():
    return lambda seconds: NOON + timedelta(seconds=seconds)


REPOSITORY = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stories of several processes first: they mostly wait, and at the end nobody should wait for them alone."""
    items.sort(key=lambda item: item.path.parent not in (REPOSITORY / "tests", REPOSITORY / "tests" / "acceptance"))


def pytest_collection_finish() -> None:
    """Thousands of tests and all that they import stay to the end: no search for cycles looks at them again."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def hasty_ledgers() -> Iterator[None]:
    """SQLite in this process does not wait for the disk, as nobody needs these ledgers after a power cut; PostgreSQL may
    take as long to answer as a busy machine does."""
    pragmas = tuple(one.replace("synchronous = FULL", "synchronous = OFF") for one in engine.WRITER_PRAGMAS)
    assert pragmas != engine.WRITER_PRAGMAS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "WRITER_PRAGMAS", pragmas)
        patch.setattr(engine, "PATIENCE", {**engine.PATIENCE, "connect_timeout": 60})
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """The path of a tool that not everybody has: its test is skipped, or fails where PENNYWEIGHT_REQUIRE_TOOLS is set."""

    def found(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            message = f"{name} is not installed; CI has it (.ci/run installs it)"
            if os.environ.get("PENNYWEIGHT_REQUIRE_TOOLS"):
                pytest.fail(message)
            pytest.skip(message)
        return path

    return found
