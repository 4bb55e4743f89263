"""A variant to be priced: every test says only what matters to it."""

from __future__ import annotations

from controller.catalog.gpus import find_gpu
from controller.facts.fleet import Capacity, EngineKind, Variant


def variant(*capacity: Capacity, gpu: str = "H100-SXM") -> Variant:
    found = find_gpu(gpu)
    assert found is not None
    return Variant(
        service="chat",
        name="h100",
        gpu=found,
        gpus_per_replica=2,
        quantization="bf16",
        kv_cache_dtype="auto",
        engine=EngineKind.VLLM,
        capacity=capacity,
    )
