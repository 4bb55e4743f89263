"""One line of algebra against NVIDIA NIM's published figures: Llama-3.1-70B FP8 on two H100, 5000 tokens in, 500 out,
closed loop. Each sequence gets one token a step, and each token pays its share of a prompt."""

from __future__ import annotations

import numpy as np
import pytest

from controller.catalog.load import load_gpus, load_models
from controller.estimate.performance.prior import limits_of, step_prior
from controller.estimate.performance.queueing import settled, tpot_mean, work_of
from controller.facts.fleet import EngineKind, Variant
from controller.facts.missing import Missing
from controller.facts.performance import EngineLimits, RequestShape, StepModel

PROMPT, OUTPUT = 5000, 500
NIM = [(1, 52, 18.6), (5, 218, 21.8), (25, 623, 38.8), (50, 814, 59.7), (100, 917, 92.9), (250, 920, 93.2)]
"""Concurrency, output tokens/s, ms between tokens."""


def closed_loop(step: StepModel, limits: EngineLimits, concurrency: int) -> tuple[float, float]:
    """Output tokens/s and seconds between tokens."""
    batch = min(concurrency, limits.kv_capacity_tokens / (PROMPT + OUTPUT / 2))
    between_s = step.decode_s(batch, batch * (PROMPT + OUTPUT / 2)) + batch * step.prefill_s(PROMPT, PROMPT**2) / OUTPUT
    return batch / between_s, between_s


@pytest.mark.parametrize(("concurrency", "tokens_per_s", "itl_ms"), NIM)
def test_the_fitted_step_model_is_within_ten_percent_of_nim(bench, concurrency, tokens_per_s, itl_ms) -> None:
    found, between_s = closed_loop(bench.step, bench.limits, concurrency)
    assert found == pytest.approx(tokens_per_s, rel=0.10)
    assert between_s * 1e3 == pytest.approx(itl_ms, rel=0.10)


@pytest.mark.parametrize(("concurrency", "tokens_per_s", "itl_ms"), NIM)
def test_the_prior_alone_is_within_fifteen_percent_of_nim(concurrency, tokens_per_s, itl_ms) -> None:
    variant = Variant(
        service="s",
        name="v",
        gpu=load_gpus()["H100-SXM"],
        gpus_per_replica=2,
        quantization="fp8",
        kv_cache_dtype="fp8",
        engine=EngineKind.VLLM,
        capacity=(),
    )
    model = load_models()["llama-3.1-70b"]
    prior, limits = step_prior(model, variant), limits_of(variant, model, Missing("kv", "not said"))
    assert not isinstance(prior, Missing)
    assert not isinstance(limits, Missing)
    found, between_s = closed_loop(prior.step, limits, concurrency)
    assert found == pytest.approx(tokens_per_s, rel=0.15)
    assert between_s * 1e3 == pytest.approx(itl_ms, rel=0.15)


def test_the_open_loop_agrees_with_the_closed_one_at_the_same_batch(bench) -> None:
    shape = RequestShape(prompt_tokens=PROMPT, output_tokens=OUTPUT, prompt_cv=0.0, output_cv=0.0)
    closed, between_s = closed_loop(bench.step, bench.limits, 25)
    batch = settled(work_of(bench.step, bench.limits, shape), bench.step, np.array([closed / OUTPUT]), 1.0)
    assert float(batch.running[0, 0]) == pytest.approx(25, rel=0.1)
    assert float(tpot_mean(batch)[0, 0]) == pytest.approx(between_s, rel=0.1)
