"""What a GPU can do at the precision that is really computed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from controller.catalog.names import nearest
from controller.facts.fleet import Gpu, Variant
from controller.facts.missing import Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One quantization: the precision its matrix products run in where the GPU can, and the bytes of a stored
    weight."""

    compute: str
    weight_bytes: float


PLAIN = Tier(compute="bf16", weight_bytes=2.0)
WEIGHT_ONLY_8 = Tier(compute="bf16", weight_bytes=1.0)
WEIGHT_ONLY_4 = Tier(compute="bf16", weight_bytes=0.5)
FP8 = Tier(compute="fp8", weight_bytes=1.0)
FP4 = Tier(compute="fp4", weight_bytes=0.5)

TIERS: Mapping[str, Tier] = MappingProxyType(
    {
        "none": PLAIN,
        "bf16": PLAIN,
        "bfloat16": PLAIN,
        "fp16": PLAIN,
        "float16": PLAIN,
        "half": PLAIN,
        "fp8": FP8,
        "fp8_w8a8": FP8,
        "w8a8": Tier(compute="int8", weight_bytes=1.0),
        "int8_w8a8": Tier(compute="int8", weight_bytes=1.0),
        "int8": WEIGHT_ONLY_8,
        "w8a16": WEIGHT_ONLY_8,
        "int4": WEIGHT_ONLY_4,
        "w4a16": WEIGHT_ONLY_4,
        "awq": WEIGHT_ONLY_4,
        "awq_marlin": WEIGHT_ONLY_4,
        "gptq": WEIGHT_ONLY_4,
        "gptq_marlin": WEIGHT_ONLY_4,
        "bitsandbytes": WEIGHT_ONLY_4,
        "nvfp4": FP4,
        "fp4": FP4,
        "mxfp4": WEIGHT_ONLY_4,
    }
)
"""By the names that engines use. Scales and zero points (a few percent of the bytes) are left out.

W4A16 and W8A16 unpack their weights and multiply in 16 bits, so their peak is the 16-bit one. vLLM's own estimate
takes AWQ and GPTQ as 0.5 bytes and fp8 as 1 byte too (vllm/v1/metrics/perf.py, 0.33.0).
"""

KV_BYTES: Mapping[str, float] = MappingProxyType(
    {
        "auto": 2.0,
        "bf16": 2.0,
        "bfloat16": 2.0,
        "fp16": 2.0,
        "float16": 2.0,
        "fp8": 1.0,
        "fp8_e4m3": 1.0,
        "fp8_e5m2": 1.0,
        "int8": 1.0,
    }
)
"""Bytes of one element of the KV cache by its dtype. "auto" is the model's, 16 bits for every model of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The peak that MFU is measured against, and the bytes of a weight. ``precision`` says which peak."""

    precision: str
    flop_per_s: float
    weight_bytes: float


def peak_of(gpu: Gpu, quantization: str) -> Peak | Missing:
    """The peak of one GPU at the precision that ``quantization`` computes in: bf16 where the GPU has no narrower
    one."""
    name = quantization.lower().replace("-", "_")
    tier = TIERS.get(name)
    if tier is None:
        meant = ", ".join(nearest(name, TIERS)) or ", ".join(TIERS)
        return Missing("peak", f"quantization {quantization!r} is not known; the nearest known: {meant}")
    precision = tier.compute if tier.compute in gpu.peak_flop_per_s else "bf16"
    if precision not in gpu.peak_flop_per_s:
        return Missing("peak", f"{gpu.name} has no {precision} peak in the GPU table; write it in the fleet file")
    return Peak(precision=precision, flop_per_s=gpu.peak_flop_per_s[precision], weight_bytes=tier.weight_bytes)


def kv_element_bytes(variant: Variant) -> float | Missing:
    """Bytes of one KV-cache element of the variant."""
    name = variant.kv_cache_dtype.lower().replace("-", "_")
    if name in KV_BYTES:
        return KV_BYTES[name]
    return Missing("kv_cache_dtype", f"{variant.kv_cache_dtype!r} is not known; known: {', '.join(KV_BYTES)}")
