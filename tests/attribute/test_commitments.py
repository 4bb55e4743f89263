from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.attribute.commitments import Applied, UsageLine, amortised, applied, billed, units
from controller.facts.commitments import Commitment, CommitmentKind, Power, Share
from controller.facts.fleet import CapacityType
from tests.attribute.held import G6, GPU_HOUR, HOUR, P5, RI, START, USD, YEAR, instances, line, plan


def covered(result: Applied) -> list[int]:
    return [one.covered_gpu_us for one in result.lines]


moments = st.integers(-(10**12), 400 * 24 * 3600 * 10**6).map(lambda us: START + timedelta(microseconds=us))
commitments = st.builds(
    instances,
    end=st.integers(1, 10**14).map(lambda us: START + timedelta(microseconds=us)),
    upfront_nanousd=st.integers(0, 10**18),
    recurring_nanousd_per_hour=st.integers(0, 10**13),
    power=st.none()
    | st.builds(Power, watts_per_gpu=st.floats(0, 1e4), usd_per_kwh=st.floats(0, 1), pue=st.floats(1, 2)),
    kind=st.sampled_from([RI, CommitmentKind.OWNED, CommitmentKind.CAPACITY_BLOCK]),
)


@given(commitments, st.lists(moments, min_size=2, max_size=12))
def test_amortised_cost_is_additive_however_the_time_is_cut(one: Commitment, cuts: list[datetime]) -> None:
    cuts.sort()
    assert sum(amortised(one, start, end) for start, end in pairwise(cuts)) == amortised(one, cuts[0], cuts[-1])


@given(commitments.filter(lambda one: one.power is None), st.integers(1, 50))
def test_over_the_whole_term_the_whole_fee_is_amortised_and_billed(one: Commitment, days: int) -> None:
    before, after = one.start - timedelta(days=days), one.end + timedelta(days=days)
    recurring = one.recurring_nanousd_per_hour * ((one.end - one.start) // timedelta(microseconds=1)) // GPU_HOUR
    assert amortised(one, before, after) == one.upfront_nanousd + recurring == billed(one, before, after)


def test_outside_of_its_term_a_commitment_costs_and_covers_nothing() -> None:
    one = instances()
    assert amortised(one, START - HOUR, START) == 0
    assert units(one, YEAR, YEAR + HOUR) == 0
    assert applied(YEAR, [line(GPU_HOUR)], [one]).commitments == ()
    assert units(one, START - HOUR / 2, START + HOUR / 2) == 8 * GPU_HOUR


def test_the_upfront_fee_is_billed_in_the_first_hour_and_effective_in_every_one() -> None:
    first, second = (applied(START + HOUR * n, [], [instances()]).commitments[0] for n in (0, 1))
    assert first.billed_nanousd == 1_000_040 * USD
    assert second.billed_nanousd == 40 * USD
    assert first.amortised_nanousd == 1_000_000 * USD // 8760 + 40 * USD


def test_a_covered_line_bills_nothing_and_costs_its_share_of_the_hour() -> None:
    result = applied(START, [line(8 * GPU_HOUR)], [instances()])
    (cover,) = result.lines[0].covers
    hour = result.commitments[0]
    assert result.lines[0].costs.billed == 0
    assert result.lines[0].costs.list_ == result.lines[0].costs.contracted == 56 * USD
    assert cover.effective_nanousd in (hour.amortised_nanousd // 2, hour.amortised_nanousd // 2 + 1)
    assert hour.unused_nanousd == hour.amortised_nanousd - cover.effective_nanousd
    assert (hour.quantity, hour.used_quantity, hour.unit) == (16, 8, "GPU Hours")


def test_what_no_commitment_covers_keeps_its_price() -> None:
    result = applied(START, [line(24 * GPU_HOUR)], [instances()])
    assert covered(result) == [16 * GPU_HOUR]
    assert result.lines[0].rest.effective == result.lines[0].rest.billed == 8 * 7 * USD
    assert result.commitments[0].unused_nanousd == 0


@pytest.mark.parametrize(
    "other",
    [
        line(GPU_HOUR, capacity_type=CapacityType.SPOT),
        line(GPU_HOUR, offer=G6),
        line(GPU_HOUR, capacity_type=CapacityType.RESERVED),
        line(GPU_HOUR, commitment="another"),
        line(GPU_HOUR, service="search"),
    ],
    ids=["spot", "another offer", "reserved by other means", "of another commitment", "out of its scope"],
)
def test_a_commitment_leaves_alone_what_is_not_its_own(other: UsageLine) -> None:
    assert covered(applied(START, [other], [instances(services=("chat",))])) == [0]


def test_usage_that_names_the_commitment_comes_first_whatever_it_costs() -> None:
    named = line(16 * GPU_HOUR, 1.0, capacity_type=CapacityType.RESERVED, commitment="two-p5", offer="")
    assert covered(applied(START, [line(8 * GPU_HOUR, 9.0), named], [instances()])) == [0, 16 * GPU_HOUR]


def test_the_most_specific_commitment_covers_first() -> None:
    mine = instances(id="mine", variants=("chat/h100",), quantity=1)
    service = instances(id="service", services=("chat",), quantity=1)
    result = applied(START, [line(12 * GPU_HOUR)], [instances(id="all"), service, mine])
    assert [(cover.commitment, cover.gpu_us // GPU_HOUR) for cover in result.lines[0].covers] == [
        ("mine", 8),
        ("service", 4),
    ]
    assert {hour.commitment: hour.used_gpu_us for hour in result.commitments}["all"] == 0


def test_the_dearest_usage_is_covered_first_or_everybody_by_use() -> None:
    usage = [line(16 * GPU_HOUR, 2.0), line(16 * GPU_HOUR, 9.0), line(16 * GPU_HOUR, None)]
    assert covered(applied(START, usage, [instances()])) == [0, 16 * GPU_HOUR, 0]
    parts = covered(applied(START, usage, [instances(share=Share.BY_USE)]))
    assert sum(parts) == 16 * GPU_HOUR
    assert max(parts) - min(parts) <= 1


def test_a_savings_plan_goes_to_the_largest_saving_after_the_instances() -> None:
    rates = {P5: 4 * USD, G6: 1 * USD}  # of 7 and 1.25: 43 % and 20 % less
    usage = [line(10 * GPU_HOUR, 1.25, offer=G6), line(20 * GPU_HOUR, 7.0)]
    result = applied(START, usage, [plan(20.0, rates), instances()])
    plan_hour = next(one for one in result.commitments if one.commitment == "plan")
    assert covered(result) == [4 * GPU_HOUR, 20 * GPU_HOUR]  # 16 by instances, 4 x $4 + 4 x $1 by the plan
    assert plan_hour.used_nanousd == plan_hour.amortised_nanousd == 20 * USD
    assert plan_hour.covered_on_demand_nanousd == 4 * 7 * USD + 4 * 1_250_000_000


def test_a_plan_that_is_not_spent_shows_the_rest() -> None:
    hour = applied(START, [line(2 * GPU_HOUR)], [plan(20.0, {P5: 4 * USD})]).commitments[0]
    assert (hour.used_nanousd, hour.unused_nanousd, hour.unit) == (8 * USD, 12 * USD, "USD")


def test_unknown_prices_stay_unknown_where_nothing_covers_them() -> None:
    whole, part = (applied(START, [line(gpus * GPU_HOUR, None)], [instances()]).lines[0] for gpus in (16, 24))
    assert whole.costs.effective is not None
    assert whole.costs.list_ is None
    assert part.costs.effective is None


def test_owned_hardware_draws_what_its_meter_says_and_else_what_is_assumed() -> None:
    power = Power(watts_per_gpu=1000, usd_per_kwh=0.25, pue=1.2)
    own = instances(kind=CommitmentKind.OWNED, upfront_nanousd=0, recurring_nanousd_per_hour=0, power=power)
    usage = [line(8 * GPU_HOUR, energy_j=10 * 3.6e6), line(4 * GPU_HOUR)]
    result = applied(START, usage, [own])
    measured, assumed = (one.costs.effective for one in result.lines)
    assert measured == 3 * USD  # 10 kWh x 1.2 x $0.25
    assert assumed == 1_200_000_000  # 4 kWh x 1.2 x $0.25
    assert result.commitments[0].unused_nanousd == 1_200_000_000
    assert result.commitments[0].billed_nanousd == result.commitments[0].amortised_nanousd
    assert result.lines[0].costs.billed == measured


LINES = st.lists(
    st.builds(
        line,
        st.integers(1, 40),
        st.sampled_from([None, 1e6, 2e6, 3e6]),
        offer=st.sampled_from([P5, G6]),
        service=st.sampled_from(["chat", "search"]),
        capacity_type=st.sampled_from(CapacityType),
        commitment=st.sampled_from(["", "", "ri0", "sp1"]),
        energy_j=st.none() | st.floats(0, 1e6),
    ),
    max_size=6,
)
SHORT = START + timedelta(microseconds=12)


@st.composite
def bought(draw: st.DrawFn) -> list[Commitment]:
    """Some of a few microseconds, so that every unit can be handed out by hand."""
    made = []
    for at in range(draw(st.integers(0, 3))):
        scope = draw(st.sampled_from([{}, {"services": ("chat",)}, {"variants": ("search/h100",)}]))
        common = {"end": SHORT, "share": draw(st.sampled_from(Share)), **scope}
        if draw(st.booleans()):
            power = draw(st.none() | st.just(Power(watts_per_gpu=700, usd_per_kwh=0.2)))
            kind = CommitmentKind.OWNED if power else RI
            offers = draw(st.sampled_from([(P5,), (P5, G6), ()]))
            made.append(instances(id=f"ri{at}", kind=kind, gpus_per_unit=1, offers=offers, power=power, **common))
        else:
            rates = draw(st.dictionaries(st.sampled_from([P5, G6]), st.integers(10**14, 10**15), min_size=1))
            made.append(plan(draw(st.floats(1e5, 1e7)), rates, id=f"sp{at}", **common))
    return made


@given(LINES, bought())
def test_nothing_is_lost_and_nothing_covered_twice(usage: Sequence[UsageLine], held: list[Commitment]) -> None:
    result = applied(START, usage, held)
    by_id = {hour.commitment: hour for hour in result.commitments}
    for one in held:
        hour = by_id[one.id]
        covers = [cover for each in result.lines for cover in each.covers if cover.commitment == one.id]
        assert hour.used_nanousd == sum(cover.effective_nanousd for cover in covers)
        assert hour.unused_nanousd >= 0 or one.power is not None
        assert 0 <= hour.used_units <= hour.units
        assert hour.used_gpu_us == sum(cover.gpu_us for cover in covers)
        if one.power is None:
            assert hour.amortised_nanousd == amortised(one, START, START + HOUR)
    for each in result.lines:
        assert 0 <= each.covered_gpu_us <= each.usage.gpu_us
        for kind in ("list_", "contracted"):
            assert getattr(each.costs, kind) == getattr(each.usage.costs, kind)


@given(LINES, bought())
def test_the_hour_costs_what_it_did_plus_the_commitments_less_what_they_cover(
    usage: Sequence[UsageLine], held: list[Commitment]
) -> None:
    priced = [one for one in usage if one.costs.effective is not None]
    result = applied(START, priced, held)
    before = sum(one.costs.effective or 0 for one in priced)
    spared = sum(cover.contracted_nanousd or 0 for one in result.lines for cover in one.covers)
    after = sum(one.costs.effective or 0 for one in result.lines)
    unused = sum(hour.unused_nanousd for hour in result.commitments)
    assert after + unused == before + sum(hour.amortised_nanousd for hour in result.commitments) - spared


@given(LINES, bought())
def test_small_hours_come_out_as_when_every_unit_is_handed_out_by_hand(
    usage: Sequence[UsageLine], held: list[Commitment]
) -> None:
    first = [replace(one, share=Share.FIRST) for one in held if not one.spends]
    assert covered(applied(START, usage, first)) == by_hand(usage, first)


def by_hand(usage: Sequence[UsageLine], held: Sequence[Commitment]) -> list[int]:
    """One GPU-microsecond at a time, each to the best line that may have it."""
    given_to = [0] * len(usage)
    for one in sorted(held, key=lambda one: (not one.variants, not one.services, one.id)):
        for _ in range(units(one, START, START + HOUR)):
            open_to = [
                at
                for at, each in enumerate(usage)
                if given_to[at] < each.gpu_us
                and (not one.services or each.service in one.services)
                and (not one.variants or f"{each.service}/{each.variant}" in one.variants)
                and (
                    each.commitment == one.id
                    or (
                        each.commitment == ""
                        and each.capacity_type is CapacityType.ON_DEMAND
                        and each.offer in one.offers
                    )
                )
            ]
            if not open_to:
                break
            best = min(
                open_to,
                key=lambda at: (
                    usage[at].commitment != one.id,
                    usage[at].costs.list_ is None if usage[at].commitment != one.id else False,
                    -(usage[at].costs.list_ or 0) / usage[at].gpu_us if usage[at].commitment != one.id else 0,
                    at,
                ),
            )
            given_to[best] += 1
    return given_to


@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from([P5, G6])), min_size=1, max_size=4),
    st.integers(1, 24),
    st.sampled_from([{P5: 7, G6: 2}, {P5: 4, G6: 3}]),
)
def test_no_way_of_spending_a_plan_covers_more_on_demand_cost(
    usage: list[tuple[int, str]], money: int, prices: dict[str, int]
) -> None:
    lines = [line(gpus * GPU_HOUR, prices[offer], offer=offer) for gpus, offer in usage]
    hour = applied(START, lines, [plan(money, {P5: 3 * USD, G6: USD})]).commitments[0]
    p5 = sum(gpus for gpus, offer in usage if offer == P5)
    g6 = sum(gpus for gpus, offer in usage if offer == G6)
    best = max(
        thirds / 3 * prices[P5] + min(g6, money - thirds) * prices[G6] for thirds in range(min(3 * p5, money) + 1)
    )
    assert hour.covered_on_demand_nanousd == pytest.approx(best * USD, abs=10)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"end": START}, "before it starts"),
        ({"quantity": 0}, "for nothing"),
        ({"upfront_nanousd": -1}, "less than nothing"),
        ({"quantity": 0.3}, "not whole ones"),
        ({"kind": CommitmentKind.SAVINGS_PLAN}, "needs its rates"),
        ({"rates_nanousd_per_gpu_hour": {P5: 0}}, "rate of zero"),
    ],
)
def test_a_commitment_that_cannot_be_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        instances(**changes)
