"""Fitting the step model to requests whose times follow a known one."""

from __future__ import annotations

from array import array
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.facts.missing import Missing
from controller.facts.performance import StepModel
from controller.profile import measure
from controller.profile.client import OK, Flight
from controller.profile.fit import fit, nonnegative
from controller.profile.predict import closed, opened
from controller.profile.rows import joined, rows
from tests.profile.virtual import OVERHEAD_S, held

H100 = StepModel(
    base_s=17e-3,
    per_sequence_s=44e-6,
    per_kv_token_s=29e-9,
    per_prefill_token_s=71e-6,
    per_prefill_pair_s=0.8e-9,
)
"""Llama-3.1-70B FP8 on two H100, as the simulator has it."""

CPU = StepModel(base_s=6e-3, per_sequence_s=0.6e-3, per_kv_token_s=4e-6, per_prefill_token_s=60e-6)


def swept(step, loads, prompts, **options):
    points = [
        held(step, load, prompt=prompt, seed=11 * index + int(load), **options)
        for index, prompt in enumerate(prompts)
        for load in loads
    ]
    return joined([rows(one.flights, one.start_s, one.end_s) for one in points])


def verdicts(fitted):
    return {one.name: one.verdict for one in fitted.coefficients}


@pytest.mark.parametrize(
    ("step", "loads", "prompts", "within"),
    [
        (CPU, (1, 2, 4, 8), (100, 400), 0.03),
        (replace(CPU, per_kv_token_s=0.0), (1, 4, 16), (100, 400), 0.03),
        (H100, (1, 8, 32, 128), (500, 4000), 0.10),
    ],
    ids=["a slow CPU", "free attention", "a large GPU"],
)
def test_a_varied_sweep_recovers_every_coefficient(step, loads, prompts, within):
    fitted = fit(swept(step, loads, prompts), None, max(loads))
    assert not isinstance(fitted, Missing)
    assert set(verdicts(fitted).values()) <= {"measured", "negligible"}
    for name in ("base_s", "per_sequence_s", "per_kv_token_s", "per_prefill_token_s"):
        known = next(one for one in fitted.coefficients if one.name == name)
        if known.verdict == "measured":
            assert getattr(fitted.step, name) == pytest.approx(getattr(step, name), rel=within), name
    assert fitted.overhead_s == pytest.approx(OVERHEAD_S, rel=0.5)


def test_what_costs_nothing_is_found_to_be_negligible():
    fitted = fit(swept(replace(CPU, per_kv_token_s=0.0), (1, 4, 16), (100, 400)), None, 16)
    assert verdicts(fitted)["per_kv_token_s"] == "negligible"
    assert fitted.step.per_kv_token_s == pytest.approx(0, abs=0.02 * CPU.per_kv_token_s)


def test_an_overhead_that_every_request_feels_is_not_called_negligible():
    """3 % of the equations are about it, those of requests that had the engine to themselves; it counts for these."""
    fitted = fit(swept(CPU, (1, 4, 8, 16, 24), (100, 400), seconds=20), None, 24)
    assert verdicts(fitted)["overhead_s"] == "measured"


def test_hiccups_do_not_bend_the_fit():
    plain = fit(swept(CPU, (1, 2, 4, 8), (100, 400)), None, 8)
    shaken = fit(swept(CPU, (1, 2, 4, 8), (100, 400), hiccup=0.01), None, 8)
    assert shaken.step.base_s == pytest.approx(plain.step.base_s, rel=0.1)
    assert shaken.step.per_sequence_s == pytest.approx(plain.step.per_sequence_s, rel=0.2)


def test_one_load_of_one_shape_claims_nothing_that_it_cannot_tell_apart():
    """Eight at a time, always: a step's own time and eight sequences' are one number."""
    fitted = fit(swept(CPU, (8,), (200,), spread=0.0), None, 8)
    said = verdicts(fitted)
    assert said["per_sequence_s"] == "unknown"
    assert fitted.step.per_sequence_s == 0
    assert said["base_s"] == "mixed"
    assert fitted.step.base_s == pytest.approx(CPU.decode_s(8, 0), rel=0.1)


def test_what_was_not_excited_keeps_the_priors_value_and_the_rest_is_fitted_around_it():
    prior = replace(CPU, base_s=5e-3)  # right in what the sweep cannot tell apart
    fitted = fit(swept(CPU, (8,), (200,), spread=0.0), prior, 8)
    said = verdicts(fitted)
    assert said["per_sequence_s"] == "prior"
    assert fitted.step.per_sequence_s == prior.per_sequence_s
    assert said["base_s"] == "measured"
    assert fitted.step.base_s == pytest.approx(CPU.base_s, rel=0.1)


def test_without_a_prior_the_model_still_predicts_the_shape_that_was_measured():
    sweep = [held(CPU, load, spread=0.0) for load in (1, 4, 8)]
    fitted = fit(joined([rows(one.flights, one.start_s, one.end_s) for one in sweep]), None, 8)
    for one in sweep:
        seen, shape = measure.point(one, Missing("engine", ""), Missing("usd", "")), measure.shape(one)
        said = closed(fitted.step, fitted.overhead_s, shape, one.plan.load)
        assert said.tpot_s == pytest.approx(seen.tpot.mean, rel=0.08)


def test_too_few_equations_fit_nothing():
    fitted = fit(joined([]), None, 1)
    assert isinstance(fitted, Missing)
    assert "measure longer" in fitted.why


def test_the_hosts_floor_gives_way_to_faster_measured_steps():
    fast = StepModel(
        base_s=1e-3, per_sequence_s=2e-6, per_kv_token_s=1e-9, per_prefill_token_s=1e-6, host_per_token_s=0.0
    )
    fitted = fit(swept(fast, (1, 16, 128), (100, 400), seconds=8), None, 128)
    assert fitted.step.decode_s(128, 0) == pytest.approx(fast.decode_s(128, 0), rel=0.1)


@given(st.integers(0, 10_000))
def test_the_non_negative_solution_cannot_be_improved(seed):
    """Karush, Kuhn, Tucker: no slope where a coefficient is above zero, none downwards where it is zero."""
    random = np.random.default_rng(seed)
    x, y, weight = random.normal(size=(30, 4)), random.normal(size=30), random.uniform(0.1, 1, 30)
    found = nonnegative(x, y, weight)
    slope = x.T @ (weight * (x @ found - y))
    assert (found >= 0).all()
    assert np.abs(slope[found > 0]).max(initial=0.0) < 1e-8
    assert slope[found == 0].min(initial=0.0) > -1e-8


@pytest.mark.parametrize("load", [1, 2, 8, 24])
@pytest.mark.parametrize("prompt", [50, 400])
def test_the_closed_loop_arithmetic_agrees_with_the_engine_step_by_step(load, prompt):
    one = held(CPU, load, prompt=prompt, seconds=60)
    seen = measure.point(one, Missing("engine", ""), Missing("usd", ""))
    said = closed(CPU, OVERHEAD_S, measure.shape(one), load)
    assert said.output_tokens_per_s == pytest.approx(seen.output_tokens_per_s, rel=0.08)
    assert said.tpot_s == pytest.approx(seen.tpot.mean, rel=0.08)
    assert said.ttft_s == pytest.approx(seen.ttft.mean, rel=0.3)


def test_a_request_alone_never_shares_its_steps_with_a_prompt():
    one = held(CPU, 1, prompt=400, seconds=30)
    seen, shape = measure.point(one, Missing("engine", ""), Missing("usd", "")), measure.shape(one)
    said = closed(CPU, OVERHEAD_S, replace(shape, output_tokens=8.0), 1)
    assert said.tpot_s == pytest.approx(CPU.decode_s(1, seen.mean_prompt_tokens), rel=0.05)


def test_the_open_loop_arithmetic_agrees_with_the_engine_and_names_overload():
    one = held(CPU, 2.0, kind="rate", prompt=100, seconds=120)
    seen, shape = measure.point(one, Missing("engine", ""), Missing("usd", "")), measure.shape(one)
    said = opened(CPU, OVERHEAD_S, shape, seen.requests / seen.window_s)
    assert said.tpot_s == pytest.approx(seen.tpot.mean, rel=0.1)
    assert said.ttft_s == pytest.approx(seen.ttft.mean, rel=0.3)
    assert isinstance(opened(CPU, OVERHEAD_S, shape, 200.0).tpot_s, Missing)


@pytest.mark.parametrize("tokens", [2, 3, 17, 40, 200])
def test_every_answer_of_two_tokens_or_more_gives_equations(tokens):
    chunks = array("d", [1.0 + 0.01 * index for index in range(tokens)])
    one = Flight(due_s=0.9, sent_s=0.9, ended_s=chunks[-1], chunk_s=chunks, outcome=OK)
    one.prompt_tokens, one.output_tokens = 10, tokens
    found = rows([one], 0.0, 10.0)
    steps = found.x[found.x[:, 0] == 0, 1]  # all but the one about its first token
    assert steps.sum() == pytest.approx(tokens - 1)
    assert found.time_s.sum() == pytest.approx(chunks[-1] - 0.9)
