"""Model FLOP and bandwidth utilization of one replica: from the engine's counters when they move, else modelled."""

from __future__ import annotations

from dataclasses import dataclass

from controller.estimate.peaks import Peak, kv_element_bytes, peak_of
from controller.estimate.traffic import Traffic
from controller.estimate.windows import Window
from controller.facts.estimates import Number
from controller.facts.fleet import Model, Variant
from controller.facts.missing import Missing, first_missing
from controller.facts.readings import Counter, Gauge
from controller.facts.unguarded import unguarded

ENGINE = "engine"
MODELLED = "modelled"


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """The two ratios and where they come from. Above 1 is kept: then a peak, a dtype or a GPU count is wrong."""

    mfu: Number
    mfu_source: str
    mbu: Number
    mbu_source: str


def efficiency_of(window: Window, traffic: Traffic, model: Model, variant: Variant) -> Efficiency:
    """MFU and MBU of one replica over its window."""
    peak = peak_of(variant.gpu, variant.quantization)
    if isinstance(peak, Missing):
        return Efficiency(
            mfu=Missing("mfu_ratio", peak.why), mfu_source="", mbu=Missing("mbu_ratio", peak.why), mbu_source=""
        )
    mfu, mfu_source = _mfu(window, traffic, model, variant, peak)
    mbu, mbu_source = _mbu(window, traffic, model, variant, peak)
    return Efficiency(mfu=mfu, mfu_source=mfu_source, mbu=mbu, mbu_source=mbu_source)


def _mfu(window: Window, traffic: Traffic, model: Model, variant: Variant, peak: Peak) -> tuple[Number, str]:
    counted = window.rate(Counter.FLOP_PER_GPU)
    if not isinstance(counted, Missing) and counted > 0:
        return counted / peak.flop_per_s, f"{ENGINE}, {peak.precision} peak"
    flop, left_out = modelled_flop_per_s(traffic, model)
    if isinstance(flop, Missing):
        return Missing("mfu_ratio", flop.why), ""
    ratio = flop / (variant.gpus_per_replica * peak.flop_per_s)
    return ratio, f"{MODELLED}, {peak.precision} peak{left_out}"


def modelled_flop_per_s(traffic: Traffic, model: Model) -> tuple[Number, str]:
    """FLOP/s of a forward pass over the replica's traffic, and what is left out of it.

        2 P_mm (computed prompt + output) + 2 P_head (output + requests)
        + 4 L H d [output (n + m/2) + computed prompt (n + 1)/2 x (1 + cached share)]

    n, m: mean prompt and output tokens. The last bracket is the context that each computed token attends to: with the
    share c of a prompt cached, its computed tokens attend to n (1 + c)/2 on average. Left out, and said, for MLA
    models (the FLOPs depend on the kernel) and while nothing has finished (lengths unknown).
    """
    computed, output, requests = traffic.computed_prompt, traffic.output, traffic.requests
    if isinstance(computed, Missing) or isinstance(output, Missing) or isinstance(requests, Missing):
        return Missing("flop_per_s", str(first_missing(computed, output, requests))), ""
    weights = 2 * model.matmul_params_active * (computed + output) + 2 * model.lm_head_params * (output + requests)
    if model.head_dim is None:
        return weights, ", without attention (MLA)"
    n, m = traffic.mean_prompt, traffic.mean_output
    if isinstance(n, Missing) or isinstance(m, Missing):
        return weights, ", without attention (no finished request tells the context)"
    cached = traffic.cached_prompt
    all_prompt = computed + (0.0 if isinstance(cached, Missing) else cached)
    cached_share = 1 - computed / all_prompt if all_prompt > 0 else 0.0
    context = output * (n + m / 2) + computed * (n + 1) / 2 * (1 + cached_share)
    return weights + 4 * model.layers * model.heads * model.head_dim * context, ""


def _mbu(window: Window, traffic: Traffic, model: Model, variant: Variant, peak: Peak) -> tuple[Number, str]:
    read, written = window.rate(Counter.READ_BYTES_PER_GPU), window.rate(Counter.WRITE_BYTES_PER_GPU)
    if not isinstance(read, Missing) and not isinstance(written, Missing) and read > 0:
        return (read + written) / variant.gpu.bandwidth_bytes_per_s, ENGINE
    moved = modelled_bytes_per_s(window, traffic, model, variant, peak.weight_bytes)
    if isinstance(moved, Missing):
        return Missing("mbu_ratio", moved.why), ""
    return moved / (variant.gpus_per_replica * variant.gpu.bandwidth_bytes_per_s), MODELLED


def modelled_bytes_per_s(
    window: Window, traffic: Traffic, model: Model, variant: Variant, weight_bytes: float
) -> Number:
    """Bytes read per second by all GPUs of the replica: steps/s x (weights touched + KV cache in use).

    The KV cache in use is the newest kv_cache_ratio x capacity, each token read once a step. MLA models keep one
    latent per token on every GPU of a tensor-parallel group, so each of them reads it all.
    """
    steps, computed, output = window.rate(Counter.ENGINE_STEPS), traffic.computed_prompt, traffic.output
    used, capacity = window.gauge(Gauge.KV_CACHE_RATIO), window.gauge(Gauge.KV_CAPACITY_TOKENS)
    element_bytes = kv_element_bytes(variant)
    if (
        isinstance(steps, Missing)
        or isinstance(computed, Missing)
        or isinstance(output, Missing)
        or isinstance(used, Missing)
        or isinstance(capacity, Missing)
        or isinstance(element_bytes, Missing)
    ):
        return Missing("bytes_per_s", str(first_missing(steps, computed, output, used, capacity, element_bytes)))
    if steps == 0:
        return 0.0
    weights = weight_bytes * touched_params(model, (computed + output) / steps)
    kv_bytes_per_token = model.kv_bytes_per_token_16bit * element_bytes / 2
    copies = variant.gpus_per_replica if model.head_dim is None else 1
    return steps * (weights + used * capacity * kv_bytes_per_token * copies)


def touched_params(model: Model, tokens_per_step: float) -> float:
    """Weights read in a step of so many tokens: all of a dense model, the experts hit of a mixture.

        E_hit / E = 1 - (1 - k/E)^tokens

    The experts' weights follow from the two published counts: total - active = (1 - k/E) x experts' weights. The input
    embedding is looked up, not read.
    """
    dense = model.matmul_params_active + model.lm_head_params
    if not model.experts or not model.experts_per_token or model.experts_per_token >= model.experts:
        return dense
    share = model.experts_per_token / model.experts
    expert_params = (model.params_total - model.params_active) / (1 - share)
    hit = 1 - float((1 - share) ** max(tokens_per_step, 1.0))
    return dense + expert_params * (hit - share)
