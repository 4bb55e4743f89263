"""What the pages about money say, without any page: periods, sums, shares, waterfalls, and what is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.attribute.bridge import Bridge
from controller.facts.account_reader import HOUR, AllocationRow, BudgetState, Dimension, Window
from controller.facts.accounts import IDLE_OWN, UNATTRIBUTED, WORK, Identity, Part, Pool, Tokens
from controller.facts.budgets import BudgetPhase
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.settings.account_shapes import AccountShape
from dashboard import believed, bought, budgeted, money, priced, spent
from dashboard.budgets import EXAMPLE
from dashboard.money import Shown, Split, span
from tests.accounts_in_memory import parts
from tests.accounts_story import COMMITTED, FIRST, NOW, SEARCH, budgets, story

USD = 1_000_000_000
DAY = timedelta(days=1)
POOL = Pool(service="chat", variant="h100", capacity_type=CapacityType.SPOT)


def row(
    identity: Identity, *, day: int = 1, tokens: Tokens | None = None, pool: Pool | None = POOL, **amounts: int
) -> AllocationRow:
    start = datetime(2026, 11, day, tzinfo=UTC)
    return AllocationRow(
        start=start,
        end=start + DAY,
        identity=identity,
        pool=pool,
        parts=parts(**{name: usd * USD for name, usd in amounts.items()}),
        tokens=tokens or Tokens(),
    )


@pytest.mark.parametrize(
    ("shown", "now", "this", "last", "whole_end"),
    [
        (
            Shown.THIS_MONTH,
            "2026-11-21T14",
            ("2026-11-01T00", "2026-11-21T14"),
            ("2026-10-01T00", "2026-10-21T14"),
            "2026-12-01T00",
        ),
        (
            Shown.LAST_MONTH,
            "2026-11-21T14",
            ("2026-10-01T00", "2026-11-01T00"),
            ("2026-09-01T00", "2026-10-01T00"),
            "2026-11-01T00",
        ),
        (
            Shown.THIS_WEEK,
            "2026-11-21T14",
            ("2026-11-16T00", "2026-11-21T14"),
            ("2026-11-09T00", "2026-11-14T14"),
            "2026-11-23T00",
        ),
        (
            Shown.LAST_WEEK,
            "2026-11-21T14",
            ("2026-11-09T00", "2026-11-16T00"),
            ("2026-11-02T00", "2026-11-09T00"),
            "2026-11-16T00",
        ),
        # at the first moment of a month the one that has just ended is still shown
        (
            Shown.THIS_MONTH,
            "2026-11-01T00",
            ("2026-10-01T00", "2026-11-01T00"),
            ("2026-09-01T00", "2026-10-01T00"),
            "2026-11-01T00",
        ),
        # March has days that February lacks: February is over by then
        (
            Shown.THIS_MONTH,
            "2026-03-31T05",
            ("2026-03-01T00", "2026-03-31T05"),
            ("2026-02-01T00", "2026-03-01T00"),
            "2026-04-01T00",
        ),
    ],
)
def test_a_period_is_held_against_as_much_of_the_one_before(
    shown: Shown, now: str, this: tuple[str, str], last: tuple[str, str], whole_end: str
) -> None:
    def at(text: str) -> datetime:
        return datetime.fromisoformat(f"{text}:00:00+00:00")

    found = span(shown, at(now))
    assert (found.window.start, found.window.end) == (at(this[0]), at(this[1]))
    assert (found.last.start, found.last.end) == (at(last[0]), at(last[1]))
    assert found.whole == Window(start=at(this[0]), end=at(whole_end))


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        ("2026-11-01T00", "2026-11-21T14", "1 to 21 Nov"),
        ("2026-11-01T00", "2026-12-01T00", "1 to 30 Nov"),
        ("2026-11-01T00", "2026-11-01T05", "1 Nov"),
        ("2026-10-28T00", "2026-11-04T00", "28 Oct to 3 Nov"),
    ],
)
def test_a_window_is_told_by_the_days_that_it_touches(start: str, end: str, told: str) -> None:
    first, last = (datetime.fromisoformat(f"{one}:00:00+00:00") for one in (start, end))
    assert money.days_told(Window(start=first, end=last)) == told


@pytest.mark.parametrize(
    ("this", "last", "told"),
    [
        (110 * USD, 100 * USD, "+$10.00 (+10 %)"),
        (90 * USD, 100 * USD, "-$10.00 (-10 %)"),
        (5 * USD, 5 * USD, "unchanged"),
        (5 * USD, 0, "+$5.00"),
        (0, 4 * USD, "-$4.00 (-100 %)"),
    ],
)
def test_a_change_is_told_in_dollars_and_of_the_last(this: int, last: int, told: str) -> None:
    assert money.changed(this, last) == told


@pytest.mark.parametrize(
    ("nanousd", "told"),
    [
        (None, "unknown"),
        (0, "$0.00"),
        (999 * USD, "$999.00"),
        (75_246_040_000_000, "$75,246"),
        (-1500 * USD, "-$1,500"),
    ],
)
def test_a_card_leaves_cents_to_the_tables_when_they_are_the_least_of_it(nanousd: int | None, told: str) -> None:
    assert money.card_money(nanousd) == told


@pytest.mark.parametrize(
    ("usd", "told"), [(4.812, "$4.81"), (0.08551, "$0.0855"), (0.000525, "$0.000525"), (0.0, "$0.00"), (0.5, "$0.500")]
)
def test_a_unit_cost_keeps_three_digits_that_mean_something(usd: float, told: str) -> None:
    assert money.unit_money(usd) == told


def test_a_sum_without_any_price_is_unknown_and_never_zero() -> None:
    seats = story(priced=False).seat_rows
    assert money.spent(seats).told() == "unknown"
    assert money.spent(seats).why == "no price is known for any replica"
    assert money.spent([]).told() == "$0.00"
    assert "rerank/a10 for " in money.unpriced_told(seats)
    assert money.unpriced_told(story().seat_rows) == ""


def test_lines_are_by_value_dearest_first_and_those_of_nobody_come_last() -> None:
    rows = [
        row(IDLE_OWN, idle_warm=90),
        row(Identity(team="search", feature="answers"), decode=10),
        row(Identity(team="growth", feature="answers"), decode=30, idle_warm=2),
        row(Identity(team="search"), prefill=5),
        row(UNATTRIBUTED, unmeasured=1),
    ]
    before = [row(Identity(team="gone", feature="old"), decode=7)]
    found = spent.lines_by(rows, before, Dimension.FEATURE)
    assert [(one.label, one.this.cost // USD, one.last // USD) for one in found] == [
        ("answers", 42, 0),
        ("(not told)", 5, 0),
        ("old", 0, 7),
        ("Idle", 90, 0),
        ("Unattributed", 1, 0),
    ]
    assert [one.label for one in spent.lines_by(rows, before, Dimension.TEAM)][:3] == ["growth", "search", "gone"]
    by_pool = spent.lines_by(
        rows, [row(IDLE_OWN, idle_warm=1, pool=replace(POOL, service="", variant=""))], Dimension.VARIANT
    )
    assert [one.label for one in by_pool if not one.special] == ["chat/h100", "(no service)"]


def test_beyond_the_most_shown_lines_are_one_line_and_nothing_is_lost() -> None:
    lines = spent.lines_by(
        [row(Identity(team=f"t{one:02}"), decode=one + 1) for one in range(30)] + [row(IDLE_OWN, idle_warm=3)],
        [],
        Dimension.TEAM,
    )
    shown = spent.topped(lines, 10)
    assert len(shown) == 12
    assert shown[10].label == "all others (20)"
    assert shown[11].label == "Idle"
    assert sum(one.this.cost for one in shown) == spent.total(lines).this.cost == (30 * 31 // 2 + 3) * USD


def test_tokens_that_cost_nothing_where_a_price_is_missing_have_an_unknown_cost() -> None:
    free = spent.lines_by([row(SEARCH, tokens=Tokens(output=5))], [], Dimension.TEAM)[0]
    assert spent.who_row(free, 0, lambda _: "", unpriced=True)[1].text == "unknown"
    assert spent.who_row(free, 0, lambda _: "")[1].text == "$0.00"


def test_without_a_period_before_nothing_is_told_to_have_risen() -> None:
    line = spent.Line(label="chat", value="chat", this=spent.Split(work=5_000_000_000))
    assert spent.who_row(line, 5_000_000_000, lambda _: "")[3].text == "+$5.00"
    assert spent.who_row(line, 5_000_000_000, lambda _: "", compared=False)[3].text == "-"


def test_days_add_up_and_the_running_day_ends_now() -> None:
    over = span(Shown.THIS_MONTH, datetime(2026, 11, 3, 6, tzinfo=UTC))
    days = spent.by_day(
        [row(SEARCH, day=day, decode=10, idle_warm=1) for day in (1, 2, 3)] + [row(SEARCH, day=2, decode=4)]
    )
    assert [one.cost // USD for _, one in days] == [11, 15, 11]
    line = spent.summed_points(days, over.window)
    assert [(one["x"], one["value"]) for one in line] == [(0.0, 0.0), (1.0, 11.0), (2.0, 26.0), (2.25, 37.0)]
    assert spent.summed_points(days, over.before) == []
    assert [one["name"] for one in spent.day_points(days)[:3]] == ["work", "idle", "overhead"]


def test_the_way_to_the_end_starts_from_what_is_spent() -> None:
    over = span(Shown.THIS_MONTH, datetime(2026, 11, 16, tzinfo=UTC))
    line = spent.ahead_points(spent.Ahead(p50=100 * USD, p90=120 * USD), over, 50 * USD)
    assert [(one["x"], one["low"], one["high"]) for one in line] == [(15.0, 50.0, 50.0), (30.0, 100.0, 120.0)]


def test_the_budget_of_the_fleet_has_the_forecast_and_without_one_it_is_made() -> None:
    over = span(Shown.THIS_MONTH, NOW)
    fleet = spent.fleet_budget(budgets(), over.whole)
    assert fleet is not None
    assert fleet.name == "fleet"
    assert spent.ahead([], NOW, over.whole.end, 0, fleet) == spent.Ahead(
        p50=fleet.p50_nanousd or 0, p90=fleet.p90_nanousd or 0
    )
    assert spent.fleet_budget(budgets(), span(Shown.THIS_WEEK, NOW).whole) is None
    hours = story().lines(Window(start=NOW - 14 * DAY, end=NOW), (), {}, HOUR)
    made = spent.ahead(hours, NOW, over.whole.end, 7 * USD, None)
    assert isinstance(made, spent.Ahead)
    assert 7 * USD < made.p50 <= made.p90
    assert isinstance(spent.ahead([], NOW, over.whole.end, 0, None), Missing)


@given(st.lists(st.integers(-(10**13), 10**13), min_size=4, max_size=4), st.integers(10**13, 10**15))
def test_a_waterfall_leads_from_one_total_to_the_other(amounts: list[int], last: int) -> None:
    bridge = Bridge(**dict(zip(("price", "volume", "mix", "efficiency"), amounts, strict=True)))
    steps = spent.steps_between(bridge, last, ("before", "now"))
    assert steps[-1].high == last + bridge.change
    assert all(one.low <= one.high for one in steps[:-1])
    assert spent.axis_from(steps) <= min(one.low for one in steps[1:-1])
    assert spent.axis_from(steps) >= min(0, *(one.low for one in steps))


def test_the_axis_of_a_waterfall_is_cut_only_when_changes_would_be_too_small_to_see() -> None:
    small, great = Bridge(volume=2 * USD), Bridge(volume=80 * USD)
    assert spent.axis_from(spent.steps_between(small, 100 * USD, ("a", "b"))) == 96 * USD
    assert spent.axis_from(spent.steps_between(great, 100 * USD, ("a", "b"))) == 0


def test_unit_costs_are_of_the_engines_own_tokens_and_unknown_without_a_price() -> None:
    rows = priced.unit_rows(story().seat_rows)
    assert [one[0].text for one in rows] == ["chat/h100-fp8", "code/l40s", "rerank/a10"]
    assert all(cell.text.startswith("$") and cell.sub.startswith("work alone $") for cell in rows[0][1:4])
    unknown = priced.unit_rows(story(priced=False).seat_rows)
    assert {cell.text for one in unknown for cell in (*one[1:5], one[6])} == {"unknown"}


def test_the_unattributed_share_is_of_work_by_day() -> None:
    rows = [
        row(SEARCH, day=1, decode=90, idle_warm=500),
        row(UNATTRIBUTED, day=1, unmeasured=10),
        row(SEARCH, day=2, decode=50),
        row(IDLE_OWN, day=3, idle_warm=9),
    ]
    days = believed.unattributed_days(rows)
    assert [(one["day"], one["value"]) for one in days] == [("1 Nov", 0.1), ("2 Nov", 0.0)]
    assert days[0]["shown"] == "10 %: $10.00 of $100.00"


def test_coverage_holds_records_against_what_the_engines_counted() -> None:
    found = story()
    covered = {one.service: one for one in believed.covered(found.seat_rows, found.line_rows)}
    assert covered["chat"].ratio == pytest.approx(0.982, abs=1e-4)
    assert covered["rerank"].ratio == 0.0
    assert covered["rerank"].lost == covered["rerank"].work > 0
    whole = believed.together(list(covered.values()))
    assert whole.work == sum(one.work for one in covered.values())
    more = replace(covered["chat"], logged=2 * covered["chat"].engine)
    assert believed.covered_row(more)[3].tag == "warn"
    nothing = believed.covered_row(believed.Covered(service="x", engine=0, logged=0, work=0, lost=0))
    assert [cell.text for cell in nothing[3:]] == ["unknown"] * 3


def test_every_kind_of_idle_and_overhead_has_words_and_they_add_up() -> None:
    seats = story().seat_rows
    found = believed.waste(seats)
    whole = money.split(money.whole_parts(seats))
    assert {part for part, _ in found} == set(believed.WASTE_WORDS) == set(Part) - set(WORK)
    assert sum(amount for _, amount in found) == whole.idle + whole.overhead
    assert [amount for _, amount in found] == sorted((amount for _, amount in found), reverse=True)
    assert all(one["usd"] for one in believed.waste_points(found))


def test_four_costs_are_by_way_of_buying_and_unknown_in_part_is_unknown() -> None:
    seats = story().seat_rows
    found = bought.four_costs(seats)
    assert [one.name for one in found] == ["On demand", "Spot", "Committed", "Total"]
    assert found[-1].effective == sum(one.effective for one in found[:-1])
    assert found[-1].list_ == sum(one.list_ or 0 for one in found[:-1])
    holed = bought.four_costs([*seats, replace(seats[0], list_nanousd=None)])
    assert holed[2].list_ is None
    assert holed[-1].list_ is None
    assert holed[0].list_ is not None
    assert bought.costs_row(holed[-1])[6].text == "unknown"
    unpriced = bought.costs_row(bought.four_costs(story(priced=False).seat_rows)[-1])
    assert [cell.text for cell in unpriced[1:5]] == ["unknown"] * 4


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ["94 %", "$2,526.53", "71 %", "29 %", "+$27,929.51"]),
        ({"eligible_on_demand_nanousd": None}, ["94 %", "$2,526.53", "unknown", "unknown", "+$27,929.51"]),
        ({"covered_on_demand_nanousd": None}, ["94 %", "$2,526.53", "unknown", "unknown", "unknown"]),
        (
            {"covered_on_demand_nanousd": 0, "eligible_on_demand_nanousd": 0},
            ["94 %", "$2,526.53", "-", "-", "-$40,737.60"],
        ),
    ],
)
def test_a_commitment_says_what_it_is_worth_as_far_as_prices_are_known(
    changes: Mapping[str, int | None], told: Sequence[str]
) -> None:
    cells = bought.commitment_row(replace(COMMITTED, **changes))  # type: ignore[arg-type]
    assert [cell.text for cell in cells[2:7]] == list(told)


def test_hours_count_from_where_the_accounts_begin_to_where_they_tell() -> None:
    window = Window(start=datetime(2026, 11, 1, tzinfo=UTC), end=NOW)
    assert believed.hours_in(window, FIRST, NOW, 2) == believed.Hours(ended=494, open=2)
    assert believed.hours_in(window, NOW - 5 * HOUR, NOW, 9) == believed.Hours(ended=5, open=5)


def test_an_hour_that_is_settled_has_ended_whenever_the_last_pass_was() -> None:
    """A day whose last pass was 15 s before midnight has 24 hours, and all of them are settled."""
    first, midnight = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
    window, last_pass = Window(start=first, end=midnight), midnight - timedelta(seconds=15)
    assert believed.hours_in(window, first, last_pass, 0, midnight) == believed.Hours(ended=24, open=0)
    assert believed.hours_in(window, first, last_pass, 1, midnight - HOUR) == believed.Hours(ended=23, open=1)


def test_places_and_lines_that_differ_are_told_to_the_nanodollar() -> None:
    found = story()
    assert believed.difference(found.seat_rows, found.line_rows) == 0
    assert believed.difference(found.seat_rows, found.line_rows[1:]) != 0


def test_budgets_come_worst_first_and_are_held_against_even_spend() -> None:
    ordered = budgeted.worst_first(budgets())
    assert [one.name for one in ordered] == ["search", "fleet", "chat", "code by the week", "growth"]
    points = budgeted.budget_points(ordered, NOW)
    assert points[0]["even"] == pytest.approx((20 * 24 + 14) / (30 * 24))
    assert points[3]["p50"] is None
    assert points[3]["even"] == pytest.approx((5 * 24 + 14) / (7 * 24))
    assert budgeted.even_ratio(ordered[0], NOW + 60 * DAY) == 1.0
    assert budgeted.phases_counted(ordered)[BudgetPhase.WITHIN] == 2


def _cells(state: BudgetState) -> dict[str, str]:
    heads, rows = budgeted.budget_table([state], NOW)
    return {head: f"{cell.text}|{cell.tag}" for (head, _), cell in zip(heads, rows[0], strict=True)}


def test_a_row_of_a_budget_tells_its_speeds_its_forecast_and_what_happens() -> None:
    search, fleet, chat, week, _ = (_cells(one) for one in budgeted.worst_first(budgets()))
    assert search["State"] == "over|bad"
    assert search["Speed, 1 d · 3 d"] == "1.6x · 1.6x|warn"
    assert fleet["Expected at its end"] == "$113,900|warn"
    assert chat["Speed, 1 h · 6 h"] == "7.4x · 6.2x|warn"
    assert chat["At the limit"] == "growth stops before it, at the rate that keeps it|"
    assert week["Expected at its end"] == "unknown|"
    assert week["Speed, 1 h · 6 h"] == "0.4x · unknown|"
    assert week["Speed, 1 d · 3 d"] == "unknown|"
    assert "At the limit" not in _cells(replace(budgets()[0], at_limit=""))


def test_the_example_of_a_budget_is_one_that_the_fleet_file_takes() -> None:
    made = AccountShape.model_validate(yaml.safe_load(EXAMPLE)["account"])
    assert [one.name for one in made.budgets] == ["fleet", "search", "chat"]


def test_a_split_adds_up() -> None:
    assert money.split(parts(prefill=1, decode=2, idle_stuck=3, overhead_draining=4)) == Split(
        work=3, idle=3, overhead=4
    )
    assert (Split(work=1) + Split(idle=2, overhead=3)).cost == 6
