"""A small fleet, and readings of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import inf

import pytest

from controller.catalog.load import load_gpus, load_models
from controller.estimate.fleet import estimate
from controller.facts.estimates import Estimates
from controller.facts.fleet import Capacity, CapacityType, EngineKind, Fleet, Service, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price, Prices
from controller.facts.readings import (
    Counter,
    Distribution,
    EngineReading,
    Gauge,
    GpuReading,
    Histogram,
    Observation,
    ReplicaState,
    Target,
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
RESERVED, ON_DEMAND, SPOT = CapacityType.RESERVED, CapacityType.ON_DEMAND, CapacityType.SPOT


class World:
    """Builders with everyday defaults: every test says only what matters to it."""

    noon = NOON

    def variant(self, *capacity: Capacity, **changes: object) -> Variant:
        values: dict[str, object] = {
            "service": "chat",
            "name": "h100",
            "gpu": load_gpus()["H100-SXM"],
            "gpus_per_replica": 2,
            "quantization": "fp8",
            "kv_cache_dtype": "auto",
            "engine": EngineKind.VLLM,
            "capacity": capacity or (Capacity(type=ON_DEMAND, offer="aws/us-east-1/p5.48xlarge"),),
        }
        return Variant(**{**values, **changes})  # type: ignore[arg-type]  # a builder's keyword arguments

    def fleet(self, *variants: Variant, model: str = "llama-3.1-8b") -> Fleet:
        variants = variants or (self.variant(),)
        return Fleet(
            services={
                "chat": Service(name="chat", model=load_models()[model], variants={one.name: one for one in variants})
            }
        )

    def prices(self, usd: Mapping[CapacityType, float] | None = None, variant: str = "h100") -> Prices:
        usd = {RESERVED: 2.0, ON_DEMAND: 4.0, SPOT: 1.0} if usd is None else usd
        return {
            ("chat", variant, kind): Price(usd_per_gpu_hour=price, capacity_type=kind, source="test")
            for kind, price in usd.items()
        }

    def target(self, name: str = "r0", **labels: str) -> Target:
        return Target(service="chat", variant="h100", replica=name, url=f"http://{name}:8000", labels=labels)

    def reading(
        self,
        target: Target | None = None,
        *,
        age_s: float = 0.0,
        window_s: float = 15.0,
        gauges: Mapping[Gauge, float] | None = None,
        counters: Mapping[Counter, float] | None = None,
        histograms: Mapping[Distribution, Histogram] | None = None,
        missing: Mapping[object, Missing] | None = None,
    ) -> EngineReading:
        return EngineReading(
            target=target or self.target(),
            at=NOON - timedelta(seconds=age_s),
            window_s=window_s,
            source="scrape",
            engine=EngineKind.VLLM,
            gauges=gauges or {},
            counters=counters or {},
            histograms=histograms or {},
            missing=missing or {},  # type: ignore[arg-type]  # signals of any kind
        )

    def busy(self, target: Target | None = None, *, age_s: float = 0.0, **changes: float) -> EngineReading:
        """Everything a healthy engine says; ``changes`` replaces signals by name."""
        gauges = {
            Gauge.RUNNING: 8.0,
            Gauge.QUEUE_DEPTH: 2.0,
            Gauge.KV_CACHE_RATIO: 0.7,
            Gauge.KV_CAPACITY_TOKENS: 100_000.0,
        }
        counters = {
            Counter.PROMPT_TOKENS: 30_000.0,
            Counter.CACHED_PROMPT_TOKENS: 6_000.0,
            Counter.OUTPUT_TOKENS: 15_000.0,
            Counter.REQUESTS: 60.0,
            Counter.REJECTIONS: 0.0,
            Counter.PREEMPTIONS: 0.0,
            Counter.PREFIX_QUERIES_TOKENS: 30_000.0,
            Counter.PREFIX_HITS_TOKENS: 6_000.0,
            Counter.ENGINE_STEPS: 600.0,
        }
        return self.reading(
            target,
            age_s=age_s,
            gauges={signal: changes.get(signal.value, value) for signal, value in gauges.items()},
            counters={signal: changes.get(signal.value, value) for signal, value in counters.items()},
            histograms={
                Distribution.TTFT_S: self.histogram((0.1, 1.0, inf), (30, 28, 2)),
                Distribution.PROMPT_LENGTH_TOKENS: self.histogram((1000.0, inf), (60, 0), 30_000.0),
                Distribution.OUTPUT_LENGTH_TOKENS: self.histogram((1000.0, inf), (60, 0), 15_000.0),
            },
        )

    def histogram(self, bounds: Sequence[float], counts: Sequence[float], total: float = 0.0) -> Histogram:
        return Histogram(bounds=tuple(bounds), counts=tuple(map(float, counts)), total=total)

    def gpu(self, gpu_id: str = "GPU-0", **changes: object) -> GpuReading:
        values: dict[str, object] = {
            "gpu_id": gpu_id,
            "model_name": "NVIDIA H100 80GB HBM3",
            "host": "node-1",
            "at": NOON,
            "window_s": 15.0,
            "source": "dcgm",
            "utilization_ratio": 0.9,
            "tensor_active_ratio": 0.4,
            "dram_active_ratio": 0.6,
            "memory_used_bytes": 1e9,
            "memory_free_bytes": 1e9,
            "power_w": 500.0,
            "energy_j": 7500.0,
        }
        return GpuReading(**{**values, **changes})  # type: ignore[arg-type]  # a builder's keyword arguments

    def observation(
        self,
        *readings: EngineReading,
        targets: Sequence[Target] | None = None,
        states: Sequence[ReplicaState] | None = None,
        gpus: Sequence[GpuReading] = (),
    ) -> Observation:
        engines: dict[str, EngineReading | Missing] = {one.target.url: one for one in readings}
        return Observation(
            at=NOON,
            targets=tuple(one.target for one in readings) if targets is None else tuple(targets),
            engines=engines,
            gpus={("chat", "h100"): tuple(gpus) or Missing("gpus", "no exporter is configured")},
            replicas={
                ("chat", "h100"): Missing("replicas", "dry_run cannot know") if states is None else tuple(states)
            },
        )

    def estimate(
        self,
        observation: Observation,
        *,
        fleet: Fleet | None = None,
        prices: Prices | None = None,
        history: Mapping[str, Sequence[EngineReading]] | None = None,
        queue: Sequence[tuple[datetime, float]] = (),
    ) -> Estimates:
        return estimate(
            self.fleet() if fleet is None else fleet,
            observation,
            history or {},
            self.prices() if prices is None else prices,
            NOON,
            {"chat": queue},
        )


@pytest.fixture(scope="session")
def world() -> World:
    return World()
