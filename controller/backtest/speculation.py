"""Speculative decoding in a rehearsal: what was said of it in options and in the fleet file, together."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controller.backtest.words import many
from controller.errors import ConfigError, Problem
from controller.estimate.performance.speculation import chance_of, gained, token_step, verifying
from controller.facts.fleet import Speculation, Variant
from controller.facts.performance import StepModel
from controller.simulate.stepmodel import EngineSpec

ACCEPTANCE = (
    "how many of them are kept depends on the drafts and on the traffic: give what was measured, accepted / drafted "
    "tokens (pennyweight_acceptance_ratio), such as 60%"
)
OVERHEAD = "give what drafting adds to a step, such as 10%; 0% for n-grams, which no GPU drafts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafting:
    """What the options say. None: the fleet file's; ``draft_tokens`` 0: no speculation."""

    draft_tokens: int | None = None
    acceptance_ratio: float | None = None
    draft_overhead_ratio: float | None = None

    def of(self, variant: Variant) -> Speculation | None:
        """What ``variant``'s engine does. Raises ConfigError with what is not known: none of it has a usual value."""
        said = variant.speculation or NOTHING_SAID
        tokens = said.draft_tokens if self.draft_tokens is None else self.draft_tokens
        acceptance = said.acceptance_ratio if self.acceptance_ratio is None else self.acceptance_ratio
        overhead = said.draft_overhead_ratio if self.draft_overhead_ratio is None else self.draft_overhead_ratio
        if not tokens:
            return None
        if acceptance is None or overhead is None:
            drafts = f"is missing: {variant.name} drafts {many(tokens, 'token')} a step;"
            wanted = {"--acceptance": (acceptance, ACCEPTANCE), "--draft-overhead": (overhead, OVERHEAD)}
            raise ConfigError(
                [Problem(name, 0, 0, "", f"{drafts} {why}") for name, (value, why) in wanted.items() if value is None]
            )
        return Speculation(draft_tokens=tokens, acceptance_ratio=acceptance, draft_overhead_ratio=overhead)

    @property
    def beside(self) -> tuple[str, ...]:
        """Options that mean nothing where nobody drafts."""
        given = {"--acceptance": self.acceptance_ratio, "--draft-overhead": self.draft_overhead_ratio}
        return tuple(name for name, value in given.items() if value is not None)


NOTHING_SAID = Drafting()


def told(found: Speculation) -> str:
    """drafts 3 tokens, 60 % of them kept: 2.8 tokens a step, which drafting makes 10 % longer"""
    tokens, kept = many(found.draft_tokens, "token"), f"{found.acceptance_ratio * 100:g} % of them kept"
    longer = f"{found.draft_overhead_ratio * 100:g} % longer"
    return f"drafts {tokens}, {kept}: {found.pace:.3g} tokens a step, which drafting makes {longer}"


def speculating(spec: EngineSpec, found: Speculation | None) -> EngineSpec:
    """``spec`` with it."""
    if found is None:
        return spec
    return replace(
        spec,
        draft_tokens=found.draft_tokens,
        acceptance_ratio=chance_of(found.draft_tokens, found.acceptance_ratio),
        draft_s=found.draft_overhead_ratio * spec.step.base_s,
    )


def step_of(step: StepModel, found: Speculation | None) -> StepModel:
    """The time of a step with all that is drafted and verified in it."""
    return step if found is None else verifying(step, found.draft_tokens, found.draft_overhead_ratio * step.base_s)


def token_step_of(spec: EngineSpec) -> StepModel:
    """The time of a token: what estimates and the others' profiles go by."""
    step = verifying(spec.step, spec.draft_tokens, spec.draft_s)
    return token_step(step, gained(spec.draft_tokens, spec.acceptance_ratio))
