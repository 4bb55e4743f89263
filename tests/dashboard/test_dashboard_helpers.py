"""What the pages say, without any page: formats, the clock's rule, and shaping."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.facts.demand import Forecast
from controller.facts.missing import Missing
from controller.facts.passes import Gap
from controller.ledger.demand import NOT_WATCHED
from controller.ledger.rows import Cost, DemandMinute
from dashboard import expected, formats
from dashboard.charts import Curve, Range, timeline
from dashboard.clock import clock
from dashboard.look import Cell, note, table, unknowns
from dashboard.money import millions
from dashboard.shaping import MOST_POINTS, Band, bands, bucket, per_month, spark, spent

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (None, "unknown"),
        (0.0, "$0.00"),
        (1234.56, "$1,234.56"),
        (0.0042, "$0.0042"),
        (-3.5, "-$3.50"),
        (0.00012, "$0.00012"),
        (0.00000012, "<$0.0001"),
        (-0.00000012, ">-$0.0001"),
    ],
)
def test_dollars_are_written_as_finance_writes_them(usd: float | None, shown: str) -> None:
    assert formats.dollars(usd) == shown


def test_a_rate_says_its_hour_and_a_projection_drops_cents_that_would_pretend() -> None:
    assert formats.dollars_per_hour(1234.56) == "$1,234.56/h"
    assert formats.whole_dollars(40_726.7) == "$40,727"
    assert formats.whole_dollars(12.5) == "$12.50"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "unknown"),
        (0.0, "0 t/s"),
        (7.0, "7 t/s"),
        (12_345.0, "12.3k t/s"),
        (999_960.0, "1.00M t/s"),
        (0.25, "0.250 t/s"),
    ],
)
def test_rates_keep_three_digits_and_a_prefix(value: float | None, shown: str) -> None:
    assert formats.compact(value, "t/s").replace("unknown t/s", "unknown") == shown


@pytest.mark.parametrize(("value", "shown"), [(None, "unknown"), (0.0853, "85.3 ms"), (1.2, "1.20 s"), (0.0, "0 ms")])
def test_latencies_change_unit_at_a_second(value: float | None, shown: str) -> None:
    assert formats.seconds(value) == shown


@pytest.mark.parametrize(
    ("lasts_s", "shown"),
    [
        (0.0, "0 s"),
        (59.9, "59 s"),
        (75.0, "1 min 15 s"),
        (180.0, "3 min"),
        (7_199.0, "1 h 59 min"),
        (86_400.0, "1 d"),
        (108_000.0, "1 d 6 h"),
        (-5.0, "0 s"),
    ],
)
def test_a_duration_that_is_nearly_twice_its_unit_does_not_look_like_one(lasts_s: float, shown: str) -> None:
    assert formats.lasting(lasts_s) == shown


@pytest.mark.parametrize(("ratio", "shown"), [(None, "unknown"), (0.0, "0 %"), (0.05, "5.0 %"), (0.694, "69 %")])
def test_ratios_are_percents(ratio: float | None, shown: str) -> None:
    assert formats.percent(ratio) == shown


@pytest.mark.parametrize(("value", "shown"), [(1920.0, "1,920"), (7.01, "7.01"), (0.87, "0.87"), (100.5, "100.5")])
def test_numbers_that_decided_carry_no_padding(value: float, shown: str) -> None:
    assert formats.plain(value) == shown


@pytest.mark.parametrize(
    ("age", "live", "stale"),
    [
        (timedelta(seconds=10), True, False),
        (timedelta(minutes=3), True, True),
        (timedelta(hours=23), True, True),
        (timedelta(days=1), False, False),
        (timedelta(days=-1), False, False),
        (timedelta(seconds=-5), True, False),
    ],
)
def test_only_a_ledger_of_today_can_be_stale(age: timedelta, live: bool, stale: bool) -> None:
    time = clock(NOON, NOON + age)
    assert (time.live, time.stale) == (live, stale)
    assert time.now == (max(NOON, NOON + age) if live else NOON)


def test_a_stale_ledger_asks_for_the_daemon_and_a_virtual_one_says_whose_time_it_is() -> None:
    assert "3 min ago: is the daemon running?" in clock(NOON, NOON + timedelta(minutes=3)).warning
    assert "Ledger time 1 Mar 2026, 12:00:00 UTC" in clock(NOON, NOON + timedelta(days=9)).shown


def test_any_range_is_cut_to_what_a_chart_can_show() -> None:
    for hours in (1, 6, 24, 168, 720):
        end = NOON + timedelta(hours=hours)
        assert (end - NOON) / bucket(NOON, end) <= MOST_POINTS


def test_gaps_are_cut_to_the_range_and_named_by_their_length() -> None:
    gap = Gap(start=NOON - timedelta(hours=1), end=NOON + timedelta(minutes=20), why="off")
    (band,) = bands([gap], NOON, NOON + timedelta(hours=1))
    assert (band.start, band.name) == (NOON, "not watched for 20 min")
    assert bands([gap], NOON + timedelta(hours=1), NOON + timedelta(hours=2)) == []


def _drawn(**asked: str) -> dict[str, Any]:
    over = Range(
        start=NOON,
        end=NOON + timedelta(hours=10),
        gaps=[
            Band(start=NOON, end=NOON + timedelta(minutes=5), why="restarted"),
            Band(start=NOON + timedelta(hours=1), end=NOON + timedelta(hours=2), why="off"),
        ],
    )
    curve = Curve(name="waiting", colour="#000", points=[{"at": NOON.isoformat(), "value": 0.5, "shown": "0.5"}])
    return timeline([curve], over, **{"number": "~s", **asked})  # type: ignore[arg-type]


def test_a_gap_is_named_where_there_is_room_and_told_by_its_tooltip_everywhere() -> None:
    gaps = _drawn()["datasets"]["gaps"]
    assert [(one["name"], one["text"]) for one in gaps] == [
        ("not watched for 5 min", ""),
        ("not watched for 1 h", "not watched for 1 h"),
    ]


def test_half_a_request_is_not_500m_of_them_and_half_a_second_is_500_ms() -> None:
    plain, money, timed = (
        next(one for one in _drawn(**asked)["layer"] if one["mark"]["type"] == "line")["encoding"]["y"]["axis"]
        for asked in ({}, {"number": "$,.2~f"}, {"unit": "s"})
    )
    assert "format(datum.value, '.3~f')" in plain["labelExpr"]
    assert "format(datum.value, '$.3~r')" in money["labelExpr"], "five ticks of $0 are none"
    assert timed["labelExpr"] == "format(datum.value, '~s') + 's'"


def _cost(nanousd: int | None, unpriced_s: float) -> Cost:
    measured = dict.fromkeys(("prompt_tokens", "cached_prompt_tokens", "output_tokens", "requests", "energy_j"))
    return Cost(cost_nanousd=nanousd, unpriced_s=unpriced_s, covered_s=60, ready_s=60, gpu_s=60, **measured)


def test_money_that_has_no_price_is_unknown_and_never_zero() -> None:
    assert spent([]) == (None, "nothing was recorded in this time")
    assert spent([_cost(None, 60)]) == (None, "no price is known for any replica")
    assert spent([_cost(2_500_000_000, 120)]) == (2.5, "without 2 min of replica time that has no price")
    assert per_month(None) is None


def test_a_small_line_breaks_where_nothing_is_known() -> None:
    assert len(spark([1.0, 2.0, None, 3.0, 4.0])) == 2
    assert spark([None, 1.0, None]) == []


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [(0, "0"), (42, "0.000042"), (4_200, "0.0042"), (1_234_567, "1.23"), (57_509_719_687, "57,510")],
)
def test_tokens_are_told_in_millions_and_a_few_are_not_none(tokens: int, shown: str) -> None:
    assert millions(tokens) == shown


def test_why_something_is_unknown_stands_under_its_table_once_and_not_twice() -> None:
    unknown = Cell(text="unknown", why="no <price>")
    rows = [[Cell(text="chat"), unknown, unknown], [Cell(text="code"), unknown], [Cell(text="rerank"), Cell(text="$1")]]
    assert unknowns(rows) == '<div class="pw-when">Unknown of chat, code: no &lt;price&gt;.</div>'
    assert unknowns([[Cell(text="chat"), Cell(text="unknown", why="cold", sub="cold")]]) == ""


def test_nothing_from_the_ledger_can_become_markup() -> None:
    cell = Cell(text="<b>", sub="<i>", why='"><script>', link='service?service="x')
    shown = table([("<th>", "")], [[cell]]) + note("<u>", "<s>")
    assert not any(bad in shown for bad in ("<b><", "<i>", "<script>", "<u>", "<s>", 'service="x'))


def _minute(index: int, requests: float | None, why: str = "") -> DemandMinute:
    at = NOON + timedelta(minutes=index)
    return DemandMinute(minute=at, watched_s=60.0 if requests is not None else 0.0, requests=requests, unknown_why=why)


def test_what_arrives_now_is_over_the_seconds_that_were_watched() -> None:
    assert expected.arriving([_minute(0, 600), _minute(1, None, "x"), _minute(2, 0)]) == (5.0, "")
    unseen = [_minute(0, None, "timed out"), _minute(1, None, NOT_WATCHED)]
    assert expected.arriving(unseen) == (None, "timed out")
    assert expected.arriving([]) == (None, NOT_WATCHED)


def _forecast(minute: int) -> Forecast:
    at = NOON + timedelta(minutes=minute)
    return Forecast(at=at, horizon_s=240.0, quantiles={0.5: 4.0, 0.95: 6.0}, basis="day", scored=1)


def test_a_band_breaks_where_no_forecast_was_made_and_is_thinned_to_what_a_chart_shows() -> None:
    band = expected.band_points([_forecast(0), _forecast(5), _forecast(60)], 0.5, 0.95)
    assert [one["low"] for one in band] == [4.0, 4.0, None, 4.0]
    assert band[0]["at"] == (NOON + timedelta(minutes=4)).isoformat()
    assert band[0]["shown"] == "4 requests/s to 6 requests/s"
    week = expected.band_points([_forecast(5 * index) for index in range(2016)], 0.5, 0.95)
    assert len(week) <= MOST_POINTS
    assert all(one["low"] == 4.0 for one in week)
    assert expected.band_points([_forecast(0)], 0.5, 0.99) == []


@pytest.mark.parametrize(
    ("bias", "said"),
    [(0.031, "3.1 % too high"), (-0.2, "20 % too low"), (0.0, "neither high nor low"), (Missing("b", "y"), "unknown")],
)
def test_a_bias_is_told_as_the_way_it_leans(bias: float | Missing, said: str) -> None:
    assert expected.leaning(bias) == said


@pytest.mark.parametrize(("horizons", "first"), [([60.0, 240.0, 480.0], 1), ([75.0, 300.0], 1), ([60.0], 0)])
def test_a_page_begins_at_about_the_time_that_a_replica_takes_to_start(horizons: list[float], first: int) -> None:
    assert expected.usual_horizon(horizons) == first
