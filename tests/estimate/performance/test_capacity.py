from __future__ import annotations

import re
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.estimate.performance.capacity import capacity, serving_point
from controller.facts.missing import Missing
from controller.facts.performance import EngineLimits, OutOfReach, ReplicaCapacity, StepModel

SHAPES = {
    "azure": {},
    "long answers": {"prompt": 500, "prompt_cv": 1.0, "output": 800, "output_cv": 1.0},
    "chat": {"prompt": 300, "prompt_cv": 1.2, "output": 250, "output_cv": 1.0},
    "balanced": {"prompt": 2000, "prompt_cv": 1.0, "output": 500, "output_cv": 1.0},
}


def known(found: ReplicaCapacity | Missing) -> ReplicaCapacity:
    assert isinstance(found, ReplicaCapacity), found
    return found


@pytest.mark.parametrize("quantile", [0.95, 0.99])
@pytest.mark.parametrize("name", SHAPES)
def test_latencies_at_capacity_are_those_of_the_simulated_engine(bench, name: str, quantile: float) -> None:
    shape, slo = bench.shape(**SHAPES[name]), bench.slo(quantile=quantile)
    found = known(capacity(bench.step, bench.limits, shape, slo))
    done = bench.served(found.requests_per_s, shape, 20_000)
    late = done.sent_s > 0.1 * done.sent_s.max()
    assert np.quantile(done.tpot_s[late], quantile) == pytest.approx(found.at.tpot_s, rel=0.08)
    assert np.quantile(done.ttft_s[late], quantile) == pytest.approx(found.at.ttft_s, rel=0.15)


def test_long_prompts_are_bound_by_the_first_token(bench) -> None:
    shape, slo = bench.shape(prompt=8000, prompt_cv=0.7, output=150, output_cv=1.0), bench.slo(quantile=0.95)
    found = known(capacity(bench.step, bench.limits, shape, slo))
    assert found.binding == "ttft"
    done = bench.served(found.requests_per_s, shape, 20_000)
    assert np.quantile(done.ttft_s, 0.95) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(
    ("limit", "binding"), [({"kv_capacity_tokens": 60_000}, "kv_cache"), ({"max_sequences": 40}, "max_sequences")]
)
def test_preemption_and_full_batches_are_kept_away(bench, limit, binding) -> None:
    shape = bench.shape(**SHAPES["long answers"])
    limits = replace(bench.limits, **limit)
    found = known(capacity(bench.step, limits, shape, bench.slo()))
    assert found.binding == binding
    spec = replace(bench.spec, max_model_len=32_768, **limit)
    done = type(bench)(spec).served(found.requests_per_s, shape, 6_000)
    assert done.preemptions.sum() <= len(done) * 0.01


rates = st.floats(0.05, 6.0)


@given(one=rates, other=rates)
def test_more_load_is_never_faster(bench, one: float, other: float) -> None:
    low, high = sorted((one, other))
    less, more = (serving_point(bench.step, bench.limits, bench.shape(), rate, bench.slo()) for rate in (low, high))
    assert less.running <= more.running
    assert less.tpot_s <= more.tpot_s * (1 + 1e-6)
    assert less.ttft_s <= more.ttft_s * (1 + 1e-6)


@given(
    prompt=st.floats(1, 20_000),
    prompt_cv=st.floats(0, 3),
    output=st.floats(1, 4_000),
    output_cv=st.floats(0, 3),
    cached=st.floats(0, 0.99),
    dispersion=st.floats(1, 8),
)
def test_any_shape_has_a_capacity_or_a_reason(bench, prompt, prompt_cv, output, output_cv, cached, dispersion) -> None:
    shape = bench.shape(prompt, prompt_cv, output, output_cv, cached)
    found = capacity(bench.step, bench.limits, shape, bench.slo(), dispersion=dispersion)
    if isinstance(found, Missing):
        assert "SLO" in found.why or "KV" in found.why
    else:
        assert 0 < found.requests_per_s < inf
        rate = 0.8 * found.requests_per_s
        less = serving_point(bench.step, bench.limits, shape, rate, bench.slo(), dispersion=dispersion)
        assert less.tpot_s <= 0.05 * 1.05
        assert less.ttft_s <= 2.0 * 1.05


def test_bursts_cost_capacity_and_cached_prompts_give_it(bench) -> None:
    def of(cached: float = 0.0, dispersion: float = 1.0) -> float:
        shape = bench.shape(cached=cached)
        return known(capacity(bench.step, bench.limits, shape, bench.slo(), dispersion=dispersion)).requests_per_s

    assert of(dispersion=4.0) < of() < of(cached=0.5)


def test_capacity_names_throughput_where_nothing_was_promised(bench) -> None:
    limits = EngineLimits(kv_capacity_tokens=10**9, max_sequences=10**7)
    found = known(capacity(bench.step, limits, bench.shape(), bench.slo(None, None)))
    assert found.binding == "throughput"
    assert found.at.busy_ratio < 1


def test_an_slo_below_a_lone_token_cannot_be_kept_and_says_so(bench) -> None:
    found = capacity(bench.step, bench.limits, bench.shape(), bench.slo(tpot=0.01))
    assert isinstance(found, OutOfReach)
    assert "10 ms" in found.why
    assert found.at.tpot_s > 0.01
    assert found.at.requests_per_s < 0.01


def test_prompts_whose_chunks_take_too_long_alone_are_told_with_the_time_of_the_longest(bench) -> None:
    chunked = replace(bench.limits, token_budget=128)
    shape = bench.shape(prompt=1_045, prompt_cv=0.5, output=210)

    found = capacity(bench.step, chunked, shape, bench.slo(ttft=0.25, quantile=0.999))

    assert isinstance(found, OutOfReach)
    lone_s = bench.step.decode_s(1, shape.prompt_tokens)
    chunks_s = 8 * lone_s + bench.step.prefill_s(1_045, 1_045**2)
    mean_s, slow_s = (float(text.removesuffix(" s")) for text in re.findall(r"\d+\.\d+ s", found.why)[:2])
    assert mean_s == pytest.approx(chunks_s, rel=0.1)
    assert slow_s > 2 * mean_s
    assert found.why.endswith(
        "where only 0.1 % of the prompts are longer; the SLO allows 0.25 s for 99.9 % of the requests"
    )


def test_overload_is_infinite(bench) -> None:
    point = serving_point(bench.step, bench.limits, bench.shape(), 50.0, bench.slo())
    assert (point.ttft_s, point.tpot_s) == (inf, inf)


def test_a_slow_host_bounds_a_small_models_rate(bench) -> None:
    fast = StepModel(base_s=4e-3, per_sequence_s=1e-5, per_kv_token_s=1e-9, per_prefill_token_s=1e-6)
    found = known(capacity(fast, bench.limits, bench.shape(output=200), bench.slo(None, 0.05)))
    assert found.requests_per_s * 200 <= 15_000
