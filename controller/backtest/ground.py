"""Which fleet is rehearsed: a fleet file's, one described in options, or the sample fleet; and what a replica costs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from controller.backtest.words import many
from controller.catalog.load import find_gpu, find_model, gpus_named, load_gpus, load_models, nearest
from controller.decide.rules import ServicePolicy
from controller.documents import nearest as did_you_mean
from controller.documents import sentence
from controller.errors import ConfigError, Problem
from controller.estimate.peaks import KV_BYTES, TIERS
from controller.estimate.performance.prior import kv_capacity_tokens
from controller.facts.fleet import Capacity, CapacityType, EngineKind, Fleet, Gpu, Model, Service, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price
from controller.prices.book import PriceBook, offers
from controller.prices.resolve import resolve
from controller.settings.load import Settings, load_settings
from controller.wiring import PRICES

SAMPLE_MODEL, SAMPLE_GPU, SAMPLE_QUANTIZATION = "llama-3.1-70b", "H100-80GB-SXM", "fp8"
SAMPLE_OFFER = "aws/us-east-1/p5.48xlarge"

LEAST_KV_TOKENS = 65_536
"""Without --gpus-per-replica: the fewest GPUs that hold this many tokens beside the weights. A guess: some 40 requests
of the usual length at once."""
MOST_GPUS = 64
OFFERS_TOLD = 3

PREFERRED = (CapacityType.ON_DEMAND, CapacityType.RESERVED, CapacityType.SPOT)
"""Every replica is billed alike; where the fleet buys in several ways, at the price of the first of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A fleet in options. None: not said."""

    model: str | None = None
    gpu: str | None = None
    gpus_per_replica: int | None = None
    quantization: str | None = None
    kv_cache_dtype: str | None = None

    @property
    def said(self) -> bool:
        return any(one is not None for one in (self.model, self.gpu, self.quantization, self.kv_cache_dtype)) or (
            self.gpus_per_replica is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """``usd_per_gpu_hour`` and ``offer`` as said in options; None: not said."""

    usd_per_gpu_hour: float | None = None
    offer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """One service and its first variant. ``told``: where it was found; ``others``: further ones that may be rented."""

    service: str
    model: Model
    variant: Variant
    told: str
    others: tuple[Variant, ...] = ()

    def fleet(self) -> Fleet:
        """Of the first variant alone."""
        service = Service(name=self.service, model=self.model, variants={self.variant.name: self.variant})
        return Fleet(services={self.service: service})


# --- from a fleet file -----------------------------------------------------------------------------------------------


def settings_at(path: Path) -> Settings:
    """Raises ConfigError."""
    return load_settings(path, dict(os.environ), offers=offers(), measured=False)


def ground_in(settings: Settings, policies: Sequence[ServicePolicy], wanted: str | None) -> Ground:
    """The policies' service in a fleet file, and its variant ``wanted`` alone: else all of them, the first that a
    policy names before the others, else as in the file. Raises ConfigError."""
    service = settings.fleet.services[policies[0].service]
    named = wanted or next((rule.name for policy in policies for rule in policy.variants), None)
    name = named or next(iter(service.variants))
    if name not in service.variants:
        message = f"{settings.file}: service '{service.name}' has no variant '{name}'"
        raise ConfigError([Problem("--variant", 0, 0, "", message + did_you_mean(name, service.variants))])
    others = tuple(one for one in service.variants.values() if one.name != name)
    more = f" (without its {many(len(others), 'other variant')})" if others and wanted else ""
    return Ground(
        service=service.name,
        model=service.model,
        variant=service.variants[name],
        told=f"{settings.file}: {service.name}/{name}{more}",
        others=() if wanted else others,
    )


# --- from options ----------------------------------------------------------------------------------------------------


def ground_of(asked: Described, policies: Sequence[ServicePolicy]) -> Ground:
    """The fleet that the options describe; what they leave out is the sample fleet's. Raises ConfigError with all that
    is wrong."""
    problems: list[Problem] = []
    model = _model(asked.model or SAMPLE_MODEL, problems)
    gpu = _gpu(asked.gpu or SAMPLE_GPU, problems)
    quantization = _known("--quantization", asked.quantization or SAMPLE_QUANTIZATION, TIERS, problems)
    kv_cache_dtype = asked.kv_cache_dtype or ("fp8" if quantization.startswith("fp8") else "auto")
    _known("--kv-cache-dtype", kv_cache_dtype, KV_BYTES, problems)
    if model is None or gpu is None or problems:
        raise ConfigError(problems)
    named = next((rule.name for policy in policies for rule in policy.variants), None)
    variant = Variant(
        service=policies[0].service if policies else "service",
        name=named or f"{gpu.name.lower()}-{quantization}",
        gpu=gpu,
        gpus_per_replica=asked.gpus_per_replica or 1,
        quantization=quantization,
        kv_cache_dtype=kv_cache_dtype,
        engine=EngineKind.VLLM,
        capacity=(),
    )
    told = "as described" if asked.said else "the sample fleet: no fleet.yaml here, no --fleet and no --model given"
    if asked.gpus_per_replica is None:
        variant = _fewest_gpus(model, variant)
    return Ground(service=variant.service, model=model, variant=variant, told=told)


def _model(name: str, problems: list[Problem]) -> Model | None:
    found = find_model(name)
    if found is None:
        meant = _meant(name, load_models()) or f"; it has {', '.join(load_models())}"
        problems.append(Problem("--model", 0, 0, "", f"'{name}' is not in the model table{meant}"))
    return found


def _gpu(name: str, problems: list[Problem]) -> Gpu | None:
    found = find_gpu(name)
    if found is None:
        several = ", ".join(gpu.name for gpu in gpus_named(name))
        near = _meant(name, load_gpus()) or f"; it has {', '.join(load_gpus())}"
        meant = f"; it may be {several}" if several else near
        problems.append(Problem("--gpu", 0, 0, "", f"'{name}' is not one row of the GPU table{meant}"))
    return found


def _known(option: str, name: str, table: Iterable[str], problems: list[Problem]) -> str:
    if name.lower().replace("-", "_") not in table:
        problems.append(Problem(option, 0, 0, "", f"'{name}' is not known{_meant(name, table)}"))
    return name


def _meant(wrong: str, table: Iterable[str]) -> str:
    close = nearest(wrong, table)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _fewest_gpus(model: Model, variant: Variant) -> Variant:
    """Raises ConfigError when even the most do not hold the model."""
    gpus = 1
    while gpus <= MOST_GPUS:
        tried = replace(variant, gpus_per_replica=gpus)
        room = kv_capacity_tokens(model, tried)
        if not isinstance(room, Missing) and room >= LEAST_KV_TOKENS:
            return tried
        gpus *= 2
    message = f"not even {MOST_GPUS} x {variant.gpu.name} hold {model.name} in {variant.quantization}"
    raise ConfigError([Problem("--gpus-per-replica", 0, 0, "", message)])


# --- what it costs ---------------------------------------------------------------------------------------------------


def price_of(ground: Ground, asked: Priced, now: datetime) -> Price:
    """USD per GPU-hour: as said, else by the fleet file and the price book. An unknown one is no zero: ConfigError,
    which says how to give one."""
    if asked.usd_per_gpu_hour is not None:
        return Price(
            usd_per_gpu_hour=asked.usd_per_gpu_hour,
            capacity_type=CapacityType.ON_DEMAND,
            source="--usd-per-gpu-hour",
        )
    variant = ground.variant
    offer = asked.offer or (SAMPLE_OFFER if _is_sample(variant) and not variant.capacity else None)
    bought = (Capacity(type=CapacityType.ON_DEMAND, offer=offer),) if offer else variant.capacity
    priced = replace(ground, variant=replace(variant, capacity=bought))
    found = resolve(priced.fleet(), [make() for make in PRICES.values()], now)
    said = {kind: found[variant.service, variant.name, kind] for kind in PREFERRED if _has(bought, kind)}
    price = next((one for one in said.values() if isinstance(one, Price)), None)
    if price is None:
        why = "; ".join(str(one) for one in said.values()) or f"{variant.gpu.name} has no price"
        where = "--offer" if asked.offer else "price"
        raise ConfigError([Problem(where, 0, 0, "", f"{sentence(why)} {_how_to_price(variant)}")])
    return price


def _is_sample(variant: Variant) -> bool:
    return find_gpu(SAMPLE_GPU) == variant.gpu


def _has(capacity: Sequence[Capacity], kind: CapacityType) -> bool:
    return any(one.type is kind for one in capacity)


def _how_to_price(variant: Variant) -> str:
    prices = {
        name: usd
        for name, offer in PriceBook.shipped().offers.items()
        if variant.gpu in gpus_named(offer.gpu) and offer.gpu_count >= variant.gpus_per_replica
        for usd in (offer.usd_per_gpu_hour.get(CapacityType.ON_DEMAND),)
        if usd is not None
    }
    cheapest = sorted(prices, key=lambda name: (prices[name], name))[:OFFERS_TOLD]
    listed = ", ".join(f"{name} (${prices[name]:.2f})" for name in cheapest)
    return "Give --usd-per-gpu-hour USD" + (f", or --offer with one of the price book's: {listed}" if listed else "")
