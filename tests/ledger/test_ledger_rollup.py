"""Cutting at the minute loses and invents nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.facts.money import accrued_nanousd
from controller.facts.readings import Counter
from controller.ledger.rollup import count_shares, minutes, replica_minutes, shares

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start_s", "end_s", "pieces"),
    [
        (0, 15, [(0, 15)]),
        (45, 60, [(0, 15)]),
        (50, 65, [(0, 10), (1, 5)]),
        (60, 75, [(1, 15)]),
        (50, 190, [(0, 10), (1, 60), (2, 60), (3, 10)]),
        (30, 30, [(0, 0)]),
    ],
)
def test_an_interval_is_cut_at_each_minute_it_crosses(start_s, end_s, pieces):
    found = minutes(NOON + timedelta(seconds=start_s), NOON + timedelta(seconds=end_s))
    assert found == tuple((NOON + timedelta(minutes=minute), seconds * 10**6) for minute, seconds in pieces)


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**10), min_size=1, max_size=20))
def test_shares_add_up_to_the_whole_and_differ_from_proportion_by_less_than_one(total, weights):
    parts = shares(total, weights)
    assert sum(parts) == total
    if sum(weights):
        assert all(
            abs(part * sum(weights) - total * weight) < sum(weights)
            for part, weight in zip(parts, weights, strict=True)
        )


@given(st.floats(0, 2**52), st.lists(st.integers(1, 10**10), min_size=1, max_size=5))
def test_shares_of_a_count_add_up_to_it_to_the_last_bit(count, weights):
    total = 0.0
    for part in count_shares(count, weights):
        total += part
    assert total == count


def test_a_use_across_a_minute_is_paid_and_counted_in_proportion(make):
    use = make.use(
        50, 65, counts={Counter.OUTPUT_TOKENS: 100.0}, cost_nanousd=1_000_000_001, energy_j=30.0, running=4.0
    )
    first, second = replica_minutes((use,))
    assert (first["minute"], second["minute"]) == (make.at(0), make.at(60))
    assert (first["output_tokens"], second["output_tokens"]) == (66.0, 34.0)
    assert first["cost_nanousd"] + second["cost_nanousd"] == 1_000_000_001
    assert first["cost_nanousd"] == 666_666_667
    assert (first["energy_j"], second["energy_j"]) == (20.0, 10.0)
    assert (first["running_integral"], first["running_s"]) == (40.0, 10.0)
    assert first["prompt_tokens"] is None


COSTS = ("cost_nanousd", "list_nanousd", "contracted_nanousd", "billed_nanousd")


@given(
    st.lists(st.integers(1, 200 * 10**6), min_size=1, max_size=12),
    st.tuples(*[st.none() | st.integers(0, 10**13)] * 4),
)
def test_four_costs_and_phase_seconds_of_minutes_cut_by_passes_add_up_to_what_was_used(make, steps_us, rates):
    uses, at, costs = [], make.at(0), dict(zip(COSTS, rates, strict=True))
    for number, step in enumerate(steps_us):
        then, at = at, at + timedelta(microseconds=step)
        accrued = {name: None if rate is None else accrued_nanousd(rate, then, at) for name, rate in costs.items()}
        told = {"prefill_s": 0.5 * number, "decode_s": 3.0, "counts": {Counter.ENGINE_STEPS: 7.0}, "node": "n1"}
        uses.append(replace(make.use(0, 0, **accrued, **told), start=then, end=at))
    rows = list(replica_minutes(uses))
    for name, rate in costs.items():
        if rate is None:
            assert {row[name] for row in rows} == {None}
        else:
            assert sum(row[name] for row in rows) == accrued_nanousd(rate, make.at(0), at)
    assert sum(row["prefill_s"] for row in rows) == pytest.approx(sum(one.prefill_s for one in uses))
    assert sum(row["decode_s"] for row in rows) == pytest.approx(3.0 * len(uses))
    assert sum(row["engine_steps"] for row in rows) == 7.0 * len(uses)
    assert {row["node"] for row in rows} == {"n1"}
