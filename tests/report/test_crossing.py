"""Replica x identity: both margins exact, in each of the four costs and in tokens."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.attribute.unit_costs import TokenKind, kind_nanousd, kind_tokens
from controller.errors import UnbalancedError
from controller.facts.account_reader import AllocationRow, SeatRow
from controller.facts.accounts import IDLE_OWN, Identity
from controller.facts.fleet import CapacityType
from controller.report.crossing import FOUR, costs_of, crossed
from tests.accounts_in_memory import MIDNIGHT, hour_of_seats, owned, parts, seat


def test_every_replicas_cells_add_up_to_its_four_costs() -> None:
    seats = hour_of_seats(MIDNIGHT)
    got: Counter[tuple[str, str]] = Counter()
    for cell in crossed(seats, owned(seats)):
        got.update({(cell.seat.replica, name): cell.costs[name] for name in FOUR})
    assert got == Counter({(one.replica, name): costs_of(one)[name] for one in seats for name in FOUR})


def test_every_identitys_cells_add_up_to_its_line_in_each_kind() -> None:
    seats = hour_of_seats(MIDNIGHT)
    lines = owned(seats)
    cost: Counter[tuple[Identity, TokenKind]] = Counter()
    tokens: Counter[tuple[Identity, TokenKind]] = Counter()
    for cell in crossed(seats, lines):
        cost[cell.identity, cell.kind] += cell.costs["effective"]
        tokens[cell.identity, cell.kind] += cell.tokens
    expected_cost: Counter[tuple[Identity, TokenKind]] = Counter()
    expected_tokens: Counter[tuple[Identity, TokenKind]] = Counter()
    for line in lines:
        for kind in TokenKind:
            expected_cost[line.identity, kind] += kind_nanousd(line.parts, kind)
            expected_tokens[line.identity, kind] += kind_tokens(line.tokens, kind)
    assert +cost == +expected_cost
    assert +tokens == +expected_tokens


@given(costs=st.lists(st.integers(0, 10**12), min_size=1, max_size=4), data=st.data())
def test_any_seats_and_any_owners_of_them_balance(costs: list[int], data: st.DataObject) -> None:
    seats = [
        seat(MIDNIGHT, f"r{place}", CapacityType.SPOT, cost, list_nanousd=data.draw(st.integers(0, 10**12)))
        for place, cost in enumerate(costs)
    ]
    cells = list(crossed(seats, owned(seats)))
    for one in seats:
        mine = [cell for cell in cells if cell.seat is one]
        assert {name: sum(cell.costs[name] for cell in mine) for name in FOUR} == costs_of(one)
        assert all(value >= 0 for cell in mine for value in cell.costs.values())


def test_a_seat_that_cost_nothing_of_late_keeps_its_list_cost_on_an_idle_line() -> None:
    free = seat(MIDNIGHT, "r0", CapacityType.SPOT, 0, list_nanousd=7)
    (cell,) = crossed([free], [])
    assert (cell.identity, cell.kind, cell.costs["list"], cell.costs["effective"]) == (IDLE_OWN, TokenKind.IDLE, 7, 0)


def test_seats_and_lines_that_do_not_tie_are_refused_with_both_sums() -> None:
    seats = [seat(MIDNIGHT, "r0", CapacityType.SPOT, 1_000)]
    wrong: list[AllocationRow] = [replace(owned(seats)[0], parts=parts(prefill=7))]
    with pytest.raises(UnbalancedError) as told:
        list(crossed(seats, wrong))
    assert str(told.value) == (
        "2026-11-20T00:00Z: input of chat/h100 (spot) cost 200 nanodollars by replica and 7 by identity; no file was "
        "written. `pennyweight ledger verify` names the line that is wrong"
    )


def test_unknown_costs_fall_back_to_the_next_one_known() -> None:
    one: SeatRow = seat(
        MIDNIGHT, "r0", CapacityType.SPOT, 9, list_nanousd=None, contracted_nanousd=None, billed_nanousd=None
    )
    assert costs_of(one) == {"list": 9, "contracted": 9, "effective": 9, "billed": 9}
    assert costs_of(replace(one, contracted_nanousd=11))["list"] == 11
