"""From fleet.yaml and the environment to frozen settings, or to every mistake in them."""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.catalog.load import find_gpu, find_model
from controller.documents import Document, load_yaml, validate
from controller.errors import ConfigError
from controller.facts.actuators import DryRunOptions, ProcessOptions, SystemdOptions
from controller.facts.commitments import Commitment
from controller.facts.doors import Door
from controller.facts.fleet import (
    Capacity,
    CapacityType,
    Discovery,
    FileSd,
    Fleet,
    Gateway,
    Gpu,
    GpuDiscovery,
    HttpSd,
    LocalNvml,
    Mode,
    Model,
    PrometheusServer,
    Service,
    Speculation,
    StaticTargets,
    Variant,
)
from controller.facts.interruptions import NOBODY, Announcers
from controller.facts.leadership import Electing
from controller.file_kinds import FileKind
from controller.quantities import EditorSchema
from controller.safety.rules import SafetyRules
from controller.settings.account import Account, FinanceNames, account_of, amortised_usd_per_gpu_hour, finance_of
from controller.settings.account_plain import account_mistakes_in
from controller.settings.aws import asg_mistakes_in
from controller.settings.aws_shapes import AwsAsgShape
from controller.settings.kubernetes import exporters_of, kubernetes_mistakes_in, kubernetes_of, pods_of
from controller.settings.kubernetes_shapes import KubernetesShape
from controller.settings.leader_shapes import electing_of
from controller.settings.plain import (
    LEDGER_VARIABLE,
    MODE_VARIABLE,
    Around,
    from_folder,
    mistakes_in,
    policy_files,
    services_in,
    step_of,
    targets_file,
)
from controller.settings.scaler_shapes import ExternalShape
from controller.settings.scalers import external_of, keda_door, metrics_door, scaler_mistakes_in
from controller.settings.shapes import (
    CapacityShape,
    FleetShape,
    GpuScrapeShape,
    GpuShape,
    ModelShape,
    ProcessShape,
    ScrapeShape,
    ServiceShape,
    SpeculationShape,
    SystemdShape,
    VariantShape,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run. Secrets are left out of its text."""

    file: Path
    mode: Mode
    interval_s: float
    rate_window_s: float
    ledger_url: str = field(repr=False)
    policy_files: tuple[Path, ...]
    fleet: Fleet
    host: str
    port: int
    keep_minutes_s: float
    keep_decisions_s: float
    scrape_deadline_s: float
    scrape_target_timeout_s: float
    scrape_max_body_bytes: int
    scrape_max_series: int
    slack_webhook_url: str | None = field(repr=False)
    keep_usage_s: float
    keep_hours_s: float
    account: Account
    finance: FinanceNames
    fleet_name: str = ""
    safety: SafetyRules = field(default_factory=SafetyRules)
    stop_file: Path | None = None
    keda: Door | None = None
    external_metrics: Door | None = None
    wva_names: bool = False
    electing: Electing | None = None
    announcers: Announcers = NOBODY

    @property
    def services(self) -> Mapping[str, tuple[str, ...]]:
        """The names of its services, and of the variants of each."""
        return {name: tuple(one.variants) for name, one in self.fleet.services.items()}

    @property
    def channels(self) -> tuple[str, ...]:
        """The alert channels that are set up."""
        return ("log", "slack") if self.slack_webhook_url else ("log",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a fleet file names: its services, the variants of each, and the policy files."""

    services: Mapping[str, tuple[str, ...]]
    policy_files: tuple[Path, ...]


def load_settings(
    path: Path,
    environ: Mapping[str, str],
    *,
    offers: Collection[str] | None = None,
    measured: bool = True,
    works: bool = True,
) -> Settings:
    """Read fleet.yaml. Relative paths in it start at its folder. Raises ConfigError with every problem.

    offers     names of the price book; None: any name will do
    measured   a variant needs `scrape` or an actuator that tells where its engines are; a rehearsal needs neither
    works      the secrets that the file names must be in `environ`, and its certificates there
    """
    document = load_yaml(path, wanted=FileKind.FLEET)
    here = path.resolve().parent
    around = Around(folder=here, environ=environ, offers=offers, measured=measured, works=works and measured)
    shape, problems = validate(FleetShape, document)
    problems += [*mistakes_in(document, around), *account_mistakes_in(document, around)]
    problems += scaler_mistakes_in(document, around)
    problems += kubernetes_mistakes_in(document)
    problems += asg_mistakes_in(document)
    if shape is None or problems:
        raise ConfigError(problems)
    return _settings(path, shape, document, around)


def seen_at(path: Path) -> Seen | None:
    """What the fleet file names, whatever is wrong with it; None where it cannot be read at all."""
    try:
        document = load_yaml(path, wanted=FileKind.FLEET)
    except ConfigError:
        return None
    return Seen(services=services_in(document), policy_files=policy_files(document, path.resolve().parent))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of fleet.yaml, for editors."""
    made = FleetShape.model_json_schema(schema_generator=EditorSchema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "Pennyweight fleet file"}


def _settings(path: Path, shape: FleetShape, document: Document, around: Around) -> Settings:
    environ, slack = around.environ, shape.notify.slack
    account = account_of(shape.account, environ, around.folder)
    return Settings(
        file=path,
        mode=Mode(environ.get(MODE_VARIABLE) or shape.mode),
        interval_s=shape.interval,
        rate_window_s=shape.rate_window,
        ledger_url=_ledger(environ.get(LEDGER_VARIABLE) or shape.ledger, around.folder),
        fleet_name=shape.fleet,
        electing=electing_of(shape.leader),
        announcers=shape.interruptions.announcers,
        policy_files=policy_files(document, around.folder),
        fleet=_Builder(around.folder, account.commitments).fleet(shape),
        host=shape.serve.host,
        port=shape.serve.port,
        keda=keda_door(shape.serve.keda, environ, around.folder),
        external_metrics=metrics_door(shape.serve.external_metrics, around.folder),
        wva_names=shape.serve.wva_names,
        keep_minutes_s=shape.retention.minutes,
        keep_decisions_s=shape.retention.decisions,
        scrape_deadline_s=shape.scrape_limits.deadline,
        scrape_target_timeout_s=shape.scrape_limits.target_timeout,
        scrape_max_body_bytes=shape.scrape_limits.max_body_bytes,
        scrape_max_series=shape.scrape_limits.max_series,
        slack_webhook_url=environ.get(slack.webhook_url_env) if slack is not None else None,
        keep_usage_s=shape.retention.usage,
        keep_hours_s=shape.retention.hours,
        safety=shape.safety.rules,
        stop_file=shape.safety.stop_path(around.folder),
        account=account,
        finance=finance_of(shape.finance),
    )


def _ledger(url: str, folder: Path) -> str:
    """A file of SQLite is looked for from the fleet file's folder."""
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        return f"sqlite:///{folder / url.removeprefix('sqlite:///')}"
    return url


class _Builder:
    """Turns shapes into facts. Nothing is wrong any more."""

    def __init__(self, folder: Path, commitments: Iterable[Commitment]) -> None:
        self._folder = folder
        self._commitments = {one.id: one for one in commitments}

    def fleet(self, shape: FleetShape) -> Fleet:
        return Fleet(services={name: self._service(name, one) for name, one in shape.services.items()})

    def _service(self, name: str, shape: ServiceShape) -> Service:
        variants = {key: self._variant(name, key, one, shape) for key, one in shape.variants.items()}
        gateway = Gateway(url=shape.gateway.prometheus, query=shape.gateway.query) if shape.gateway else None
        return Service(name=name, model=self._model(shape.model), variants=variants, gateway=gateway)

    def _model(self, shape: str | ModelShape) -> Model:
        found = _own_model(shape) if isinstance(shape, ModelShape) else find_model(shape)
        assert found is not None, "the shape knows the table"
        return found

    def _gpu(self, shape: str | GpuShape) -> Gpu:
        found = _own_gpu(shape) if isinstance(shape, GpuShape) else find_gpu(shape)
        assert found is not None, "the shape knows the table"
        return found

    def _variant(self, service: str, name: str, shape: VariantShape, served: ServiceShape) -> Variant:
        model = served.model if isinstance(served.model, str) else served.model.name
        actuator, options, targets = self._actuator((service, name), shape, model)
        discovery = self._discovery(shape.scrape) if shape.scrape is not None else ()
        if not discovery or (shape.scrape is not None and shape.scrape.kubernetes is not None):
            pods = shape.scrape.kubernetes if shape.scrape is not None else None
            discovery = (*discovery, *pods_of(pods, options, model))
        if targets and not discovery:
            discovery = (FileSd(patterns=(glob.escape(targets),)),)
        return Variant(
            service=service,
            name=name,
            gpu=self._gpu(shape.gpu),
            gpus_per_replica=shape.gpus_per_replica,
            quantization=shape.quantization,
            kv_cache_dtype=shape.kv_cache_dtype,
            engine=shape.engine,
            capacity=tuple(_capacity(one, self._commitments) for one in shape.capacity),
            start_up_s=shape.start_up,
            token_budget=shape.max_num_batched_tokens,
            max_sequences=shape.max_num_seqs,
            speculation=_speculation(shape.speculation) if shape.speculation is not None else None,
            step=step_of(self._folder, shape.profile) if shape.profile is not None else None,
            actuator=actuator,
            actuator_options=options,
            discovery=discovery,
            gpu_discovery=self._gpu_discovery(shape.dcgm),
        )

    def _discovery(self, shape: ScrapeShape) -> tuple[Discovery, ...]:
        found: list[Discovery] = []
        if shape.static:
            found.append(StaticTargets(urls=shape.static))
        if shape.file_sd:
            found.append(FileSd(patterns=tuple(map(self._pattern, shape.file_sd))))
        found += [HttpSd(url=one.url, refresh_s=one.refresh) for one in shape.http_sd]
        if shape.prometheus is not None:
            found.append(PrometheusServer(url=shape.prometheus.url, selector=shape.prometheus.selector))
        if shape.aws_asg is not None:
            found.append(shape.aws_asg.discovery)
        return tuple(found)

    def _gpu_discovery(self, shape: GpuScrapeShape | None) -> tuple[GpuDiscovery, ...]:
        if shape is None:
            return ()
        indices = shape.nvml if isinstance(shape.nvml, tuple) else ()
        local = (LocalNvml(indices=indices),) if shape.nvml is not False else ()
        pods = (exporters_of(shape.kubernetes),) if shape.kubernetes is not None else ()
        return (*self._discovery(shape), *local, *pods)

    def _actuator(self, variant: tuple[str, str], shape: VariantShape, model: str) -> tuple[str, object, str]:
        """The actuator's name, its options, and the targets file that it writes."""
        kind, block = shape.actuator.chosen
        if isinstance(block, ExternalShape):
            return kind, external_of(block), ""
        if isinstance(block, KubernetesShape):
            return kind, kubernetes_of(block), ""
        if not isinstance(block, ProcessShape | SystemdShape | AwsAsgShape):
            return kind, DryRunOptions(), ""
        directory = self._absolute(block.directory)
        targets = targets_file(directory, *variant)
        if isinstance(block, AwsAsgShape):
            reserved = any(one.type is CapacityType.RESERVED for one in shape.capacity)
            return kind, block.options(targets, reserved=reserved), targets
        if isinstance(block, ProcessShape):
            return kind, _process(block, directory, targets, model), targets
        return kind, _systemd(block, directory, targets), targets

    def _absolute(self, path: str) -> str:
        return str(self._folder / path)

    def _pattern(self, pattern: str) -> str:
        return from_folder(self._folder, pattern)


def _speculation(shape: SpeculationShape) -> Speculation:
    return Speculation(
        draft_tokens=shape.draft_tokens,
        acceptance_ratio=shape.acceptance,
        draft_overhead_ratio=shape.draft_overhead,
    )


def _capacity(shape: CapacityShape, commitments: Mapping[str, Commitment]) -> Capacity:
    price = shape.usd_per_gpu_hour
    if price is None and shape.commitment is not None:
        price = amortised_usd_per_gpu_hour(commitments[shape.commitment])
    dated = price if isinstance(price, tuple) else ()
    return Capacity(
        type=shape.type,
        replicas=shape.replicas,
        offer=shape.offer,
        usd_per_gpu_hour=None if isinstance(price, tuple) else price,
        dated_usd=tuple((one.since, one.usd) for one in sorted(dated, key=lambda one: one.since)),
        commitment=shape.commitment or "",
        node_gpus=shape.node_gpus,
    )


def _process(shape: ProcessShape, directory: str, targets: str, model: str) -> ProcessOptions:
    return ProcessOptions(
        command=tuple(part.replace("{model}", model) for part in shape.command),
        ports=shape.ports,
        health_path=shape.health,
        environment=shape.environment,
        state_directory=directory,
        targets_file=targets,
        start_timeout_s=shape.start_timeout,
        drain_timeout_s=shape.drain_timeout,
        stop_timeout_s=shape.stop_timeout,
    )


def _systemd(shape: SystemdShape, directory: str, targets: str) -> SystemdOptions:
    return SystemdOptions(
        unit=shape.unit,
        numbers=shape.numbers,
        url=shape.url,
        first_port=shape.first_port,
        health_path=shape.health,
        state_directory=directory,
        targets_file=targets,
        start_timeout_s=shape.start_timeout,
        drain_timeout_s=shape.drain_timeout,
        user=shape.user,
    )


def _own_gpu(shape: GpuShape) -> Gpu:
    return Gpu(
        name=shape.name,
        memory_bytes=shape.memory_gb * 1e9,
        bandwidth_bytes_per_s=shape.bandwidth_gb_per_s * 1e9,
        peak_flop_per_s={precision: tflops * 1e12 for precision, tflops in shape.tflops.items()},
        tdp_w=shape.tdp_w,
        source="fleet.yaml",
    )


def _own_model(shape: ModelShape) -> Model:
    """The sizes that FLOP and KV arithmetic need; attention and FFN are what is left without embedding and head."""
    head = float(shape.vocab * shape.hidden)
    total, active = shape.params_b * 1e9, (shape.active_params_b or shape.params_b) * 1e9
    return Model(
        name=shape.name,
        params_total=total,
        params_active=active,
        matmul_params_active=max(0.0, active - 2 * head),
        lm_head_params=head,
        layers=shape.layers,
        heads=shape.heads,
        head_dim=shape.head_dim,
        kv_bytes_per_token_16bit=2.0 * shape.layers * shape.kv_heads * shape.head_dim * 2,
        experts=shape.experts,
        experts_per_token=shape.experts_per_token,
        source="fleet.yaml",
    )
