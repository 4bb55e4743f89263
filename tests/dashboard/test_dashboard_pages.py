"""Each page run by Streamlit itself against a real ledger."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from controller.facts.safety import Stop
from controller.ledger.write import Ledger


def test_the_file_that_streamlit_runs_has_no_bare_strings_because_it_would_show_them() -> None:
    body = ast.parse(Path("dashboard/app.py").read_text(encoding="utf-8")).body[1:]  # its docstring is not shown
    assert [one.lineno for one in body if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)] == []


def _fleet() -> None:
    from dashboard import fleet

    fleet.page()


def _service() -> None:
    from dashboard import service

    service.page()


def _forecast() -> None:
    from dashboard import forecast

    forecast.page()


def _decisions() -> None:
    from dashboard import decisions

    decisions.page()


PAGES = (_fleet, _service, _forecast, _decisions)


def _run(page: Callable[[], None]) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60).run()
    assert not app.exception
    return app


def _html(app: AppTest) -> str:
    return "".join(one.proto.body for one in app.get("html"))


def _charts(app: AppTest) -> list[dict[str, Any]]:
    return [json.loads(one.proto.spec) for one in app.get("vega_lite_chart")]


Point = Callable[[str], object]


@pytest.mark.parametrize("page", PAGES)
def test_a_missing_ledger_says_what_to_do_next(page: Callable[[], None], reading: Point, tmp_path: Path) -> None:
    reading(f"sqlite:///{tmp_path / 'none.db'}")
    app = _run(page)
    assert "could not be read" in _html(app)
    assert "?." not in _html(app)
    assert any("make demo" in one.value for one in app.markdown)


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_ledger_says_that_no_pass_was_recorded(
    page: Callable[[], None], reading: Point, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    Ledger.open(url).close()
    reading(url)
    assert "no pass has been recorded" in _html(_run(page))


def test_the_fleet_page_puts_money_first_and_unknown_is_never_zero(reading: Point, virtual_day: str) -> None:
    reading(virtual_day)
    shown = _html(_run(_fleet))
    assert shown.index("Cost now") < shown.index("Replicas ready") < shown.index("TTFT p95")
    assert "/h" in shown
    assert "since the ledger began" in shown
    rerank = shown[shown.index(">rerank<") :]
    assert rerank.count(">unknown<") == 6
    assert "$0.75/h" in rerank
    assert "answered 200 without engine metrics" in rerank


def test_the_fleet_page_names_alerts_gaps_and_pauses(reading: Point, virtual_day: str) -> None:
    reading(virtual_day)
    shown = _html(_run(_fleet))
    assert "TTFT p95 is 812 ms" in shown
    assert "Firing for 12 min." in shown
    assert "the daemon was not running" in shown
    assert "by mara: load test until noon" in shown
    assert "Stale." not in shown


def test_a_service_that_is_stopped_does_not_look_as_if_it_were_acted_on(
    reading: Point, fill: Callable[..., str], virtual_day: str
) -> None:
    reading(virtual_day)
    assert ">stopped<" not in _html(_run(_fleet))
    end = datetime(2026, 3, 1, 13, tzinfo=UTC)
    url = fill(end=end, minutes=2)
    ledger = Ledger.open(url)
    ledger.stop(Stop(service="code", since=end, by="ann", reason="wrong image"))
    ledger.stop(Stop(service="chat", since=end - timedelta(hours=2), until=end, by="ann", reason="over by now"))
    ledger.close()
    reading(url)
    shown = _html(_run(_fleet))
    chat, code = shown.index(">chat<"), shown.index(">code<")
    assert ">act<" in shown[chat:code]
    assert shown[code:].count(">stopped<") == shown.count(">stopped<") == 1
    assert "mode act, and paused" in shown[code:]


def test_a_daemon_that_stopped_today_is_called_stale(reading: Point, fill: Callable[..., str]) -> None:
    stopped = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=7)  # noqa: TID251 - the page's clock
    reading(fill(end=stopped, minutes=3))
    shown = _html(_run(_fleet))
    assert "is the daemon running?" in shown
    assert "Firing for 12 min." in shown, "nobody knows whether it still does"


def test_the_service_page_marks_moves_with_their_reason_and_shades_gaps(reading: Point, virtual_day: str) -> None:
    reading(virtual_day)
    app = _run(_service)
    charts = _charts(app)
    assert len(charts) == 9
    marks = [layer["mark"] for layer in charts[0]["layer"]]
    assert {"line", "rect", "text", "rule", "point"} <= {one["type"] for one in marks}
    assert any("scaled up" in one.value for one in app.caption)
    about = (
        "Times are UTC. Grey: 1 gap, 20 min in all, in which nobody watched. Nothing is recorded of chat from before "
    )
    assert any(f"{about}1 Mar 09:31." in one.value for one in app.caption)
    app.button_group(key="range").set_value("1 h").run()
    assert not any("Nothing is recorded" in one.value for one in app.caption)


def test_a_service_that_could_not_be_measured_says_so_instead_of_drawing_zeros(
    reading: Point, virtual_day: str
) -> None:
    reading(virtual_day)
    app = _run(_service)
    app.selectbox(key="service").set_value("rerank").run()
    assert not app.exception
    assert _html(app).count("It could not be measured at any time in this range.") == 7
    assert _html(app).count("At its end: http://127.0.0.1:9003/metrics answered 200 without engine metrics") == 7
    ready = _charts(app)[0]["layer"][-1]["encoding"]["y"]["axis"]
    assert ready["tickMinStep"] == 1, "one replica is not 1,000 milli-replicas"


def test_a_range_without_anything_says_so(reading: Point, virtual_day: str) -> None:
    reading(virtual_day)
    app = _run(_service)
    app.button_group(key="range").set_value("Days").run()
    day = datetime(2026, 1, 1, tzinfo=UTC).date()
    app.date_input(key="days").set_value((day, day)).run()
    assert not app.exception
    assert "Nothing was recorded of chat from 1 Jan" in _html(app)


def test_the_decision_log_tells_reason_money_and_outcome_and_filters(reading: Point, virtual_day: str) -> None:
    reading(virtual_day)
    app = _run(_decisions)
    moves = _html(app)
    assert "output tokens/s need" in moves
    assert "/h → $" in moves
    assert "target set to" in moves
    assert "hold at" not in moves

    app.toggle(key="log_moves").set_value(False).run()
    assert "hold at" in _html(app)

    app.multiselect(key="log_reasons").set_value(["steady"]).run()
    assert not app.exception
    assert "output tokens/s need" not in _html(app)

    app.selectbox(key="log_service").set_value("rerank").run()
    assert "No decision to show." in _html(app)


def test_the_forecast_page_tells_what_was_expected_what_came_and_what_a_replica_carries(
    reading: Point, virtual_day: str
) -> None:
    reading(virtual_day)
    app = _run(_forecast)
    shown = _html(app)
    assert shown.index("Arriving now") < shown.index("Expected in 4 min") < shown.index("Typically off by")
    assert "0.4 % too low" in shown
    assert "9.60 requests/s" in shown
    assert "between 8.45 and 10.8" in shown
    assert "new requests would wait longer than the target allows" in shown
    (chart,) = _charts(app)
    marks = [layer["mark"]["type"] for layer in chart["layer"]]
    assert marks == ["rect", "text", "area", "area", "line", "line"]


def test_the_forecast_page_follows_the_horizon_that_is_picked(reading: Point, virtual_day: str) -> None:
    reading(virtual_day)
    app = _run(_forecast)
    app.button_group(key="forecast_horizon").set_value(900.0).run()
    assert not app.exception
    assert "Expected in 15 min" in _html(app)
    assert any("expected 15 min ahead" in one.value for one in app.subheader)


def test_a_service_without_forecasts_explains_itself_and_why_its_demand_is_unknown(
    reading: Point, virtual_day: str
) -> None:
    reading(virtual_day)
    app = _run(_forecast)
    app.selectbox(key="forecast_service").set_value("rerank").run()
    assert not app.exception
    shown = _html(app)
    assert "No forecast yet." in shown
    assert "What arrived could not be seen: http://127.0.0.1:9003/metrics answered 200 without engine metrics" in shown
    assert "Not worked out yet." in shown
    assert _charts(app) == []


def test_a_capacity_that_could_not_be_worked_out_says_why(reading: Point, virtual_day: str) -> None:
    reading(virtual_day)
    app = _run(_forecast)
    app.selectbox(key="forecast_service").set_value("code").run()
    assert "the model of code is in no table" in _html(app)
    assert "no forecast so far ahead has come due yet" in _html(app)


@pytest.mark.parametrize("page", PAGES)
def test_a_ledger_written_by_the_demo_shows_on_every_page(
    page: Callable[[], None], reading: Point, demo_ledger: str
) -> None:
    reading(demo_ledger)
    app = _run(page)
    assert "Nothing to show yet" not in _html(app)
