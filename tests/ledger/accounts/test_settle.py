"""Hours become lines: balanced, settled once, corrected by what is added."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from controller.attribute.rules import Group, Rule, RuleKind
from controller.errors import LedgerError
from controller.facts.accounts import Identity
from controller.ledger.accounts.hours import hour_of
from controller.ledger.accounts.settle import Settler
from controller.ledger.accounts.tables import PART_COLUMNS
from controller.ledger.accounts.verify import verify
from controller.ledger.migrate import MIGRATIONS

BUSY = {"prompt_tokens": 3000.0, "output_tokens": 1000.0, "requests": 10.0, "prefill_s": 20.0, "decode_s": 30.0}
COST = f"SUM({' + '.join(PART_COLUMNS)})"
FOREVER = ("allocation_hour", "cost_hour", "cost_minute")


def paid(books):
    return books.scalar("SELECT SUM(cost_nanousd) FROM replica_minute")


def lines_cost(books):
    return books.scalar(f"SELECT {COST} FROM allocation_hour")


def kept(books, revision=0):
    """Every settled row up to ``revision``."""
    where = {"cost_minute": ""}
    return {
        name: sorted(books.all(f"SELECT * FROM {name} {where.get(name, f'WHERE revision <= {revision}')}"), key=repr)
        for name in FOREVER
    }


def test_an_open_hour_is_worked_out_again_until_it_is_settled(books):
    books.hour(0, **BUSY)
    first = books.settler.settle(books.at(1))
    assert (first.worked, first.settled, first.problems) == (2, (), ())
    assert lines_cost(books) == paid(books) > 0
    books.minute(0.5, replica="chat-1")
    books.settler.settle(books.at(1.01))
    assert lines_cost(books) == paid(books)
    assert len(books.settler.settle(books.at(3)).settled) == 1
    assert books.all("SELECT state, revision FROM hour_state ORDER BY hour") == [("settled", 0)] + [("open", 0)] * 3
    assert verify(books.url).balances


def test_records_give_the_work_to_who_asked_and_the_rest_stays_unattributed(books):
    books.minute(0, **BUSY)
    books.send(*(books.record(f"r{n}", n / 3600, prompt_tokens=150, cached_tokens=0) for n in range(10)))
    books.settler.settle(books.at(4))
    table = books.reader.lines(books.at(0), books.at(24), by=("team",))
    assert [key[0] for key in table.keys] == ["__idle__", "__unattributed__", "search"]
    assert table.cost_nanousd == paid(books)
    costs = {row.key[0]: row for row in table.rows()}
    prefill = costs["search"].parts[0] / (costs["search"].parts[0] + costs["__unattributed__"].parts[0])
    assert abs(prefill - 0.5) < 1e-6, "records told half of the prompt tokens that the engine counted"
    assert costs["search"].tokens.requests == 10


def test_late_records_append_and_nothing_settled_is_rewritten(books):
    books.hour(0, **BUSY)
    books.send(books.record("early", 0))
    books.settler.settle(books.at(4))
    before, unexplained = kept(books), share(books, "__unattributed__")
    books.send(*(books.record(f"late{n}", n / 3600, identity=Identity(team="sales")) for n in range(5)))
    done = books.settler.settle(books.at(4.1))
    assert len(done.corrected) == 1
    assert kept(books) == before
    assert books.all("SELECT revision, why, source, cost_nanousd FROM allocation_revision") == [
        (1, "5 late records from gateway", "gateway", 0)
    ]
    assert share(books, "__unattributed__") < unexplained
    assert share(books, "sales") > 0
    assert lines_cost(books) == paid(books)
    first = kept(books, 1)
    books.send(books.record("later", 0.01))
    books.settler.settle(books.at(4.2))
    assert kept(books, 1) == first
    assert books.scalar("SELECT MAX(revision) FROM allocation_hour") == 2
    assert books.settler.settle(books.at(4.3)).corrected == ()
    assert verify(books.url).balances


def share(books, team):
    return books.reader.lines(books.at(0), books.at(1), where={"team": team}).cost_nanousd


def test_a_price_that_becomes_known_later_is_added_as_a_correction(books):
    for minute in (0, 1, 2):
        books.minute(minute / 60, cost_nanousd=None, unpriced_s=60.0, **BUSY)
    books.settler.settle(books.at(30), at_once=100)
    assert lines_cost(books) == 0
    before = kept(books)
    with books.engine.begin() as connection:
        connection.execute(text("UPDATE replica_minute SET cost_nanousd = 1000003, unpriced_s = 0"))
    assert len(books.settler.reprice(books.at(0), books.at(24), books.at(31)).corrected) == 1
    assert kept(books) == before
    assert lines_cost(books) == paid(books) == 3_000_009
    assert books.all("SELECT why, cost_nanousd FROM allocation_revision") == [
        ("costs changed by 3,000,009 nanodollars", 3_000_009)
    ]
    seats = books.reader.seats(books.at(0), books.at(24))
    assert [(one.effective_nanousd, one.unpriced_us) for one in seats] == [(3_000_009, 0)]
    assert verify(books.url).balances


def test_an_hour_waits_for_a_source_that_was_not_read_beyond_it_and_says_when_it_waits_no_more(books):
    books.hour(0)
    with books.engine.begin() as connection:
        row = "('litellm', :at, '', 0, 0, 0, 0, 0)"
        columns = "(source, watermark_at, watermark_id, records, duplicates, refused, tokens, beyond_cap)"
        at = books.at(0.5)
        value = at if books.engine.dialect.name == "postgresql" else at.isoformat(timespec="microseconds")
        connection.execute(text(f"INSERT INTO usage_source {columns} VALUES {row}"), {"at": value})
    assert books.settler.settle(books.at(8.9)).settled == ()
    assert len(books.settler.settle(books.at(9)).settled) == 1
    assert books.all("SELECT note FROM hour_state WHERE state = 'settled'") == [("not waited for any longer: litellm",)]


def test_time_without_anybody_is_settled_too(books):
    books.hour(0)
    books.hour(30)
    done = books.settler.settle(books.at(40), at_once=1000)
    assert len(done.settled) == 38
    assert verify(books.url).balances
    assert books.reader.lines(books.at(0), books.at(48)).cost_nanousd == paid(books)


def test_a_second_settler_changes_nothing(books):
    books.hour(0, **BUSY)
    books.settler.settle(books.at(4))
    before = kept(books)
    second = Settler(books.url)
    try:
        assert second.settle(books.at(4)).settled == ()
    finally:
        second.close()
    assert kept(books) == before


def test_idle_is_handed_on_by_rule_and_unused_commitments_cost(books):
    unused = ("", "", "ri-1", "reserved", "")
    settler = Settler(
        books.url,
        rules=lambda _hour: {("", Group.IDLE): Rule(kind=RuleKind.FIXED, teams={"search": 60, "sales": 40})},
        charges=lambda found: {unused: (None, 7_000_001, 7_000_001, 0)} if found.hour == hour_of(books.at(0)) else {},
    )
    try:
        books.hour(0, **BUSY)
        settler.settle(books.at(26), at_once=100)
    finally:
        settler.close()
    assert lines_cost(books) == paid(books) + 7_000_001
    teams = {row.key[0] for row in books.reader.lines(books.at(0), books.at(24), by=("team",)).rows()}
    assert {"search", "sales"} <= teams
    assert "__idle__" not in teams
    seats = {one.replica: one for one in books.reader.seats(books.at(0), books.at(24))}
    assert seats["ri-1"].list_nanousd is None
    assert (seats["ri-1"].effective_nanousd, seats["ri-1"].billed_nanousd) == (7_000_001, 0)
    assert verify(books.url).balances


def test_records_that_touch_an_hour_while_it_is_settled_are_not_lost(books):
    """They are counted after the hour was read and before it is written: the next round finds them."""
    books.hour(0, **BUSY)
    sent = []

    def charges(found):
        if not sent:
            sent.append(books.send(books.record("in between", 0)))
        return {}

    settler = Settler(books.url, charges=charges)
    try:
        assert len(settler.settle(books.at(3)).settled) == 1
        assert share(books, "search") == 0
        assert len(settler.settle(books.at(3) + timedelta(minutes=5)).corrected) == 1
        assert share(books, "search") > 0
    finally:
        settler.close()
    assert verify(books.url).balances


def test_a_daemon_that_was_left_behind_by_an_upgrade_settles_no_more(books):
    books.whole_hour(0)
    with books.engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO schema_version (version) VALUES ({len(MIGRATIONS) + 1})")
    with pytest.raises(LedgerError, match="a newer pennyweight wrote it"):
        books.settler.settle(books.at(3))
    assert not books.all("SELECT hour FROM hour_state WHERE state = 'settled'")
