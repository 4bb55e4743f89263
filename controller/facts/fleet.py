"""What exists: GPUs, models, services, their variants, and how their capacity is bought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from controller.facts.performance import StepModel


class Mode(StrEnum):
    """What the daemon may do: only look, also decide and say so, or also act."""

    OBSERVE = "observe"
    ADVISE = "advise"
    ACT = "act"


class CapacityType(StrEnum):
    """How a GPU is bought."""

    RESERVED = "reserved"
    ON_DEMAND = "on_demand"
    SPOT = "spot"


class EngineKind(StrEnum):
    """The inference server whose metrics are read."""

    VLLM = "vllm"
    SGLANG = "sglang"
    TGI = "tgi"
    TRTLLM = "trtllm"  # TensorRT-LLM: trtllm-serve, Dynamo's worker, or Triton's backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU (or MIG slice) and its theoretical dense peaks.

    peak_flop_per_s   FLOP/s by compute precision ("bf16", "fp8", "int8", "int4", "fp4"); absent = not supported
    source            where the numbers were checked
    """

    name: str
    memory_bytes: float
    bandwidth_bytes_per_s: float
    peak_flop_per_s: Mapping[str, float]
    tdp_w: float | None
    aliases: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Shapes of one served LLM, enough for FLOP, bandwidth and KV arithmetic.

    params_total          all weights
    params_active         weights touched by one token (all of them unless mixture of experts)
    matmul_params_active  attention + FFN weights in matmuls per token, without embedding and LM head
    lm_head_params        vocabulary x hidden
    experts, experts_per_token   None for dense models
    kv_bytes_per_token_16bit     KV cache bytes per token at 2 bytes an element
    head_dim              None for MLA models, whose attention FLOPs depend on the kernel
    """

    name: str
    params_total: float
    params_active: float
    matmul_params_active: float
    lm_head_params: float
    layers: int
    heads: int
    head_dim: int | None
    kv_bytes_per_token_16bit: float
    experts: int | None = None
    experts_per_token: int | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """One way of buying replicas of a variant.

    replicas           how many are committed (reserved: paid for whether used or not); None = no bound known
    offer              "provider/region/instance_type", looked up in the price sources
    usd_per_gpu_hour   the user's own price; it overrides the price sources
    dated_usd          the same, each from its day (UTC) on, oldest first; before the first day it is not known
    commitment         id of the commitment that pays for it; "": none is named
    node_gpus          only whole nodes of so many GPUs are to be had; None: a replica's GPUs are bought by themselves
    """

    type: CapacityType
    replicas: int | None = None
    offer: str | None = None
    usd_per_gpu_hour: float | None = None
    dated_usd: tuple[tuple[date, float], ...] = ()
    commitment: str = ""
    node_gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticTargets:
    """Addresses written down in the fleet file."""

    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSd:
    """Prometheus ``file_sd`` files (JSON or YAML), re-read on change. ``patterns`` are absolute globs."""

    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSd:
    """Prometheus HTTP service discovery, asked again every ``refresh_s``."""

    url: str
    refresh_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusServer:
    """A Prometheus server that already scrapes the fleet. ``selector``: label matchers, e.g. ``job="vllm-chat"``."""

    url: str
    selector: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalNvml:
    """The GPUs of this host, read through NVML. ``indices`` empty: all of them."""

    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesPods:
    """Pods of a cluster, as they are watched.

    namespace         "": the daemon's own, or the context's
    selector          label selector, as kubectl takes it; "": the pods of a target
    kind, name        that target's
    target            a label selector that of its kind it alone matches, in the place of its name
    port, port_name   where the metrics are; neither: the pod's first port
    context           of the kubeconfig; "": the daemon's own cluster, or the current context
    model             what the pods are to serve; one whose llm-d labels name another is told of. "": not looked at
    cost_unit         what llm-d's variant-cost is in: "usd_per_replica_hour" or "usd_per_gpu_hour"; "": it is no price
    """

    namespace: str = ""
    selector: str = ""
    kind: str = ""
    name: str = ""
    target: str = ""
    port: int | None = None
    port_name: str = ""
    path: str = "/metrics"
    scheme: str = "http"
    context: str = ""
    model: str = ""
    cost_unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsAsgInstances:
    """Instances of an EC2 Auto Scaling group.

    group, tags   its name; or tags that it alone has
    region        "": the one that boto3 finds for itself
    url           where the metrics are; "{private_ip}" and so on are filled in, see ``AwsAsgOptions``
    """

    group: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    region: str = ""
    url: str = "http://{private_ip}:8000"


Discovery = StaticTargets | FileSd | HttpSd | PrometheusServer | KubernetesPods | AwsAsgInstances
GpuDiscovery = StaticTargets | FileSd | HttpSd | PrometheusServer | LocalNvml | KubernetesPods | AwsAsgInstances


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """Speculative decoding of an engine, for rehearsals: the daemon reads it off the engine.

    draft_tokens           drafted a step and sequence (vLLM: num_speculative_tokens)
    acceptance_ratio       accepted / drafted tokens
    draft_overhead_ratio   the draft's own time, as a share of a bare step's
    """

    draft_tokens: int
    acceptance_ratio: float
    draft_overhead_ratio: float

    @property
    def pace(self) -> float:
        """Tokens that a sequence gains in a step."""
        return 1 + self.draft_tokens * self.acceptance_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One priced way to serve a service: GPU type and count, quantization, engine settings.

    start_up_s         from the order to ready, before any start was seen; None: a usual one
    step               its measured step model, from a profile; None: worked out from the tables
    token_budget, max_sequences   the engine's --max-num-batched-tokens and --max-num-seqs; None: its defaults
    actuator_options   the block under the actuator's name in fleet.yaml, checked: one of facts/actuators.py
    """

    service: str
    name: str
    gpu: Gpu
    gpus_per_replica: int
    quantization: str
    kv_cache_dtype: str
    engine: EngineKind
    capacity: tuple[Capacity, ...]
    start_up_s: float | None = None
    step: StepModel | None = None
    token_budget: int | None = None
    max_sequences: int | None = None
    speculation: Speculation | None = None
    actuator: str = "dry_run"
    actuator_options: object = None
    discovery: tuple[Discovery, ...] = ()
    gpu_discovery: tuple[GpuDiscovery, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Where requests wait that no replica has yet: a Prometheus server, and a query whose values add up to them."""

    url: str
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One model behind one endpoint."""

    name: str
    model: Model
    variants: Mapping[str, Variant] = field(default_factory=dict)
    gateway: Gateway | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All services by name."""

    services: Mapping[str, Service]

    def variants(self) -> tuple[Variant, ...]:
        return tuple(variant for service in self.services.values() for variant in service.variants.values())
