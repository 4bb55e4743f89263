"""Budgets bound growth from above: they never take anything away, and the minimum stands."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decide.explain import NEXT, briefly, explain
from controller.decide.replicas import decide_replicas
from controller.facts.decisions import Because
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing

USD = 1_000_000_000
UNKNOWN = Missing("price", "no source knows it")


def decided(situation, policy, build):
    """The decisions, and all they want together."""
    decisions, _ = decide_replicas(situation, policy, build.memory())
    return decisions, sum(one.desired for one in decisions)


def test_a_spent_budget_refuses_growth_and_says_which_what_and_how_much(build):
    guard = build.guard(refuse_growth=True)
    (decision,), _ = decided(build.situation(4, queue_depth=260.0, guards=(guard,)), build.policy(), build)
    assert decision.because is Because.BUDGET
    assert decision.desired == 4
    assert decision.wanted == 6
    assert decision.detail == (
        "queue_depth 65 against a target of 50 wants 6; "
        "budget chat-month (service=chat): $900 of $900 spent; 2 more refused"
    )
    assert decision.numbers["budget_refused_replicas"] == 2


def test_a_budget_never_keeps_a_service_below_its_minimum(build):
    guard = build.guard(refuse_growth=True)
    situation = build.situation(1, queue_depth=260.0, guards=(guard,))
    (decision,), _ = decided(situation, build.policy(min_replicas=3), build)
    assert decision.desired == 3
    assert decision.because is Because.DEMAND
    assert "3 more refused" in decision.detail


@pytest.mark.parametrize(("usd", "desired"), [(7, 4), (8, 4), (9.99, 4), (10, 5), (11.5, 5), (12, 6), (100, 6)])
def test_a_cap_lets_a_service_grow_as_far_as_its_money_goes(build, usd, desired):
    guard = build.guard(cap_nanousd_per_hour=int(usd * USD))
    (decision,), _ = decided(build.situation(4, queue_depth=260.0, guards=(guard,)), build.policy(), build)
    assert decision.desired == desired
    assert decision.because is (Because.BUDGET if desired == 4 else Because.DEMAND)
    assert ("refused" in decision.detail) is (desired < 6)


def test_a_cap_holds_growth_back_where_the_price_is_unknown(build):
    variant = build.variant(4, price=UNKNOWN)
    guard = build.guard(cap_nanousd_per_hour=100 * USD)
    (decision,), _ = decided(
        build.situation(variants=(variant,), queue_depth=260.0, guards=(guard,)), build.policy(), build
    )
    assert decision.desired == 4
    assert decision.because is Because.BUDGET


def test_what_is_paid_anyway_is_used_even_over_the_cap(build):
    """Six reserved replicas are under contract: the fifth and the sixth cost nothing more."""
    variant = build.variant(4, bought=CapacityType.RESERVED, bound=6)
    guard = build.guard(cap_nanousd_per_hour=USD)
    situation = build.situation(variants=(variant,), queue_depth=1000.0, guards=(guard,))
    (decision,), _ = decided(situation, build.policy(max_replicas=20), build)
    assert decision.desired == 6
    assert "no allowed variant" not in decision.detail


def bought(build, ready, *ways):
    """A variant of replicas that are bought in these ways: (type, bound)."""
    capacity = tuple(build.variant(0, bought=kind, bound=bound).capacity[0] for kind, bound in ways)
    return replace(build.variant(ready), capacity=capacity)


RESERVED, ON_DEMAND, SPOT = CapacityType.RESERVED, CapacityType.ON_DEMAND, CapacityType.SPOT


@pytest.mark.parametrize(
    ("ready", "ways", "desired"),
    [
        (2, ((RESERVED, 4), (ON_DEMAND, None)), 4),
        (4, ((RESERVED, 4), (ON_DEMAND, None)), 4),
        (2, ((RESERVED, 2), (ON_DEMAND, 1), (SPOT, 2)), 4),
        (4, ((RESERVED, 2), (ON_DEMAND, 2), (SPOT, 9)), 8),
        (2, ((SPOT, None),), 8),
    ],
)
def test_growth_beyond_the_minimum_uses_no_forbidden_capacity(build, ready, ways, desired):
    guard = build.guard(forbidden_capacity=frozenset({ON_DEMAND}))
    situation = build.situation(variants=(bought(build, ready, *ways),), queue_depth=5000.0, guards=(guard,))
    policy = build.policy(max_replicas=8, spot_allowed=True)
    (decision,), _ = decided(situation, policy, build)
    assert decision.desired == desired


def test_a_forbidden_variant_leaves_growth_to_the_others_and_says_so(build):
    dear, cheap = build.variant(2, name="h100", price=4.0), build.variant(2, name="l40s", price=9.0)
    guard = build.guard(forbidden_variants=frozenset({"h100"}))
    situation = build.situation(variants=(dear, cheap), queue_depth=260.0, guards=(guard,))
    (held, grows), total = decided(situation, build.policy(), build)
    assert (held.desired, grows.desired, total) == (2, 4, 6)
    assert "(not on h100); placed elsewhere" in grows.detail


def test_of_several_budgets_the_tightest_is_named(build):
    loose = build.guard(budget="year", why="budget year: $9 of $9 spent", cap_nanousd_per_hour=10 * USD)
    tight = build.guard(refuse_growth=True)
    situation = build.situation(4, queue_depth=260.0, guards=(loose, tight))
    (decision,), _ = decided(situation, build.policy(), build)
    assert "chat-month" in decision.detail
    assert "year" not in decision.detail


def test_the_explanation_says_when_growth_comes_back(build):
    guard = build.guard(refuse_growth=True)
    decisions, _ = decided(build.situation(4, queue_depth=260.0, guards=(guard,)), build.policy(), build)
    told = explain(decisions, {}, build.noon)
    assert "Because   budget: " in told
    assert "budget chat-month (service=chat): $900 of $900 spent" in briefly(decisions)[0]
    assert told.endswith(NEXT[Because.BUDGET])


def test_a_growth_that_was_cut_says_so_too(build):
    guard = build.guard(cap_nanousd_per_hour=10 * USD)
    decisions, _ = decided(build.situation(4, queue_depth=260.0, guards=(guard,)), build.policy(), build)
    assert explain(decisions, {}, build.noon).endswith(f"{NEXT[Because.DEMAND]} {NEXT[Because.BUDGET]}")


KINDS = st.sampled_from(CapacityType)
PRICES = st.one_of(st.just(UNKNOWN), st.floats(0, 50))


@st.composite
def guards(draw, build):
    return build.guard(
        refuse_growth=draw(st.booleans()) and draw(st.booleans()),
        forbidden_variants=draw(st.frozensets(st.sampled_from(["a", "b", "c"]), max_size=2)),
        forbidden_capacity=draw(st.frozensets(KINDS, max_size=2)),
        cap_nanousd_per_hour=draw(st.one_of(st.none(), st.integers(0, 200 * USD))),
    )


@st.composite
def variants(draw, build, name):
    ways = [
        build.variant(0, bought=kind, bound=bound, price=price).capacity[0]
        for kind, bound, price in draw(
            st.lists(st.tuples(KINDS, st.one_of(st.none(), st.integers(0, 6)), PRICES), max_size=3)
        )
    ]
    ready, starting = draw(st.integers(0, 5)), draw(st.integers(0, 2))
    return replace(build.variant(ready, starting, name=name), capacity=tuple(ways))


@settings(max_examples=150)
@given(data=st.data())
def test_no_guard_ever_takes_away_undercuts_the_minimum_or_adds(build, data):
    fleet = tuple(data.draw(variants(build, name)) for name in ("a", "b", "c")[: data.draw(st.integers(1, 3))])
    low = data.draw(st.integers(0, 6))
    policy = build.policy(min_replicas=low, max_replicas=low + data.draw(st.integers(0, 12)), spot_allowed=True)
    free = build.situation(variants=fleet, queue_depth=data.draw(st.floats(0, 2000)))
    held = tuple(data.draw(guards(build)) for _ in range(data.draw(st.integers(1, 3))))
    unguarded, most = decided(free, policy, build)
    guarded, desired = decided(replace(free, guards=held), policy, build)
    assert desired <= most
    assert desired >= min(most, free.current)
    assert desired >= min(most, low)
    if most <= free.current:
        assert guarded == unguarded
    for before, after in zip(unguarded, guarded, strict=True):
        assert after.desired >= min(after.current, before.desired)
        assert after.victims == before.victims
    if guarded[0].because is Because.BUDGET:
        assert desired == free.current < most
