"""What the forecast decides where a service has several variants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.placement import growth_order
from controller.decide.predictive import forecast_wish, needs_until
from controller.decide.replicas import decide_replicas
from controller.decide.reserve import at_quantile
from controller.decide.rules import Targets, VariantRule
from controller.facts.decisions import Because
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing


def p95(quantiles):
    return at_quantile(quantiles, 0.95)


NO_LOADS = Targets()


def mixed(build, small=2, large=2, *, small_bound=None, **changes):
    """h100 at $6/h carries 20 requests/s: 0.30; l40s at $2/h carries 5: 0.40 $/h per request/s."""
    changes = {"capacity": {"h100": 20.0, "l40s": 5.0}} | changes
    return build.situation(
        variants=(
            build.variant(small, name="l40s", price=2.0, bound=small_bound),
            build.variant(large, name="h100", price=6.0, bound=changes.pop("large_bound", None)),
        ),
        outlook=build.outlook(changes.pop("needs"), **changes),
    )


def counts(build, situation, **rule):
    policy = build.policy(**({"targets": NO_LOADS, "max_replicas": 20} | rule))
    decisions, _ = decide_replicas(situation, policy, build.memory())
    return {decision.variant: decision.desired for decision in decisions}


def test_growth_goes_where_a_request_costs_least_not_where_a_replica_does(build):
    assert counts(build, mixed(build, needs=90.0)) == {"l40s": 2, "h100": 4}


def test_where_the_best_runs_out_the_rest_is_counted_in_what_the_next_carries(build):
    # 50 carried, 30 short: one h100 leaves 10, which is two l40s.
    assert counts(build, mixed(build, needs=80.0, large_bound=3)) == {"l40s": 4, "h100": 3}


def test_what_goes_first_is_dearest_a_request_as_what_grows_first_is_cheapest(build):
    # An l40s carries a request/s for $0.40, an h100 for $0.30: 50, 45, 40 without the l40s, then 20 less each.
    assert counts(build, mixed(build, needs=42.0)) == {"l40s": 1, "h100": 2}
    assert counts(build, mixed(build, needs=30.0)) == {"l40s": 0, "h100": 2}
    assert counts(build, mixed(build, needs=20.0)) == {"l40s": 0, "h100": 1}


def test_a_load_that_comes_and_goes_moves_the_same_replicas(build):
    small = mixed(build, 0, 2, needs=55.0)
    assert counts(build, small) == {"l40s": 0, "h100": 3}
    assert counts(build, mixed(build, 0, 3, needs=40.0)) == {"l40s": 0, "h100": 2}
    assert counts(build, mixed(build, 2, 3, needs=40.0)) == {"l40s": 0, "h100": 2}


def test_one_present_variant_of_unknown_capacity_leaves_everything_to_the_loads(build):
    unknown = {"h100": 20.0, "l40s": Missing("capacity", "l40s is in no table")}
    wish = forecast_wish(mixed(build, needs=90.0, capacity=unknown), build.policy(targets=NO_LOADS))
    assert wish == Missing("capacity", "l40s is in no table")


def test_an_absent_variant_of_unknown_capacity_hinders_nobody(build):
    unknown = {"h100": 20.0, "l40s": Missing("capacity", "l40s is in no table")}
    wish = forecast_wish(mixed(build, 0, 2, needs=90.0, capacity=unknown), build.policy(targets=NO_LOADS))
    assert wish.wanted == 5


def test_when_no_variant_has_room_the_forecast_still_keeps_and_says_what_it_lacks(build):
    full = {"large_bound": 2, "small_bound": 2}
    assert counts(build, mixed(build, needs=50.0, **full)) == {"l40s": 2, "h100": 2}
    decisions, _ = decide_replicas(
        mixed(build, needs=90.0, **full), build.policy(targets=NO_LOADS, max_replicas=20), build.memory()
    )
    assert {decision.because for decision in decisions} == {Because.INFEASIBLE}
    assert counts(build, mixed(build, needs=30.0, **full)) == {"l40s": 0, "h100": 2}


def test_variants_that_may_not_be_bought_order_nothing_for_a_service_at_zero(build):
    spot = build.variant(0, bought=CapacityType.SPOT)
    situation = build.situation(variants=(spot,), outlook=build.outlook(30))
    assert forecast_wish(situation, build.policy(targets=NO_LOADS)) == Missing("forecast", "no variant may grow")


@pytest.mark.parametrize(
    ("case", "capacity", "first"),
    [
        ("dollars per request/s", {"h100": 20.0, "l40s": 5.0}, "h100"),
        ("the cheap one carries enough", {"h100": 20.0, "l40s": 8.0}, "l40s"),
        ("one capacity is unknown: dollars per replica", {"h100": 20.0}, "l40s"),
        ("one that carries nothing comes last", {"h100": 20.0, "l40s": 0.0}, "h100"),
        ("nothing is known", {}, "l40s"),
    ],
)
def test_the_order_of_growth_weighs_price_by_what_a_replica_carries(build, case, capacity, first):
    variants = {
        "l40s": build.variant(1, name="l40s", price=2.0),
        "h100": build.variant(1, name="h100", price=6.0),
    }
    assert growth_order(variants, build.policy(), (), capacity)[0].name == first, case
    assert growth_order(variants, build.policy(), {first}, capacity)[-1].name == first, "benched ones come last"


def test_an_unknown_price_leaves_the_policys_order_whatever_the_capacity(build):
    unknown = Missing("price", "in no price book")
    variants = {name: build.variant(1, name=name, price=price) for name, price in (("a", unknown), ("b", 1.0))}
    policy = build.policy(variants=(VariantRule(name="a"), VariantRule(name="b")))
    assert [one.name for one in growth_order(variants, policy, (), {"a": 1.0, "b": 50.0})] == ["a", "b"]


@given(
    needs=st.lists(st.floats(0, 200), min_size=1, max_size=5),
    small=st.integers(0, 5),
    large=st.integers(0, 5),
    bound=st.integers(5, 9),
)
def test_what_is_decided_carries_what_is_expected_wherever_there_is_room(build, needs, small, large, bound):
    situation = mixed(build, small, large, large_bound=bound, needs={60.0 * at: one for at, one in enumerate(needs)})
    after = counts(build, situation, min_replicas=0, max_replicas=99)
    before = {"l40s": small, "h100": large}
    carried = {name: 20.0 * count["h100"] + 5.0 * count["l40s"] for name, count in (("a", after), ("b", before))}
    at_start_up = needs_until(situation.outlook.forecasts, p95, 240)
    if sum(after.values()) > sum(before.values()):
        assert carried["a"] >= at_start_up[-1] - 1e-6
        assert carried["b"] < at_start_up[-1]
    elif sum(after.values()) < sum(before.values()):
        assert carried["a"] >= max(at_start_up) - 1e-6 or max(at_start_up) < 0.4
