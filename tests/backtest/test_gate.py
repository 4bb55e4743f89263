"""--fail-if: what it understands, what fails, and how it says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.backtest.gate import Gate, parse
from controller.backtest.results import QUANTITIES, Backtest, Standing, standings
from controller.errors import ConfigError
from controller.facts.missing import Missing

Make = Callable[..., Any]


@pytest.fixture
def first(make_run: Make, make_backtest: Make) -> Callable[..., Standing]:
    """The standing of one short run with these figures."""

    def made(**figures: Any) -> Standing:
        found: Backtest = make_backtest(make_run(intervals=240, **figures), upper_usd=100.0)
        return standings(found)[0]

    return made


HALF_IN_TIME = {
    "requests": 1000,
    "finished": 993,
    "dropped": 7,
    "within_slo": 985,
    "usd": 120.0,
    "hours": 12.0,
    "ttft_p99_s": 1.6,
}


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("cost > 120", False),
        ("cost >= 120", True),
        ("cost>$119.99", True),
        ("$1,000 < cost", False),
        ("119 < cost", True),
        ("cost_per_day == 240", True),
        ("attainment < 99%", True),
        ("attainment < 98.5%", False),
        ("attainment < 0.985", False),
        ("attainment < .99", True),
        ("dropped > 0", True),
        ("dropped != 7", False),
        ("ttft_p99 > 1500ms", True),
        ("ttft_p99>2s", False),
        ("ttft_p99 > 1 s", True),
        ("1m30s < ttft_p99", False),
        ("regret > 15%", True),
        ("unfinished > 0", False),
        ("cost>1200 or attainment<99% or dropped>0", True),
        ("cost > 1200 or dropped > 10", False),
        ("cost > 100 and dropped > 10", False),
        ("cost > 100 AND dropped > 5", True),
        ("cost > 1200 and dropped > 1 or attainment < 99%", True),
        ("cost > 1200 and (dropped > 1 or attainment < 99%)", False),
        ("cost > 1200 || cost > 100 && dropped > 5", True),
    ],
)
def test_a_gate_fails_when_its_condition_holds(text: str, fails: bool, first: Callable[..., Standing]) -> None:
    assert bool(parse(text).check(first(**HALF_IN_TIME))) is fails


def test_a_failure_names_its_clause_and_the_number(first: Callable[..., Standing]) -> None:
    failed = parse("cost > $100.00 or attainment < 99% or dropped > 10").check(first(**HALF_IN_TIME))

    assert list(map(str, failed)) == ["cost > $100.00: cost is $120.00", "attainment < 99%: attainment is 98.50 %"]


def test_a_number_that_would_look_like_the_bound_is_told_in_full(first: Callable[..., Standing]) -> None:
    (failed,) = parse("cost > 120").check(first(**{**HALF_IN_TIME, "usd": 120.001}))

    assert failed.found == "cost is 120.001"


def test_what_is_unknown_fails_with_its_reason(first: Callable[..., Standing]) -> None:
    quiet = first(**HALF_IN_TIME, worst_five_minutes_ratio=Missing("worst", "no five minutes saw 20 requests"))

    (failed,) = parse("cost > 1200 or worst_five_minutes < 90%").check(quiet)

    assert str(failed) == "worst_five_minutes < 90%: unknown, and so not fine: no five minutes saw 20 requests"
    assert parse("cost > 100 and worst_five_minutes < 90%").check(quiet)
    assert not parse("cost > 1200 and worst_five_minutes < 90%").check(quiet)


def test_a_regret_is_unknown_of_who_missed_the_slo(first: Callable[..., Standing]) -> None:
    assert not parse("regret > 0.25").check(first(**{**HALF_IN_TIME, "within_slo": 992}))
    (failed,) = parse("regret > 0.25").check(first(**HALF_IN_TIME))
    assert "unknown, and so not fine: the SLO was not kept" in failed.found


def test_several_seeds_are_judged_by_their_mean_and_told_with_their_range(make_run: Make, make_backtest: Make) -> None:
    runs = [make_run(intervals=240, seed=seed, usd=usd) for seed, usd in ((1, 90.0), (2, 130.0))]

    (failed,) = parse("cost > 105").check(standings(make_backtest(*runs))[0])

    assert failed.found == "cost is $110.00 (mean of 2 seeds, $90.00–130.00)"
    assert not parse("cost > 110").check(standings(make_backtest(*runs))[0])


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, 'expected a name or a number, such as "cost > 1200 or attainment < 99%", found the end'),
        ("cost", 5, "expected one of < <= > >= == != after 'cost', found the end"),
        ("cost = 3", 6, "expected one of < <= > >= == != after 'cost', found '='; did you mean '=='?"),
        ("cost > 3 dropped > 1", 10, "expected 'and', 'or' or the end, found 'dropped'"),
        ("(cost > 3 or dropped > 1", 25, "expected ')' for the '(' in column 1, found the end"),
        ("cost > 3 or", 12, 'expected a name or a number, such as "cost > 1200 or attainment < 99%", found the end'),
        ("cost > dropped", 8, "expected a number, such as \"cost > 1200 or attainment < 99%\", found 'dropped'"),
        ("atainment < 99%", 1, "unknown name 'atainment'; did you mean 'attainment'?"),
        ("cost > 5%", 8, "'cost' is not a share: write a number without %"),
        ("dropped > $5", 11, "'dropped' is not money: write a number without $"),
        ("attainment < 99", 14, "'attainment' is a share: write 99% or 0.99"),
        ("cost > 3s", 8, "'cost' is not a time in seconds: write a number without a unit"),
        ("replica_hours > 2h", 17, "'replica_hours' is not a time in seconds: write a number without a unit"),
        ("ttft_p99 > 900", 12, "'ttft_p99' is a time in seconds: write 900ms, or 900s if that is meant"),
        ("61 < pass", 1, "'pass' is a time in seconds: write 61ms, or 61s if that is meant"),
        ("ttft_p99 > 2 sec", 14, "expected 'and', 'or' or the end, found 'sec'"),
        ("cost > 3; import os", 9, "expected 'and', 'or' or the end, found ';'"),
    ],
)
def test_mistakes_are_told_where_they_are(text: str, column: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)

    assert str(caught.value) == f"--fail-if:1:{column}: {message}"


def test_all_wrong_names_and_units_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("costs > 3 or attainment < 99 or zzz > 1")

    assert [problem.column for problem in caught.value.problems] == [1, 27, 33]
    assert "expected one of cost, " in caught.value.problems[2].message


@given(st.text(alphabet="cost <>=!()&|and or%$.,0123456789xe\n\t'", max_size=60))
def test_any_text_is_a_gate_or_a_config_error(text: str) -> None:
    try:
        columns = [1] if isinstance(parse(text), Gate) else []
    except ConfigError as error:
        columns = [problem.column for problem in error.problems]

    assert columns
    assert all(1 <= column <= len(text) + 1 for column in columns)


def test_deep_nesting_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        parse("(" * 100_000)


@given(st.sampled_from(sorted(QUANTITIES)), st.floats(0, 1))
def test_every_quantity_can_be_named(name: str, bound: float) -> None:
    condition = parse(f"{name} > {bound!r}").condition

    assert condition.holds({name: math.nextafter(bound, 2)}) is True
    assert condition.holds({name: bound}) is False
