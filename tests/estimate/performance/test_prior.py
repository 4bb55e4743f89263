from __future__ import annotations

import csv
from pathlib import Path

import pytest

from controller.catalog.load import load_gpus, load_models
from controller.estimate.performance.prior import BANDS, kv_capacity_tokens, limits_of, step_prior
from controller.facts.fleet import EngineKind, Model, Variant
from controller.facts.missing import Missing

RECORDED = Path(__file__).parent / "recorded" / "perf_step_time_coefficients.csv"
"""Fits to NVIDIA AIConfigurator 0.12 (Apache-2.0)."""

ROWS = list(csv.DictReader(RECORDED.read_text().splitlines()))
GPUS = {"l40s": "L40S", "a100_sxm": "A100-80GB-SXM", "h100_sxm": "H100-SXM", "h200_sxm": "H200-SXM"}
MODELS = {"Meta-Llama-3.1-8B": "llama-3.1-8b", "Meta-Llama-3.1-70B": "llama-3.1-70b"}
WEIGHTS = {"bfloat16": "bf16", "fp8": "fp8", "int4_wo": "awq"}

TABLE = {  # root mean square and largest relative error over the 17 rows: as measured, rounded up
    "base_s": ("a_ms", 1e-3, 0.095, 0.20),
    "per_sequence_s": ("b_ms_per_seq", 1e-3, 0.34, 0.65),
    "per_kv_token_s": ("c_ms_per_1k_kv_tokens", 1e-6, 0.145, 0.31),
    "per_prefill_token_s": ("d1_ms_per_1k_prompt", 1e-6, 0.155, 0.34),
}


def variant(gpu: str, gpus: int, quantization: str, kv_dtype: str) -> Variant:
    return Variant(
        service="s",
        name="v",
        gpu=load_gpus()[gpu],
        gpus_per_replica=gpus,
        quantization=quantization,
        kv_cache_dtype=kv_dtype,
        engine=EngineKind.VLLM,
        capacity=(),
    )


def of_row(row: dict[str, str]) -> tuple[Model, Variant]:
    chosen = variant(GPUS[row["gpu"]], int(row["tp"]), WEIGHTS[row["weights"]], row["kv_dtype"])
    return load_models()[MODELS[row["model"]]], chosen


@pytest.mark.parametrize(("name", "column", "unit", "rms", "worst"), [(name, *rest) for name, rest in TABLE.items()])
def test_the_prior_is_as_far_off_as_its_table_says(name, column, unit, rms, worst) -> None:
    errors = []
    for row in ROWS:
        prior = step_prior(*of_row(row))
        assert not isinstance(prior, Missing)
        errors.append(getattr(prior.step, name) / (float(row[column]) * unit) - 1)
    assert len(errors) == 17
    assert (sum(error**2 for error in errors) / len(errors)) ** 0.5 < rms <= BANDS[name] * 1.05
    assert max(map(abs, errors)) < worst


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['model']}-{row['gpu']}-{row['tp']}-{row['weights']}")
def test_kv_capacity_is_close_to_aiconfigurators(row) -> None:
    tokens = kv_capacity_tokens(*of_row(row))
    assert not isinstance(tokens, Missing)
    allowed = 0.13 if row["gpu"] == "l40s" else 0.04
    assert tokens == pytest.approx(float(row["kv_capacity_tokens_est"]), rel=allowed)


@pytest.mark.parametrize("model", sorted(load_models()))
def test_every_model_of_the_table_has_a_prior_of_positive_coefficients(model: str) -> None:
    prior = step_prior(load_models()[model], variant("H100-SXM", 8, "fp8", "auto"))
    assert not isinstance(prior, Missing)
    assert min(getattr(prior.step, name) for name in BANDS) > 0


def test_mixtures_and_mla_have_wider_bands() -> None:
    dense = step_prior(load_models()["llama-3.1-8b"], variant("H100-SXM", 1, "fp8", "auto"))
    mixed = [one for one in load_models().values() if one.experts is not None]
    assert mixed
    assert not isinstance(dense, Missing)
    for model in mixed:
        prior = step_prior(model, variant("H100-SXM", 8, "fp8", "auto"))
        assert not isinstance(prior, Missing)
        assert prior.bands[0] == 2 * dense.bands[0]


def test_an_unknown_quantization_has_no_prior_and_says_which() -> None:
    found = step_prior(load_models()["llama-3.1-8b"], variant("H100-SXM", 1, "fp9", "auto"))
    assert isinstance(found, Missing)
    assert "fp9" in found.why


def test_weights_that_do_not_fit_leave_no_kv_cache() -> None:
    found = kv_capacity_tokens(load_models()["llama-3.1-70b"], variant("H100-SXM", 1, "bf16", "auto"))
    assert isinstance(found, Missing)
    assert "141 GB of weights" in found.why


def test_the_engines_own_word_on_its_kv_cache_comes_first() -> None:
    one = variant("H100-SXM", 2, "fp8", "fp8")
    model = load_models()["llama-3.1-70b"]
    told, worked_out = limits_of(one, model, 123_456.0), limits_of(one, model, Missing("kv", "not said"))
    assert not isinstance(told, Missing)
    assert not isinstance(worked_out, Missing)
    assert told.kv_capacity_tokens == 123_456
    assert worked_out.kv_capacity_tokens == pytest.approx(411_376, rel=0.04)
