"""How fast the simulated engines are: a profile that was measured, else the table of fits, else the roofline."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from controller.backtest.speculation import speculating, step_of, told
from controller.errors import ConfigError, Problem
from controller.estimate.peaks import TIERS, kv_element_bytes
from controller.estimate.performance.prior import BANDS, kv_capacity_tokens, limits_of, step_prior
from controller.facts.fleet import Model, Speculation, Variant
from controller.facts.missing import Missing, known, ratio
from controller.facts.performance import EngineLimits, StepModel
from controller.facts.profile import Profile, ProfilePoint
from controller.quantities import duration_text
from controller.simulate.stepmodel import EngineSpec

LONGEST_TOKENS = 131_072
"""Prompt and answer together, where the KV cache has room: the context of Llama 3.1."""

CHUNK_TOKENS = 128
"""A token budget that is worked out is a multiple of this."""

STEP_SHARE = 0.92
"""Of the SLO's time per output token that a step with a full chunk may take. A guess: the rest is for the others who
decode in it."""

SEQUENCES_SHARE = 3
"""One part in so many of a token budget may decode: prompts keep the rest. A guess."""

MOST_TOKENS_A_PART = 1.1
"""Of a profile's streams, where none was drafted: as `pennyweight profile` warns from."""

DRAFTED_TWICE = (
    "would count speculation twice: the profile was measured at an engine that gave several tokens at once, so its "
    "step times are those of a token already; leave it out, or profile the engine without speculation"
)

BELIEF_RATIO, BELIEF_SEED = 0.2, 7
"""How wrong our policy's first belief about the engine is, at most, a coefficient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """``told``: where its speed comes from; ``settings``: what its scheduler keeps to, and why."""

    spec: EngineSpec
    told: str
    settings: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """A step model, the room for keys and values in tokens, and where both come from.

    drafted   measured at an engine that gave several tokens at once: whatever it drafted is in ``step`` already
    """

    step: StepModel
    kv_tokens: float
    told: str
    drafted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The engine's own settings, where they were said; None: worked out."""

    token_budget: int | None
    max_sequences: int | None
    tpot_s: float | None
    prompt_tokens: float
    speculation: Speculation | None = None

    @property
    def verified(self) -> int:
        """Tokens of a sequence in a step: its next one, and those drafted."""
        return 1 if self.speculation is None else 1 + self.speculation.draft_tokens


def engine_of(model: Model, variant: Variant, speed: Speed, settings: Settings) -> Engine:
    """The engine to simulate. Raises ConfigError when its settings cannot stand together."""
    limits = limits_of(variant, model, speed.kv_tokens)
    assert not isinstance(limits, Missing), "its KV capacity is known"
    if speed.drafted and settings.speculation is not None:
        raise ConfigError([Problem("--draft-tokens", 0, 0, "", DRAFTED_TWICE)])
    budget, why = _token_budget(speed.step, limits, settings)
    sequences = settings.max_sequences or min(
        limits.max_sequences, max(1, budget // (SEQUENCES_SHARE * settings.verified))
    )
    if sequences * settings.verified >= budget:
        each = f" of {settings.verified} tokens" if settings.verified > 1 else ""
        message = f"{sequences} sequences{each} leave no room for prompts in {budget} tokens a step; expected fewer"
        raise ConfigError([Problem("--max-sequences", 0, 0, "", message)])
    spec = EngineSpec(
        model_name=model.name,
        step=speed.step,
        kv_capacity_tokens=limits.kv_capacity_tokens,
        token_budget=budget,
        max_sequences=sequences,
        max_model_len=min(LONGEST_TOKENS, limits.kv_capacity_tokens),
        kv_cache_dtype=variant.kv_cache_dtype,
    )
    drafts = f"; {told(settings.speculation)}" if settings.speculation is not None else ""
    room = f"room for {limits.kv_capacity_tokens:,} tokens"
    return Engine(
        spec=speculating(spec, settings.speculation),
        told=speed.told,
        settings=f"{room}; {budget:,} tokens{why} and {sequences:,} sequences a step{drafts}",
    )


def _token_budget(step: StepModel, limits: EngineLimits, settings: Settings) -> tuple[int, str]:
    """As said; else the largest chunk whose step keeps the time per output token of whoever decodes beside it."""
    if settings.token_budget is not None:
        return settings.token_budget, ""
    usual = limits.token_budget
    if settings.tpot_s is None:
        return usual, " (vLLM's default)"
    budget, whole = usual, step_of(step, settings.speculation)
    pace = 1.0 if settings.speculation is None else settings.speculation.pace
    while (
        budget > CHUNK_TOKENS and _step_s(whole, budget, settings.prompt_tokens) > STEP_SHARE * settings.tpot_s * pace
    ):
        budget -= CHUNK_TOKENS
    if budget == usual:
        return usual, " (vLLM's default)"
    wanted = duration_text(round(settings.tpot_s, 4))
    return budget, f" (fits the SLO's {wanted} a token; yours: --token-budget; vLLM's default: {usual:,})"


def _step_s(step: StepModel, budget: int, prompt_tokens: float) -> float:
    """A step that computes a whole chunk at the end of the mean prompt."""
    end = max(prompt_tokens, budget)
    return step.decode_s(1, prompt_tokens) + step.prefill_s(budget, end**2 - (end - budget) ** 2)


def believed(step: StepModel) -> StepModel:
    """What our policy starts with: every coefficient wrong by up to BELIEF_RATIO, always in the same way. A controller
    that is told the simulator's own numbers is graded on its own model."""
    random = np.random.default_rng(BELIEF_SEED)
    wrong = {one.name: random.uniform(1 - BELIEF_RATIO, 1 + BELIEF_RATIO) for one in fields(StepModel)}
    return replace(step, **{name: getattr(step, name) * float(factor) for name, factor in wrong.items()})


# --- where the speed comes from --------------------------------------------------------------------------------------


def speed_of(model: Model, variant: Variant) -> Speed | Missing:
    """The fleet file's profile; else the fit of exactly this model, GPU, count, precision and KV cache; else what the
    roofline says of it."""
    fit = _fits().get(_key(model.name, variant))
    if fit is not None and variant.step is None:
        return fit
    prior, tokens = step_prior(model, variant), kv_capacity_tokens(model, variant)
    if variant.step is not None and not isinstance(tokens, Missing):
        return Speed(step=variant.step, kv_tokens=tokens, told="measured: the fleet file's profile")
    if isinstance(prior, Missing):
        return prior
    if isinstance(tokens, Missing):
        return tokens
    base, prefill = (prior.bands[list(BANDS).index(name)] for name in ("base_s", "per_prefill_token_s"))
    told = (
        "worked out from the GPU's and the model's numbers (roofline); a typical error is "
        f"{base:.0%} decoding and {prefill:.0%} in prompts. Measured is better: `pennyweight profile`, then --profile"
    )
    return Speed(step=prior.step, kv_tokens=tokens, told=told)


def speed_of_profile(path: Path, model: Model, variant: Variant) -> Speed:
    """What `pennyweight profile` measured. Raises ConfigError, naming the file."""
    try:
        profile = Profile.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError([Problem(str(path), 0, 0, "", f"cannot be used as a profile: {why}")]) from error
    if isinstance(profile.fit, Missing):
        raise ConfigError([Problem(str(path), 0, 0, "fit", f"has no step model: {profile.fit.why}")])
    seen = known(one.engine.kv_capacity_tokens for one in profile.points if not isinstance(one.engine, Missing))
    tokens: float | Missing = seen[-1] if seen else kv_capacity_tokens(model, variant)
    if isinstance(tokens, Missing):
        why = f"does not tell the room of the KV cache, and it cannot be worked out: {tokens.why}"
        raise ConfigError([Problem(str(path), 0, 0, "engine", why)])
    return Speed(
        step=profile.fit.step,
        kv_tokens=tokens,
        told=f"measured: {path.name}, {profile.model} at {profile.server}, {profile.at:%Y-%m-%d}",
        drafted=any(_tokens_a_part(one) > MOST_TOKENS_A_PART for one in profile.points),
    )


def _tokens_a_part(point: ProfilePoint) -> float:
    """Of the stream: the time between parts / the time of a token."""
    found = ratio("tokens", point.itl.mean, point.tpot.mean)
    return 1.0 if isinstance(found, Missing) else found


_Key = tuple[str, str, int, object, object]


def _key(model: str, variant: Variant) -> _Key:
    """Names of one precision are one: awq and int4 weigh and compute alike."""
    tier = TIERS.get(variant.quantization.lower().replace("-", "_"), variant.quantization)
    return model, variant.gpu.name, variant.gpus_per_replica, tier, kv_element_bytes(variant)


@cache
def _fits() -> Mapping[_Key, Speed]:
    """fits.csv: least-squares fits to NVIDIA AIConfigurator 0.12 (Apache-2.0)."""
    text = files("controller.backtest").joinpath("fits.csv").read_text(encoding="utf-8")
    return {_row_key(row): _fit(row) for row in csv.DictReader(text.splitlines())}


def _row_key(row: Mapping[str, str]) -> _Key:
    kv_bytes = {"bf16": 2.0, "fp8": 1.0}[row["kv_cache_dtype"]]
    return row["model"], row["gpu"], int(row["gpus"]), TIERS[row["quantization"]], kv_bytes


def _fit(row: Mapping[str, str]) -> Speed:
    decode, prefill = row["decode_error_percent"], row["prefill_error_percent"]
    return Speed(
        step=StepModel(
            base_s=float(row["base_ms"]) * 1e-3,
            per_sequence_s=float(row["per_sequence_ms"]) * 1e-3,
            per_kv_token_s=float(row["per_1k_kv_tokens_ms"]) * 1e-6,
            per_prefill_token_s=float(row["per_1k_prompt_tokens_ms"]) * 1e-6,
            per_prefill_pair_s=float(row["per_1k_prompt_tokens_squared_ms"]) * 1e-9,
        ),
        kv_tokens=float(row["kv_capacity_tokens"]),
        told=f"fitted to NVIDIA AIConfigurator 0.12, {decode} % error decoding, {prefill} % in prompts",
    )
