"""What the readings mean, at one level: a replica, a variant, a service or the whole fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum

from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.prices import UNKNOWN_RATES, FourRates
from controller.facts.readings import Phase
from controller.facts.unguarded import unguarded

Number = float | Missing


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Everything measured and worked out for one scope over ``window_s`` ending at ``at``.

    Counts of replicas are whole; every other quantity is a number or Missing with its reason. Units end the names.
    ``queue_depth``, ``running`` and rates are totals of the scope; ``kv_cache_ratio`` and other ratios are means
    weighted by what they are shares of. ``mfu_source``/``mbu_source``: "engine" (its own counters) or "modelled".
    """

    at: datetime
    window_s: float
    service: str
    variant: str
    replica: str
    replicas_current: int
    replicas_ready: int
    replicas_read: int
    gpus: int
    prompt_tokens_per_s: Number
    computed_prompt_tokens_per_s: Number
    cached_prompt_tokens_per_s: Number
    output_tokens_per_s: Number
    requests_per_s: Number
    rejections_per_s: Number
    preemptions_per_s: Number
    running: Number
    queue_depth: Number
    queue_depth_capacity: Number
    queue_depth_deferred: Number
    kv_cache_ratio: Number
    kv_capacity_tokens: Number
    prefix_hit_ratio: Number
    acceptance_ratio: Number
    accepted_length_tokens: Number
    ttft_p50_s: Number
    ttft_p95_s: Number
    ttft_p99_s: Number
    tpot_p50_s: Number
    tpot_p95_s: Number
    tpot_p99_s: Number
    e2e_p95_s: Number
    queue_time_p95_s: Number
    mean_prompt_tokens: Number
    mean_output_tokens: Number
    mfu_ratio: Number
    mfu_source: str
    mbu_ratio: Number
    mbu_source: str
    gpu_utilization_ratio: Number
    tensor_active_ratio: Number
    dram_active_ratio: Number
    power_w: Number
    joules_per_token: Number
    usd_per_hour: Number
    usd_per_million_output_tokens: Number
    usd_per_million_tokens: Number
    output_tokens_per_usd: Number
    tokens_per_usd: Number

    def values(self) -> dict[str, float | Missing]:
        """The quantities by name, as alert conditions and the JSON API see them."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("at", "service", "variant", "replica", "mfu_source", "mbu_source")
        }


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLoad:
    """What a pass needs to know of every single replica; ``Estimate`` tells people the rest.

    url        where it is read; "" when discovery does not name it
    ready      it serves
    window_s   0 when the replica did not answer
    unread     why it did not; "" when it did
    """

    service: str
    variant: str
    replica: str
    url: str
    phase: Phase
    ready: bool
    unread: str
    window_s: float
    prompt_tokens_per_s: Number
    output_tokens_per_s: Number
    running: Number
    queue_depth: Number
    kv_cache_ratio: Number
    mfu_ratio: Number
    usd_per_hour: Number


class FindingKind(StrEnum):
    """What a finding is about."""

    LOW_MFU_WITH_QUEUE = "low_mfu_with_queue"
    HIGH_MFU = "high_mfu"
    KV_OVER_PROVISIONED = "kv_over_provisioned"
    KV_EXHAUSTED = "kv_exhausted"
    PERSISTENT_QUEUE = "persistent_queue"
    STUCK = "stuck"
    WRONG_PEAK = "wrong_peak"
    PRICE_UNKNOWN = "price_unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something worth doing, with the numbers that say so."""

    kind: FindingKind
    service: str
    variant: str
    replica: str
    what: str
    do: str
    numbers: Mapping[str, float]


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCost:
    """What one replica costs per hour and how it is bought.

    replica        "": committed capacity that nobody uses; STRANDED: GPUs of rented nodes that no replica uses
    usd_per_hour   effective
    rates          the four costs of the same, for the ledger
    gpus           that are paid for here
    node           whose they are, where discovery says so
    """

    service: str
    variant: str
    replica: str
    capacity_type: CapacityType
    usd_per_hour: float | Missing
    rates: FourRates = UNKNOWN_RATES
    gpus: int = 1
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """One pass's estimates at every level, its findings, and each replica's cost.

    replicas   each is worked out when somebody asks for it
    """

    at: datetime
    fleet: Estimate
    services: Mapping[str, Estimate]
    variants: Mapping[tuple[str, str], Estimate]
    replicas: Mapping[tuple[str, str, str], Estimate]
    costs: tuple[ReplicaCost, ...]
    findings: tuple[Finding, ...]
    loads: Mapping[tuple[str, str, str], ReplicaLoad] = field(default_factory=dict)
