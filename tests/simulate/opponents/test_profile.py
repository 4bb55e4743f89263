"""Profiling an engine finds the load at which its latencies break."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.facts.performance import EngineLimits, RequestShape, StepModel
from controller.simulate.opponents.profile import ForwardPass, ReplicaProfile, closed_loop, plane_of, profile_engine
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100

NIM = RequestShape(prompt_tokens=5000, output_tokens=500)


@pytest.mark.parametrize(
    ("sequences", "tokens_per_s", "itl_s"),
    [(1, 52, 0.0186), (5, 218, 0.0218), (25, 623, 0.0388)],
)
def test_a_closed_loop_is_near_what_nim_publishes(sequences: int, tokens_per_s: float, itl_s: float) -> None:
    """Llama-3.1-70B FP8 on two H100, 5000 / 500 tokens:
    https://docs.nvidia.com/nim/benchmarking/llm/latest/performance.html"""
    found = closed_loop(LLAMA_70B_FP8_2XH100.step, NIM, sequences)
    assert found.requests_per_s * 500 == pytest.approx(tokens_per_s, rel=0.12)
    assert found.tpot_s == pytest.approx(itl_s, rel=0.12)


def test_the_capacity_keeps_both_latencies_and_one_more_would_not(profile: ReplicaProfile) -> None:
    step = LLAMA_70B_FP8_2XH100.step
    at, beyond = (closed_loop(step, profile.shape, profile.running + more) for more in (0, 1))
    assert at.tpot_s <= profile.tpot_s < beyond.tpot_s
    assert profile.requests_per_s == at.requests_per_s
    assert profile.kv_cache_ratio == pytest.approx(profile.running * 1655 / profile.limits.kv_capacity_tokens)


def test_an_engine_that_is_too_slow_for_anything_still_has_a_profile(profile: ReplicaProfile) -> None:
    slow = StepModel(base_s=1.0, per_sequence_s=0.0, per_kv_token_s=0.0, per_prefill_token_s=1e-3)
    found = profile_engine(slow, EngineLimits(kv_capacity_tokens=100_000), NIM, ttft_s=0.5, tpot_s=0.05)
    assert found.running == 1
    assert found.requests_per_s > 0


def test_a_cached_prompt_is_not_computed(profile: ReplicaProfile) -> None:
    step = LLAMA_70B_FP8_2XH100.step
    cached = closed_loop(step, replace(NIM, cached_ratio=0.9), 10)
    assert cached.requests_per_s > closed_loop(step, NIM, 10).requests_per_s


def test_two_steps_do_not_make_a_plane() -> None:
    with pytest.raises(ValueError, match="2 forward passes do not determine a plane"):
        plane_of((ForwardPass(prefill_tokens=0, decode_kv_tokens=0, step_s=0.01),) * 2)
