"""Reports: complete, self-contained, small, harmless and the same for the same input."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.backtest.report.decisions import biggest, clock, reasons
from controller.backtest.report.html import html_page
from controller.backtest.report.plots import plots
from controller.backtest.report.series import averaged, changes_only, hours, rolling_attainment, thinned
from controller.backtest.report.write import check_path, write_report
from controller.backtest.results import Backtest
from controller.backtest.words import usd
from controller.errors import ConfigError
from controller.facts.missing import Missing
from controller.simulate.score import Move

Make = Callable[..., Any]

WEEK = 7 * 5_760


@pytest.fixture(scope="module")
def two(make_run: Make, make_backtest: Make) -> Backtest:
    found: Backtest = make_backtest(
        make_run("policies/chat.yaml", intervals=960),
        make_run("hpa", margin=1.5, intervals=960),
        notes=("One variant only.",),
    )
    return found


@pytest.fixture(scope="module")
def page(two: Backtest) -> str:
    return html_page(two)


class _Balanced(HTMLParser):
    """Fails where an element is closed that is not open."""

    VOID = frozenset({"meta", "br", "img", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_is_balanced_and_no_id_stands_twice(page: str) -> None:
    reader = _Balanced()
    reader.feed(page)

    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))


def test_a_page_has_the_verdict_the_table_the_plots_the_decisions_and_the_method(page: str) -> None:
    told = re.sub(r"<[^>]*>", " ", page)

    assert "policies/chat.yaml kept the SLO for the least money" in told or "alone kept the SLO" in told
    for heading in ("All controllers", "What it cost", "Replicas against demand", "Requests in time", "Cost, cumulated",
                    "Latency", "Decisions and their reasons", "Method and limits", "What was replayed", "How it was judged",
                    "What is assumed", "What was not simulated", "To make it again"):  # fmt: skip
        assert heading in told
    assert page.count("<svg") == page.count('role="img"') == 5
    assert "Extrapolated, not measured" in told
    assert "240 s, ±20 %" in told
    assert "pennyweight backtest --trace chat-week.csv.gz --against hpa" in told
    assert "own time to first token kept its target; no percentile" in told


def test_the_words_in_a_plot_keep_all_their_digits(two: Backtest, page: str) -> None:
    _, replicas, attainment, _, _ = re.findall(r"<svg.*?</svg>", page, re.DOTALL)

    assert "worst five minutes 81.23 %" in attainment
    assert f"{usd(two.runs[0].usd)}, " in replicas


def test_a_page_asks_nobody_for_anything(page: str) -> None:
    assert set(re.findall(r"https?://[^\"' <]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"<script|<link|@import|src=|url\((?!#)", page)
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', page))


def test_every_clip_path_that_is_used_is_there(page: str) -> None:
    wanted = set(re.findall(r"url\(#([^)]*)\)", page)) | set(re.findall(r'href="#([^"]*)"', page))

    assert wanted
    assert wanted <= set(re.findall(r' id="([^"]*)"', page))


def test_a_page_follows_the_readers_colours(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    svgs = page[page.index("<svg") :]
    assert "var(--ink)" in svgs
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svgs))
    assert used <= {"#000000", "#ffffff"}


def test_equal_backtests_give_equal_bytes(two: Backtest, page: str, tmp_path: Path) -> None:
    assert write_report(two, tmp_path / "a.html")[0].read_text(encoding="utf-8") == page


def test_a_week_of_twelve_controllers_stays_under_two_megabytes(make_run: Make, make_backtest: Make) -> None:
    base = make_run(intervals=WEEK, margin=1.2)
    noise = np.random.default_rng(3)
    within = np.minimum(base.series.judged, noise.binomial(base.series.judged, noise.uniform(0.2, 1.0, WEEK))).astype(
        np.int32
    )
    ready = (base.series.ready + noise.integers(0, 3, WEEK)).astype(np.int32)
    series = type(base.series)(
        time_s=base.series.time_s, arrivals_per_s=base.series.arrivals_per_s, ready=ready, current=ready,
        waiting=base.series.waiting, within_slo=within, judged=base.series.judged, usd=base.series.usd,
    )  # fmt: skip
    worst = make_run("0", intervals=8, hours=168.0, series=series)
    page = html_page(
        make_backtest(*(make_run(f"controller {n}", intervals=8, hours=168.0, series=worst.series) for n in range(12)))
    )

    assert len(page.encode()) < 2_000_000


def test_names_that_look_like_markup_stay_text(make_run: Make, make_backtest: Make, tmp_path: Path) -> None:
    moves = (Move(at_s=60.0, before=1, after=2, reason="<script>alert(1)</script> | $5 and $6 _x_"),)
    nasty = make_backtest(
        make_run("<b>&\"'|`", intervals=8, moves=moves), trace="<img src=x>", description="a & b", notes=("</dl><i>",)
    )

    page = html_page(nasty)
    reader = _Balanced()
    reader.feed(page)
    assert reader.open == []
    assert not re.search(r"<script|<img|<i>", page)
    text = write_report(nasty, tmp_path / "r.md")[0].read_text(encoding="utf-8")
    assert "<script" not in text.replace("\\<", "")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines if "script" in line} <= {5}


def test_markdown_has_its_pictures_beside_it(two: Backtest, tmp_path: Path) -> None:
    written = write_report(two, tmp_path / "my report.md")
    text = written[0].read_text(encoding="utf-8")

    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert [path.name for path in written[1:]] == [name.replace("%20", " ") for name in pictures]
    assert len(pictures) == 5
    for path in written[1:]:
        assert ET.parse(path).getroot().tag.endswith("svg")
        assert "var(--" not in path.read_text(encoding="utf-8")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0].startswith("| controller | SLO | against first | cost |")
    assert "| :-- | --: | --: | :-- |" in table, "reasons are sentences"


@pytest.mark.parametrize("slowest", [0.9, 8.0, 70.0, 900.0])
def test_labels_of_a_latency_axis_have_room(slowest: float, make_run: Make, make_backtest: Make) -> None:
    run = make_run(intervals=8, ttft_p50_s=0.2, ttft_p99_s=slowest)
    drawn = {plot.name: plot.svg for plot in plots(make_backtest(run))}["latency"]
    left = drawn.split('id="latency-axes_2"')[0]
    labels = re.findall(r">([\d.e+]+ m?s)</text>", left)
    assert 2 <= len(labels) <= 6


def test_no_table_is_cut_off(make_run: Make, make_backtest: Make) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium")
    befell = {"lost": 2, "failures": 1, "interruptions": 1}
    runs = [
        make_run(name, seed=seed, intervals=24, usd=12_345.6 + 900 * seed, **befell)
        for name in ("pennyweight", "dynamo-throughput")
        for seed in (1, 2)
    ]
    page = html_page(make_backtest(*runs, upper_usd=9_000.0))
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page()
        for width in (900, 1400):
            shown.set_viewport_size({"width": width, "height": 900})
            shown.set_content(page)
            sizes = shown.eval_on_selector_all(".scroll", "all => all.map(one => [one.clientWidth, one.scrollWidth])")
            assert sizes
            assert all(scrolled <= seen + 1 for seen, scrolled in sizes), (width, sizes)
        browser.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report.pdf", "a report's name ends in .html or .md, not in '.pdf'"),
        ("nowhere/report.html", "cannot be written: there is no folder"),
    ],
)
def test_a_path_that_cannot_be_written_is_told_before_the_run(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_path(tmp_path / name)


def _odd(make_run: Make, make_backtest: Make) -> Iterator[Backtest]:
    lost = Missing("latency", "nothing finished")
    unknown = {"ttft_p50_s": lost, "ttft_p99_s": lost, "tpot_p50_s": lost, "tpot_p99_s": lost, "pass_s": lost}
    yield make_backtest(make_run(intervals=1, **unknown))
    yield make_backtest(make_run(intervals=0, requests=0, usd=0.0, hours=0.0, replica_hours=0.0, moves=()))
    yield make_backtest(make_run(intervals=8, usd=0.0, replica_hours=0.0), make_run("b", intervals=8, usd=0.0))
    yield make_backtest(*(make_run("a", intervals=8, seed=seed) for seed in (1, 2, 3)), lower_usd=1.0, upper_usd=2.0)


@pytest.mark.parametrize("which", range(4))
def test_odd_runs_still_make_a_report(which: int, make_run: Make, make_backtest: Make) -> None:
    odd = list(_odd(make_run, make_backtest))[which]

    page = html_page(odd)
    reader = _Balanced()
    reader.feed(page)
    assert reader.open == []
    assert page.count("<svg") == page.count("</svg>") == 5


# --- series ----------------------------------------------------------------------------------------------------------


def test_thinning_loses_no_dip_and_no_peak() -> None:
    x = np.arange(40_000.0)
    y = np.sin(x / 500)
    y[12_345], y[23_456] = -7.0, 9.0

    kept_x, kept_y = thinned(x, y, 100)

    assert len(kept_x) <= 500
    assert (kept_y.min(), kept_y.max()) == (-7.0, 9.0)
    assert list(kept_x) == sorted(kept_x)
    assert (kept_x[0], kept_x[-1]) == (0.0, 39_999.0)


def test_thinning_keeps_gaps_as_gaps() -> None:
    y = np.ones(10_000)
    y[3_000:5_000] = np.nan

    kept_x, kept_y = thinned(np.arange(10_000.0), y, 50)

    assert np.isnan(kept_y[(kept_x >= 3_000) & (kept_x < 5_000)]).all()
    assert not np.isnan(kept_y[(kept_x < 3_000) | (kept_x >= 5_000)]).any()


def test_averages_keep_the_total() -> None:
    y = np.random.default_rng(1).poisson(5, 36_000).astype(np.float64)

    _, means = averaged(np.arange(36_000.0), y, 360)

    assert means.mean() == pytest.approx(y.mean())


def test_a_staircase_keeps_its_steps() -> None:
    x, y = changes_only(np.arange(6.0), np.array([1.0, 1, 3, 3, 3, 2]))

    assert list(zip(x, y, strict=True)) == [(0, 1), (2, 3), (5, 2)]


def test_rolling_attainment_is_over_five_minutes_and_silent_when_few_were_judged(make_run: Make) -> None:
    series = make_run(intervals=60).series
    judged = np.full(60, 10, np.int32)
    judged[40:] = 0
    within = judged.copy()
    within[10] = 0
    changed = type(series)(
        time_s=series.time_s, arrivals_per_s=series.arrivals_per_s, ready=series.ready, current=series.current,
        waiting=series.waiting, within_slo=within, judged=judged, usd=series.usd,
    )  # fmt: skip

    share = rolling_attainment(changed)

    assert np.isnan(share[0])
    assert share[9] == 1.0
    assert share[29] == pytest.approx(0.95)  # 20 intervals of 15 s; the bad one is the oldest
    assert share[30] == 1.0
    assert np.isnan(share[-1])
    assert hours(changed)[-1] == pytest.approx(0.25)


# --- decisions -------------------------------------------------------------------------------------------------------


def test_reasons_are_counted_without_their_numbers(make_run: Make) -> None:
    moves = (
        Move(at_s=30.0, before=1, after=3, reason="forecast of 12.5 requests/s needs 3"),
        Move(at_s=60.0, before=3, after=7, reason="forecast of 40 requests/s needs 7"),
        Move(at_s=90.0, before=7, after=6, reason="p95 is idle"),
    )
    run = make_run(intervals=8, moves=moves)

    found, others = reasons(run)

    assert [(one.example, one.times, one.added, one.removed) for one in found] == [
        ("forecast of 40 requests/s needs 7", 2, 6, 0),
        ("p95 is idle", 1, 0, 1),
    ]
    assert others == 0


def test_the_biggest_moves_come_with_what_they_cost(make_run: Make) -> None:
    moves = tuple(Move(at_s=15.0 * n, before=10, after=10 + n, reason=f"move {n}") for n in range(1, 20))

    found = biggest(make_run(intervals=100, moves=moves, usd=88.0, replica_hours=10.0))

    assert [move.after for move in found] == list(range(22, 30))
    assert found[-1].usd_per_hour == pytest.approx(19 * 8.8)
    assert found[-1].when == "00:04:45"


def test_time_since_the_start_reads_as_a_clock() -> None:
    assert [clock(seconds) for seconds in (0, 3_661, 86_400 + 50_700)] == ["00:00:00", "01:01:01", "day 2, 14:05:00"]
