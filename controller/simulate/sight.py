"""What somebody else's autoscaler sees: the metrics that its documentation has it read, as a scrape gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSight:
    """One ready replica at the scrape: vLLM's num_requests_running, num_requests_waiting, kv_cache_usage_perc, and
    DCGM's GPU utilization over the interval, 0..1."""

    running: int
    waiting: int
    kv_cache_ratio: float
    gpu_utilization_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One scrape of one service. Rates and means are over the time since the sight before; None when nothing finished.

    current              replicas ordered and not draining: ready and starting
    replicas             the ready ones
    waiting_at_router    requests that no replica has taken yet
    arrivals_per_s       as the router counts them
    ttft_s, tpot_s       means of what finished
    """

    at_s: float
    current: int
    replicas: tuple[ReplicaSight, ...]
    waiting_at_router: int
    arrivals_per_s: float
    finished_per_s: float
    prompt_tokens_per_s: float
    output_tokens_per_s: float
    mean_prompt_tokens: float | None
    mean_output_tokens: float | None
    ttft_s: float | None
    tpot_s: float | None
    kv_capacity_tokens: int

    @property
    def ready(self) -> int:
        return len(self.replicas)

    @property
    def running(self) -> int:
        return sum(replica.running for replica in self.replicas)

    @property
    def waiting(self) -> int:
        """In the engines' queues and at the router."""
        return self.waiting_at_router + sum(replica.waiting for replica in self.replicas)


class Wish(NamedTuple):
    """What an autoscaler's arithmetic came to: "3.10 requests/s at 1.20 a replica", and the replicas that it asks for,
    before its own limits and waits."""

    words: str
    replicas: int

    def told(self, desired: int) -> str:
        limited = "" if desired == self.replicas else f", its limits and waits make that {desired}"
        return f"{self.words}: wants {self.replicas}{limited}"


def few(value: float) -> str:
    """To three digits or so: reasons are counted by their words."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@runtime_checkable
class Explaining(Protocol):
    """An autoscaler that can say why. It is asked only when its answer changes something."""

    def wish(self) -> Wish | None:
        """Of its last answer; None where no arithmetic led to it."""
        ...


class Opponent(Protocol):
    """An autoscaler that people run today. It keeps its own state; equal sights give equal answers."""

    @property
    def sync_s(self) -> float:
        """It looks and decides this often."""
        ...

    def desired(self, sight: Sight) -> int:
        """How many replicas it wants now, within its own minimum and maximum."""
        ...
