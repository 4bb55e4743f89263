"""A distribution of lengths as a few weighted points: log-normal, as lengths of prompts and answers roughly are."""

from __future__ import annotations

from math import exp, log, sqrt

SPREAD = tuple(0.25 * place for place in range(-10, 14))
"""Standard deviations from the middle. Beyond 3.25, one request in 1,700, lengths are cut by what a model takes."""

_DENSITY = tuple(exp(-z * z / 2) for z in SPREAD)

WEIGHTS = tuple(density / sum(_DENSITY) for density in _DENSITY)
"""Probability of each point."""


def points(mean: float, cv: float) -> tuple[float, ...]:
    """Lengths at SPREAD, scaled so that their mean is exact."""
    sigma = sqrt(log(1 + cv * cv))
    raw = [exp(sigma * z) for z in SPREAD]
    scale = mean / sum(weight * one for weight, one in zip(WEIGHTS, raw, strict=True))
    return tuple(scale * one for one in raw)


def expected(values: tuple[float, ...], power: int = 1) -> float:
    """Mean of the values' power."""
    return sum(weight * one**power for weight, one in zip(WEIGHTS, values, strict=True))
