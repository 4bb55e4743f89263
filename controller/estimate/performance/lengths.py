"""A distribution of lengths as a few weighted points: log-normal, as lengths of prompts and answers roughly are."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SPREAD: Floats = np.linspace(-2.5, 3.25, 24)
"""Standard deviations from the middle. Beyond the last, one request in 1,700, lengths are cut by what a model takes."""

_DENSITY: Floats = np.exp(np.multiply(SPREAD, SPREAD) / -2)

WEIGHTS: Floats = np.divide(_DENSITY, _DENSITY.sum())
"""Probability of each point."""


def points(mean: float, cv: float) -> Floats:
    """Lengths at SPREAD, scaled so that their mean is exact."""
    raw = np.exp(sqrt(log(1 + cv * cv)) * SPREAD)
    scaled: Floats = raw * (mean / float(WEIGHTS @ raw))
    return scaled


def expected(values: Floats) -> float:
    """Mean over the points."""
    return float(WEIGHTS @ values)
