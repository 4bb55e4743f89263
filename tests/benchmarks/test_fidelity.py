"""The fidelity benchmark's pure parts: traces, the simulated play, figures and errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.fidelity.clients import Served
from benchmarks.fidelity.compare import error_ratio, figures, noise_ratio, spread_ratio, tables
from benchmarks.fidelity.simulated import simulated
from benchmarks.fidelity.traces import AT_ONCE, CASES, DURATION_S, capacity_per_s, trace
from controller.facts.missing import Missing
from controller.facts.performance import StepModel
from controller.facts.profile import StepFit
from controller.simulate.stepmodel import EngineSpec

STEP = StepModel(base_s=10e-3, per_sequence_s=0.0, per_kv_token_s=0.0, per_prefill_token_s=100e-6)
NONE = Missing("error", "not measured")
FIT = StepFit(
    step=STEP,
    overhead_s=5e-3,
    coefficients=(),
    observations=0,
    tpot_error_ratio=NONE,
    throughput_error_ratio=NONE,
    ttft_error_ratio=NONE,
)
SPEC = EngineSpec(
    model_name="small", step=STEP, kv_capacity_tokens=100_000, token_budget=512, max_sequences=16, max_model_len=2048
)
ONE = Served(
    case="30 %",
    seed=1,
    repeat=0,
    sent_s=[0.0, 1.0],
    first_s=[0.1, 1.3],
    last_s=[0.5, 2.0],
    prompt_tokens=[100, 100],
    output_tokens=[5, 1],
)


@pytest.mark.parametrize("case", CASES)
def test_a_trace_is_the_same_for_the_same_seed_and_another_for_another(case):
    one, again, other = trace(case, 10.0, 1), trace(case, 10.0, 1), trace(case, 10.0, 2)
    assert np.array_equal(one.prompt_tokens, again.prompt_tokens)
    assert np.array_equal(one.due_s, again.due_s)
    assert not np.array_equal(one.output_tokens[:50], other.output_tokens[:50])
    assert (np.diff(one.due_s) >= 0).all()


@pytest.mark.parametrize(("case", "part"), [("30 %", 0.3), ("85 %", 0.85), ("60 %, bursts", 0.6)])
def test_a_case_asks_for_its_part_of_the_capacity(case, part):
    counts = [len(trace(case, 40.0, seed)) for seed in range(20)]
    assert np.mean(counts) == pytest.approx(part * 40.0 * DURATION_S, rel=0.1)


def test_all_at_once_comes_at_one_moment():
    assert trace("all at once", 10.0, 1).due_s.tolist() == [0.0] * AT_ONCE


def test_the_capacity_grows_with_the_places_in_the_batch():
    assert capacity_per_s(STEP, 16) > 4 * capacity_per_s(STEP, 1)


def test_figures_count_from_sending_and_leave_single_tokens_out_of_tpot():
    found = figures([ONE])
    assert found["TTFT mean"] == pytest.approx(0.2)
    assert found["TPOT mean"] == pytest.approx(0.1)
    assert found["E2E mean"] == pytest.approx(0.75)
    assert found["requests/s"] == pytest.approx(1.0)
    assert found["output tokens/s"] == pytest.approx(3.0)


def test_the_simulation_takes_what_was_sent_and_adds_the_overhead_once():
    said = simulated(ONE, FIT, SPEC)
    assert said.first_s == pytest.approx([0.025, 1.025])  # a step with 100 prompt tokens, and the overhead
    assert said.last_s == pytest.approx([0.065, 1.025])
    assert said.sent_s == ONE.sent_s


def test_plays_are_taken_together_and_their_throughput_one_after_the_other():
    slower = replace(ONE, last_s=[0.9, 6.0])
    found = figures([ONE, slower])
    assert found["requests/s"] == pytest.approx(4 / 8)
    assert found["E2E mean"] == pytest.approx((0.5 + 1.0 + 0.9 + 5.0) / 4)


def test_errors_are_relative_to_what_was_measured_and_noise_to_the_same_trace():
    assert error_ratio({"x": 2.0}, {"x": 3.0}, "x") == pytest.approx(0.5)
    assert spread_ratio([({"x": 2.0}, {"x": 3.0}), ({"x": 2.0}, {"x": 2.0})], "x") == pytest.approx(0.5 / 2**0.5)
    assert noise_ratio([({"x": 1.0}, {"x": 3.0}), ({"x": 2.0}, {"x": 2.0})], "x") == pytest.approx(0.5)
    assert np.isnan(spread_ratio([({"x": 1.0}, {"x": 3.0})], "x"))
    assert np.isnan(noise_ratio([], "x"))


def test_the_tables_have_a_row_a_case_and_one_of_the_noise():
    again, other = replace(ONE, repeat=1, last_s=[0.6, 2.2]), replace(ONE, seed=2)
    text = tables({"30 %": [(one, simulated(one, FIT, SPEC)) for one in (ONE, again, other)]})
    assert text.count("| 30 % (3 plays, 6 requests) |") == 2
    assert "(1 traces)" in text  # only one of them was played twice
