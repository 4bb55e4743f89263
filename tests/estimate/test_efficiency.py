from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.catalog.load import load_gpus, load_models
from controller.estimate.efficiency import Efficiency, efficiency_of, touched_params
from controller.estimate.peaks import peak_of
from controller.estimate.traffic import traffic_of
from controller.estimate.windows import merge
from controller.facts.missing import Missing
from controller.facts.readings import Counter, Distribution


@pytest.mark.parametrize(
    ("gpu", "quantization", "precision", "weight_bytes"),
    [
        ("H100-SXM", "bf16", "bf16", 2.0),
        ("H100-SXM", "fp8", "fp8", 1.0),
        ("A100-80GB-SXM", "fp8", "bf16", 1.0),
        ("H100-SXM", "awq", "bf16", 0.5),
        ("H100-SXM", "GPTQ-Marlin", "bf16", 0.5),
        ("H100-SXM", "int8", "bf16", 1.0),
        ("H100-SXM", "w8a8", "int8", 1.0),
        ("B200-SXM", "nvfp4", "fp4", 0.5),
        ("H100-SXM", "nvfp4", "bf16", 0.5),
    ],
)
def test_the_peak_is_that_of_the_compute_precision(gpu, quantization, precision, weight_bytes) -> None:
    peak = peak_of(load_gpus()[gpu], quantization)
    assert not isinstance(peak, Missing)
    assert (peak.precision, peak.weight_bytes) == (precision, weight_bytes)
    assert peak.flop_per_s == load_gpus()[gpu].peak_flop_per_s[precision]


@pytest.mark.parametrize(("quantization", "said"), [("fp9", "nearest known: fp8"), ("#", "nearest known: none")])
def test_an_unknown_quantization_has_no_peak(quantization: str, said: str) -> None:
    peak = peak_of(load_gpus()["H100-SXM"], quantization)
    assert isinstance(peak, Missing)
    assert said in peak.why


def test_a_gpu_without_a_peak_is_said() -> None:
    peak = peak_of(replace(load_gpus()["H100-SXM"], peak_flop_per_s={}), "bf16")
    assert isinstance(peak, Missing)
    assert "no bf16 peak" in peak.why


def judged(world, reading, model: str = "llama-3.1-8b", **changes: object) -> Efficiency:
    window = merge([reading])
    return efficiency_of(window, traffic_of(window), load_models()[model], world.variant(**changes))


def counted(world, **extra: float):
    reading = world.busy()
    return replace(reading, counters={**reading.counters, **{Counter(name): value for name, value in extra.items()}})


def test_the_engines_own_counters_are_preferred(world) -> None:
    got = judged(
        world,
        counted(world, flop_per_gpu=15 * 1979e12 / 4, read_bytes_per_gpu=15 * 3350e9 / 4, write_bytes_per_gpu=0.0),
    )
    assert got.mfu == pytest.approx(0.25)
    assert got.mbu == pytest.approx(0.25)
    assert (got.mfu_source, got.mbu_source) == ("engine, fp8 peak", "engine")


def test_counters_at_rest_while_tokens_move_are_not_believed(world) -> None:
    got = judged(world, counted(world, flop_per_gpu=0.0, read_bytes_per_gpu=0.0, write_bytes_per_gpu=0.0))
    assert (got.mfu_source, got.mbu_source) == ("modelled, fp8 peak", "modelled")
    assert got.mfu > 0
    assert got.mbu > 0


def test_the_modelled_ratios_follow_the_formulas(world) -> None:
    got = judged(world, world.busy())
    # A second: 1600 computed, 400 cached and 1000 output tokens, 4 requests of 500 + 250 tokens, 40 steps.
    weights = 2 * 6.979e9 * 2600 + 2 * 0.525e9 * 1004
    attention = 4 * 32 * 32 * 128 * (1000 * (500 + 125) + 1600 * 501 / 2 * 1.2)
    assert got.mfu == pytest.approx((weights + attention) / (2 * 1979e12))
    moved = 40 * ((6.979e9 + 0.525e9) * 1.0 + 0.7 * 100_000 * 131072)
    assert got.mbu == pytest.approx(moved / (2 * 3350e9))


def test_attention_that_cannot_be_counted_is_left_out_and_said(world) -> None:
    mla = judged(world, world.busy(), model="deepseek-v3")
    assert mla.mfu_source.endswith("without attention (MLA)")
    reading = replace(world.busy(), histograms={})
    assert "no finished request" in judged(world, reading).mfu_source
    half = {Distribution.PROMPT_LENGTH_TOKENS: world.busy().histograms[Distribution.PROMPT_LENGTH_TOKENS]}
    assert "no finished request" in judged(world, replace(world.busy(), histograms=half)).mfu_source


def test_nothing_moving_is_zero_and_not_missing(world) -> None:
    still = dict.fromkeys(("prompt_tokens", "cached_prompt_tokens", "output_tokens", "requests", "engine_steps"), 0.0)
    got = judged(world, world.busy(**still))
    assert (got.mfu, got.mbu) == (0.0, 0.0)


@pytest.mark.parametrize("signal", [Counter.PROMPT_TOKENS, Counter.OUTPUT_TOKENS, Counter.REQUESTS])
def test_a_missing_counter_is_a_missing_mfu(world, signal: Counter) -> None:
    reading = world.busy()
    less = replace(reading, counters={name: value for name, value in reading.counters.items() if name != signal})
    assert isinstance(judged(world, less).mfu, Missing)


def test_an_unknown_cache_dtype_or_quantization_says_so(world) -> None:
    got = judged(world, world.busy(), kv_cache_dtype="int3")
    assert isinstance(got.mbu, Missing)
    assert "'int3' is not known" in got.mbu.why
    assert isinstance(judged(world, world.busy(), quantization="gguf").mfu, Missing)


def test_prefix_hits_stand_for_cached_tokens_that_are_not_counted(world) -> None:
    reading = world.busy()
    counters = {name: value for name, value in reading.counters.items() if name != Counter.CACHED_PROMPT_TOKENS}
    assert traffic_of(merge([replace(reading, counters=counters)])).computed_prompt == 1600.0
    del counters[Counter.PREFIX_HITS_TOKENS]
    assert isinstance(traffic_of(merge([replace(reading, counters=counters)])).computed_prompt, Missing)


def test_a_large_batch_hits_all_experts_and_a_single_token_only_its_own() -> None:
    mixtral = load_models()["mixtral-8x7b"]
    assert touched_params(mixtral, 1) == pytest.approx(mixtral.matmul_params_active + mixtral.lm_head_params)
    assert touched_params(mixtral, 1e6) == pytest.approx(mixtral.params_total - 0.131e9, rel=0.01)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.sampled_from(sorted(load_models())))
def test_more_tokens_never_touch_fewer_weights(first: float, second: float, name: str) -> None:
    model = load_models()[name]
    low, high = sorted((first, second))
    assert 0 < touched_params(model, low) <= touched_params(model, high) <= model.params_total * 1.001
