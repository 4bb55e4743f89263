"""The shape of fleet.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from controller.documents import DurationS, WholeRange
from controller.facts.fleet import CapacityType, EngineKind, Mode


class Shape(BaseModel):
    """Unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PrometheusShape(Shape):
    """A Prometheus server that already scrapes the fleet."""

    url: str
    selector: str = Field(description='label matchers, such as job="vllm-chat"')


class HttpSdShape(Shape):
    """Prometheus HTTP service discovery."""

    url: str
    refresh: DurationS = 60.0


class ScrapeShape(Shape):
    """Where metrics are read: any mix of these."""

    static: tuple[str, ...] = Field(default=(), description="addresses; /metrics is added when no path is given")
    file_sd: tuple[str, ...] = Field(default=(), description="globs of Prometheus file_sd files, JSON or YAML")
    http_sd: tuple[HttpSdShape, ...] = ()
    prometheus: PrometheusShape | None = None


class GpuScrapeShape(ScrapeShape):
    """The same for dcgm-exporter, or this host's own NVML."""

    nvml: bool | tuple[int, ...] = Field(default=False, description="true: all GPUs of this host; or their indices")


class GpuShape(Shape):
    """A GPU that is not in the table."""

    name: str
    memory_gb: PositiveFloat
    bandwidth_gb_per_s: PositiveFloat
    tflops: dict[Literal["bf16", "fp8", "int8", "int4", "fp4"], PositiveFloat] = Field(
        description="dense peaks by compute precision"
    )
    tdp_w: PositiveFloat | None = None


class ModelShape(Shape):
    """A model that is not in the table."""

    name: str
    params_b: PositiveFloat = Field(description="all weights, 10^9")
    active_params_b: PositiveFloat | None = Field(default=None, description="weights touched by a token, 10^9")
    layers: PositiveInt
    hidden: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    vocab: PositiveInt
    experts: PositiveInt | None = None
    experts_per_token: PositiveInt | None = None


class CapacityShape(Shape):
    """One way of buying replicas."""

    type: CapacityType
    replicas: PositiveInt | None = Field(default=None, description="how many at most; reserved: how many are paid for")
    offer: str | None = Field(default=None, description="provider/region/instance_type of the price book")
    usd_per_gpu_hour: PositiveFloat | None = Field(default=None, description="your own price; it wins")

    @model_validator(mode="after")
    def _paid_for(self) -> CapacityShape:
        if self.type is CapacityType.RESERVED and self.replicas is None:
            raise ValueError("reserved capacity needs `replicas`: how many are paid for")
        return self


class ProcessShape(Shape):
    """Engines as processes of this host."""

    command: tuple[str, ...] = Field(min_length=1, description="argv; {port}, {replica} and {model} are filled in")
    ports: WholeRange
    health: str = "/health"
    environment: dict[str, str] = {}
    directory: str = Field(default="run", description="state files, logs and the targets file")
    start_timeout: DurationS = 600.0
    drain_timeout: DurationS = 60.0
    stop_timeout: DurationS = 30.0


class SystemdShape(Shape):
    """Engines as instances of a systemd template unit."""

    unit: str = Field(pattern=r"^[^{}]+@\{n\}\.service$", description="vllm-chat@{n}.service")
    numbers: WholeRange = Field(description="instance numbers, such as 1-8")
    url: str = Field(default="http://127.0.0.1:{port}", description="{port} is first_port plus the instance's place")
    first_port: PositiveInt = 8001
    health: str = "/health"
    directory: str = "run"
    start_timeout: DurationS = 600.0
    drain_timeout: DurationS = 60.0
    user: bool = Field(default=False, description="systemctl --user")


class EmptyShape(Shape):
    """No options."""


class ActuatorShape(Shape):
    """Exactly one of these."""

    dry_run: EmptyShape | None = None
    process: ProcessShape | None = None
    systemd: SystemdShape | None = None
    emulated: EmptyShape | None = Field(default=None, description="the demo's own")

    @model_validator(mode="before")
    @classmethod
    def _exactly_one(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) != 1:
            raise ValueError(f"expected exactly one actuator, found {len(data)}: {', '.join(map(str, data)) or 'none'}")
        return data

    @property
    def chosen(self) -> tuple[str, Shape]:
        """The name and the options of the one that is set."""
        return next((name, block) for name in type(self).model_fields if (block := getattr(self, name)) is not None)


class VariantShape(Shape):
    """One priced way to serve a service."""

    gpu: str | GpuShape
    gpus_per_replica: PositiveInt = 1
    quantization: str = "bf16"
    kv_cache_dtype: str = "auto"
    engine: EngineKind = EngineKind.VLLM
    scrape: ScrapeShape | None = None
    dcgm: GpuScrapeShape | None = None
    actuator: ActuatorShape = ActuatorShape(dry_run=EmptyShape())
    capacity: tuple[CapacityShape, ...] = ()


class ServiceShape(Shape):
    """One model behind one endpoint."""

    model: str | ModelShape
    variants: Annotated[dict[str, VariantShape], Field(min_length=1)]


class SlackShape(Shape):
    """The webhook's address is a secret, so only the variable that holds it is named here."""

    webhook_url_env: str = "PENNYWEIGHT_SLACK_WEBHOOK_URL"


class NotifyShape(Shape):
    """Channels besides the log."""

    slack: SlackShape | None = None


class ServeShape(Shape):
    """The daemon's own HTTP."""

    host: str = "127.0.0.1"
    port: int = Field(default=9188, ge=0, le=65535, description="0: any free port")


class RetentionShape(Shape):
    """How long the ledger keeps what."""

    minutes: DurationS = 90 * 86_400.0
    decisions: DurationS = 400 * 86_400.0


class LimitsShape(Shape):
    """What one pass of scraping may cost."""

    deadline: DurationS = 10.0
    target_timeout: DurationS = 5.0
    max_body_bytes: PositiveInt = 8 * 1024 * 1024
    max_series: PositiveInt = 20_000


class FleetShape(Shape):
    """The whole file."""

    mode: Mode = Mode.ADVISE
    interval: DurationS = 15.0
    rate_window: DurationS = 60.0
    ledger: str = "sqlite:///pennyweight.db"
    policies: tuple[str, ...] = ("policies/*.yaml",)
    services: Annotated[dict[str, ServiceShape], Field(min_length=1)]
    serve: ServeShape = ServeShape()
    retention: RetentionShape = RetentionShape()
    scrape_limits: LimitsShape = LimitsShape()
    notify: NotifyShape = NotifyShape()
