"""The step model of a variant that nobody has run yet: roofline over the GPU and model tables.

Weights, KV cache and attention are read at a share of the memory bandwidth; matrix products run at a share of the peak
of the precision that is computed in. The shares are few, hold for every row, and were fitted (least squares of the
logarithm) to 17 variants of NVIDIA AIConfigurator 0.12 (Apache-2.0): Llama-3.1 8B and 70B on L40S, A100, H100 and H200,
one to four GPUs, bf16, fp8 and int4. Bands are the root mean square of what is left, rounded up; the test states it by
row.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.estimate.efficiency import touched_params
from controller.estimate.peaks import Peak, kv_element_bytes, peak_of
from controller.facts.fleet import Model, Variant
from controller.facts.missing import Missing, first_missing
from controller.facts.performance import EngineLimits, StepModel

WEIGHT_READ_SHARE = 0.814
"""Of the bandwidth, while weights are read."""

LAYER_S = 51.5e-6
"""Launches, norms and the softmax of one layer, whatever the batch."""

ALL_REDUCE_S = 7.5e-6
"""A layer's all-reduces of a small batch, with more than one GPU."""

KV_READ_SHARE = 0.804
"""Of the bandwidth, while attention reads keys and values."""

DECODE_COMPUTE_SHARE = 0.61
"""Of the time that a decoding sequence's products take at peak: the rest hides behind the reading of weights."""

DECODE_UNPACK_SHARE = 0.75
"""The same again when weights are unpacked from 4 or 8 bits first."""

PREFILL_MFU = 0.87
"""Of the peak, in large matrix products: the ceiling measured on A100 (stas00/ml-engineering, MAMF). Taken, not fitted:
freely fitted it comes out above 1, because the intercept of a pure prefill is smaller than a decode step."""

PREFILL_UNPACK_SHARE = 0.68
"""Of the time at peak, on top, when weights are unpacked first."""

DECODE_LAYER_BYTES = 110.0
PREFILL_LAYER_BYTES = 101.0
"""Moved per token, layer and unit of width outside of the products (norms, activations, quantizing, all-reduce)."""

ATTENTION_MFU = 0.5
"""Of the 16-bit peak, in the attention of a prompt. Rows differ by a factor of 2 to 4 here; it matters beyond 8k."""

MLA_WIDTH = 160
"""Per head: mean of 192 (queries and keys) and 128 (values), DeepSeek-V2 and V3."""

MIXTURE_TOKENS = 32.0
"""Sequences a step at which the experts hit are counted: a guess at a working batch; nearly all experts beyond it."""

MEMORY_SHARE = 0.9
"""Of the GPU's memory that the engine may fill: vLLM's --gpu-memory-utilization was 0.9 by default for years."""

ENGINE_BYTES = 3e9
"""Per GPU: activations, graphs and workspace. AIConfigurator's figure for these variants (5.7e9 on L40S)."""

BANDS = {
    "base_s": 0.10,
    "per_sequence_s": 0.35,
    "per_kv_token_s": 0.15,
    "per_prefill_token_s": 0.16,
    "per_prefill_pair_s": 1.0,
}
"""Relative error (one standard deviation) by coefficient."""

UNCHECKED_WIDENING = 2.0
"""Bands are so much wider for mixtures of experts and MLA: no row to check them by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPrior:
    """A step model and the relative band (one standard deviation) of each of its coefficients, in BANDS' order."""

    step: StepModel
    bands: tuple[float, ...]


def step_prior(model: Model, variant: Variant) -> StepPrior | Missing:
    """What the tables say. Missing when the precision or the KV dtype is not known."""
    peak, kv_bytes = peak_of(variant.gpu, variant.quantization), kv_element_bytes(variant)
    if isinstance(peak, Missing) or isinstance(kv_bytes, Missing):
        return Missing("step_model", str(first_missing(peak, kv_bytes)))
    unchecked = model.experts is not None or model.head_dim is None
    return StepPrior(
        step=_roofline(model, variant, peak, kv_bytes),
        bands=tuple(band * (UNCHECKED_WIDENING if unchecked else 1.0) for band in BANDS.values()),
    )


def _roofline(model: Model, variant: Variant, peak: Peak, kv_bytes: float) -> StepModel:
    gpus, bandwidth = variant.gpus_per_replica, variant.gpu.bandwidth_bytes_per_s
    width = model.heads * (model.head_dim or MLA_WIDTH)
    token_s = 2 * model.matmul_params_active / gpus / peak.flop_per_s
    head_s = 2 * model.lm_head_params / gpus / peak.flop_per_s
    unpacks = peak.precision == "bf16" and peak.weight_bytes < 2
    layer_s = model.layers * width / bandwidth
    read = _read_weight_bytes(model, peak.weight_bytes) / gpus / bandwidth
    kv_shards = gpus if model.head_dim is not None else 1  # MLA: every GPU keeps the whole latent
    pair_flop = 2 * model.layers * width  # 4 L H d per query and key, of which causality computes half
    return StepModel(
        base_s=read / WEIGHT_READ_SHARE + model.layers * (LAYER_S + (ALL_REDUCE_S if gpus > 1 else 0.0)),
        per_sequence_s=(token_s + head_s) * (DECODE_COMPUTE_SHARE + unpacks * DECODE_UNPACK_SHARE)
        + layer_s * DECODE_LAYER_BYTES,
        per_kv_token_s=model.kv_bytes_per_token_16bit * kv_bytes / 2 / kv_shards / bandwidth / KV_READ_SHARE,
        per_prefill_token_s=token_s * (1 / PREFILL_MFU + unpacks * PREFILL_UNPACK_SHARE)
        + layer_s * PREFILL_LAYER_BYTES,
        per_prefill_pair_s=pair_flop / gpus / variant.gpu.peak_flop_per_s.get("bf16", peak.flop_per_s) / ATTENTION_MFU,
    )


def _read_weight_bytes(model: Model, weight_bytes: float) -> float:
    """Bytes of the weights of one decode step: the LM head stays at 16 bits whatever the rest is stored in."""
    body = touched_params(model, MIXTURE_TOKENS) - model.lm_head_params
    return body * weight_bytes + model.lm_head_params * 2


def kv_capacity_tokens(model: Model, variant: Variant) -> float | Missing:
    """Room for keys and values, tokens, from the GPUs' memory; within 4 % of AIConfigurator's (13 % on L40S)."""
    peak, kv_bytes = peak_of(variant.gpu, variant.quantization), kv_element_bytes(variant)
    if isinstance(peak, Missing) or isinstance(kv_bytes, Missing):
        return Missing("kv_capacity_tokens", str(first_missing(peak, kv_bytes)))
    gpus = variant.gpus_per_replica
    plain = model.params_active - model.matmul_params_active  # embedding and LM head keep 16 bits
    weights = (model.params_total - plain) * peak.weight_bytes + plain * 2
    usable = gpus * (MEMORY_SHARE * variant.gpu.memory_bytes - ENGINE_BYTES)
    if usable <= weights:
        return Missing(
            "kv_capacity_tokens",
            f"{weights / 1e9:.0f} GB of weights leave no room in {usable / 1e9:.0f} GB usable on {gpus} x "
            f"{variant.gpu.name}; use more GPUs or a narrower quantization",
        )
    copies = 1 if model.head_dim is not None else gpus
    return (usable - weights) / (model.kv_bytes_per_token_16bit * kv_bytes / 2 * copies)


def limits_of(variant: Variant, model: Model, observed_kv_tokens: float | Missing) -> EngineLimits | Missing:
    """The engine's limits: its own word on its KV cache, else worked out; token budget and batch are vLLM's defaults
    for servers on GPUs of 70 GB or more (8192, 1024), else 2048 and 256 (vllm/engine/arg_utils.py)."""
    tokens = observed_kv_tokens
    if isinstance(tokens, Missing) or tokens <= 0:
        tokens = kv_capacity_tokens(model, variant)
    if isinstance(tokens, Missing):
        return tokens
    large = variant.gpu.memory_bytes >= LARGE_GPU_BYTES
    return EngineLimits(
        kv_capacity_tokens=int(tokens),
        token_budget=variant.token_budget or (8192 if large else 2048),
        max_sequences=variant.max_sequences or (1024 if large else 256),
    )


LARGE_GPU_BYTES = 70e9
"""From here on vLLM serves with larger batches."""
