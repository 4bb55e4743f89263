"""An hour adds up, whatever was in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.attribute.apportion import cross
from controller.attribute.identities import added
from controller.attribute.settle import HourSeen, Settled, correction, settled, unbalanced
from controller.attribute.tables import COSTS, EFFECTIVE, IDLE_ID, UNATTRIBUTED_ID, HourLines
from controller.facts.accounts import IDLE, OVERHEAD, PARTS, Tokens
from tests.attribute.hours import (
    BOOK,
    EXAMPLES,
    FIRST,
    HOUR,
    MINUTE_US,
    SEATS,
    fleet_hour,
    hour,
    hours,
    records,
    seen,
    usage,
)

READY = {"ready_us": MINUTE_US, "cost": 1_000_000}


def by(keys: np.ndarray, values: np.ndarray) -> dict[int, list[int]]:
    """Sums by key, worked out one row at a time; zeros left out."""
    sums: dict[int, list[int]] = {}
    for key, row in zip(keys.tolist(), values.tolist(), strict=True):
        sums[key] = [a + b for a, b in zip(sums.get(key, [0] * len(row)), row, strict=True)]
    return {key: row for key, row in sums.items() if any(row)}


def effective(some: HourSeen) -> dict[int, int]:
    """What each seat's hour costs: what was applied, else what accrued."""
    cost = {seat: row[0] for seat, row in by(some.seen.seat, some.seen.cost[:, None]).items()}
    cost |= {seat: amounts[EFFECTIVE] or 0 for seat, amounts in some.applied.items()}
    return {seat: amount for seat, amount in cost.items() if amount}


@EXAMPLES
@given(some=hours())
def test_every_sum_of_any_hour_balances(some: HourSeen) -> None:
    got = settled(some)
    assert {seat: sum(parts) for seat, parts in by(got.seats.seat, got.seats.parts).items()} == effective(some)
    assert got.seats.costs[:, EFFECTIVE].tolist() == got.seats.parts.sum(axis=1).tolist()
    seat_pool = np.array([SEATS[seat].pool for seat in got.seats.seat.tolist()], dtype=np.int64)
    by_pool = by(seat_pool, got.seats.parts)
    assert by_pool == by(got.minutes.pool, got.minutes.parts) == by(got.lines.pool, got.lines.parts)
    assert got.lines.cost.sum() == sum(effective(some).values()), "attributed + idle + overhead = cost"


@EXAMPLES
@given(some=hours())
def test_every_token_told_is_on_one_line(some: HourSeen) -> None:
    got = settled(some)
    told = some.usage.tokens.sum(axis=0)
    assert Tokens(**dict(zip(("uncached", "cached", "output", "requests"), told.tolist(), strict=True))) == got.logged
    unplaced = np.array([getattr(got.unplaced, name) for name in ("uncached", "cached", "output", "requests")])
    somebodys = got.lines.identity != UNATTRIBUTED_ID
    assert (got.lines.tokens[somebodys].sum(axis=0) + unplaced == told).all()


@EXAMPLES
@given(some=hours())
def test_what_the_engines_counted_and_nobody_told_is_on_the_unattributed_line(some: HourSeen) -> None:
    """So that tokens of a pool are at least those its engines counted, and unit costs of a service are its own."""
    got = settled(some)
    lines, counted = by(got.lines.pool, got.lines.tokens), by(got.pools.pool, got.pools.tokens)
    for pool, engine in counted.items():
        told = lines.get(pool, [0] * len(engine))
        assert told[0] + told[1] >= engine[0] + engine[1]
        assert told[2] >= engine[2]
        assert told[3] >= engine[3]


@EXAMPLES
@given(some=hours())
def test_an_hour_settled_twice_is_the_same(some: HourSeen) -> None:
    once, again = settled(some), settled(some)
    assert len(correction(once.lines, again.lines).pool) == 0


@EXAMPLES
@given(some=hours(), late=records())
def test_corrections_append_up_to_what_is_right_now_and_cost_nothing(some: HourSeen, late: Any) -> None:
    before, after = settled(some), settled(replace(some, usage=late))
    posted = correction(before.lines, after.lines)
    now = added(before.lines, posted)
    assert (now.parts == after.lines.parts).all()
    assert (now.tokens == after.lines.tokens).all()
    assert by(posted.pool, posted.parts) == {}, "records are weights: late ones move cost and make none"
    assert not (posted.parts == 0).all(axis=1)[(posted.tokens == 0).all(axis=1)].any(), "no empty lines"


@EXAMPLES
@given(some=hours())
def test_replicas_by_team_have_both_margins(some: HourSeen) -> None:
    """Never stored, worked out when asked: seats x identities of a pool and part."""
    got = settled(some)
    seat_pool = np.array([SEATS[seat].pool for seat in got.seats.seat.tolist()], dtype=np.int64)
    for pool in got.pools.pool.tolist():
        for part in range(len(PARTS)):
            rows = got.seats.parts[seat_pool == pool, part].tolist()
            columns = got.lines.parts[got.lines.pool == pool, part].tolist()
            if sum(rows):
                cells = cross(rows, columns)
                assert cells.sum(axis=1).tolist() == rows
                assert cells.sum(axis=0).tolist() == columns


def usd_per_million(result: Settled, amount: np.ndarray) -> float:
    return float(amount.sum()) / result.engine.output * 1e6


@given(idle_us=st.integers(1, MINUTE_US // 2))
def test_the_usage_basis_is_cheaper_than_the_allocation_basis_whenever_there_is_idle(idle_us: int) -> None:
    """Of OpenCost's two bases one was the other within 1 % for as long as nobody compared them."""
    worked_s = (MINUTE_US - idle_us) / 1e6
    row = {**READY, "cost": 10**9, "output": float(int(worked_s / 5e-3))}
    got = settled(hour(row, records=usage({"output": int(row["output"])})))
    on_usage, on_allocation = usd_per_million(got, got.lines.work), usd_per_million(got, got.lines.cost)
    assert on_usage < on_allocation
    assert on_usage / on_allocation == pytest.approx(worked_s / 60, rel=1e-3)


def test_without_idle_both_bases_are_the_same() -> None:
    got = settled(hour({**READY, "output": 12e3}, records=usage({"output": 12_000})))
    assert usd_per_million(got, got.lines.work) == usd_per_million(got, got.lines.cost)


def test_a_seats_hour_has_four_costs_time_energy_and_tokens() -> None:
    rows = (
        {"ready_us": MINUTE_US, "costs": (40, 30, 20, 10), "gpus": 4, "energy_j": 100.0, "output": 5.0},
        {
            "ready_us": MINUTE_US,
            "costs": (40, 30, 20, 0),
            "known": (True, True, True, False),
            "gpus": 4,
            "minute": FIRST + 1,
        },
    )
    unpriced = {"ready_us": MINUTE_US, "seat": 2, "known": (False,) * 4, "unpriced_us": MINUTE_US}
    got = settled(hour(*rows, unpriced)).seats
    assert got.costs.tolist() == [[80, 60, 40, 10], [0, 0, 0, 0]]
    assert got.known.tolist() == [[True, True, True, False], [False] * 4]
    assert got.gpu_us.tolist() == [8 * MINUTE_US, MINUTE_US]
    assert got.covered_us.tolist() == [2 * MINUTE_US, MINUTE_US]
    assert got.unpriced_us.tolist() == [0, MINUTE_US]
    assert got.energy_j[0] == 100.0
    assert np.isnan(got.energy_j[1])
    assert got.tokens[0].tolist() == [0, 0, 5, 0]


@pytest.mark.parametrize(
    ("what", "applied", "expected"),
    [
        ("nothing", {}, [1_000_000, 3_000_000]),
        ("a covered seat, by what accrued", {1: (4_000_000, 4_000_000, 1_000_001, 0)}, [250_000, 750_001]),
        ("a price nobody knows", {1: (None,) * 4}, [0, 0]),
    ],
)
def test_applied_costs_go_over_the_minutes(what: str, applied: Mapping[int, Any], expected: list[int]) -> None:
    got = settled(hour(READY, {**READY, "minute": FIRST + 1, "cost": 3_000_000}, applied=applied))
    assert got.minutes.parts.sum(axis=1).tolist() == expected, what
    known = [amount is not None for amount in applied.get(1, (0,) * 4)]
    assert got.seats.known.tolist() == [known]


def test_a_price_that_was_applied_prices_the_time_that_had_none() -> None:
    unpriced = {"ready_us": MINUTE_US, "known": (False,) * 4, "unpriced_us": MINUTE_US}
    assert settled(hour(unpriced, applied={1: (None, None, 70, None)})).seats.unpriced_us.tolist() == [0]
    assert settled(hour(unpriced, applied={1: (90, None, None, None)})).seats.unpriced_us.tolist() == [MINUTE_US]


def test_an_unused_commitment_costs_its_hour_evenly_and_is_nobodys() -> None:
    got = settled(hour(READY, applied={8: (700, 700, 700, 0)}))
    lines = dict(
        zip(zip(got.lines.pool.tolist(), got.lines.identity.tolist(), strict=True), got.lines.cost, strict=True)
    )
    assert lines == {(1, IDLE_ID): 1_000_000, (5, IDLE_ID): 700}
    spread = got.minutes.parts[got.minutes.pool == 5].sum(axis=1)
    assert len(spread) == 60
    assert spread.max() - spread.min() <= 1


def test_an_hour_without_anything_has_no_lines() -> None:
    got = settled(hour())
    assert len(got.lines.pool) == len(got.seats.seat) == len(got.minutes.pool) == 0
    assert got.engine == got.logged == Tokens()


def test_minutes_of_another_hour_are_refused() -> None:
    with pytest.raises(ValueError, match=f"not all of hour {HOUR}"):
        settled(hour({**READY, "minute": FIRST - 1}))
    with pytest.raises(ValueError, match=f"not all of hour {HOUR}"):
        settled(hour(READY, records=usage({"minute": FIRST + 60})))


@pytest.mark.parametrize("field", ["lines", "seats", "by_minute"])
def test_a_nanodollar_too_many_is_found(field: str) -> None:
    got = settled(hour({**READY, "output": 6e3}, records=usage({"output": 6000})))
    assert unbalanced(got, BOOK) == ()
    table = getattr(got, field)
    column = "nanousd" if field == "by_minute" else "parts"
    spoilt = getattr(table, column).copy()
    spoilt.flat[0] += 1
    wrong = unbalanced(replace(got, **{field: replace(table, **{column: spoilt})}), BOOK)
    assert len(wrong) == 1
    assert "minute" in wrong[0] or "nanodollars on" in wrong[0]


def test_a_token_too_many_is_found() -> None:
    got = settled(hour({**READY, "output": 6e3}, records=usage({"output": 6000})))
    assert "tokens on lines" in unbalanced(replace(got, logged=Tokens(output=5999)), BOOK)[0]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        replace(seen({}), seat=np.zeros(2, dtype=np.int64))


def test_a_fleets_dense_hour_settles_exactly() -> None:
    """200 replicas, 60 minutes, 155 identities in each of 10 services: the size that the ledger promises."""
    some = fleet_hour(services=10, replicas=20, identities=155)
    got = settled(some)
    assert len(some.usage.minute) == 93_000
    assert got.lines.cost.sum() == some.seen.cost.sum()
    assert len(got.lines.pool) == 10 * 155, "every token is explained and idle goes by use"


def test_parts_are_of_twelve_kinds_in_one_order_and_costs_of_four() -> None:
    assert len(PARTS) == 12
    assert (*IDLE, *OVERHEAD) == PARTS[4:]
    assert COSTS[EFFECTIVE] == "effective"
    assert HourLines.__dataclass_fields__.keys() == {"pool", "identity", "parts", "tokens"}
