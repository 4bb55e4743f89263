"""What a quantized variant's work is held against: the rate of one beside it that is not."""

from __future__ import annotations

from collections.abc import Mapping

from controller.facts.account_reader import Statics
from controller.facts.accounts import WorkRate

UNQUANTIZED = ("", "none", "auto", "bf16", "fp16", "bfloat16", "float16")
"""As engines name weights of 16 bits; "" where the fleet file says nothing."""

Variant = tuple[str, str]


def baselines(rates: Mapping[Variant, WorkRate], static: Statics) -> dict[Variant, WorkRate]:
    """By quantized variant: the measured rate of the same model on as many of the same GPUs, else the one given."""
    found = dict(static.baselines)
    for key in rates:
        if not _is_quantized(key, static):
            continue
        alike = [other for other in rates if _is_baseline(other, key, static)]
        if alike:
            found[key] = rates[min(alike, key=lambda other: rates[other].band_ratio)]
    return found


def _is_quantized(key: Variant, static: Statics) -> bool:
    return static.of(*key).quantization not in UNQUANTIZED


def _is_baseline(other: Variant, key: Variant, static: Statics) -> bool:
    if other == key or other not in static.variants or _is_quantized(other, static):
        return False
    one, two = static.of(*other), static.of(*key)
    return (one.model, one.gpu, one.gpus) == (two.model, two.gpu, two.gpus)
