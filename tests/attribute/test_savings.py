"""Savings in dollars, each against a baseline it names."""

from __future__ import annotations

import pytest

from controller.attribute.savings import Worked, prefix_cache, quantization, speculation
from controller.facts.accounts import Tokens
from controller.facts.missing import Missing
from tests.accounts_in_memory import rate

# 1,000 requests of the mean shape of `rate`: u 1000, h 400, o 250
DONE = Worked(
    tokens=Tokens(uncached=1_000_000, cached=400_000, output=250_000, requests=1_000),
    prefill_nanousd=10_000_000_000,
    cached_nanousd=80_000_000,
    decode_nanousd=50_000_000_000,
)


def engine_s(uncached: float, cached: float, output: float) -> float:
    """Of one request, at `rate`, straight from the definition of WorkRate."""
    prompt = uncached + cached
    return (
        uncached * 1e-5
        + uncached**2 * 1e-10
        + 2 * uncached * cached * 1e-10
        + output * 2e-4
        + output * (2 * prompt + output) * 1e-9
    )


def test_the_prefix_cache_saves_what_computing_its_tokens_would_have_taken() -> None:
    found = prefix_cache(DONE, rate("h100"))
    assert not isinstance(found, Missing)
    with_cache, without = engine_s(1000, 400, 250), engine_s(1400, 0, 250)
    assert found.nanousd == pytest.approx(DONE.work_nanousd * (without / with_cache - 1), rel=1e-9)
    assert found.baseline == "the same prompts computed from their first token"


def test_without_a_cached_token_there_is_no_saving_to_speak_of() -> None:
    none = Worked(tokens=Tokens(uncached=5, output=5), prefill_nanousd=1, cached_nanousd=0, decode_nanousd=1)
    assert isinstance(prefix_cache(none, rate("h100")), Missing)


def test_quantization_saves_the_time_that_the_baseline_takes_longer() -> None:
    found = quantization(DONE, rate("h100-fp8"), rate("h100", scale=1.6), of="h100-bf16")
    assert not isinstance(found, Missing)
    assert found.nanousd == pytest.approx(0.6 * DONE.work_nanousd)
    assert found.baseline == "the same tokens on h100-bf16"
    assert found.band_ratio == pytest.approx(0.1 * 2**0.5)


def test_a_modelled_baseline_says_so() -> None:
    found = quantization(DONE, rate("h100-fp8"), rate("h100", scale=1.6, basis="prior"), of="bf16")
    assert not isinstance(found, Missing)
    assert found.baseline == "the same tokens on bf16 (modelled)"
    assert found.basis == "prior"


@pytest.mark.parametrize(
    ("accepted", "overhead", "saved"), [(2.4, 0.2, 50_000_000_000), (1.5, 0.5, 0), (1.0, 0.25, -10_000_000_000)]
)
def test_speculation_saves_the_steps_it_spares_less_the_drafts(accepted: float, overhead: float, saved: int) -> None:
    found = speculation(DONE, rate("h100"), accepted_length=accepted, draft_overhead_ratio=overhead)
    assert not isinstance(found, Missing)
    assert found.nanousd == pytest.approx(saved, abs=100)


def test_work_that_cost_nothing_known_has_no_savings() -> None:
    free = Worked(tokens=DONE.tokens, prefill_nanousd=0, cached_nanousd=0, decode_nanousd=0)
    assert isinstance(prefix_cache(free, rate("h100")), Missing)
    assert isinstance(speculation(free, rate("h100"), accepted_length=2, draft_overhead_ratio=0), Missing)
