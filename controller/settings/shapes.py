"""The shape of fleet.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from controller.documents import ContradictionError
from controller.facts.fleet import CapacityType, EngineKind, Mode
from controller.quantities import RatioValue, WholeRange
from controller.settings.account_shapes import AccountShape, FinanceShape
from controller.settings.aws_shapes import AwsAsgInstancesShape, AwsAsgShape
from controller.settings.base import Shape
from controller.settings.interruption_shapes import InterruptionsShape
from controller.settings.kubernetes_shapes import KubernetesShape, PodsShape
from controller.settings.leader_shapes import Leader
from controller.settings.money_shapes import DatedUsdShape
from controller.settings.safety_shapes import SafetyShape
from controller.settings.scaler_shapes import ExternalMetricsShape, ExternalShape, KedaShape
from controller.settings.values import (
    Amount,
    Command,
    FleetName,
    GpuRow,
    KvCacheDtype,
    LedgerUrl,
    ModelRow,
    Name,
    Period,
    Ports,
    Quantization,
    Wait,
    Whole,
)


class PrometheusShape(Shape):
    """A Prometheus server that already scrapes the fleet."""

    url: str = Field(description="its address")
    selector: str = Field(description='label matchers, such as job="vllm-chat"')


class HttpSdShape(Shape):
    """Prometheus HTTP service discovery."""

    url: str = Field(description="where the target list is")
    refresh: Period = Field(default=60.0, description="asked again after")


class ScrapeShape(Shape):
    """Where metrics are read: any mix of these."""

    static: tuple[str, ...] = Field(default=(), description="addresses; /metrics is added when no path is given")
    file_sd: tuple[str, ...] = Field(default=(), description="globs of Prometheus file_sd files, JSON or YAML")
    http_sd: tuple[HttpSdShape, ...] = Field(default=(), description="Prometheus HTTP service discovery")
    prometheus: PrometheusShape | None = Field(default=None, description="a server that scrapes the targets already")
    kubernetes: PodsShape | None = Field(default=None, description="pods of a cluster, as they are watched")
    aws_asg: AwsAsgInstancesShape | None = Field(default=None, description="instances of an EC2 Auto Scaling group")


class GpuScrapeShape(ScrapeShape):
    """The same for dcgm-exporter, or this host's own NVML."""

    nvml: StrictBool | tuple[Annotated[int, Field(strict=True, ge=0)], ...] = Field(
        default=False, description="true: all GPUs of this host; or their indices"
    )


class GpuShape(Shape):
    """A GPU that is not in the table."""

    name: str = Field(description="as it is shown")
    memory_gb: Amount = Field(description="10^9 bytes")
    bandwidth_gb_per_s: Amount = Field(description="peak, 10^9 bytes/s")
    tflops: dict[Literal["bf16", "fp8", "int8", "int4", "fp4"], Amount] = Field(
        description="dense peaks by compute precision"
    )
    tdp_w: Amount | None = Field(default=None, description="maximum board power")


class ModelShape(Shape):
    """A model that is not in the table."""

    name: str = Field(description="as it is shown")
    params_b: Amount = Field(description="all weights, 10^9")
    active_params_b: Amount | None = Field(default=None, description="weights touched by a token, 10^9")
    layers: Whole = Field(description="transformer layers")
    hidden: Whole = Field(description="hidden size")
    heads: Whole = Field(description="attention heads")
    kv_heads: Whole = Field(description="key-value heads")
    head_dim: Whole = Field(description="size of one head")
    vocab: Whole = Field(description="vocabulary size")
    experts: Whole | None = Field(default=None, description="of a mixture of experts")
    experts_per_token: Whole | None = Field(default=None, description="that one token visits")


class CapacityShape(Shape):
    """One way of buying replicas."""

    type: CapacityType = Field(description="reserved, on_demand or spot; filled in the list's order")
    replicas: Whole | None = Field(default=None, description="how many at most; reserved: how many are paid for")
    offer: str | None = Field(
        default=None, description="provider/region/instance_type of the price book; with a price of your own any name"
    )
    usd_per_gpu_hour: Amount | tuple[DatedUsdShape, ...] | None = Field(
        default=None, description="your own price; it wins. Or several, each from a day on"
    )
    commitment: Name | None = Field(
        default=None,
        description="id under account.commitments that pays for it; its price is the commitment's amortised",
    )
    node_gpus: Whole | None = Field(
        default=None, description="GPUs of a node, where only whole nodes are sold: those that no replica uses cost too"
    )


class ProcessShape(Shape):
    """Engines as processes of this host."""

    command: Command = Field(min_length=1, description="argv; {port}, {replica} and {model} are filled in")
    ports: Ports = Field(description="one replica a port, lowest free first")
    health: str = Field(default="/health", description="answers 200 when the engine is ready")
    environment: dict[str, str] = Field(default={}, description="added to the daemon's own")
    directory: str = Field(default="run", description="state files, logs and the targets file")
    start_timeout: Period = Field(default=600.0, description="to the first healthy answer")
    drain_timeout: Wait = Field(default=60.0, description="for running requests to end")
    stop_timeout: Wait = Field(default=30.0, description="from SIGTERM to SIGKILL")

    @model_validator(mode="after")
    def _a_port_each(self) -> ProcessShape:
        if self.ports[0] < self.ports[1] and not any("{port}" in part for part in self.command):
            raise ContradictionError("the command has no {port}; with several ports every replica needs its own")
        return self


class SystemdShape(Shape):
    """Engines as instances of a systemd template unit."""

    unit: str = Field(pattern=r"^[^{}]+@\{n\}\.service$", description="vllm-chat@{n}.service")
    numbers: WholeRange = Field(default=(1, 64), description="instance numbers, lowest free first")
    url: str = Field(default="http://127.0.0.1:{port}", description="{port} is first_port plus the instance's place")
    first_port: Whole = Field(default=8001, description="of the first instance number")
    health: str = Field(default="/health", description="answers 200 when the engine is ready")
    directory: str = Field(default="run", description="state files and the targets file")
    start_timeout: Period = Field(default=600.0, description="to the first healthy answer")
    drain_timeout: Wait = Field(default=60.0, description="for running requests to end")
    user: StrictBool = Field(default=False, description="systemctl --user")

    @model_validator(mode="after")
    def _ports_exist(self) -> SystemdShape:
        last = self.first_port + self.numbers[1] - self.numbers[0]
        if "{port}" in self.url and last > 65_535:
            raise ValueError(f"the last instance would be on port {last}; ports end at 65535")
        return self


class EmptyShape(Shape):
    """No options."""


class ActuatorShape(Shape):
    """Exactly one of these."""

    dry_run: EmptyShape | None = Field(default=None, description="only says what it would do; the default")
    process: ProcessShape | None = Field(default=None, description="engines as processes of this host")
    systemd: SystemdShape | None = Field(default=None, description="instances of a template unit")
    kubernetes: KubernetesShape | None = Field(
        default=None, description="pods of a Deployment, a StatefulSet or a LeaderWorkerSet; its pods are read, too"
    )
    aws_asg: AwsAsgShape | None = Field(
        default=None, description="instances of an EC2 Auto Scaling group; they are read, too"
    )
    external: ExternalShape | None = Field(default=None, description="somebody else scales it, and asks us how many")
    emulated: EmptyShape | None = Field(default=None, description="the demo's own")

    @property
    def chosen(self) -> tuple[str, Shape]:
        """The name and the options of the one that is set."""
        return next((name, block) for name in type(self).model_fields if (block := getattr(self, name)) is not None)


class SpeculationShape(Shape):
    """Speculative decoding, all of it measured or set: nothing here has a usual value."""

    draft_tokens: Whole = Field(description="drafted a step, as the engine was started: num_speculative_tokens")
    acceptance: Annotated[RatioValue, Field(ge=0, le=1)] = Field(
        description="accepted / drafted tokens, as measured: pennyweight_acceptance_ratio"
    )
    draft_overhead: Annotated[RatioValue, Field(ge=0, le=1)] = Field(
        description="what drafting adds to a step, such as 10%; 0% for n-grams"
    )


class VariantShape(Shape):
    """One priced way to serve a service."""

    gpu: GpuRow | GpuShape = Field(
        description="a row of the GPU table, a MIG slice of one (H100-SXM/1g.10gb), or its numbers"
    )
    gpus_per_replica: Whole = Field(default=1, description="tensor x pipeline parallel")
    quantization: Quantization = Field(default="bf16", description="of the weights, as engines name it")
    kv_cache_dtype: KvCacheDtype = Field(default="auto", description="of the KV cache")
    engine: EngineKind = Field(default=EngineKind.VLLM, description="vllm, sglang, tgi or trtllm")
    start_up: Period | None = Field(
        default=None, description="from the order to ready, before any start was seen; else 4m is assumed"
    )
    profile: str | None = Field(
        default=None, description="a file that `pennyweight profile` wrote of this variant; else the tables are used"
    )
    max_num_batched_tokens: Whole | None = Field(
        default=None, description="as the engine was started; else vLLM's default for the GPU"
    )
    max_num_seqs: Whole | None = Field(
        default=None, description="as the engine was started; else vLLM's default for the GPU"
    )
    speculation: SpeculationShape | None = Field(
        default=None, description="speculative decoding, for rehearsals: the daemon reads it off the engine"
    )
    actuator: ActuatorShape = Field(
        default=ActuatorShape(dry_run=EmptyShape()), description="what starts and stops replicas; exactly one"
    )
    scrape: ScrapeShape | None = Field(
        default=None, description="where the engines' metrics are, any mix; a rehearsal needs none"
    )
    dcgm: GpuScrapeShape | None = Field(default=None, description="where the GPUs' metrics are")
    capacity: tuple[CapacityShape, ...] = Field(default=(), description="how replicas are bought, first filled first")


class GatewayShape(Shape):
    """What tells how many requests wait outside the engines."""

    prometheus: str = Field(description="the address of a Prometheus server that scrapes the gateway")
    query: str = Field(description="PromQL whose values add up to the requests that wait there")


class ServiceShape(Shape):
    """One model behind one endpoint."""

    model: ModelRow | ModelShape = Field(description="a row of the model table, or its numbers")
    variants: dict[Name, VariantShape] = Field(min_length=1, description="the priced ways to serve it")
    gateway: GatewayShape | None = Field(
        default=None, description="where requests wait while no replica is there: what wakes a service at zero"
    )


class SlackShape(Shape):
    """The webhook's address is a secret, so only the variable that holds it is named here."""

    webhook_url_env: str = Field(
        default="PENNYWEIGHT_SLACK_WEBHOOK_URL", description="the environment variable that holds the address"
    )


class NotifyShape(Shape):
    """Channels besides the log."""

    slack: SlackShape | None = Field(default=None, description="an incoming webhook")


class ServeShape(Shape):
    """The daemon's own HTTP."""

    host: str = Field(default="127.0.0.1", description="the address to listen on")
    port: int = Field(default=9188, ge=0, le=65535, description="0: any free port")
    keda: KedaShape | None = Field(default=None, description="KEDA's external scaler, over gRPC")
    external_metrics: ExternalMetricsShape | None = Field(default=None, description="the API that HPAs ask")
    wva_names: StrictBool = Field(
        default=False, description="/metrics also under the names of llm-d's Workload Variant Autoscaler"
    )


class RetentionShape(Shape):
    """How long the ledger keeps what."""

    minutes: Period = Field(default=90 * 86_400.0, description="what replicas did and cost, by the minute")
    decisions: Period = Field(default=400 * 86_400.0, description="decisions, actions, outcomes, alerts")
    usage: Period = Field(
        default=35 * 86_400.0, description="usage and cost by the minute, of settled hours; a guess: more than a month"
    )
    hours: Period = Field(
        default=400 * 86_400.0, description="accounts by the hour: a year and a month; by day and week for good"
    )


class LimitsShape(Shape):
    """What one pass of scraping may cost."""

    deadline: Period = Field(default=10.0, description="for all targets together")
    target_timeout: Period = Field(default=5.0, description="for one target")
    max_body_bytes: Whole = Field(default=8 * 1024 * 1024, description="larger pages are refused")
    max_series: Whole = Field(default=20_000, description="samples read of one page")


class FleetShape(Shape):
    """The whole file."""

    mode: Mode = Field(default=Mode.ADVISE, description="observe, advise or act")
    interval: Period = Field(default=15.0, description="between passes")
    rate_window: Period = Field(
        default=60.0, description="rates and latencies look back so far; two intervals at least"
    )
    ledger: LedgerUrl = Field(
        default="sqlite:///pennyweight.db", description="sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
    )
    fleet: FleetName = Field(
        default="", description="its name, where the daemons of several fleets share a ledger: each its own"
    )
    leader: Leader = Field(
        default=None, description="several daemons of this fleet, of which one works; without it a second one stops"
    )
    policies: tuple[str, ...] = Field(default=("policies/*.yaml",), description="globs from this file's folder")
    services: dict[Name, ServiceShape] = Field(min_length=1, description="what exists")
    serve: ServeShape = Field(default=ServeShape(), description="the daemon's own HTTP; read-only")
    retention: RetentionShape = Field(default=RetentionShape(), description="how long the ledger keeps what")
    scrape_limits: LimitsShape = Field(default=LimitsShape(), description="what one pass of scraping may cost")
    notify: NotifyShape = Field(default=NotifyShape(), description="alert channels besides the log")
    interruptions: InterruptionsShape = Field(
        default=InterruptionsShape(), description="who announces that machines will be taken back"
    )
    safety: SafetyShape = Field(default=SafetyShape(), description="what stands between every decision and its act")
    account: AccountShape = Field(default=AccountShape(), description="whose the cost is, and what may be spent")
    finance: FinanceShape = Field(default=FinanceShape(), description="what exports for finance call the accounts")
