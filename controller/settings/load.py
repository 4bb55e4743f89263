"""From fleet.yaml and the environment to frozen settings, or to every mistake in them."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from controller.catalog.load import find_gpu, find_model
from controller.documents import Document, EditorSchema, Place, load_yaml, validate
from controller.errors import ConfigError, Problem
from controller.facts.actuators import DryRunOptions, ProcessOptions, SystemdOptions
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
    StaticTargets,
    Variant,
)
from controller.facts.performance import StepModel
from controller.facts.profile import Profile, StepFit
from controller.settings.shapes import (
    ActuatorShape,
    CapacityShape,
    FleetShape,
    GpuScrapeShape,
    GpuShape,
    ModelShape,
    ProcessShape,
    ScrapeShape,
    ServiceShape,
    SystemdShape,
    VariantShape,
)
from controller.settings.values import ledger_url

MODE_VARIABLE = "PENNYWEIGHT_MODE"
LEDGER_VARIABLE = "PENNYWEIGHT_LEDGER"


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

    @property
    def channels(self) -> tuple[str, ...]:
        """The alert channels that are set up."""
        return ("log", "slack") if self.slack_webhook_url else ("log",)


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read fleet.yaml. Relative paths in it start at its folder. Raises ConfigError with every problem."""
    document = load_yaml(path)
    shape, problems = validate(FleetShape, document)
    if shape is None:
        raise ConfigError(problems)
    builder = _Builder(document, path.resolve().parent, environ)
    settings = builder.settings(path, shape)
    if builder.problems:
        raise ConfigError(builder.problems)
    return settings


def json_schema() -> dict[str, Any]:
    """The JSON Schema of fleet.yaml, for editors."""
    made = FleetShape.model_json_schema(schema_generator=EditorSchema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "Pennyweight fleet file"}


class _Builder:
    """Turns shapes into facts, collecting what the shapes could not know to be wrong."""

    def __init__(self, document: Document, folder: Path, environ: Mapping[str, str]) -> None:
        self._document = document
        self._folder = folder
        self._environ = environ
        self.problems: list[Problem] = []
        self._writers: dict[str, tuple[str, str]] = {}

    def settings(self, path: Path, shape: FleetShape) -> Settings:
        services = {name: self._service(name, one) for name, one in shape.services.items()}
        return Settings(
            file=path,
            mode=self._mode(shape),
            interval_s=shape.interval,
            rate_window_s=self._rate_window(shape),
            ledger_url=self._ledger(shape),
            policy_files=self._policies(shape),
            fleet=Fleet(services=services),
            host=shape.serve.host,
            port=shape.serve.port,
            keep_minutes_s=shape.retention.minutes,
            keep_decisions_s=shape.retention.decisions,
            scrape_deadline_s=shape.scrape_limits.deadline,
            scrape_target_timeout_s=shape.scrape_limits.target_timeout,
            scrape_max_body_bytes=shape.scrape_limits.max_body_bytes,
            scrape_max_series=shape.scrape_limits.max_series,
            slack_webhook_url=self._webhook(shape),
        )

    def _say(self, place: Place, message: str) -> None:
        self.problems.append(self._document.problem(place, message))

    def _mode(self, shape: FleetShape) -> Mode:
        text = self._environ.get(MODE_VARIABLE) or shape.mode
        if text not in set(Mode):
            self._say(("mode",), f"{MODE_VARIABLE} is '{text}', expected one of {', '.join(Mode)}")
            return shape.mode
        return Mode(text)

    def _rate_window(self, shape: FleetShape) -> float:
        if shape.rate_window < 2 * shape.interval:
            least = f"at least two intervals, {2 * shape.interval:g} s"
            self._say(("rate_window",), f"must hold two readings: expected {least}, found {shape.rate_window:g} s")
        return shape.rate_window

    def _ledger(self, shape: FleetShape) -> str:
        url = self._environ.get(LEDGER_VARIABLE) or shape.ledger
        try:
            ledger_url(url)
        except ValueError as error:
            self._say(("ledger",), f"{LEDGER_VARIABLE} is wrong: {error}")
        if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
            return f"sqlite:///{self._folder / url.removeprefix('sqlite:///')}"
        return url

    def _policies(self, shape: FleetShape) -> tuple[Path, ...]:
        found: set[Path] = set()
        for index, pattern in enumerate(shape.policies):
            here = [Path(path) for path in glob.glob(self._pattern(pattern), recursive=True)]
            if not here and not glob.has_magic(pattern):
                self._say(("policies", index), f"there is no file '{pattern}'")
            found.update(path for path in here if path.is_file())
        return tuple(sorted(path for path in found if not path.name.endswith(".test.yaml")))

    def _webhook(self, shape: FleetShape) -> str | None:
        if shape.notify.slack is None:
            return None
        name = shape.notify.slack.webhook_url_env
        if not self._environ.get(name):
            self._say(
                ("notify", "slack"), f"the environment variable {name} is not set; it holds the webhook's address"
            )
        return self._environ.get(name)

    def _service(self, name: str, shape: ServiceShape) -> Service:
        place: Place = ("services", name)
        variants = {key: self._variant(place, name, key, one, shape) for key, one in shape.variants.items()}
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

    def _variant(self, above: Place, service: str, name: str, shape: VariantShape, served: ServiceShape) -> Variant:
        place: Place = (*above, "variants", name)
        model = served.model if isinstance(served.model, str) else served.model.name
        actuator, options, targets = self._actuator((*place, "actuator"), (service, name), shape.actuator, model)
        discovery = self._discovery(shape.scrape) if shape.scrape is not None else ()
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
            capacity=self._capacity(place, shape.capacity),
            start_up_s=shape.start_up,
            token_budget=shape.max_num_batched_tokens,
            max_sequences=shape.max_num_seqs,
            step=self._step((*place, "profile"), shape.profile),
            actuator=actuator,
            actuator_options=options,
            discovery=discovery,
            gpu_discovery=self._gpu_discovery(shape.dcgm),
        )

    def _step(self, place: Place, name: str | None) -> StepModel | None:
        """The step model of the profile in the file ``name``."""
        if name is None:
            return None
        try:
            fit = Profile.from_json((self._folder / name).read_text(encoding="utf-8")).fit
        except FileNotFoundError:
            self._say(place, f"there is no file '{name}'; `pennyweight profile URL --out {name}` writes one")
        except (OSError, ValueError) as error:
            self._say(place, f"'{name}' cannot be read as a profile: {error}")
        else:
            if isinstance(fit, StepFit):
                return fit.step
            self._say(place, f"'{name}' has no step model ({fit.why}); profile with more loads, or leave it out")
        return None

    def _capacity(self, place: Place, shapes: tuple[CapacityShape, ...]) -> tuple[Capacity, ...]:
        seen: set[CapacityType] = set()
        for index, shape in enumerate(shapes):
            if shape.type in seen:
                self._say((*place, "capacity", index, "type"), f"{shape.type} stands twice; one entry a capacity type")
            seen.add(shape.type)
        return tuple(
            Capacity(
                type=shape.type,
                replicas=shape.replicas,
                offer=shape.offer,
                usd_per_gpu_hour=shape.usd_per_gpu_hour,
            )
            for shape in shapes
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
        return tuple(found)

    def _gpu_discovery(self, shape: GpuScrapeShape | None) -> tuple[GpuDiscovery, ...]:
        if shape is None:
            return ()
        indices = shape.nvml if isinstance(shape.nvml, tuple) else ()
        local = (LocalNvml(indices=indices),) if shape.nvml is not False else ()
        return (*self._discovery(shape), *local)

    def _actuator(
        self, place: Place, variant: tuple[str, str], shape: ActuatorShape, model: str
    ) -> tuple[str, object, str]:
        """The actuator's name, its options, and the targets file that it writes."""
        kind, block = shape.chosen
        if not isinstance(block, ProcessShape | SystemdShape):
            return kind, DryRunOptions(), ""
        directory = self._absolute(block.directory)
        targets = f"{directory}/{'-'.join(quote(part, safe='') for part in variant)}.targets.json"
        other = self._writers.setdefault(targets, variant)
        if other != variant:
            message = f"writes the same targets file as {'/'.join(other)}; give it a `directory` of its own"
            self._say((*place, kind), message)
        if isinstance(block, ProcessShape):
            return kind, _process(block, directory, targets, model), targets
        return kind, _systemd(block, directory, targets), targets

    def _absolute(self, path: str) -> str:
        return str(self._folder / path)

    def _pattern(self, pattern: str) -> str:
        """A glob that starts at the file's folder, whatever characters are in that folder's own name."""
        return str(Path(glob.escape(str(self._folder))) / pattern)


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
