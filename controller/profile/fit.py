"""Fits the step model to equations: robust, non-negative least squares, and which coefficients it may be asked about.

Relative residuals under Huber's loss (iteratively reweighted), so that neither long stretches nor hiccups rule. Six
columns are few enough to solve the non-negative problem exactly: the best of all sets of columns that may be non-zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from controller.facts.missing import Missing
from controller.facts.performance import StepModel
from controller.facts.profile import Coefficient, Number
from controller.profile.rows import COLUMNS, Rows

Floats = NDArray[np.float64]

FEWEST_ROWS = 20
"""Below so many equations nothing is fitted. A guess: three a coefficient."""

HUBER_TUNING = 1.345
"""In standard deviations of the residuals: 95 % efficient on normal errors. Huber, Robust Statistics (1981)."""

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution / its median absolute deviation."""

ROUNDS = 20
"""Of reweighting. It has converged long before."""

MOST_ERROR_RATIO = 1 / 3
"""A coefficient is claimed when its standard error is at most this share of it: three sigma from zero."""

LEAST_OWN_SHARE = 1e-3
"""Claimed only when the other columns leave at least this share of its variation unexplained. A guess: below it a
model error of 3 % is taken for the coefficient."""

NEGLIGIBLE_RATIO = 0.05
"""Two standard errors above its value it still makes less than this share of nearly every time that it is part of. A
guess: half of the error that the whole model is allowed."""

LEAVE_OUT_ORDER = ("per_prefill_pair_s", "per_kv_token_s", "overhead_s", "per_prefill_token_s", "per_sequence_s")
"""What the sweep does not tell apart is left out in this order until the rest can be told apart: the smallest part of
common engines' step times first. The time of a bare step always stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """Coefficients in COLUMNS' order, for fitted columns: their standard errors and whether the sweep excited them."""

    values: Floats
    errors: Floats
    excited: NDArray[np.bool_]
    negligible: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A step model, the overhead of a request, and what may be claimed."""

    step: StepModel
    overhead_s: float
    coefficients: tuple[Coefficient, ...]


def fit(rows: Rows, prior: StepModel | None, most_sequences: float) -> Fitted | Missing:
    """The model of the equations. ``most_sequences``: the largest batch that they saw.

    First everything is fitted, which tells what the sweep excited. What it did not is then put at the prior's value, or
    without a prior left out, one after the other, until the rest can be told apart.
    """
    if len(rows) < FEWEST_ROWS:
        return Missing("step model", f"the sweep gave {len(rows)} equations; it takes {FEWEST_ROWS}: measure longer")
    fixed: dict[str, float] = {}
    whole = solved = _solve(rows, fixed)
    for name in LEAVE_OUT_ORDER:
        index = COLUMNS.index(name)
        if all(solved.excited[COLUMNS.index(one)] for one in COLUMNS if one not in fixed):
            break
        if not whole.excited[index]:
            known = prior is not None and name != "overhead_s"
            fixed[name] = float(getattr(prior, name)) if known else 0.0
            solved = _solve(rows, fixed)
    for index, name in enumerate(COLUMNS):  # what was measured to be as good as nothing is nothing
        if solved.negligible[index] and solved.values[index] <= 2 * solved.errors[index]:
            fixed[name] = 0.0
    solved = _solve(rows, fixed)
    verdicts = [_verdict(name, index, whole, solved, fixed, prior) for index, name in enumerate(COLUMNS)]
    values = {name: float(value) for name, value in zip(COLUMNS, solved.values, strict=True)}
    overhead_s = values.pop("overhead_s")
    step = StepModel(**values, host_per_token_s=_host(values, prior, most_sequences))
    return Fitted(step=step, overhead_s=overhead_s, coefficients=tuple(verdicts))


def _verdict(
    name: str, index: int, whole: Solved, solved: Solved, fixed: Mapping[str, float], prior: StepModel | None
) -> Coefficient:
    value = float(solved.values[index])
    error: Number = float(solved.errors[index])
    if name in fixed and whole.negligible[index]:
        error, verdict = float(whole.errors[index]), "negligible"
    elif name in fixed:
        error = Missing(name, "the sweep did not excite it")
        verdict = "unknown" if prior is None or name == "overhead_s" else "prior"
    elif solved.negligible[index]:
        verdict = "negligible"
    else:
        claimed = solved.excited[index] and (whole.excited[index] or prior is not None)
        verdict = "measured" if claimed else "mixed"
    return Coefficient(name=name, value=value, standard_error_s=error, verdict=verdict)


def _host(values: Mapping[str, float], prior: StepModel | None, most_sequences: float) -> float:
    """The floor of the engine's host per token: the prior's, unless the measured steps were faster than that."""
    usual = prior or StepModel(base_s=0, per_sequence_s=0, per_kv_token_s=0, per_prefill_token_s=0)
    gpu_s = values["base_s"] + values["per_sequence_s"] * most_sequences
    return min(usual.host_per_token_s, gpu_s / max(1.0, most_sequences))


def _solve(rows: Rows, fixed: Mapping[str, float]) -> Solved:
    """Fit all columns but the ``fixed`` ones, and see how well each is known."""
    free = [index for index, name in enumerate(COLUMNS) if name not in fixed]
    held = np.array([fixed.get(name, 0.0) for name in COLUMNS])
    x = (rows.x / rows.time_s[:, None])[:, free]
    y = 1.0 - rows.x @ held / rows.time_s
    size = np.abs(x).max(axis=0, initial=0.0)
    size[size == 0] = 1.0
    x = x / size  # columns alike in size, for the arithmetic's sake
    weight = rows.weight.copy()
    found = np.zeros(len(free))
    for _ in range(ROUNDS):
        found = nonnegative(x, y, weight)
        residuals = y - x @ found
        sigma = max(1e-6, MAD_TO_SIGMA * float(np.median(np.abs(residuals))))
        weight = rows.weight * np.minimum(1.0, HUBER_TUNING * sigma / np.maximum(np.abs(residuals), 1e-12))
    errors = _errors(x, y, weight, rows.block)
    known = np.isfinite(errors)
    usual = np.array([np.quantile(one[one > 0], 0.95) if one.any() else 0.0 for one in x.T])
    share = usual * (found + 2 * np.where(known, errors, 0.0))
    values, all_errors = held.copy(), np.full(len(COLUMNS), np.inf)
    values[free], all_errors[free] = found / size, errors / size
    excited, negligible = np.zeros(len(COLUMNS), bool), np.zeros(len(COLUMNS), bool)
    negligible[free] = known & (share < NEGLIGIBLE_RATIO)
    excited[free] = (errors <= MOST_ERROR_RATIO * found) | negligible[free]
    return Solved(values=values, errors=all_errors, excited=excited, negligible=negligible)


def nonnegative(x: Floats, y: Floats, weight: Floats) -> Floats:
    """Coefficients >= 0 with the least sum of weight x (y - x @ coefficients)²."""
    gram, moment = x.T @ (x * weight[:, None]), x.T @ (y * weight)
    best, least = np.zeros(x.shape[1]), 0.0  # all zero: the sum is y's own, here counted as 0
    for columns in _subsets(x.shape[1]):
        some = np.linalg.lstsq(gram[np.ix_(columns, columns)], moment[list(columns)], rcond=None)[0]
        loss = float(some @ gram[np.ix_(columns, columns)] @ some - 2 * some @ moment[list(columns)])
        if some.min() >= 0 and loss < least:
            best = np.zeros(x.shape[1])
            best[list(columns)], least = some, loss
    return best


def _subsets(count: int) -> Sequence[tuple[int, ...]]:
    return list(chain.from_iterable(combinations(range(count), size) for size in range(1, count + 1)))


def _errors(x: Floats, y: Floats, weight: Floats, block: NDArray[np.int64]) -> Floats:
    """Standard errors of the unbounded fit, robust to blocks whose equations err together; infinite where the other
    columns say the same. (Liang and Zeger's sandwich, Biometrika 73, 1986.)"""
    errors = np.full(x.shape[1], np.inf)
    own = [index for index in range(x.shape[1]) if _own_share(x, weight, index) >= LEAST_OWN_SHARE]
    if not own:
        return errors
    z = x[:, own]
    inverse = np.linalg.pinv(z.T @ (z * weight[:, None]))
    residuals = y - z @ (inverse @ (z.T @ (y * weight)))
    scores = z * (weight * residuals)[:, None]
    by_block = np.array([scores[block == one].sum(axis=0) for one in np.unique(block)])
    groups = len(by_block)
    spread = by_block.T @ by_block * (groups / max(1, groups - 1))
    errors[own] = np.sqrt(np.maximum(0.0, np.diag(inverse @ spread @ inverse)))
    return errors


def _own_share(x: Floats, weight: Floats, index: int) -> float:
    """The share of a column's weighted square that the other columns do not explain."""
    root = np.sqrt(weight)
    column, others = x[:, index] * root, np.delete(x, index, axis=1) * root[:, None]
    total = float(column @ column)
    if total == 0:
        return 0.0
    left = column - others @ np.linalg.lstsq(others, column, rcond=None)[0]
    return float(left @ left) / total
