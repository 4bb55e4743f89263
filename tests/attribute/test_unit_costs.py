"""What a token costs, on two bases that must not be confused."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from controller.attribute.unit_costs import (
    KIND_PARTS,
    Basis,
    TokenKind,
    by_kind,
    kind_tokens,
    reference,
    unit_costs,
    utilization,
    work_units,
)
from controller.facts.accounts import PARTS, Tokens
from controller.facts.missing import Missing

SPENT = {
    TokenKind.INPUT: 1_000_000_000,
    TokenKind.CACHED_INPUT: 100_000_000,
    TokenKind.OUTPUT: 2_900_000_000,
    TokenKind.IDLE: 3_000_000_000,
    TokenKind.OVERHEAD: 1_000_000_000,
}
MADE = Tokens(uncached=2_000_000, cached=1_000_000, output=500_000, requests=1_000)


def test_every_part_of_a_cost_is_of_exactly_one_kind() -> None:
    assert sorted(part for parts in KIND_PARTS.values() for part in parts) == sorted(PARTS)


def test_usage_is_the_work_alone() -> None:
    found = unit_costs(SPENT, MADE, Basis.USAGE)
    assert (found.input, found.cached_input, found.output) == (Decimal("0.5"), Decimal("0.1"), Decimal("5.8"))
    assert found.request == Decimal("0.004")


def test_allocation_carries_idle_and_overhead_and_is_dearer_by_the_utilization() -> None:
    used, allocated = unit_costs(SPENT, MADE, Basis.USAGE), unit_costs(SPENT, MADE, Basis.ALLOCATION)
    assert allocated.input == Decimal("1.0")
    assert allocated.output == Decimal("11.6")
    assert utilization(SPENT) == Decimal("0.5")
    assert isinstance(used.input, Decimal)
    assert isinstance(allocated.input, Decimal)
    assert used.input != allocated.input


def test_a_kind_without_tokens_has_no_unit_cost_and_says_why() -> None:
    found = unit_costs(SPENT, Tokens(uncached=5, output=7), Basis.USAGE).cached_input
    assert isinstance(found, Missing)
    assert str(found) == "cost of cached input tokens missing: no cached input tokens in this window"


def test_what_only_idles_has_no_unit_cost() -> None:
    assert isinstance(unit_costs({TokenKind.IDLE: 5}, MADE, Basis.ALLOCATION).output, Missing)
    assert isinstance(utilization({}), Missing)


@given(
    parts=st.lists(st.integers(0, 10**14), min_size=12, max_size=12),
    tokens=st.builds(
        Tokens,
        uncached=st.integers(1, 10**9),
        cached=st.integers(1, 10**9),
        output=st.integers(1, 10**9),
        requests=st.integers(1, 10**6),
    ),
)
def test_unit_costs_times_tokens_are_the_whole_cost(parts: list[int], tokens: Tokens) -> None:
    found = unit_costs(by_kind(parts), tokens, Basis.ALLOCATION)
    if isinstance(found.input, Missing):
        return
    assert isinstance(found.cached_input, Decimal)
    assert isinstance(found.output, Decimal)
    told = found.input * tokens.uncached + found.cached_input * tokens.cached + found.output * tokens.output
    assert abs(told * 1000 - sum(parts)) <= Decimal("1e-5") * (tokens.uncached + tokens.cached + tokens.output) + 1


def test_work_is_tokens_at_the_first_periods_unit_costs() -> None:
    first = [("chat", {TokenKind.INPUT: 300, TokenKind.OUTPUT: 500}, Tokens(uncached=100, output=10))]
    second = [
        ("chat", {TokenKind.INPUT: 999, TokenKind.CACHED_INPUT: 4}, Tokens(uncached=100, cached=8)),
        ("new", {TokenKind.OUTPUT: 7}, Tokens(output=2)),
    ]
    at = reference((first, second))
    assert work_units("chat", Tokens(uncached=1), at) == 3_000
    assert work_units("chat", Tokens(cached=1), at) == 500, "only the second period had any"
    assert work_units("chat", Tokens(uncached=2, cached=2, output=1), at) == 57_000
    assert work_units("new", Tokens(output=1), at) == 3_500
    assert work_units("unheard of", Tokens(output=1), at) == 0


def test_all_the_work_of_the_first_period_at_its_own_unit_costs_is_its_cost() -> None:
    tokens = Tokens(uncached=7, cached=3, output=5)
    amounts = {TokenKind.INPUT: 1_000_003, TokenKind.CACHED_INPUT: 17, TokenKind.OUTPUT: 2_000_001}
    assert work_units("chat", tokens, reference([[("chat", amounts, tokens)]])) == 1000 * sum(amounts.values())


kinds = st.dictionaries(st.sampled_from(list(TokenKind)), st.integers(0, 10**15))
counted = st.builds(
    Tokens, uncached=st.integers(0, 10**12), cached=st.integers(0, 10**12), output=st.integers(0, 10**12)
)


@given(seen=st.lists(st.tuples(st.sampled_from("ab"), kinds, counted), max_size=4), tokens=counted)
def test_whole_numbers_are_as_exact_as_fractions(
    seen: list[tuple[str, dict[TokenKind, int], Tokens]], tokens: Tokens
) -> None:
    """In picodollars, of two that are equally near the even one."""
    exact = Fraction()
    for kind in (TokenKind.INPUT, TokenKind.CACHED_INPUT, TokenKind.OUTPUT):
        cost = sum(amounts.get(kind, 0) for service, amounts, _ in seen if service == "a")
        count = sum(kind_tokens(logged, kind) for service, _, logged in seen if service == "a")
        if cost and count:
            exact += Fraction(cost, count) * kind_tokens(tokens, kind)
    assert work_units("a", tokens, reference([seen])) == round(1000 * exact)
