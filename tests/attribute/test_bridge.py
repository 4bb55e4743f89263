"""Why a cost changed: four terms that add up to the change, whatever happened."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from math import floor, prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.attribute.bridge import DRIVERS, Bridge, PoolUse, bridge

BEFORE = {"h100": PoolUse(cost_nanousd=1_000_000, gpu_us=1_000, work=500)}


def use(cost: int, gpu_us: int, work: int) -> PoolUse:
    return PoolUse(cost_nanousd=cost, gpu_us=gpu_us, work=work)


@pytest.mark.parametrize(
    ("what", "now", "expected"),
    [
        ("nothing", use(1_000_000, 1_000, 500), Bridge()),
        ("the GPU-hour got dearer", use(1_200_000, 1_000, 500), Bridge(price=200_000)),
        ("more work on as many GPU-hours each", use(2_000_000, 2_000, 1_000), Bridge(volume=1_000_000)),
        ("as much work took more GPU-hours", use(1_500_000, 1_500, 500), Bridge(efficiency=500_000)),
        ("twice the work and twice the price", use(4_000_000, 2_000, 1_000), Bridge(price=1_500_000, volume=1_500_000)),
    ],
)
def test_one_cause_is_one_term(what: str, now: PoolUse, expected: Bridge) -> None:
    assert bridge(BEFORE, {"h100": now}) == expected, what


def test_work_that_moves_to_a_cheaper_pool_is_mix() -> None:
    last = {"h100": use(800, 100, 80), "l40s": use(100, 50, 20)}
    this = {"h100": use(400, 50, 40), "l40s": use(300, 150, 60)}
    assert bridge(last, this) == Bridge(mix=-200)


def test_a_pool_that_comes_or_goes_is_mix_at_its_own_price() -> None:
    last = {"on demand": use(1_000, 100, 100)}
    this = {"spot": use(400, 100, 100)}
    assert bridge(last, this) == Bridge(mix=-600)
    assert bridge(this, last) == Bridge(mix=600)


def test_without_work_in_a_period_gpu_hours_are_the_volume() -> None:
    assert bridge({}, {"h100": use(900, 300, 30)}) == Bridge(volume=900)
    assert bridge({"h100": use(900, 300, 0)}, {"h100": use(1_200, 400, 0)}) == Bridge(volume=300)


def test_a_pool_that_only_idles_beside_pools_that_work_is_inefficient() -> None:
    last = {"h100": use(1_000, 100, 100)}
    this = {"h100": use(1_000, 100, 100), "spare": use(500, 50, 0)}
    assert bridge(last, this) == Bridge(efficiency=500)


def test_a_fee_without_gpu_hours_is_price() -> None:
    assert bridge({}, {"fee": use(70, 0, 0)}) == Bridge(price=70)
    assert bridge({"fee": use(70, 0, 0)}, {"fee": use(90, 0, 0)}) == Bridge(price=20)


def test_the_driver_is_the_greatest_term_of_either_sign() -> None:
    assert Bridge(price=3, volume=-9, mix=4, efficiency=0).driver == "volume"


uses = st.builds(
    PoolUse,
    cost_nanousd=st.integers(0, 10**15),
    gpu_us=st.integers(0, 10**12),
    work=st.integers(0, 10**15),
)
periods = st.dictionaries(st.sampled_from("abcde"), uses, max_size=5)


@given(last=periods, this=periods)
def test_the_four_add_up_to_the_difference_to_the_last_nanodollar(
    last: dict[str, PoolUse], this: dict[str, PoolUse]
) -> None:
    difference = sum(one.cost_nanousd for one in this.values()) - sum(one.cost_nanousd for one in last.values())
    found = bridge(dict(last), dict(this))
    assert found.change == difference
    assert all(isinstance(getattr(found, name), int) for name in DRIVERS)


@given(last=periods, this=periods)
def test_going_back_undoes_every_term_but_for_rounding(last: dict[str, PoolUse], this: dict[str, PoolUse]) -> None:
    there, back = bridge(dict(last), dict(this)), bridge(dict(this), dict(last))
    for name in DRIVERS:
        assert abs(getattr(there, name) + getattr(back, name)) <= 5


def test_each_term_is_the_mean_over_the_orders_of_change() -> None:
    last, this = use(7_000, 100, 50), use(33_000, 300, 90)
    old = {"price": 70.0, "volume": 50.0, "mix": 1.0, "efficiency": 100 / 50}
    new = {"price": 110.0, "volume": 90.0, "mix": 1.0, "efficiency": 300 / 90}
    added = dict.fromkeys(DRIVERS, 0.0)
    for order in permutations(DRIVERS):
        now = dict(old)
        for name in order:
            before = now["price"] * now["volume"] * now["mix"] * now["efficiency"]
            now[name] = new[name]
            added[name] += (now["price"] * now["volume"] * now["mix"] * now["efficiency"] - before) / 24
    found = bridge({"h100": last}, {"h100": this})
    assert {name: getattr(found, name) for name in DRIVERS} == pytest.approx(added, abs=1)


large = st.builds(
    PoolUse,
    cost_nanousd=st.integers(0, 10**18),
    gpu_us=st.integers(1, 10**16),
    work=st.integers(1, 10**21),
)


@settings(max_examples=50)
@given(last=large, this=large, beside=large)
def test_the_four_are_the_exact_mean_over_the_orders_rounded_by_the_largest_remainders(
    last: PoolUse, this: PoolUse, beside: PoolUse
) -> None:
    """The pool beside it stays as it is, so that the share of the work moves with the pool's own."""
    found = bridge({"pool": last, "beside": beside}, {"pool": this, "beside": beside})
    both = [
        _exact(before, now, last.work + beside.work, this.work + beside.work)
        for before, now in ((last, this), (beside, beside))
    ]
    assert [getattr(found, name) for name in DRIVERS] == [sum(terms) for terms in zip(*both, strict=True)]


def _exact(last: PoolUse, this: PoolUse, worked_last: int, worked_this: int) -> list[int]:
    def factors(one: PoolUse, worked: int) -> dict[str, Fraction]:
        return {
            "price": Fraction(one.cost_nanousd, one.gpu_us),
            "volume": Fraction(worked),
            "mix": Fraction(one.work, worked),
            "efficiency": Fraction(one.gpu_us, one.work),
        }

    old, new = factors(last, worked_last), factors(this, worked_this)
    added = dict.fromkeys(DRIVERS, Fraction())
    for order in permutations(DRIVERS):
        now = dict(old)
        for name in order:
            before = prod(now.values())
            now[name] = new[name]
            added[name] += (prod(now.values()) - before) / 24
    whole = {name: floor(term) for name, term in added.items()}
    left = this.cost_nanousd - last.cost_nanousd - sum(whole.values())
    for name in sorted(DRIVERS, key=lambda name: whole[name] - added[name])[:left]:
        whole[name] += 1
    return list(whole.values())
