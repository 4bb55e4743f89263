"""From policy files to rules, or to every mistake in all of them at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from controller.decide.rules import (
    DEFAULT_FORECAST_QUANTILE,
    USUAL_DOWN,
    USUAL_UP,
    AlertRule,
    Behaviour,
    ForecastRule,
    ReplicaRule,
    ServicePolicy,
    SpotRule,
    Step,
    Targets,
    VariantRule,
    quantile_for,
)
from controller.documents import Document, Place, load_yaml, nearest, validate
from controller.errors import ConfigError, Problem
from controller.facts.account_reader import Dimension
from controller.facts.slo import LatencyTarget, Slo
from controller.file_kinds import FileKind
from controller.policy.shape import (
    QUANTILES,
    AlertShape,
    ForecastShape,
    PolicyShape,
    ScalingShape,
    SloShape,
    StepShape,
    TargetsShape,
)

LATER = ("quantization", "speculative_decoding")
"""Keys of the design that this version does not act on: refused, for nobody should believe they are in force."""

TEST_SUFFIX = ".test.yaml"

Services = Mapping[str, Collection[str]]
"""What a fleet has: the names of its services, and of the variants of each."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """One policy and the file it was read from."""

    path: Path
    document: Document
    policy: ServicePolicy


def load_policies(
    paths: Sequence[Path], services: Services | None, channels: Collection[str]
) -> Mapping[str, ServicePolicy]:
    """The policies by service; test files are skipped. Raises ConfigError with every problem of every file."""
    loaded, problems = read_policies(paths, services, channels)
    if problems:
        raise ConfigError(problems)
    return {one.policy.service: one.policy for one in loaded}


def read_policies(
    paths: Sequence[Path], services: Services | None, channels: Collection[str]
) -> tuple[list[Loaded], list[Problem]]:
    """The policies that are right, and every problem of the others. No ``services``: nothing to check them with."""
    documents: dict[Path, Document] = {}
    problems: list[Problem] = []
    for path in dict.fromkeys(path for path in paths if not path.name.endswith(TEST_SUFFIX)):
        try:
            documents[path] = load_yaml(path, wanted=FileKind.POLICY)
        except ConfigError as error:
            problems += error.problems
    read = [_read(path, document, services, channels) for path, document in documents.items()]
    problems += [problem for _, found in read for problem in found]
    return [one for one, _ in read if one is not None], [*problems, *_twice(documents)]


def _read(
    path: Path, document: Document, services: Services | None, channels: Collection[str]
) -> tuple[Loaded | None, list[Problem]]:
    problems = [
        document.problem((key,), f"'{key}' is not supported in this version; remove it")
        for key in LATER
        if key in document.data
    ]
    known = replace(document, data={key: value for key, value in document.data.items() if key not in LATER})
    shape, wrong = validate(PolicyShape, known)
    problems += [*wrong, *_against_fleet(document, services), *_alert_problems(document, channels)]
    if shape is None or problems:
        return None, problems
    return Loaded(path, document, _policy(shape, str(path))), []


# What follows looks at the plain data, so that a wrong shape elsewhere hides none of it.


def _against_fleet(document: Document, services: Services | None) -> Iterator[Problem]:
    named, variants = document.data.get("service"), document.data.get("variants")
    if not services or not isinstance(named, str):
        return
    if named not in services:
        message = f"the fleet has no service '{named}'{nearest(named, services)}"
        yield document.problem(("service",), message)
        return
    for name in variants if isinstance(variants, Mapping) else ():
        if name not in services[named]:
            message = f"service '{named}' has no variant '{name}'{nearest(name, services[named])}"
            yield document.problem(("variants", name), message)
    forbid = data.get("forbid") if isinstance(data := document.data.get("budget"), Mapping) else None
    for which, name in enumerate(_listed(forbid, "variants")):
        if isinstance(name, str) and name not in services[named]:
            message = f"service '{named}' has no variant '{name}'{nearest(name, services[named])}"
            yield document.problem(("budget", "forbid", "variants", which), message)


def _alert_problems(document: Document, channels: Collection[str]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, alert in enumerate(_listed(document.data, "alerts")):
        name = alert.get("name") if isinstance(alert, Mapping) else None
        if isinstance(name, str) and first.setdefault(name, index) != index:
            line, _ = document.position(("alerts", first[name]))
            yield document.problem(("alerts", index, "name"), f"an alert named '{name}' stands already in line {line}")
        yield from _channel_problems(document, alert, ("alerts", index), channels)
    yield from _channel_problems(document, document.data.get("budget"), ("budget",), channels)


def _channel_problems(document: Document, block: object, place: Place, channels: Collection[str]) -> Iterator[Problem]:
    for which, channel in enumerate(_listed(block, "to")):
        if isinstance(channel, str) and channel not in channels:
            message = f"no channel '{channel}'{nearest(channel, channels)}"
            yield document.problem((*place, "to", which), message)


def _listed(data: object, key: str) -> list[Any]:
    """The list at ``key``; empty where there is none."""
    found = data.get(key) if isinstance(data, Mapping) else None
    return found if isinstance(found, list) else []


def _twice(documents: Mapping[Path, Document]) -> Iterator[Problem]:
    first: dict[str, Path] = {}
    for path, document in documents.items():
        service = document.data.get("service")
        if isinstance(service, str) and first.setdefault(service, path) != path:
            message = f"service '{service}' already has the policy {first[service]}; expected one a service"
            yield document.problem(("service",), message)


# --- from the shape to the rules ------------------------------------------------------------------------------------


def _policy(shape: PolicyShape, source: str) -> ServicePolicy:
    return ServicePolicy(
        service=shape.service,
        source=source,
        slo=_slo(shape.slo),
        replicas=_replica_rule(shape.scaling, shape.slo.attainment),
        variants=tuple(
            VariantRule(name=name, capacity_types=variant.capacity_types, token_load_per_s=variant.token_load)
            for name, variant in shape.variants.items()
        ),
        spot_allowed=shape.capacity_mix.spot.allow,
        spot=SpotRule(
            min_saving_ratio=shape.capacity_mix.spot.min_saving,
            quiet_s=shape.capacity_mix.spot.quiet,
            min_placement_score=shape.capacity_mix.spot.min_placement_score,
            prelaunch=shape.capacity_mix.spot.prelaunch,
            spare=shape.capacity_mix.spot.spare,
        ),
        alerts=tuple(_alert(alert) for alert in shape.alerts),
        budget=None if shape.budget is None else shape.budget.budget(shape.service, {Dimension.SERVICE: shape.service}),
    )


def _slo(shape: SloShape) -> Slo:
    return Slo(ttft=_latency(shape, "ttft"), tpot=_latency(shape, "tpot"), attainment_ratio=shape.attainment)


def _latency(shape: SloShape, latency: str) -> LatencyTarget | None:
    for name, quantile in QUANTILES.items():
        seconds: float | None = getattr(shape, f"{latency}_{name}")
        if seconds is not None:
            return LatencyTarget(quantile=quantile, seconds=seconds)
    return None


def _replica_rule(shape: ScalingShape, attainment_ratio: float) -> ReplicaRule:
    return ReplicaRule(
        min_replicas=shape.min_replicas,
        max_replicas=shape.max_replicas,
        targets=_targets(shape.targets),
        scale_up=_up(shape),
        scale_down=_down(shape),
        method=shape.method,
        forecast=_forecast(shape.forecast, attainment_ratio),
        tolerance_ratio=shape.tolerance,
        start_deadline_s=shape.start_deadline,
        stuck_deadline_s=shape.stuck_deadline,
        foreign_hold_s=shape.foreign_hold,
    )


def _forecast(shape: ForecastShape, attainment_ratio: float) -> ForecastRule:
    asked = max(DEFAULT_FORECAST_QUANTILE, quantile_for(attainment_ratio))
    quantile = asked if shape.quantile is None else shape.quantile
    return ForecastRule(quantile=quantile, drain_s=shape.drain)


def _targets(shape: TargetsShape | None) -> Targets:
    if shape is None:
        return Targets()
    return Targets(
        queue_depth=shape.queue_depth,
        kv_cache_ratio=shape.kv_cache,
        token_load_per_s=shape.token_load,
        gpu_utilization_ratio=shape.gpu_utilization,
        headroom_ratio=shape.headroom,
    )


def _up(shape: ScalingShape) -> Behaviour:
    wait_s = _either(shape.scale_up.stabilization, USUAL_UP[shape.method].stabilization_s)
    return Behaviour(stabilization_s=wait_s, at_most=_step(shape.scale_up.at_most))


def _down(shape: ScalingShape) -> Behaviour:
    down, usual = shape.scale_down, USUAL_DOWN[shape.method]
    return Behaviour(
        stabilization_s=_either(down.stabilization, usual.stabilization_s),
        spare_s=_either(down.spare, usual.spare_s),
        at_most=_step(down.at_most),
    )


def _either(said: float | None, usual: float) -> float:
    return usual if said is None else said


def _step(shape: StepShape | None) -> Step | None:
    return None if shape is None else Step(per_s=shape.per, replicas=shape.replicas, ratio=shape.percent)


def _alert(shape: AlertShape) -> AlertRule:
    return AlertRule(
        name=shape.name,
        condition=shape.when,
        for_s=shape.for_,
        keep_firing_for_s=shape.keep_firing_for,
        severity=shape.severity,
        channels=shape.to,
        do=shape.do,
    )
