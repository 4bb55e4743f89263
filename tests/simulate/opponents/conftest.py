"""Sights of a service, and the profile of an engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.facts.performance import EngineLimits, RequestShape
from controller.simulate.opponents.profile import ReplicaProfile, profile_engine
from controller.simulate.sight import ReplicaSight, Sight
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100

KV_TOKENS = 400_000


@pytest.fixture(scope="session")
def profile() -> ReplicaProfile:
    """Llama-3.1-70B on two H100, conversations; 2 s and 50 ms."""
    engine = LLAMA_70B_FP8_2XH100
    return profile_engine(
        engine.step,
        EngineLimits(kv_capacity_tokens=engine.kv_capacity_tokens),
        RequestShape(prompt_tokens=1600, output_tokens=110),
        ttft_s=2.0,
        tpot_s=0.05,
    )


@pytest.fixture
def sight() -> Callable[..., Sight]:
    """A scrape: every ready replica alike, so many starting, the rest given or quiet."""

    def make(
        at_s: float = 0.0,
        ready: int = 1,
        starting: int = 0,
        running: int = 0,
        waiting: int = 0,
        kv_cache_ratio: float = 0.0,
        gpu_utilization_ratio: float = 0.0,
        **rest: float | int | None,
    ) -> Sight:
        replica = ReplicaSight(
            running=running,
            waiting=waiting,
            kv_cache_ratio=kv_cache_ratio,
            gpu_utilization_ratio=gpu_utilization_ratio,
        )
        quiet: dict[str, float | int | None] = {
            "waiting_at_router": 0,
            "arrivals_per_s": 0.0,
            "finished_per_s": 0.0,
            "prompt_tokens_per_s": 0.0,
            "output_tokens_per_s": 0.0,
            "mean_prompt_tokens": None,
            "mean_output_tokens": None,
            "ttft_s": None,
            "tpot_s": None,
            "kv_capacity_tokens": KV_TOKENS,
        }
        return Sight(at_s=at_s, current=ready + starting, replicas=(replica,) * ready, **{**quiet, **rest})  # type: ignore[arg-type]

    return make
