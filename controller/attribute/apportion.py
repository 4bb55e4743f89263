"""Whole amounts in proportion to weights, so that the parts add up to the whole: the largest remainder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Number = TypeVar("Number", np.int64, np.float64)

BITS = 31
LIMIT = 1 << BITS
"""The vectorised forms take groups whose weights add up to less, and totals below 2^62: then no product overflows."""

LARGEST_TOTAL = 1 << 62
FINE = 1 << 30
"""What shares are scaled to: a part is within a billionth of its group's total of what the exact weights give."""


def largest_remainder(total: int, weights: Sequence[int]) -> list[int]:
    """``total`` in proportion to ``weights``: the floors, and the units left over to the largest remainders.

    Ties go to the lower index. A negative total is the mirror image. Without any weight there is no answer: ValueError.
    """
    if total < 0:
        return [-part for part in largest_remainder(-total, weights)]
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise ValueError(
            f"cannot share {total} by weights that add up to {whole}, the least being {min(weights, default=0)}"
        )
    parts = [total * weight // whole for weight in weights]
    remainders = [total * weight % whole for weight in weights]
    ranked = sorted(range(len(weights)), key=lambda index: -remainders[index])
    for index in ranked[: total - sum(parts)]:
        parts[index] += 1
    return parts


def largest_remainder_rows(totals: Ints, weights: Ints) -> Ints:
    """The same for every row of ``weights`` (n x k) and its total."""
    rows, columns = weights.shape
    groups = np.repeat(np.arange(rows, dtype=np.int64), columns)
    return largest_remainder_groups(totals, groups, weights.reshape(-1)).reshape(rows, columns)


def largest_remainder_groups(totals: Ints, groups: Ints, weights: Ints) -> Ints:
    """The same for groups of any size: ``weights[i]`` is of the group ``groups[i]``, which ascend; the group's total is
    ``totals[groups[i]]``. A group without weights must have nothing to share. ValueError otherwise.

        total = high x 2^31 + low: both products with a weight, and what is carried from one to the other, fit 63 bits
    """
    whole = _wholes(totals, groups, weights)
    amounts, sign = np.abs(totals), np.sign(totals)
    each, by = amounts[groups], np.maximum(whole, 1)[groups]
    carried, over = np.divmod((each >> BITS) * weights, by)
    parts, remainders = np.divmod((over << BITS) + (each & (LIMIT - 1)) * weights, by)
    parts += carried << BITS
    starts = _starts(groups)
    left = amounts.copy()
    left[groups[starts]] -= _sums(parts, starts)
    ranked = np.lexsort((-remainders, groups))
    place = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    given = place < left[groups]
    parts[ranked[given]] += 1
    signed: Ints = parts * sign[groups]
    return signed


def _wholes(totals: Ints, groups: Ints, weights: Ints) -> Ints:
    """By group the sum of its weights, once everything is seen to be in bounds."""
    if len(weights) and weights.min() < 0:
        raise ValueError("a weight below zero")
    if len(groups) > 1 and (np.diff(groups) < 0).any():
        raise ValueError("groups must ascend")
    whole = np.zeros(len(totals), dtype=np.int64)
    starts = _starts(groups)
    whole[groups[starts]] = _sums(weights, starts)
    if len(totals) and np.abs(totals).max() >= LARGEST_TOTAL:
        raise ValueError(f"a total of {np.abs(totals).max()} nanodollars is more than can be shared exactly")
    if len(weights) and (weights.max() >= LIMIT or whole.max() >= LIMIT):
        raise ValueError(f"weights that add up to {whole.max()}: at most {LIMIT - 1}")
    lost = (whole == 0) & (totals != 0)
    if lost.any():
        raise ValueError(f"{totals[lost][0]} nanodollars have nobody to go to")
    return whole


def scaled(shares: Floats) -> Ints:
    """Shares between 0 and 1 as whole weights, of which a group's stay below the LIMIT."""
    whole: Ints = np.rint(shares * FINE).astype(np.int64)
    return whole


def summed(keys: Ints, values: NDArray[Number]) -> tuple[Ints, NDArray[Number]]:
    """The different keys, ascending, and the sums of their rows of ``values``."""
    if not len(keys):
        return keys, values
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = _starts(ordered)
    sums: NDArray[Number] = np.add.reduceat(values[order], starts, axis=0)
    return ordered[starts], sums


def cross(rows: Sequence[int], columns: Sequence[int]) -> Ints:
    """A table of whole cells with exactly these margins, each cell near its share of row x column.

        floor(row x column / total), then what rows and columns still lack, from the first corner on

    Both margins must have the same sum and nothing below zero. No cell is below zero; one may be off its share by as
    many units as there are rows or columns.
    """
    total = sum(rows)
    if total != sum(columns) or min(*rows, *columns, 0) < 0:
        raise ValueError(f"margins of {total} and {sum(columns)} have no table between them")
    cells = [[row * column // total if total else 0 for column in columns] for row in rows]
    row_lacks = [row - sum(line) for row, line in zip(rows, cells, strict=True)]
    column_lacks = [column - sum(line[at] for line in cells) for at, column in enumerate(columns)]
    at_row = at_column = 0
    while at_row < len(rows) and at_column < len(columns):
        given = min(row_lacks[at_row], column_lacks[at_column])
        cells[at_row][at_column] += given
        row_lacks[at_row] -= given
        column_lacks[at_column] -= given
        if row_lacks[at_row] == 0:
            at_row += 1
        else:
            at_column += 1
    return np.array(cells, dtype=np.int64).reshape(len(rows), len(columns))


def _starts(keys: Ints) -> NDArray[np.intp]:
    """Where each run of equal keys begins."""
    changes: NDArray[np.intp] = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])) if len(keys) else [])
    return changes


def _sums(values: Ints, starts: NDArray[np.intp]) -> Ints:
    if not len(starts):
        return np.zeros(0, dtype=np.int64)
    sums: Ints = np.add.reduceat(values, starts)
    return sums
