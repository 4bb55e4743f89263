"""The pages about money, run by Streamlit itself: on accounts in memory, and on a real ledger."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from pyarrow.ipc import open_stream
from streamlit.testing.v1 import AppTest

from benchmarks.ledger.fill import END, Fleet
from benchmarks.ledger.fill import fill as fill_accounts
from controller.facts.account_reader import HOUR, Effects
from controller.facts.accounts import UNATTRIBUTED, Tokens
from controller.ledger.accounts.standing import Standing
from controller.ledger.engine import writer_engine
from controller.ledger.write import Ledger
from dashboard import accounts
from dashboard.accounts import Books
from tests.accounts_in_memory import InMemoryAccounts
from tests.accounts_story import ANOMALIES, NOW, SOURCES, STANDING, story


def _spend() -> None:
    from dashboard import spend

    spend.page()


def _accounting() -> None:
    from dashboard import accounting

    accounting.page()


def _budgets() -> None:
    from dashboard import budgets

    budgets.page()


PAGES = (_spend, _accounting, _budgets)
Page = Callable[[], None]
Show = Callable[..., None]


@pytest.fixture(scope="session")
def passed(fill: Callable[..., str]) -> str:
    """A ledger whose daemon passed when the story ends."""
    return fill(end=NOW, minutes=2)


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, reading: Callable[[str], object], passed: str) -> Iterator[Show]:
    """``show(accounts, …)``: what the pages read; more keywords are of Books."""

    def shown(found: InMemoryAccounts, **more: Any) -> None:
        reading(passed)
        given = {"standing": lambda: STANDING, "sources": lambda: SOURCES, **more}
        books = Books(accounts=found, **given)
        monkeypatch.setattr(accounts, "open_books", lambda _url: books)
        st.cache_data.clear()

    yield shown
    st.cache_data.clear()


def _run(page: Page, **asked: str) -> AppTest:
    app = AppTest.from_function(page, default_timeout=600)
    for name, value in asked.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def _html(app: AppTest) -> str:
    return "".join(one.proto.body for one in app.get("html"))


def _charts(app: AppTest) -> list[dict[str, Any]]:
    """Every chart with its data, which Streamlit sends beside it."""
    return [{**json.loads(one.proto.spec), "datasets": _datasets(one.proto)} for one in app.get("vega_lite_chart")]


def _datasets(proto: Any) -> dict[str, list[dict[str, Any]]]:
    return {one.name: open_stream(one.data.data).read_all().to_pylist() for one in proto.datasets}


def _captions(app: AppTest) -> str:
    return " ".join(one.value for one in app.caption)


@pytest.mark.parametrize("page", PAGES)
def test_a_missing_ledger_says_what_to_do_next(page: Page, reading: Callable[[str], object], tmp_path: Path) -> None:
    reading(f"sqlite:///{tmp_path / 'none.db'}")
    assert "could not be read" in _html(_run(page))


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_ledger_says_that_no_pass_was_recorded(
    page: Page, reading: Callable[[str], object], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    Ledger.open(url).close()
    reading(url)
    assert "no pass has been recorded" in _html(_run(page))


@pytest.mark.parametrize("page", PAGES)
def test_before_the_first_hour_is_accounted_a_page_says_when_it_will_be(
    page: Page, reading: Callable[[str], object], passed: str
) -> None:
    reading(passed)
    assert "the first full hour of them is accounted some minutes after its end" in _html(_run(page))


def test_the_spend_page_tells_what_was_spent_what_will_be_and_why(show: Show) -> None:
    show(story())
    app = _run(_spend)
    shown = _html(app)
    order = [
        "Spent, 1 to 21 Nov",
        "The month before, 1 to 21 Oct",
        "Expected by the end of 30 Nov",
        "Budget of the fleet",
    ]
    assert [shown.index(one) for one in order] == sorted(shown.index(one) for one in order)
    assert "$113,900" in shown
    assert "9 in 10: at most $120,637" in shown
    assert "explained by no usage record" in shown
    growing, steps, days = _charts(app)
    assert set(growing["datasets"]) == {
        "this period (1 to 21 Nov)",
        "the one before (1 to 31 Oct)",
        "expected (P50), up to P90",
        "budget",
        "ahead",
    }
    assert [one["name"] for one in steps["datasets"]["steps"]] == [
        "1 to 21 Oct",
        "Price",
        "Volume",
        "Mix",
        "Efficiency",
        "1 to 21 Nov",
    ]
    assert {one["name"] for one in days["datasets"]["days"]} == {"work", "idle", "overhead"}
    assert "to the last nanodollar" in _captions(app)
    assert 'href="spend?team=search"' in shown
    assert "work alone $" in shown
    assert "the same prompts computed from their first token" in shown


def test_spending_is_cut_by_what_is_picked_and_by_the_address(show: Show) -> None:
    show(story())
    app = _run(_spend, team="assistant")
    assert app.selectbox(key="spend_team").value == "assistant"
    assert ">copilot<" in _html(app)
    app.button_group(key="spend_by").set_value("service").run()
    assert not app.exception
    assert 'href="spend?team=assistant&amp;service=code"' in _html(app)
    app.selectbox(key="spend_service").set_value("rerank").run()
    assert "Nothing was spent on this." in _html(app)


def test_a_period_that_is_over_has_no_forecast(show: Show) -> None:
    show(story())
    app = _run(_spend)
    app.button_group(key="spend_period").set_value("Last month").run()
    assert not app.exception
    shown = _html(app)
    assert "Expected by" not in shown
    assert "A day, on average" in shown
    assert "there is nothing to compare with yet" in shown  # the accounts begin in October


def test_without_a_budget_the_forecast_is_made_of_what_was_spent(show: Show) -> None:
    found = story()
    found.budget_states = []
    show(found)
    app = _run(_spend)
    assert "none set" in _html(app)
    assert "the pattern of the week" in _captions(app)


def test_accounts_that_begin_in_the_middle_say_so(show: Show) -> None:
    begun = NOW - timedelta(days=3)
    found = story()
    found.seat_rows = [one for one in found.seat_rows if one.start >= begun]
    found.line_rows = [one for one in found.line_rows if one.start >= begun]
    show(found, standing=lambda: replace(STANDING, first=begun))
    app = _run(_spend)
    assert "what was spent before is in no number here" in _html(app)
    assert "the accounts begin on 18 Nov 14:00" in _html(app)
    app.button_group(key="spend_period").set_value("Last week").run()
    assert "Nothing is known of this period." in _html(app)


@pytest.mark.parametrize("page", PAGES)
def test_where_no_price_is_known_nothing_costs_zero(page: Page, show: Show) -> None:
    show(story(priced=False), sources=lambda: ())
    app = _run(page)
    shown = _html(app)
    assert "$0.00" not in shown
    if page is not _budgets:
        assert "not counted as zero" in shown
        assert "unknown" in shown
    assert _charts(app) == []


def test_without_usage_records_the_pages_say_how_to_send_them(show: Show) -> None:
    found = story()
    found.line_rows = [
        one if one.identity.team.startswith("__") else replace(one, identity=UNATTRIBUTED, tokens=Tokens())
        for one in found.line_rows
    ]
    show(found, sources=lambda: ())
    assert "POST /api/v1/usage" in _html(_run(_spend))
    shown = _html(_run(_accounting))
    assert shown.count("POST /api/v1/usage") == 2
    assert ">100 %<" in shown


def test_the_accounting_page_tells_what_is_explained_settled_idle_and_bought(show: Show) -> None:
    show(story())
    app = _run(_accounting)
    shown = _html(app)
    assert "over the line of 2 %" in shown
    assert "38 of an unknown service, 3 too old" in shown
    assert "492 of 494" in shown
    assert "Over the line of 2 %:</b> rerank 100 % ($" in shown
    for name in ("Warm", "Unscheduled", "Stuck", "Stranded", "Starting", "Draining", "Swapping", "Interrupted"):
        assert f">{name}<" in shown
    for head in ("List", "Contracted", "Effective", "Billed", "Utilisation", "Coverage", "Effective savings rate"):
        assert f">{head}</th>" in shown
    assert "cr-0def" in shown
    assert "34 min ago" in shown
    assert "It balances." in shown
    assert "Unknown of cr-0def: an on-demand price is unknown." in shown
    assert "74,850" in shown  # million tokens, as on the page about spending: eleven digits are not read
    assert "74,849,987,577" not in shown
    share, _ = _charts(app)
    assert {"mark", "encoding"} <= set(share["layer"][0])
    assert share["datasets"]["limit"] == [{"value": 0.02}]


def test_a_ledger_that_does_not_balance_says_by_how_much(show: Show) -> None:
    found = story()
    last = found.line_rows[-1]
    found.line_rows[-1] = replace(last, parts=(last.parts[0] + 7, *last.parts[1:]))
    show(found)
    assert "differs by -7 nanodollars" in _html(_run(_accounting))


def test_accounting_is_calm_when_everything_is_fine(show: Show) -> None:
    found = story()
    found.seat_rows = [one for one in found.seat_rows if one.service != "rerank"]
    found.line_rows = [one for one in found.line_rows if one.pool and one.pool.service != "rerank"]
    found.unsettled, found.uses = 0, []
    show(found)
    shown = _html(_run(_accounting))
    assert "under the line of 2 %" in shown
    assert "none is open" in shown
    assert not any(one in shown for one in ("Over the line", "Price unknown", "No usage record", "does not balance"))
    assert "Reserved instances, savings plans" in shown


def test_the_budgets_page_puts_the_worst_first_and_tells_what_is_out_of_the_ordinary(show: Show) -> None:
    show(story(), anomalies=lambda _window: ANOMALIES)
    app = _run(_budgets)
    shown = _html(app)
    assert shown.index("1 of 5 budgets") < shown.index(">search<") < shown.index(">growth<")
    assert "$8,345 more was spent" in shown
    assert "growth stops before it" in shown
    assert "Efficiency: the same work took more or fewer GPU-hours" in shown
    assert "+$727.71" in shown
    assert (shown.count(">goes on<"), shown.count(">ended<")) == (1, 1)  # "over" is what a budget may be
    assert "Unknown of code by the week: a forecast takes some hours of accounts." in shown
    assert "Unknown of code by the week: the accounts do not reach back 1 d." in shown
    (chart,) = _charts(app)
    assert [one["name"] for one in chart["datasets"]["budgets"]][:2] == ["search", "fleet"]


def test_without_budgets_the_page_shows_how_to_set_one(show: Show) -> None:
    found = story()
    found.budget_states = []
    show(found, anomalies=lambda _window: ())
    app = _run(_budgets)
    assert "No budget is set." in _html(app)
    assert "monthly_usd" in app.code[0].value
    assert "No hour cost much more" in _html(app)


def test_anomalies_are_left_out_where_nobody_looks_for_any(show: Show) -> None:
    show(story())
    assert not any("out of the ordinary" in one.value for one in _run(_budgets).subheader)


@pytest.mark.parametrize("page", PAGES)
def test_one_hour_after_a_new_ledger_began_every_page_has_something_to_say(page: Page, show: Show) -> None:
    begun = NOW - HOUR
    found = story(NOW, 24 * HOUR)
    found.seat_rows = [replace(one, start=begun, end=NOW) for one in found.seat_rows[-4:]]
    found.line_rows = [replace(one, start=begun, end=NOW) for one in found.line_rows if one.end == NOW]
    found.budget_states, found.seen_effects = [], Effects()
    show(found, standing=lambda: Standing(measured=True, first=begun, until=NOW))
    assert "no hour settled yet" in _html(_run(page))


@pytest.fixture(scope="session")
def filled(fill: Callable[..., str]) -> str:
    """A real ledger with accounts of a week, random ones."""
    url = fill(end=END, minutes=2)
    engine = writer_engine(url)
    fill_accounts(engine, Fleet(replicas=4, services=1, teams=2, features=1, days=8, hours_kept=8 * 24))
    engine.dispose()
    return url


@pytest.mark.parametrize(
    ("page", "said"), [(_spend, "team-0"), (_accounting, "balance"), (_budgets, "No budget is set")]
)
def test_the_pages_stand_on_a_real_ledger(page: Page, said: str, reading: Callable[[str], object], filled: str) -> None:
    reading(filled)
    app = _run(page)
    assert "Accounts from 13 Nov 00:00 to 21 Nov 00:00 UTC" in _html(app)
    assert said in _html(app)
