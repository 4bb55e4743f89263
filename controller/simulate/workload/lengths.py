"""How long prompts and outputs are: distributions told by their quantiles, drawn from by inverse CDF."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from statistics import NormalDist
from typing import Self

import numpy as np

from controller.simulate.arrivals import Requests
from controller.simulate.traffic import MEAN_OUTPUT_TOKENS, MEAN_PROMPT_TOKENS, OUTPUT_SIGMA, PROMPT_SIGMA
from controller.simulate.workload.blocks import MOST_TOKENS, Floats, Ints

TABLE_LEVELS = np.concatenate(
    [np.linspace(0.0, 0.005, 6), np.linspace(0.01, 0.99, 99), np.linspace(0.991, 0.999, 9), (0.9995, 0.9999, 1.0)]
)
"""Where a distribution that is given as a formula or as samples is tabulated: finer in the tails."""

PARAMETRIC_LONGEST_TOKENS = 16_384
"""A formula has no longest request; this one is a guess: twice the longest of Azure's 2024 conversation week."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Quantile functions of prompt and output length, straight lines between the levels.

    levels                          0..1, strictly ascending, from 0 to 1
    prompt_tokens, output_tokens    at each level; ascending, 1 or more
    source                          where they come from, in words

    The two are drawn independently: in Azure's 2023 hours the rank correlation of prompt and output length is -0.02
    (code) and 0.07 (conversation).
    """

    levels: Floats
    prompt_tokens: Floats
    output_tokens: Floats
    source: str

    def __post_init__(self) -> None:
        ascending = bool(np.all(np.diff(self.levels) > 0))
        if not ascending or self.levels[0] != 0 or self.levels[-1] != 1:
            raise ValueError("quantile levels must ascend from 0 to 1")
        for tokens in (self.prompt_tokens, self.output_tokens):
            if len(tokens) != len(self.levels) or tokens[0] < 1 or np.any(np.diff(tokens) < 0):
                raise ValueError("quantiles must ascend from 1 token or more, one a level")

    def draw(self, random: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        """``count`` prompt and output lengths."""
        prompts = np.interp(random.random(count), self.levels, self.prompt_tokens)
        outputs = np.interp(random.random(count), self.levels, self.output_tokens)
        return whole_tokens(prompts), whole_tokens(outputs)

    @property
    def mean_prompt_tokens(self) -> float:
        return float(np.trapezoid(self.prompt_tokens, self.levels))

    @property
    def mean_output_tokens(self) -> float:
        return float(np.trapezoid(self.output_tokens, self.levels))

    @classmethod
    def of(cls, requests: Requests, source: str) -> Self:
        """The lengths that ``requests`` have."""
        if not len(requests):
            raise ValueError("no request to take lengths from")
        return cls(
            levels=TABLE_LEVELS,
            prompt_tokens=np.quantile(requests.prompt_tokens, TABLE_LEVELS),
            output_tokens=np.quantile(requests.output_tokens, TABLE_LEVELS),
            source=source,
        )

    @classmethod
    def fixed(cls, prompt_tokens: int, output_tokens: int) -> Self:
        """Every request alike."""
        return cls(
            levels=np.array([0.0, 1.0]),
            prompt_tokens=np.full(2, float(prompt_tokens)),
            output_tokens=np.full(2, float(output_tokens)),
            source=f"fixed: {prompt_tokens} prompt and {output_tokens} output tokens",
        )

    @classmethod
    def log_normal(
        cls,
        *,
        prompt_mean: float = MEAN_PROMPT_TOKENS,
        prompt_sigma: float = PROMPT_SIGMA,
        output_mean: float = MEAN_OUTPUT_TOKENS,
        output_sigma: float = OUTPUT_SIGMA,
        longest_tokens: int = PARAMETRIC_LONGEST_TOKENS,
    ) -> Self:
        """The default where nothing is known: log-normal, fitted to Azure's 2024 conversation week (see `traffic`)."""
        return cls(
            levels=TABLE_LEVELS,
            prompt_tokens=_log_normal_table(prompt_mean, prompt_sigma, longest_tokens),
            output_tokens=_log_normal_table(output_mean, output_sigma, longest_tokens),
            source=f"log-normal, means {prompt_mean:g} and {output_mean:g} tokens, "
            f"sigmas {prompt_sigma:g} and {output_sigma:g}",
        )


def _log_normal_table(mean: float, sigma: float, longest_tokens: int) -> Floats:
    if sigma <= 0:
        return np.full(len(TABLE_LEVELS), mean)
    mu, normal = log(mean) - sigma * sigma / 2, NormalDist()
    inside = [exp(mu + sigma * normal.inv_cdf(float(level))) for level in TABLE_LEVELS[1:-1]]
    table: Floats = np.array([1.0, *inside, float(longest_tokens)])
    return np.clip(table, 1.0, float(longest_tokens))


def whole_tokens(tokens: Floats) -> Ints:
    """To the nearest whole token, 1 at least."""
    return np.clip(np.rint(tokens), 1.0, MOST_TOKENS).astype(np.int32)
