"""Parts that add up to their whole, whichever way they are worked out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.attribute.apportion import (
    LARGEST_TOTAL,
    cross,
    largest_remainder,
    largest_remainder_groups,
    largest_remainder_rows,
    summed,
)

TOTALS = st.integers(1 - LARGEST_TOTAL, LARGEST_TOTAL - 1)
WEIGHTS = st.lists(st.integers(0, 10**7), min_size=1, max_size=12).filter(lambda weights: sum(weights) > 0)


@given(total=st.integers(-(10**30), 10**30), weights=WEIGHTS)
def test_the_parts_add_up_to_the_whole_and_each_is_within_a_unit_of_its_share(total: int, weights: list[int]) -> None:
    parts = largest_remainder(total, weights)
    assert sum(parts) == total
    whole = sum(weights)
    assert all(abs(part * whole - total * weight) < whole for part, weight in zip(parts, weights, strict=True))


@given(total=TOTALS, weights=WEIGHTS)
def test_equal_weights_differ_by_a_unit_at_most_and_the_first_gets_more(total: int, weights: list[int]) -> None:
    parts = largest_remainder(total, [7] * len(weights))
    assert max(parts) - min(parts) <= 1
    assert parts == sorted(parts, reverse=total >= 0)


@given(total=TOTALS, weights=WEIGHTS)
def test_nothing_goes_where_nothing_weighs(total: int, weights: list[int]) -> None:
    assert largest_remainder(total, [0, *weights, 0]) == [0, *largest_remainder(total, weights), 0]


@given(tables=st.lists(st.tuples(TOTALS, WEIGHTS), min_size=1, max_size=6))
def test_groups_are_shared_as_one_by_one(tables: list[tuple[int, list[int]]]) -> None:
    totals = np.array([total for total, _ in tables])
    groups = np.repeat(np.arange(len(tables)), [len(weights) for _, weights in tables])
    weights = np.array([weight for _, weights in tables for weight in weights])
    got = largest_remainder_groups(totals, groups, weights)
    assert got.tolist() == [part for total, weights in tables for part in largest_remainder(total, weights)]


@given(totals=st.lists(TOTALS, min_size=1, max_size=5), weights=WEIGHTS)
def test_rows_are_shared_as_one_by_one(totals: list[int], weights: list[int]) -> None:
    table = np.array([weights] * len(totals))
    got = largest_remainder_rows(np.array(totals), table)
    assert got.tolist() == [largest_remainder(total, weights) for total in totals]


@pytest.mark.parametrize(
    ("why", "totals", "groups", "weights"),
    [
        ("nobody to go to", [5], [0], [0]),
        ("nobody to go to", [5, 5], [0], [1]),
        ("below zero", [5], [0, 0], [2, -1]),
        ("must ascend", [5, 5], [1, 0], [1, 1]),
        ("at most", [5], [0, 0], [2**30, 2**30]),
        ("more than can be shared", [2**62], [0], [1]),
    ],
)
def test_what_cannot_be_shared_exactly_is_refused(
    why: str, totals: list[int], groups: list[int], weights: list[int]
) -> None:
    with pytest.raises(ValueError, match=why):
        largest_remainder_groups(np.array(totals), np.array(groups), np.array(weights))


def test_no_weight_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot share 3"):
        largest_remainder(3, [0, 0])


def test_nothing_is_shared_into_nothing() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert len(largest_remainder_groups(nothing, nothing, nothing)) == 0
    assert largest_remainder_groups(np.array([0]), np.array([0]), np.array([0])).tolist() == [0]
    assert largest_remainder_rows(nothing, nothing.reshape(0, 12)).shape == (0, 12)


@st.composite
def margins(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Two ways to cut one total."""
    total = draw(st.integers(0, 10**25))
    return largest_remainder(total, draw(WEIGHTS)), largest_remainder(total, draw(WEIGHTS))


@given(both=margins())
def test_a_cross_keeps_both_margins_and_no_cell_is_below_zero(both: tuple[list[int], list[int]]) -> None:
    rows, columns = ([part % 10**17 for part in side] for side in both)
    columns[0] += max(sum(rows) - sum(columns), 0)
    rows[0] += max(sum(columns) - sum(rows), 0)
    cells = cross(rows, columns)
    assert cells.sum(axis=1).tolist() == rows
    assert cells.sum(axis=0).tolist() == columns
    assert (cells >= 0).all()
    slack = len(rows) + len(columns)
    exact = [[row * column / max(sum(rows), 1) for column in columns] for row in rows]
    assert np.allclose(cells, exact, rtol=1e-9, atol=slack)


@pytest.mark.parametrize(("rows", "columns"), [([1, 2], [4]), ([3, -1], [2]), ([2], [3, -1])])
def test_margins_without_a_table_are_refused(rows: list[int], columns: list[int]) -> None:
    with pytest.raises(ValueError, match="have no table"):
        cross(rows, columns)


@given(rows=st.lists(st.tuples(st.integers(0, 5), st.integers(-9, 9)), max_size=30))
def test_summed_rows_are_those_of_a_dictionary(rows: list[tuple[int, int]]) -> None:
    expected: dict[int, int] = {}
    for key, value in rows:
        expected[key] = expected.get(key, 0) + value
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    keys, sums = summed(table[:, 0], table[:, 1:])
    assert dict(zip(keys.tolist(), sums[:, 0].tolist(), strict=True)) == dict(sorted(expected.items()))
