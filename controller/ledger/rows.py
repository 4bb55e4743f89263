"""What the read side hands out: frozen values with units. None in a measured field: it could not be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from controller.facts.decisions import AlertPhase
from controller.facts.demand import ForecastAccuracy
from controller.facts.fleet import CapacityType, Mode
from controller.facts.missing import Missing
from controller.facts.performance import ReplicaCapacity


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMinute:
    """One minute of a service (``variant`` ""), a variant, or the fleet (``service`` "" too).

    Latencies, queue depth and KV-cache use are the minute's highest, everything else its last known value.
    ``replicas_desired`` is None where nothing was decided.
    """

    minute: datetime
    service: str
    variant: str
    replicas_current: int
    replicas_ready: int
    replicas_desired: int | None
    gpus: int
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    ttft_p99_s: float | None
    tpot_p50_s: float | None
    tpot_p95_s: float | None
    tpot_p99_s: float | None
    e2e_p95_s: float | None
    queue_time_p95_s: float | None
    queue_depth: float | None
    running: float | None
    kv_cache_ratio: float | None
    prefix_hit_ratio: float | None
    acceptance_ratio: float | None
    mfu_ratio: float | None
    mbu_ratio: float | None
    gpu_utilization_ratio: float | None
    power_w: float | None
    joules_per_token: float | None
    requests_per_s: float | None
    rejections_per_s: float | None
    prompt_tokens_per_s: float | None
    output_tokens_per_s: float | None
    usd_per_hour: float | None
    usd_per_million_output_tokens: float | None
    usd_per_million_tokens: float | None
    output_tokens_per_usd: float | None
    tokens_per_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaMinute:
    """One replica's minute; ``replica`` "" is committed capacity that nobody used. Levels are time-weighted means.

    covered_s    seconds of the minute that passes looked back on: the phases' sum
    missing_s    of these, seconds in which the engine could not be read, and the last reason
    cost_nanousd effective, of the priced seconds; ``unpriced_s`` counts the others. None of another cost: not known
    prefill_s    seconds that its requests spent in that phase, as the engine counts them; ``decode_s`` too
    """

    minute: datetime
    service: str
    variant: str
    replica: str
    capacity_type: CapacityType
    gpus: int
    ready_s: float
    starting_s: float
    draining_s: float
    failed_s: float
    covered_s: float
    missing_s: float
    missing_why: str
    prompt_tokens: float | None
    cached_prompt_tokens: float | None
    output_tokens: float | None
    requests: float | None
    rejections: float | None
    preemptions: float | None
    running: float | None
    queue_depth: float | None
    kv_cache_ratio: float | None
    mfu_ratio: float | None
    energy_j: float | None
    cost_nanousd: int | None
    unpriced_s: float
    list_nanousd: int | None = None
    contracted_nanousd: int | None = None
    billed_nanousd: int | None = None
    node: str = ""
    prefill_s: float | None = None
    decode_s: float | None = None
    engine_steps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Money and what it bought, summed by what was asked for; a key that was not asked for is None.

    covered_s, gpu_s  replica-seconds, and GPU-seconds
    """

    service: str | None = None
    variant: str | None = None
    replica: str | None = None
    capacity_type: str | None = None
    minute: datetime | None = None
    cost_nanousd: int | None
    unpriced_s: float
    covered_s: float
    ready_s: float
    gpu_s: float
    prompt_tokens: float | None
    cached_prompt_tokens: float | None
    output_tokens: float | None
    requests: float | None
    energy_j: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPass:
    """One pass. ``duration_s`` is None when its outcomes were never recorded: the daemon died, or is at it.

    fleet   whose daemon made it; "" where a ledger has one fleet
    """

    at: datetime
    mode: Mode
    services: int
    replicas: int
    duration_s: float | None
    problems: tuple[str, ...]
    fleet: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """A message that people were sent: an alert fired or was resolved. ``do`` is what it told them to do."""

    at: datetime
    service: str
    name: str
    phase: AlertPhase
    severity: str
    condition: str
    summary: str
    do: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetNow:
    """The last pass, and the minute it fell into. ``fleet`` is None when that minute was already forgotten.

    passes   the last one of each fleet on the ledger, the newest first; ``fleet`` is their total
    owners   by service, the fleet that it belongs to
    """

    last_pass: RecordedPass
    fleet: ServiceMinute | None
    services: tuple[ServiceMinute, ...]
    variants: tuple[ServiceMinute, ...]
    passes: tuple[RecordedPass, ...]
    owners: Mapping[str, str]

    def pass_of(self, service: str) -> RecordedPass:
        """The last one that decided about it."""
        mine = [one for one in self.passes if one.fleet == self.owners.get(service)]
        return mine[0] if mine else self.last_pass


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandMinute:
    """What arrived at a service in one minute. ``requests`` None: nobody knows, and ``unknown_why`` says why; 0: none.

    watched_s    seconds of the minute that passes looked back on: the first and the last minute are rarely whole
    requests     finished; ``rejections`` those refused at the door, None where the engine does not say
    mean_…       tokens per finished request; None when there was none
    """

    minute: datetime
    watched_s: float
    requests: float | None = None
    rejections: float | None = None
    mean_prompt_tokens: float | None = None
    mean_cached_prompt_tokens: float | None = None
    mean_output_tokens: float | None = None
    unknown_why: str = ""

    @property
    def arrivals(self) -> float | None:
        """Requests that were finished or refused."""
        return None if self.requests is None else self.requests + (self.rejections or 0.0)

    @property
    def arrivals_per_s(self) -> float | None:
        """Over the watched part of the minute."""
        return None if self.arrivals is None else self.arrivals / self.watched_s


@dataclass(frozen=True, slots=True, kw_only=True)
class HourlyAccuracy:
    """How good the forecasts were, as known last in ``hour``."""

    hour: datetime
    accuracy: ForecastAccuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class HourlyCapacity:
    """What one replica of a variant carries, as known last in ``hour``: at ``at``."""

    service: str
    variant: str
    hour: datetime
    at: datetime
    capacity: ReplicaCapacity | Missing
