"""Where the simulated engine's speed comes from, and the settings that it gets."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.backtest.engines import Settings, Speed, believed, engine_of, speed_of, speed_of_profile
from controller.backtest.speculation import token_step_of
from controller.catalog.load import find_gpu, find_model
from controller.errors import ConfigError
from controller.estimate.performance.speculation import gained
from controller.facts.fleet import EngineKind, Model, Speculation, Variant
from controller.facts.missing import Missing
from controller.facts.performance import StepModel
from controller.facts.profile import Latency, Profile, ProfilePoint, StepFit
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100

STEP = StepModel(base_s=0.01, per_sequence_s=1e-4, per_kv_token_s=1e-7, per_prefill_token_s=5e-5)


def variant(gpu: str = "H100-SXM", gpus: int = 2, quantization: str = "fp8", kv_cache_dtype: str = "fp8") -> Variant:
    found = find_gpu(gpu)
    assert found is not None
    return Variant(
        service="chat",
        name="v",
        gpu=found,
        gpus_per_replica=gpus,
        quantization=quantization,
        kv_cache_dtype=kv_cache_dtype,
        engine=EngineKind.VLLM,
        capacity=(),
    )


@pytest.fixture
def model() -> Model:
    found = find_model("llama-3.1-70b")
    assert found is not None
    return found


def settings(
    token_budget: int | None = None, max_sequences: int | None = None, tpot_s: float | None = 0.05
) -> Settings:
    return Settings(token_budget=token_budget, max_sequences=max_sequences, tpot_s=tpot_s, prompt_tokens=1500)


def test_the_shipped_fit_is_taken_where_everything_matches(model):
    found = speed_of(model, variant())
    assert isinstance(found, Speed)
    assert found.step == LLAMA_70B_FP8_2XH100.step
    assert found.kv_tokens == LLAMA_70B_FP8_2XH100.kv_capacity_tokens
    assert "AIConfigurator" in found.told


@pytest.mark.parametrize("other", [{"gpus": 8}, {"gpu": "B200"}, {"kv_cache_dtype": "auto"}, {"quantization": "w8a8"}])
def test_whatever_differs_from_a_fit_is_worked_out(model, other):
    found = speed_of(model, variant(**other))
    assert isinstance(found, Speed)
    assert "roofline" in found.told


def test_names_of_one_precision_find_the_same_fit():
    small = find_model("llama-3.1-8b")
    awq, int4 = (speed_of(small, variant("L40S", 1, name, "auto")) for name in ("awq", "int4"))
    assert awq == int4
    assert "AIConfigurator" in awq.told


def test_a_model_that_does_not_fit_has_no_speed(model):
    found = speed_of(model, variant(gpu="L40S", gpus=1))
    assert isinstance(found, Missing)
    assert "leave no room" in found.why


def test_a_chunk_is_as_large_as_the_slo_lets_it_be(model):
    speed = speed_of(model, variant())
    tight, loose = (engine_of(model, variant(), speed, settings(tpot_s=tpot)).spec for tpot in (0.05, 0.25))
    assert (tight.token_budget, tight.max_sequences) == (384, 128)
    assert loose.token_budget > 4 * tight.token_budget
    assert speed.step.decode_s(1, 1500) + speed.step.prefill_s(tight.token_budget, 0) < 0.05


def test_settings_that_were_said_are_kept_and_without_a_promise_vllms_are_taken(model):
    speed = speed_of(model, variant())
    said = engine_of(model, variant(), speed, settings(token_budget=2048, max_sequences=64)).spec
    assert (said.token_budget, said.max_sequences) == (2048, 64)
    usual = engine_of(model, variant(), speed, settings(tpot_s=None))
    assert usual.spec.token_budget == 8192
    assert "vLLM's default" in usual.settings


def test_what_is_believed_is_wrong_by_a_fifth_at_most_and_always_alike():
    found = believed(STEP)
    assert found == believed(STEP)
    for one in fields(StepModel):
        assert getattr(found, one.name) == pytest.approx(getattr(STEP, one.name), rel=0.2)
    assert found != STEP


def test_a_profile_gives_the_speed_it_measured(model, tmp_path: Path):
    fit = StepFit(
        step=STEP, overhead_s=0.0, coefficients=(), observations=9,
        tpot_error_ratio=0.01, throughput_error_ratio=0.01, ttft_error_ratio=0.01,
    )  # fmt: skip
    profile = Profile(
        server="http://10.0.0.5:8000", model="llama", at=datetime(2026, 3, 1, tzinfo=UTC), seed=1, usd_per_hour=4.0,
        price_source="test", points=(), fit=fit,
    )  # fmt: skip
    (tmp_path / "one.json").write_text(profile.to_json())
    found = speed_of_profile(tmp_path / "one.json", model, variant())
    assert found.step == STEP
    assert found.told == "measured: one.json, llama at http://10.0.0.5:8000, 2026-03-01"


def test_a_profile_of_an_engine_that_drafts_has_speculation_in_it_already(model, tmp_path: Path):
    part, token = (Latency(mean=mean, p50=mean, p95=mean, p99=mean) for mean in (0.03, 0.012))
    point = ProfilePoint(
        kind="concurrency", load=4, prompt_tokens=500, output_tokens=200, window_s=60, requests=60, answered=60,
        errors={}, timed_out=0, mean_prompt_tokens=500, mean_cached_tokens=0, mean_output_tokens=200,
        requests_per_s=1, output_tokens_per_s=200, total_tokens_per_s=700, in_flight=4, ttft=token, tpot=token,
        itl=part, e2e=part, lateness_p99_s=0, engine=Missing("engine", "not asked"), usd_per_million_output_tokens=1,
    )  # fmt: skip
    fit = StepFit(
        step=STEP, overhead_s=0.0, coefficients=(), observations=9,
        tpot_error_ratio=0.01, throughput_error_ratio=0.01, ttft_error_ratio=0.01,
    )  # fmt: skip
    profile = Profile(
        server="http://10.0.0.5:8000", model="llama", at=datetime(2026, 3, 1, tzinfo=UTC), seed=1, usd_per_hour=4.0,
        price_source="test", points=(point,), fit=fit,
    )  # fmt: skip
    (tmp_path / "one.json").write_text(profile.to_json())
    speed = speed_of_profile(tmp_path / "one.json", model, variant())
    drafts = Speculation(draft_tokens=3, acceptance_ratio=0.6, draft_overhead_ratio=0.1)
    with pytest.raises(ConfigError, match="would count speculation twice"):
        engine_of(model, variant(), speed, replace(settings(), speculation=drafts))
    assert engine_of(model, variant(), speed, settings()).spec.draft_tokens == 0


def test_an_engine_that_drafts_keeps_the_share_that_was_measured_and_room_for_its_drafts(model):
    speed = speed_of(model, variant())
    drafts = Speculation(draft_tokens=3, acceptance_ratio=0.6, draft_overhead_ratio=0.1)
    found = engine_of(model, variant(), speed, replace(settings(), speculation=drafts)).spec
    assert gained(3, found.acceptance_ratio) == pytest.approx(2.8)
    assert found.draft_s == pytest.approx(0.1 * speed.step.base_s)
    assert found.max_sequences * 4 < found.token_budget
    plain = engine_of(model, variant(), speed, settings()).spec
    assert token_step_of(plain) == plain.step
    assert token_step_of(found).base_s == pytest.approx(1.1 * speed.step.base_s / 2.8)


def test_the_fleet_files_profile_comes_before_the_tables(model):
    found = speed_of(model, replace(variant(), step=STEP))
    assert isinstance(found, Speed)
    assert (found.step, found.told) == (STEP, "measured: the fleet file's profile")


def test_a_file_that_is_no_profile_is_named(model, tmp_path: Path):
    (tmp_path / "one.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"one\.json: cannot be used as a profile: not a profile"):
        speed_of_profile(tmp_path / "one.json", model, variant())
