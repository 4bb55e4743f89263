"""`pennyweight ledger` as it is typed, on a ledger that was filled as the daemon fills it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controller.facts.accounts import Identity

FIRST = "(SELECT MIN(hour) FROM hour_state)"


def spoil(books, sql):
    with books.engine.begin() as connection:
        connection.exec_driver_sql(sql)


@pytest.fixture
def piped(pennyweight, monkeypatch):
    """Into a pipe: lines as long as they are."""
    monkeypatch.delenv("COLUMNS")
    return pennyweight


def test_a_ledger_that_adds_up_says_so(piped, spent):
    said = piped("ledger", "verify")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("27 hours, $")
    assert said.out.endswith("sums held against each other: all of them agree to the nanodollar\n")


def test_a_nanodollar_too_much_is_told_with_hour_pool_part_and_both_sums(piped, spent):
    spoil(
        spent,
        f"UPDATE allocation_hour SET decode_nanousd = decode_nanousd + 1 WHERE hour = {FIRST} AND identity = 2 "
        "AND pool = (SELECT id FROM pool WHERE capacity_type = 'spot')",
    )
    said = piped("ledger", "verify")
    assert said.code == 1
    text = " ".join(said.out.split())
    hour = re.escape(f"hour {spent.midnight:%Y-%m-%d} 00:00 UTC")
    assert re.search(
        rf"{hour}, pool chat/h100/spot, decode: lines [\d,]+, seats [\d,]+, difference \+1 nanodollars", text
    )
    assert "do not close the month on it." in text


def test_sums_that_are_made_of_hours_can_be_made_anew(piped, spent):
    spoil(spent, "UPDATE spend SET decode_nanousd = decode_nanousd + 1 WHERE grain = 24 AND scope = 1 AND identity > 6")
    said = piped("ledger", "verify")
    assert said.code == 1
    assert "made anew from the hours by `pennyweight ledger rebuild`" in " ".join(said.out.split())
    said = piped("ledger", "rebuild")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("1 day made anew")
    assert piped("ledger", "verify").code == 0


def test_deep_works_every_settled_hour_out_again(piped, spent):
    said = piped("ledger", "verify", "--deep")
    assert said.code == 0
    assert "24 settled hours worked out again: the same to the nanodollar" in said.out
    spoil(spent, "UPDATE usage_minute SET output = output * 2 WHERE minute = (SELECT MIN(minute) FROM usage_minute)")
    said = piped("ledger", "verify", "--deep")
    assert said.code == 1
    assert (
        f"hour {spent.midnight:%Y-%m-%d} 00:00 UTC, pool chat/h100/on_demand, identity __unattributed__/"
        in " ".join(said.out.split())
    )
    assert "worked out again" in said.out
    assert "work rates or sharing rules were changed" in said.out


def test_deep_leaves_hours_out_that_cannot_be_worked_out_any_more(piped, spent):
    spent.send(spent.record("late", 1, identity=Identity(team="late")))
    spoil(spent, f"DELETE FROM replica_minute WHERE minute < '{spent.at(1):%Y-%m-%dT%H:%M}'")
    said = piped("ledger", "verify", "--deep")
    assert "22 settled hours worked out again: the same to the nanodollar\n2 more were not: " in said.out


def test_days_and_months_are_verified_alone(piped, spent):
    day = str(spent.midnight.date())
    assert piped("ledger", "verify", "--from", day).out.startswith("24 hours, $")
    assert piped("ledger", "verify", "--from", "2020-01").out == (
        "no hour is accounted in that time: nothing to prove\n"
    )


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["verify", "--from", "2026"], "--from: expected a day such as 2026-11-20 or a month such as 2026-11"),
        (["verify", "--from", "2026-02", "--to", "2026-01"], "--to: ends before --from 2026-02-01 starts"),
        (["reprice"], "required: --from"),
        (["reprice", "--from", "2999-01"], "--from: expected a day that has begun, found 2999-01-01"),
        (["verfy"], "verfy: there is no such command; did you mean verify?"),
        ([], "required: COMMAND"),
        (["close", "2026-10-01"], "MONTH: expected a month such as 2026-11, found '2026-10-01'"),
        (["verify", "--depe"], "--depe: there is no such option; did you mean --deep?"),
    ],
)
def test_a_mistake_is_told_with_what_was_expected(piped, fleet, typed, told):
    said = piped("ledger", *typed)
    assert (said.code, said.out) == (2, "")
    assert told in said.err


def test_nothing_to_prove_is_no_mistake(piped, books):
    said = piped("ledger", "verify")
    assert said.code == 0
    assert said.out.startswith("nothing to prove: the ledger has measured nothing yet")


def test_a_month_is_closed_once_it_is_settled_and_adds_up(piped, books):
    month, after = "2026-03", books.at(0)
    early = replace(books, midnight=datetime(2026, 3, 31, tzinfo=UTC))
    said = piped("ledger", "close", month)
    assert said.code == 1
    assert "2026-03 cannot be closed before its last hour is settled" in said.err
    early.hour(23)
    early.settler.settle(after)
    said = piped("ledger", "close", month)
    assert said.code == 0
    assert said.out.startswith("2026-03 is closed, with $0.50. Late records and bills are posted as corrections of it")
    said = piped("ledger", "close", month)
    assert said.code == 0
    assert said.out.startswith("2026-03 is closed since 20")


def test_a_month_without_an_hour_is_closed_only_when_that_is_meant(piped, books):
    """A slip of a digit must not close a month for $0."""
    early = replace(books, midnight=datetime(2026, 3, 31, tzinfo=UTC))
    early.hour(23)
    early.settler.settle(books.at(0))
    said = piped("ledger", "close", "2026-02")
    assert said.code == 1
    assert said.out.startswith("nothing to close in 2026-02: the accounts tell of 2026-03-31 23:00 to 2026-")
    assert "--empty" in said.out
    assert books.scalar("SELECT COUNT(*) FROM billing_period") == 0
    said = piped("ledger", "close", "2026-02", "--empty")
    assert (said.code, said.out[:30]) == (0, "2026-02 is closed, with $0.00.")


def test_a_month_that_does_not_add_up_stays_open(piped, books):
    early = replace(books, midnight=datetime(2026, 3, 31, tzinfo=UTC))
    early.hour(23)
    early.settler.settle(books.at(0))
    spoil(books, "UPDATE allocation_hour SET decode_nanousd = decode_nanousd + 1")
    said = piped("ledger", "close", "2026-03")
    assert said.code == 1
    assert said.out.startswith("2026-03 stays open, because it does not add up.\n")
    assert books.scalar("SELECT COUNT(*) FROM billing_period") == 0


@pytest.fixture
def unpriced(fleet, books):
    """Two settled hours of a replica whose price nobody knew; the fleet file knows it now: $2.00 per GPU-hour."""
    for hour in (0, 1):
        books.whole_hour(hour, cost_nanousd=None, unpriced_s=60.0, gpus=1)
    books.minute(1, replica="chat-1", gpus=1, cost_nanousd=16_666_666, unpriced_s=30.0)
    books.minute(1, service="gone", cost_nanousd=None, unpriced_s=36.0)
    books.settler.settle(books.at(20), at_once=40)
    return books


def effective(books):
    return sum(one.effective_nanousd for one in books.reader.seats(books.at(0), books.at(24)))


def test_time_without_a_price_is_accounted_for_once_it_has_one(piped, unpriced):
    assert effective(unpriced) == 16_666_666
    said = piped("ledger", "reprice", "--from", str(unpriced.midnight.date()))
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        "2.01 hours of replicas had no price and have one now.\n"
        "0.01 hours of replicas still have no price: write usd_per_gpu_hour in the fleet file, as it was then.\n"
        "2 settled hours corrected: what changed was added as lines of its own; `pennyweight ledger verify` proves them.\n"
    )
    assert effective(unpriced) == 120 * 33_333_333 + 16_666_666 + 16_666_666
    assert unpriced.scalar("SELECT COUNT(*) FROM replica_minute WHERE unpriced_s > 0") == 1
    assert piped("ledger", "verify", "--deep").code == 0
    again = piped("ledger", "reprice", "--from", str(unpriced.midnight.date()))
    assert (again.code, again.out.splitlines()[-1][:40]) == (0, "No settled hour costs anything else than")
    assert effective(unpriced) == 121 * 33_333_333 - 1


def test_closed_months_keep_their_costs(piped, books):
    early = replace(books, midnight=datetime(2026, 3, 31, tzinfo=UTC))
    early.hour(23, cost_nanousd=None, unpriced_s=60.0)
    early.settler.settle(books.at(0))
    assert piped("ledger", "close", "2026-03").code == 0
    said = piped("ledger", "reprice", "--from", "2026-03")
    assert said.code == 1
    assert said.out.endswith("2026-03 is closed: its costs stay; import its bill to adjust them\n")
    assert early.scalar("SELECT COUNT(*) FROM replica_minute WHERE unpriced_s > 0") == 3


def test_the_size_is_told_by_table_and_for_a_day_of_a_replica(piped, spent):
    said = piped("ledger", "size")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert re.fullmatch(r"[\d.,]+ kB in all; \d+ more tables are empty", lines[0])
    assert lines[2].split() == ["table", "rows", "size", "a", "replica", "and", "day"]
    rows = {line.split()[0]: line.split() for line in lines[3:] if line}
    assert int(rows["replica_minute"][1]) == 30 * 3 * 2
    assert rows["usage_seen"][1] == "60"
    assert re.fullmatch(r"A replica takes [\d.]+ [kM]?B a day while its minutes are kept .*", lines[-1])


def test_screens_of_80_columns_hold_it(pennyweight, spent):
    spoil(spent, "UPDATE allocation_hour SET decode_nanousd = decode_nanousd + 1")
    for typed in (["verify", "--deep"], ["rebuild"], ["size"]):
        assert max(map(len, pennyweight("ledger", *typed).out.splitlines())) <= 80
