"""What was read: per replica and per GPU, over the window since the reading before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from math import inf
from typing import TypeVar

from controller.facts.changes import Change
from controller.facts.fleet import CapacityType, EngineKind
from controller.facts.interruptions import Notice, Stuck
from controller.facts.missing import Missing
from controller.facts.unguarded import unguarded

T = TypeVar("T")

CAPACITY_TYPES = {one.value: one for one in CapacityType}


class Gauge(StrEnum):
    """Levels at the moment of the reading, per replica (over all engine ranks)."""

    RUNNING = "running"
    QUEUE_DEPTH = "queue_depth"
    QUEUE_DEPTH_CAPACITY = "queue_depth_capacity"  # waiting for capacity
    QUEUE_DEPTH_DEFERRED = "queue_depth_deferred"  # waiting for something more replicas do not give
    KV_CACHE_RATIO = "kv_cache_ratio"
    KV_CAPACITY_TOKENS = "kv_capacity_tokens"
    ACCEPTANCE_RATIO = "acceptance_ratio"  # engines that export the ratio only (SGLang)
    ACCEPTED_LENGTH_TOKENS = "accepted_length_tokens"  # likewise
    START_TIME_S = "start_time_s"  # process start, seconds since 1970


class Counter(StrEnum):
    """Increases over the window, per replica."""

    PROMPT_TOKENS = "prompt_tokens"
    CACHED_PROMPT_TOKENS = "cached_prompt_tokens"
    OUTPUT_TOKENS = "output_tokens"
    REQUESTS = "requests"
    REJECTIONS = "rejections"
    PREEMPTIONS = "preemptions"
    PREFIX_QUERIES_TOKENS = "prefix_queries_tokens"
    PREFIX_HITS_TOKENS = "prefix_hits_tokens"
    DRAFTS = "drafts"
    DRAFT_TOKENS = "draft_tokens"
    ACCEPTED_TOKENS = "accepted_tokens"
    ENGINE_STEPS = "engine_steps"
    FLOP_PER_GPU = "flop_per_gpu"
    READ_BYTES_PER_GPU = "read_bytes_per_gpu"
    WRITE_BYTES_PER_GPU = "write_bytes_per_gpu"


class Distribution(StrEnum):
    """Histograms of what finished within the window, per replica."""

    TTFT_S = "ttft_s"
    TPOT_S = "tpot_s"
    REQUEST_TPOT_S = "request_tpot_s"  # the mean of each request, which is what an SLO is judged by
    E2E_S = "e2e_s"
    QUEUE_TIME_S = "queue_time_s"
    PREFILL_TIME_S = "prefill_time_s"  # of each request, by its own clock: from its first schedule to its first token
    DECODE_TIME_S = "decode_time_s"  # and from there to its last
    PROMPT_LENGTH_TOKENS = "prompt_length_tokens"
    OUTPUT_LENGTH_TOKENS = "output_length_tokens"


Signal = Gauge | Counter | Distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Observations by bucket: ``counts[i]`` fell at or below ``bounds[i]`` and above ``bounds[i-1]``.

    ``bounds`` ascend and end with infinity; ``counts`` are not cumulative; ``total`` is the sum of the observed values.
    """

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    total: float

    def __post_init__(self) -> None:
        if len(self.bounds) != len(self.counts) or not self.bounds or self.bounds[-1] != inf:
            raise ValueError("a histogram needs one count a bound, the last bound being infinity")

    @property
    def count(self) -> float:
        return sum(self.counts)


class Phase(StrEnum):
    """Where a replica is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a replica lies on, as its cluster says.

    type    the provider's instance type; "" where the cluster does not know it
    offer   "provider/region/instance_type"; "" while one of them is not known
    """

    type: str
    offer: str = ""

    def is_sold_as(self, offer: str) -> bool:
        """Whether ``offer`` is this machine."""
        return self.offer == offer if self.offer else bool(self.type) and self.type == offer.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One address to read a replica at. ``url`` has no path unless metrics are elsewhere than /metrics.

    labels   from service discovery; ``capacity_type``, ``phase``, ``node``, ``instance_type`` and ``offer`` are
             understood
    """

    service: str
    variant: str
    replica: str
    url: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def capacity_type(self) -> CapacityType | None:
        return CAPACITY_TYPES.get(self.labels.get("capacity_type", ""))

    @property
    def machine(self) -> Machine | None:
        """None where discovery says nothing of machines."""
        if "instance_type" not in self.labels:
            return None
        return Machine(type=self.labels["instance_type"], offer=self.labels.get("offer", ""))


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReading:
    """What one replica's engine said at ``at`` about the ``window_s`` before it.

    window_s   seconds since the reading before it; 0 for the first, when every counter and histogram is missing
    source     "scrape" or "prometheus"
    names      which metric name matched, by signal
    A signal is in exactly one of gauges/counters/histograms, or in ``missing`` with its own reason.
    """

    target: Target
    at: datetime
    window_s: float
    source: str
    engine: EngineKind
    gauges: Mapping[Gauge, float] = field(default_factory=dict)
    counters: Mapping[Counter, float] = field(default_factory=dict)
    histograms: Mapping[Distribution, Histogram] = field(default_factory=dict)
    missing: Mapping[Signal, Missing] = field(default_factory=dict)
    names: Mapping[Signal, str] = field(default_factory=dict)
    rejected_lines: int = 0

    def gauge(self, signal: Gauge) -> float | Missing:
        return self.gauges[signal] if signal in self.gauges else self._why(signal)

    def counter(self, signal: Counter) -> float | Missing:
        return self.counters[signal] if signal in self.counters else self._why(signal)

    def histogram(self, signal: Distribution) -> Histogram | Missing:
        return self.histograms[signal] if signal in self.histograms else self._why(signal)

    def _why(self, signal: Signal) -> Missing:
        return self.missing.get(signal) or _not_exported(self.engine, signal)


@cache
def _not_exported(engine: EngineKind, signal: Signal) -> Missing:
    """Made once: every engine lacks something, and every pass asks each of them for it."""
    return Missing(signal.value, f"{engine} does not export it")


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterMark:
    """How far one counter of one target has been counted, so that a restart of the daemon loses and doubles nothing.

    series       the signal and the engine rank, e.g. "output_tokens/0"
    started_s    the series' or process' start, seconds since 1970; None when the engine does not say
    value        the counter's raw value at ``at``
    """

    target_url: str
    series: str
    started_s: float | None
    value: float
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """What one GPU or MIG slice said. Power and energy of a MIG slice are Missing: they are the whole board's.

    gpu_id   UUID, or "UUID/GPU_I_ID" of a MIG slice
    pod      Kubernetes pod that owns it, "" when unassigned; host from the exporter
    """

    gpu_id: str
    model_name: str
    host: str
    at: datetime
    window_s: float
    source: str
    pod: str = ""
    namespace: str = ""
    mig_profile: str = ""
    utilization_ratio: float | Missing
    tensor_active_ratio: float | Missing
    dram_active_ratio: float | Missing
    memory_used_bytes: float | Missing
    memory_free_bytes: float | Missing
    power_w: float | Missing
    energy_j: float | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """What the actuator knows of one replica.

    unused_until    nobody had been sent to it by then; None when that is not known
    capacity_type   how its machine is bought; None when that is not known
    node            the machine it lies on, as discovery's label ``node`` names it; "" when that is not known, or there
                    is none yet
    instance        its provider's id of that machine, where it has another name: notices name it by either
    domain          what may fail at once with others, e.g. "us-east-1a/p5.48xlarge"; "" when that is not known
    stuck           why its start gets no further; None when it does, or nobody says
    notice          what was announced about its machine
    role            what of a request it does, as llm-d names it, such as "prefill" or "decode"; "" when nobody says
    """

    replica: str
    variant: str
    phase: Phase
    since: datetime
    url: str = ""
    detail: str = ""
    unused_until: datetime | None = None
    capacity_type: CapacityType | None = None
    node: str = ""
    instance: str = ""
    domain: str = ""
    stuck: Stuck | None = None
    notice: Notice | None = None
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many replicas of a variant its platform's owner allows: his limits, which no policy and no fleet file knows.

    least, most   replicas
    free          places left now: who is on its way out has one until it is gone
    said          by whom, with the numbers
    """

    least: int
    most: int
    free: int
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All that one pass saw.

    targets    every replica that discovery names
    engines    by target url: its reading, or why there is none
    gpus       by (service, variant): readings of the GPUs behind it, or why there are none
    heard_ago_s   seconds since whoever announces that machines end was heard, by source
    gateway    by service, where one is named: requests that wait outside the engines
    replicas   by (service, variant): what its actuator knows; Missing when it cannot (then the targets are the count)
    changes    by (service, variant): what its engines are to be started with instead, where they are to
    bounds     by (service, variant): what its platform's owner allows, where its actuator knows of such limits
    set_ahead  by so much the clock was, since the pass before
    """

    at: datetime
    targets: tuple[Target, ...]
    engines: Mapping[str, EngineReading | Missing]
    gpus: Mapping[tuple[str, str], tuple[GpuReading, ...] | Missing]
    replicas: Mapping[tuple[str, str], tuple[ReplicaState, ...] | Missing]
    discovery_problems: tuple[Missing, ...] = ()
    gateway: Mapping[str, float | Missing] = field(default_factory=dict)
    heard_ago_s: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[tuple[str, str], Change] = field(default_factory=dict)
    bounds: Mapping[tuple[str, str], Bounds] = field(default_factory=dict)
    set_ahead: timedelta = timedelta(0)


def by_service(observation: Observation, services: Iterable[str]) -> dict[str, Observation]:
    """What concerns each of ``services``, as an observation of its own: whoever looks at them one after the other goes
    through everything once, not once for each."""
    targets: dict[str, list[Target]] = {name: [] for name in services}
    for target in observation.targets:
        targets.setdefault(target.service, []).append(target)
    gpus, replicas = _of_service(observation.gpus), _of_service(observation.replicas)
    changes, bounds = _of_service(observation.changes), _of_service(observation.bounds)
    engines, gateway = observation.engines, observation.gateway
    return {
        name: replace(
            observation,
            targets=tuple(some),
            engines={target.url: engines[target.url] for target in some if target.url in engines},
            gpus=gpus.get(name, {}),
            replicas=replicas.get(name, {}),
            changes=changes.get(name, {}),
            bounds=bounds.get(name, {}),
            gateway={name: gateway[name]} if name in gateway else {},
        )
        for name, some in targets.items()
    }


def _of_service(found: Mapping[tuple[str, str], T]) -> dict[str, dict[tuple[str, str], T]]:
    parts: dict[str, dict[tuple[str, str], T]] = {}
    for key, value in found.items():
        parts.setdefault(key[0], {})[key] = value
    return parts
