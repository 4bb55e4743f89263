"""What prefix caching, quantization and speculative decoding saved in dollars, each against a baseline it names."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

from controller.facts.accounts import Tokens, WorkRate
from controller.facts.missing import Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """A saving in nanodollars; negative when it cost more than it saved.

    measure      "prefix cache", "quantization" or "speculation"
    baseline     what would have been paid for otherwise, in words
    basis        where the rates come from: "learned", "profile" or "prior"; a prior is modelled, not measured
    band_ratio   relative uncertainty of ``nanousd``, from the rates' own
    """

    service: str
    variant: str
    measure: str
    nanousd: int
    baseline: str
    basis: str
    band_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """What one variant did in the window, and what its work cost: nanodollars of the parts prefill, cached, decode."""

    tokens: Tokens
    prefill_nanousd: int
    cached_nanousd: int
    decode_nanousd: int

    @property
    def work_nanousd(self) -> int:
        return self.prefill_nanousd + self.cached_nanousd + self.decode_nanousd


def prefix_cache(worked: Worked, rate: WorkRate) -> Saving | Missing:
    """Cached prompt tokens, had they been computed.

        saved engine-seconds = H x (s to compute one - s to take one from the cache)
        s to compute one = prefill_s_per_token + (2 u + h) x prefill_s_per_square        the next tokens of a prompt
        s from the cache = cached_s_per_token + 2 u x cached_s_per_cross                 u, h: the mean request's

    (u + h)^2 - u^2 = h (2 u + h): what computing the h cached ones adds to the square. Priced at the variant's own
    nanodollars an engine-second of work in the window.
    """
    if worked.tokens.cached <= 0:
        return Missing("saving of the prefix cache", "no prompt token was found in a cache in this window")
    second = _nanousd_per_engine_second(worked, rate)
    if isinstance(second, Missing):
        return second
    return _saving(
        rate,
        measure="prefix cache",
        nanousd=worked.tokens.cached * (_computed_s(rate) - _from_cache_s(rate)) * second,
        baseline="the same prompts computed from their first token",
        basis=rate.basis,
        band_ratio=rate.band_ratio,
    )


def quantization(worked: Worked, rate: WorkRate, baseline: WorkRate, *, of: str) -> Saving | Missing:
    """The same tokens at the ``baseline``'s rates, on the same GPUs at the same price.

        saved = work x (seconds of these tokens at the baseline / at the own rates - 1)

    ``of``: the baseline in words, e.g. "h100-bf16".
    """
    own, other = _engine_s(worked.tokens, rate), _engine_s(worked.tokens, baseline)
    if own <= 0:
        return Missing("saving of quantization", "no work was done in this window")
    return _saving(
        rate,
        measure="quantization",
        nanousd=worked.work_nanousd * (other / own - 1),
        baseline=f"the same tokens on {of}" + (" (modelled)" if baseline.basis == "prior" else ""),
        basis=baseline.basis,
        band_ratio=_together(rate.band_ratio, baseline.band_ratio),
    )


def speculation(
    worked: Worked, rate: WorkRate, *, accepted_length: float, draft_overhead_ratio: float
) -> Saving | Missing:
    """One token a step instead of ``accepted_length`` in a step longer by ``draft_overhead_ratio``.

    saved = decode x (accepted_length / (1 + draft_overhead_ratio) - 1)
    """
    if accepted_length < 1 or worked.decode_nanousd <= 0:
        return Missing("saving of speculation", "no output token was made with a draft in this window")
    return _saving(
        rate,
        measure="speculation",
        nanousd=worked.decode_nanousd * (accepted_length / (1 + draft_overhead_ratio) - 1),
        baseline="one token a step, no draft",
        basis=rate.basis,
        band_ratio=rate.band_ratio,
    )


def _saving(rate: WorkRate, *, measure: str, nanousd: float, baseline: str, basis: str, band_ratio: float) -> Saving:
    return Saving(
        service=rate.service,
        variant=rate.variant,
        measure=measure,
        nanousd=round(nanousd),
        baseline=baseline,
        basis=basis,
        band_ratio=band_ratio,
    )


def _computed_s(rate: WorkRate) -> float:
    return rate.prefill_s_per_token + (2 * rate.mean_uncached + rate.mean_cached) * rate.prefill_s_per_square


def _from_cache_s(rate: WorkRate) -> float:
    return rate.cached_s_per_token + 2 * rate.mean_uncached * rate.cached_s_per_cross


def _engine_s(tokens: Tokens, rate: WorkRate) -> float:
    """Engine-seconds of ``tokens`` in requests of the mean shape."""
    prompt = rate.mean_uncached + rate.mean_cached
    return (
        tokens.uncached * (rate.prefill_s_per_token + rate.mean_uncached * rate.prefill_s_per_square)
        + tokens.cached * _from_cache_s(rate)
        + tokens.output * (rate.decode_s_per_token + (2 * prompt + rate.mean_output) * rate.decode_s_per_context)
    )


def _nanousd_per_engine_second(worked: Worked, rate: WorkRate) -> float | Missing:
    seconds = _engine_s(worked.tokens, rate)
    if seconds <= 0 or worked.work_nanousd <= 0:
        return Missing("price of an engine-second", "no priced work was done in this window")
    return worked.work_nanousd / seconds


def _together(one: float, other: float) -> float:
    """Relative uncertainty of a quotient of two independent rates."""
    return hypot(one, other)
