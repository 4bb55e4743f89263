"""The terminal's table and the verdict: who won, by how much, and what is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from controller.backtest.comparison import Comparison
from controller.backtest.results import WHERE_ANY, Backtest, plain, standings, worth_showing
from controller.backtest.words import DASH, change, many, share, shown_spread, usd, verdict
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.simulate.score import Move, Paid

Make = Callable[..., Any]

KEPT = {"requests": 10_000, "finished": 10_000, "within_slo": 9_912}
MOVED = (Move(at_s=60.0, before=2, after=3, reason="demand"),)
MISSED = {"requests": 10_000, "finished": 10_000, "within_slo": 9_899}


@pytest.fixture
def three(make_run: Make, make_backtest: Make) -> Backtest:
    """Ours is cheapest of two that kept the SLO; a third is cheaper and did not."""
    found: Backtest = make_backtest(
        make_run("ours", intervals=240, usd=1000.0, hours=24.0, moves=MOVED, **KEPT),
        make_run("hpa", intervals=240, usd=1250.0, hours=24.0, **KEPT),
        make_run("keda", intervals=240, usd=800.0, hours=24.0, **MISSED),
        lower_usd=700.0,
        upper_usd=900.0,
    )
    return found


def _printed(backtest: Backtest, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(Comparison(backtest))
    return captured.get()


def test_the_winner_is_the_cheapest_that_kept_the_slo(three: Backtest) -> None:
    found = verdict(three)

    assert found.winner is not None
    assert found.winner.name == "ours"
    assert found.headline == (
        "ours kept the SLO for the least money: $1,000.00 in 24 h, 20.0 % ($250.00) less than hpa, the next;"
        " 99.12 % of requests in time, 99 % wanted."
    )
    assert found.details == (
        "No controller can cost less than $700.00 and a schedule that knew the future costs $900.00, 1.286 times as much; ours is 11.1 % above the schedule.",
        "Cheaper, but the SLO was not kept: keda ($800.00, 98.99 %).",
        "All of this rests on 1 seed: with another, how long starts took would differ. --seeds 5 tells by how much.",
        "Extrapolated, not measured: at this rate a year would cost $365,000 with ours.",
    )


@pytest.mark.parametrize(
    ("most", "because"),
    [
        (
            10,
            "; 90.0 % of the requests that missed came while it had all 10 replicas that the policy allows: more of them (max_replicas) or faster ones are needed.",
        ),
        (12, "."),
        (0, "."),
    ],
)
def test_who_missed_the_slo_reads_which_latency_it_was_and_whether_the_policy_allowed_more(
    make_run: Make, make_backtest: Make, most: int, because: str
) -> None:
    run = make_run("ours", intervals=20, within_ttft=9_000, within_tpot=9_950, **MISSED)
    at_limit = np.arange(20) < 10
    series = replace(
        run.series,
        current=np.full(20, 12, np.int32),  # ordered soon enough to be there later: more of them would not have helped
        ready=np.where(at_limit, 10, 4).astype(np.int32),
        judged=np.full(20, 100, np.int32),
        within_slo=np.where(at_limit, 91, 99).astype(np.int32),
    )

    found = verdict(make_backtest(replace(run, series=series), most_replicas=most))

    told = "ours had 90.00 % within the time to first token and 99.50 % within the time per output token"
    assert f"{told}{because}" in found.details


@pytest.mark.parametrize(
    ("runs", "headline"),
    [
        ({"ours": (10.0, 9912)}, "ours kept the SLO for $10.00 in 24 h: 99.12 % of requests in time, 99 % wanted."),
        (
            {"ours": (10.0, 9000)},
            "ours did not keep the SLO of 99 %: it had 90.00 % of requests in time, for $10.00 in 24 h.",
        ),
        (
            {"ours": (10.0, 9912), "hpa": (9.0, 9000)},
            "ours alone kept the SLO, for $10.00 in 24 h: 99.12 % of requests in time, 99 % wanted.",
        ),
        (
            {"ours": (10.0, 9899), "hpa": (9.0, 9000)},
            "None of 2 controllers kept the SLO of 99 %: the closest, ours, had 98.99 % of requests in time, for $10.00 in 24 h.",
        ),
        (
            {"ours": (10.0, 9912), "hpa": (10.0, 9912)},
            "ours and hpa kept the SLO for the same $10.00 in 24 h; 99.12 % of requests in time, 99 % wanted.",
        ),
        (
            {"ours": (10.0, 9912), "hpa": (10.0, 9912), "keda": (10.0, 9950), "kpa": (11.0, 9950)},
            "ours, hpa and 1 other kept the SLO for the same $10.00 in 24 h; 99.12 % of requests in time, 99 % wanted.",
        ),
    ],
)
def test_the_verdict_fits_what_happened(
    runs: dict[str, tuple[float, int]], headline: str, make_run: Make, make_backtest: Make
) -> None:
    made = [
        make_run(name, intervals=8, hours=24.0, requests=10_000, finished=10_000, usd=bill, within_slo=within)
        for name, (bill, within) in runs.items()
    ]

    assert verdict(make_backtest(*made)).headline == headline


def test_a_policy_that_had_nothing_to_do_is_not_praised_for_it(make_run: Make, make_backtest: Make) -> None:
    still = "ours never changed its number of replicas: nothing here says how it scales."
    for moves, within, told in (((), 9912, True), (MOVED, 9912, False), ((), 9000, False)):
        run = make_run("ours", intervals=8, moves=moves, requests=10_000, finished=10_000, within_slo=within)
        assert (still in verdict(make_backtest(run)).details) is told


@pytest.mark.parametrize(("bill", "told"), [(1.7, "$14,900"), (0.0123, "$108"), (0.00123, "$10.80")])
def test_a_year_is_told_to_three_digits(bill: float, told: str, make_run: Make, make_backtest: Make) -> None:
    found = verdict(make_backtest(make_run("ours", intervals=8, hours=1.0, usd=bill, **KEPT)))
    assert f"at this rate a year would cost {told} with ours." in found.details[-1]


def test_minutes_are_not_made_into_a_year(make_run: Make, make_backtest: Make) -> None:
    found = verdict(make_backtest(make_run("ours", intervals=8, hours=0.1, usd=1.0, **KEPT)))
    assert found.details[-1] == "Only 6 min were replayed: too little to say what a year would cost."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0000123, "0.0000123"),
        (0.5, "0.5"),
        (12.345, "12.3"),
        (99.96, "100"),
        (583.3, "583"),
        (12345, "12,300"),
    ],
)
def test_numbers_are_written_as_people_do(value: float, text: str) -> None:
    assert plain(value) == text


def test_no_requests_is_not_a_kept_slo(make_run: Make, make_backtest: Make) -> None:
    empty = make_backtest(make_run(intervals=8, requests=0, finished=0, within_slo=0))

    assert verdict(empty).winner is None
    assert "no request arrived" in _printed(empty, 120)


def test_a_bill_below_the_lower_bound_is_called_wrong(make_run: Make, make_backtest: Make) -> None:
    wrong = make_backtest(make_run("ours", intervals=8, usd=699.0, **KEPT), lower_usd=700.0)

    assert "the simulator, the billing or the bound is wrong" in verdict(wrong).warnings[0]
    assert "WRONG: ours kept the SLO for $699.00" in _printed(wrong, 200)


def test_dropped_requests_and_a_dearer_first_policy_are_told(make_run: Make, make_backtest: Make) -> None:
    found = verdict(
        make_backtest(
            make_run("ours", intervals=8, usd=12.0, **KEPT),
            make_run("hpa", intervals=8, usd=10.0, requests=10_000, finished=9_990, dropped=7, within_slo=9_912),
        )
    )

    assert "ours kept it too, for $12.00: +20.0 % ($2.00)." in found.details
    assert "Never answered: hpa 7 dropped and 3 unfinished of 10,000 requests." in found.details


def test_seeds_show_mean_and_range_and_how_many_fell_short(make_run: Make, make_backtest: Make) -> None:
    runs = [
        make_run("ours", intervals=8, seed=1, usd=990.0, **KEPT),
        make_run("ours", intervals=8, seed=2, usd=1010.0, **MISSED),
    ]
    backtest = make_backtest(*runs)

    assert (
        "Over 2 seeds of ours its bill was $990–1,010, and 1 of them fell short of the SLO; figures are means."
        in verdict(backtest).details
    )
    text = _printed(backtest, 120)
    assert "$1,000.00" in text
    assert "$990–1,010" in text
    assert "98.99–99.12 %" in text
    assert "1 short" in text


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_table_fits_and_keeps_the_most_important(width: int, three: Backtest) -> None:
    text = _printed(three, width)

    assert max(map(len, text.splitlines())) <= width
    row = next(line for line in text.splitlines() if line.startswith("keda"))
    assert {"MISSED", "$800.00", "98.99"} <= set(row.split())
    assert ("Not shown at this width" in text) is (width < 200)
    assert "…" not in text


def test_what_nobody_measured_takes_no_column_but_says_why(make_run: Make, make_backtest: Make) -> None:
    text = _printed(make_backtest(make_run(intervals=8), make_run("hpa", intervals=8)), 200)

    assert "? regret: the clairvoyant schedule was not asked for; --bracket asks for it." in text
    assert "? forecast error: it does not forecast." in text
    assert "regret" not in next(line for line in text.splitlines() if line.startswith("controller"))


def test_who_missed_the_slo_is_not_compared_with_a_schedule_that_kept_it(three: Backtest) -> None:
    ours, _, keda = standings(three)
    assert shown_spread("regret", ours.value("regret"))[0] == "+11.1 %"
    assert shown_spread("regret", keda.value("regret"))[0] == DASH
    text = " ".join(_printed(three, 200).split())
    assert "-11.1 %" not in text
    assert "– regret: the SLO was not kept, as the schedule kept it: two bills for different things (keda)." in text


def test_an_unknown_of_one_controller_is_told_with_its_name(make_run: Make, make_backtest: Make) -> None:
    quiet = make_run("quiet", intervals=8, worst_five_minutes_ratio=Missing("worst", "no five minutes saw 20 requests"))

    assert "? worst 5 min: no five minutes saw 20 requests (quiet)." in _printed(
        make_backtest(make_run(intervals=8), quiet), 120
    )


def test_one_controller_with_several_settings_stands_once_for_each(make_run: Make, make_backtest: Make) -> None:
    runs = [
        make_run("hpa", intervals=8, settings={"target": target}, seed=seed) for target in (0.6, 0.8) for seed in (1, 2)
    ]

    found = standings(make_backtest(*runs))

    assert [(one.name, len(one.runs)) for one in found] == [("hpa (target=0.6)", 2), ("hpa (target=0.8)", 2)]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "$0.00"), (1234.56, "$1,234.56"), (-12.0, "-$12.00"), (0.0123, "$0.0123"), (123456.7, "$123,457")],
)
def test_money_reads_as_money(value: float, text: str) -> None:
    assert usd(value) == text


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_share_never_looks_better_than_it_is(first: float, second: float) -> None:
    assert float(share(first).removesuffix(" %")) / 100 <= first + 1e-9
    assert first > second or float(share(first)[:-2]) <= float(share(second)[:-2])


def test_signs_are_always_shown() -> None:
    assert [change(value) for value in (0.123, -0.04, 0.0)] == ["+12.3 %", "-4.0 %", "±0.0 %"]


def test_misfortune_and_ways_of_buying_are_shown_where_there_are_any(make_run: Make, make_backtest: Make) -> None:
    paid = (
        Paid(variant="h100", type=CapacityType.ON_DEMAND, replica_hours=100.0, usd=600.0),
        Paid(variant="l40s", type=CapacityType.SPOT, replica_hours=400.0, usd=400.0),
    )
    unlucky = make_run("ours", intervals=240, usd=1000.0, paid=paid, interruptions=4, failures=1, lost=37, **KEPT)
    backtest = make_backtest(unlucky, make_run("hpa", intervals=240, usd=1250.0, paid=paid[:1], **KEPT))
    lines = _printed(backtest, 200).splitlines()
    for heading in ("interrup-", "failures", "requests", "on demand", "spot"):
        assert any(heading in line for line in lines)
    assert not any("reserved" in line for line in lines)
    assert "Lost: ours 4 spot replicas taken away and 1 failed, 37 requests; hpa no replica, 0 requests." in lines
    assert "ours paid for h100 on demand $600.00, l40s spot $400.00." in lines
    assert worth_showing(backtest, "cost")
    assert not worth_showing(backtest, "usd_reserved")


def test_of_one_way_of_buying_and_no_misfortune_nothing_is_shown(three: Backtest) -> None:
    printed = _printed(three, 300)
    assert not [word for word in ("interrup", "failures", "lost", "reserved", "on demand", "spot") if word in printed]
    assert not any(worth_showing(three, name) for name in WHERE_ANY)


def test_where_things_go_wrong_the_verdict_says_how_many_seeds_it_rests_on(make_run: Make, make_backtest: Make) -> None:
    ours = [make_run("ours", intervals=8, seed=seed, usd=10.0, hours=24.0, **KEPT) for seed in (1, 2, 3)]
    alone = verdict(make_backtest(ours[0], perils="replicas crash"))
    assert alone.headline.endswith("99 % wanted (1 seed only).")
    assert any("with another, what went wrong and how long starts took would differ" in one for one in alone.details)
    assert verdict(make_backtest(*ours, perils="replicas crash")).headline.endswith("99 % wanted (mean of 3 seeds).")
    assert verdict(make_backtest(ours[0])).headline.endswith("99 % wanted.")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 moves"), (1, "1 move"), (2, "2 moves"), (0.5, "0.5 moves"), (1200, "1,200 moves")]
)
def test_one_is_told_as_one(value: float, text: str) -> None:
    assert many(value, "move") == text


def test_the_table_says_which_statistic_a_latency_share_is(three: Backtest) -> None:
    assert "each judged by its own time to first token and its own mean time per output token" in _printed(three, 200)
    assert "no percentiles" not in _printed(three, 60)
    assert "each with its time to first token at most 2 s and its mean time per output token at most 50 ms" in " ".join(
        _printed(three, 200).split()
    )
