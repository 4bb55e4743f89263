"""`pennyweight report` as it is typed, on a ledger that was filled as the daemon fills it."""

from __future__ import annotations

import csv
import io
from datetime import date
from decimal import Decimal

import pyarrow.parquet as pq
import pytest

from controller.cli.report import when
from controller.report.query import Period

TODAY = date(2026, 11, 21)
"""A Saturday."""


def paid(books, hours=24):
    return books.scalar(
        "SELECT SUM(cost_nanousd) FROM replica_minute WHERE minute < :end", end=books.at(hours).isoformat()
    )


@pytest.fixture
def day(spent):
    return str(spent.midnight.date())


@pytest.mark.parametrize(
    ("words", "period", "expected"),
    [
        ([], "day", "2026-11-21"),
        (["week"], "week", "2026-11-21"),
        (["yesterday"], "day", "2026-11-20"),
        (["2026-11-03"], "day", "2026-11-03"),
        (["2026-10"], "month", "2026-10-01"),
        (["month", "2026-10-05"], "month", "2026-10-05"),
        (["2026-10-05", "week"], "week", "2026-10-05"),
        (["last"], "day", "2026-11-20"),
        (["week", "last"], "week", "2026-11-15"),
        (["month", "last"], "month", "2026-10-31"),
    ],
)
def test_a_period_is_named_in_few_words(words, period, expected):
    assert when(words, TODAY) == (Period(period), date.fromisoformat(expected))


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["weak"], "PERIOD: expected day, week or month, and a day such as 2026-11-20"),
        (["weak"], "found 'weak', did you mean 'week'?"),
        (["day", "week"], "PERIOD: expected one period and one day, such as `week 2026-11-20`, found 'day week'"),
        (["2020-13"], "found '2020-13'"),
        (["2999-01-01"], "PERIOD: the day of 2999-01-01 has not begun"),
        (["--by", "tema"], "--by: no dimension 'tema', did you mean 'team'?; there are team, tenant, feature"),
        (["--by", "team,team"], "--by: expected each only once"),
        (["--where", "team"], "--where: expected team=VALUE, found 'team'"),
        (["--where", "teem=search", "--where", "x=1"], "2 problems; nothing was started or changed"),
        (["--format", "parquet"], "--format: parquet is written to a file: name it with --output FILE"),
        (["--output", "nowhere/r.csv"], "--output: there is no folder "),
    ],
)
def test_a_mistake_is_told_with_what_was_expected(pennyweight, fleet, typed, told):
    said = pennyweight("report", *typed)
    assert (said.code, said.out) == (2, "")
    assert told in said.err


@pytest.mark.parametrize("width", ["80", "120"])
def test_the_screen_holds_the_report(pennyweight, spent, monkeypatch, day, width):
    monkeypatch.setenv("COLUMNS", width)
    said = pennyweight("report", day, "--by", "team,feature")
    assert (said.code, said.err) == (0, "")
    assert max(map(len, said.out.splitlines())) <= int(width)
    lines = said.out.splitlines()
    assert lines[0] == "Cost by team, feature"
    assert lines[1] == f"{day} 00:00 to {spent.at(24):%Y-%m-%d} 00:00 UTC, allocation basis"
    assert f"${paid(spent) / 1e9:,.2f}. Nothing is known to have been spent from" in said.out
    shown = [line.split()[0] for line in lines if line.startswith(("search", "chat", "__", "all"))]
    assert sorted(shown[:-1]) == ["__idle__", "__unattributed__", "chat", "search"]
    assert shown[-1] == "all"
    assert ("$/M cached" in said.out.split("\n\n")[2].splitlines()[0]) is (width == "120")


def test_what_does_not_fit_the_screen_is_named_and_a_pipe_gets_everything(pennyweight, spent, monkeypatch, day):
    narrow = pennyweight("report", day, "--by", "team,feature").out
    assert "(on a wider screen also share, overhead, $/M in, $/M cached; --format csv has" in narrow
    monkeypatch.delenv("COLUMNS")
    piped = pennyweight("report", day, "--by", "team,feature").out
    assert "wider screen" not in piped
    assert "$/M cached" in piped


def test_a_period_that_is_still_running_says_so(pennyweight, spent):
    said = pennyweight("report", "today")
    assert said.code == 0
    assert "It goes on until" in said.out
    assert "held against as much of the one before" in said.out.replace("\n", " ")


def test_a_period_that_is_accounted_in_part_says_how_far(pennyweight, books):
    books.hour(0)
    books.settler.settle(books.at(5))
    said = pennyweight("report", str(books.midnight.date()))
    assert said.code == 0
    assert said.err == f"Accounted only until {books.at(6):%Y-%m-%d %H:%M} UTC; the daemon goes on while it runs.\n"


def test_files_hold_the_whole_cost_and_are_written_whole(pennyweight, spent, tmp_path, day):
    for name in ("r.csv", "r.parquet", "r.html", "r.txt"):
        said = pennyweight("report", day, "--by", "replica,team", "--output", name)
        assert (said.code, said.out) == (0, f"{name}: 8 rows\n")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text(encoding="utf-8"))))
    assert sum(int(row["cost_nanousd"]) for row in rows) == paid(spent)
    assert sum(Decimal(row["cost_usd"]) for row in rows) == Decimal(paid(spent)).scaleb(-9)
    assert pq.read_table(tmp_path / "r.parquet").column("cost_nanousd").to_pylist() == [
        int(row["cost_nanousd"]) for row in rows
    ]
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "r.txt").read_text(encoding="utf-8").startswith("Cost by replica, team\n")
    assert not list(tmp_path.glob("*.part"))


def test_csv_goes_to_the_screen_for_pipes(pennyweight, spent, day):
    said = pennyweight("report", day, "--format", "csv", "--where", "team=search", "--by", "kind")
    assert said.code == 0
    assert [row["kind"] for row in csv.DictReader(io.StringIO(said.out))] == ["output", "input", "cached input"]


def test_the_usage_basis_leaves_idle_out_and_says_so(pennyweight, spent, day):
    said = pennyweight("report", day, "--basis", "usage")
    assert "usage basis" in said.out
    assert "it does not tie to the invoice" in said.out.replace("\n", " ")


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("service=cht", "nothing was spent with service 'cht', did you mean 'chat'?; known: chat"),
        ("team=serach", "nothing was spent with team 'serach', did you mean 'search'?; known: __idle__, "),
        ("replica=chat-9", "did you mean 'chat-1'?; known: chat-0, chat-1"),
        ("kind=inputs", "did you mean 'input'?"),
    ],
)
def test_a_value_that_nobody_has_is_told_with_the_nearest_one(pennyweight, spent, day, where, told):
    said = pennyweight("report", day, "--where", where)
    assert (said.code, said.out) == (1, "")
    assert told in said.err


def test_without_a_ledger_it_says_what_to_do(pennyweight, fleet):
    said = pennyweight("report")
    assert (said.code, said.out) == (1, "")
    assert "there is no ledger at" in said.err
    assert "`pennyweight run` makes it" in said.err


def test_an_empty_ledger_says_what_to_do(pennyweight, books):
    assert "the ledger has measured nothing yet: start the daemon" in pennyweight("report").err
    books.minute(1)
    assert "the fleet is measured and no hour is accounted yet" in pennyweight("report").err


def test_a_ledger_of_an_older_version_is_not_an_empty_one(pennyweight, books):
    with books.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM schema_version WHERE version > 5")
    said = pennyweight("report")
    assert said.code == 1
    assert "is of an older pennyweight (schema version 5 of" in said.err


def test_a_period_before_all_accounts_says_which_there_are(pennyweight, spent):
    said = pennyweight("report", "2020-01-01")
    assert said.code == 1
    assert f"the ledger has {spent.midnight:%Y-%m-%d %H:%M} to " in said.err
