"""The simulated engine conserves requests and tokens, keeps its limits, and is the same every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.facts.performance import StepModel
from controller.simulate.fleet import Finished, SimulatedFleet
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100, EngineSpec

TIGHT = replace(LLAMA_70B_FP8_2XH100, kv_capacity_tokens=2000, max_model_len=1500, token_budget=256, max_sequences=16)
"""So small that caches fill, prompts are cut in chunks and batches are full."""

SPECULATIVE = replace(TIGHT, draft_tokens=3, acceptance_ratio=0.7, draft_s=0.002)

Row = tuple[float, int, int, int]


@st.composite
def requests(draw: st.DrawFn) -> list[Row]:
    at_s, come = 0.0, []
    for _ in range(draw(st.integers(1, 25))):
        at_s += draw(st.floats(0, 2, allow_nan=False))
        prompt = draw(st.integers(1, 900))
        come.append((at_s, prompt, draw(st.integers(1, 500)), draw(st.integers(0, prompt - 1))))
    return come


def run(
    bench: Any, come: Sequence[Row], cuts: Sequence[float], spec: EngineSpec = TIGHT
) -> tuple[SimulatedFleet, list[Finished]]:
    fleet, finished, left = bench.engine(spec), [], bench.requests(come)
    for cut in cuts:
        now, left = left.before(np.nextafter(cut, np.inf))
        finished.append(fleet.advance(cut, now))
    return fleet, finished


def joined(parts: Sequence[Finished], column: str) -> list[float]:
    return np.concatenate([getattr(part, column) for part in parts]).tolist()


@pytest.mark.parametrize("spec", [TIGHT, SPECULATIVE], ids=["plain", "speculative"])
@settings(max_examples=60)
@given(come=requests(), until_s=st.floats(0.1, 60))
def test_tokens_in_are_tokens_out_and_tokens_in_flight_at_any_moment(
    bench: Any, spec: EngineSpec, come: list[Row], until_s: float
) -> None:
    fleet, finished = run(bench, come, [until_s], spec)
    inside = fleet.tokens_made()
    arrived = [number for number, row in enumerate(come) if row[0] <= until_s]
    assert sorted([*joined(finished, "number"), *inside]) == arrived
    made = sum(joined(finished, "output_tokens")) + sum(inside.values())
    # A speculating sequence in the middle of its answer gains a mean number of tokens a step: whole only at its end.
    assert fleet.tally("only").generation_tokens == pytest.approx(made, abs=len(inside) if spec.draft_tokens else 0)
    assert all(0 <= got < come[number][2] for number, got in inside.items())
    level = fleet.level("only")
    assert 0 <= level.kv_cache_ratio <= 1
    assert level.running <= spec.max_sequences


@pytest.mark.parametrize("spec", [TIGHT, SPECULATIVE], ids=["plain", "speculative"])
@settings(max_examples=60)
@given(come=requests())
def test_every_request_ends_with_all_its_tokens_and_leaves_nothing_behind(
    bench: Any, spec: EngineSpec, come: list[Row]
) -> None:
    fleet, finished = run(bench, come, [10_000.0], spec)
    tally, level = fleet.tally("only"), fleet.level("only")
    assert sum(map(len, finished)) == len(come) == tally.finished
    assert (fleet.in_flight, level.running, level.waiting, level.kv_cache_ratio) == (0, 0, 0, 0)
    assert tally.prompt_tokens == sum(row[1] for row in come)
    assert tally.cached_prompt_tokens == sum(row[3] for row in come)
    assert tally.generation_tokens == sum(row[2] for row in come) == tally.output_length.total
    assert tally.ttft_s.count == tally.e2e_s.count == len(come)
    assert sum(joined(finished, "preemptions")) == tally.preemptions
    if not spec.draft_tokens:
        assert tally.inter_token_s.count == tally.generation_tokens - len(come)


@settings(max_examples=60)
@given(come=requests())
def test_no_first_token_comes_before_its_prompt_could_be_computed(bench: Any, come: list[Row]) -> None:
    step = TIGHT.step
    for part in run(bench, come, [10_000.0])[1]:
        for number, ttft_s, took_s in zip(part.number, part.ttft_s, part.finished_s - part.first_token_s, strict=True):
            _, prompt, output, cached = come[number]
            assert ttft_s >= step.base_s + step.prefill_s(prompt - cached, 0) - 1e-9
            assert took_s >= (output - 1) * step.base_s - 1e-9


@settings(max_examples=40)
@given(come=requests(), cuts=st.lists(st.floats(0.01, 120), max_size=12))
def test_how_a_span_is_cut_into_calls_changes_nothing(bench: Any, come: list[Row], cuts: list[float]) -> None:
    whole = run(bench, come, [10_000.0])[1]
    parts = run(bench, come, [*sorted(cuts), 10_000.0])[1]
    assert joined(parts, "number") == joined(whole, "number")
    assert joined(parts, "finished_s") == pytest.approx(joined(whole, "finished_s"), abs=1e-6)
    assert joined(parts, "preemptions") == joined(whole, "preemptions")


@settings(max_examples=30)
@given(come=requests())
def test_counters_and_buckets_only_grow(bench: Any, come: list[Row]) -> None:
    fleet, left = bench.engine(TIGHT), bench.requests(come)
    before = fleet.counts("only")
    for cut in range(1, 60, 3):
        now, left = left.before(float(cut))
        fleet.advance(float(cut), now)
        after = fleet.counts("only")
        assert all((new >= old).all() for new, old in zip(after, before, strict=True))
        before = after


def test_a_full_cache_preempts_the_last_comer_and_computes_it_again(bench: Any) -> None:
    fleet, finished = run(bench, [(0.0, 590, 400, 0)] * 3, [1000.0])
    preempted = dict(zip(joined(finished, "number"), joined(finished, "preemptions"), strict=True))
    assert preempted[2] > 0
    assert preempted[0] == preempted[1] == 0
    assert fleet.tally("only").generation_tokens == 1200


def test_a_block_of_decode_steps_takes_as_long_as_its_steps_one_by_one(bench: Any) -> None:
    step = StepModel(base_s=0.01, per_sequence_s=0.001, per_kv_token_s=1e-5, per_prefill_token_s=1e-4)
    spec = EngineSpec(model_name="m", step=step, kv_capacity_tokens=10_000, max_model_len=5_000)
    finished = run(bench, [(0.0, 100, 300, 0)], [1000.0], spec)[1][0]
    prefill_s = step.decode_s(0, 0) + step.prefill_s(100, 100 * 100)
    decode_s = sum(step.decode_s(1, 100 + token) for token in range(299))
    assert finished.first_token_s[0] == pytest.approx(prefill_s)
    assert finished.finished_s[0] == pytest.approx(prefill_s + decode_s)


@pytest.mark.parametrize(("drafted", "acceptance"), [(1, 0.5), (3, 0.8), (5, 0.2)])
def test_speculation_gains_what_the_acceptance_ratio_says(bench: Any, drafted: int, acceptance: float) -> None:
    """Tokens a step = (1 - p^(k+1)) / (1 - p): Leviathan et al., 2023."""
    step = StepModel(base_s=0.01, per_sequence_s=0.0, per_kv_token_s=0.0, per_prefill_token_s=0.0, host_per_token_s=0.0)
    spec = EngineSpec(
        model_name="m", step=step, kv_capacity_tokens=99_999, draft_tokens=drafted, acceptance_ratio=acceptance
    )
    finished = run(bench, [(0.0, 1, 20_001, 0)], [1e6], spec)[1][0]
    steps = float(finished.finished_s[0] - finished.first_token_s[0]) / 0.01
    assert 20_000 / steps == pytest.approx((1 - acceptance ** (drafted + 1)) / (1 - acceptance), rel=0.03)


def test_a_request_longer_than_the_model_takes_is_refused(bench: Any) -> None:
    with pytest.raises(ValueError, match=r"1501 tokens at .* exceeds"):
        run(bench, [(0.0, 1400, 101, 0)], [1.0])
