"""The proof: what balances is proven, and a nanodollar that does not is named."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text

from controller.facts.accounts import Identity
from controller.ledger.accounts.cubes import CAPACITY_KEY, SPEND_KEY, rebuild
from controller.ledger.accounts.tables import LINE_COLUMNS, PART_COLUMNS
from controller.ledger.accounts.verify import verify
from controller.ledger.migrations import m0014_shifts

BUSY = {"prompt_tokens": 3000.0, "output_tokens": 1000.0, "requests": 10.0, "prefill_s": 20.0, "decode_s": 30.0}


SUNDAY = -4
"""Hours before the Monday on which the fleet began."""


@pytest.fixture
def week(books):
    """The end of a week, settled, with a correction on the Monday after it."""
    for hour in (SUNDAY, -1, 1, 20):
        books.hour(hour, **BUSY)
        books.minute(hour + 0.25, replica="chat-1", capacity_type="spot", **BUSY)
        books.send(books.record(f"r{hour}", hour))
    books.settler.settle(books.at(26), at_once=1000)
    books.send(books.record("late", 20.1, identity=Identity(team="sales")))
    assert len(books.settler.settle(books.at(26.1)).corrected) == 1
    return books


def test_a_ledger_that_balances_is_proven(week):
    proof = verify(week.url)
    assert proof.balances, "\n".join(map(str, proof.differences))
    assert proof.cost_nanousd == week.scalar("SELECT SUM(cost_nanousd) FROM replica_minute")
    assert proof.hours == 4 + 27
    assert proof.sums > 500


TAMPERED = [
    ("allocation_hour", "decode_nanousd", "hour", "hour 2026-03-02 20:00 UTC, pool chat/h100/"),
    ("allocation_hour", "requests", "hour", "hour 2026-03-02 20:00 UTC"),
    ("cost_hour", "idle_unscheduled_nanousd", "hour", "hour 2026-03-02 20:00 UTC, pool chat/h100/"),
    ("cost_hour", "gpu_us", "hour", "hour 2026-03-02 00:00 UTC, seat chat/h100/on_demand/chat-0, gpu_us: the day"),
    ("capacity_spend", "list_nanousd", "start", "hour 2026-03-02 00:00 UTC, seat chat/h100/on_demand/chat-0"),
    ("cost_minute", "decode_nanousd", "minute", "hour 2026-03-02 20:00 UTC, pool chat/h100/"),
    ("replica_minute", "cost_nanousd", "minute", "hour 2026-03-02 20:00 UTC, cost: replica minutes"),
    ("hour_state", "cost_nanousd", "hour", "hour 2026-03-02 20:00 UTC, cost: seats"),
    ("allocation_revision", "cost_nanousd", "hour", "hour 2026-03-02 20:00 UTC, revision 1, cost"),
    ("spend", "idle_stuck_nanousd", "start", "pool chat/h100/on_demand, identity __unattributed__"),
]


def test_one_unit_that_was_tampered_with_is_found_and_named(week):
    for table, column, key, named in TAMPERED:
        where = f"{key} = (SELECT MAX({key}) FROM {table} WHERE {BUSIEST[table]}) AND {BUSIEST[table]}"
        change(week, f"UPDATE {table} SET {column} = COALESCE({column}, 0) + 1 WHERE {where}")
        told = "\n".join(map(str, verify(week.url).differences))
        assert named in told, f"{table}.{column}: {told}"
        assert re.search(r"difference [+-][12]\b", told)
        change(week, f"UPDATE {table} SET {column} = {column} - 1 WHERE {where}")
    assert verify(week.url).balances or week.scalar("SELECT COUNT(*) FROM capacity_spend WHERE list_nanousd = 0")


BUSIEST = {
    "allocation_hour": "identity = 1 AND revision = 0",
    "cost_hour": "requests > 0 AND revision = 0",
    "capacity_spend": "grain = 24",
    "cost_minute": "decode_nanousd > 0",
    "replica_minute": "cost_nanousd > 0",
    "hour_state": "cost_nanousd > 0",
    "allocation_revision": "revision = 1",
    "spend": "grain = 24 AND scope = 1 AND identity = 1",
}
"""Which rows are tampered with."""


def change(books, sql):
    with books.engine.begin() as connection:
        assert connection.execute(text(sql)).rowcount > 0


def test_one_nanodollar_in_any_cube_is_found_and_a_rebuild_repairs_it(week):
    cubes = [(grain, scope) for grain in (6, 24, 168) for scope in (0, 1, 2, 3)]
    for grain, scope in ((1, 0), (1, 2), *cubes):
        who = 0 if scope == 2 else 1
        rows = f"grain = {grain} AND scope = {scope} AND identity = {who}"
        if grain == 6:  # of the oldest one, half may be forgotten: nobody asks it
            rows += " AND start > (SELECT MIN(start) FROM spend WHERE grain = 6)"
        first = f"start = (SELECT MIN(start) FROM spend WHERE {rows})"
        change(week, f"UPDATE spend SET idle_stuck_nanousd = idle_stuck_nanousd - 1 WHERE {rows} AND {first}")
        differences = verify(week.url).differences
        named = {2: "pool chat/h100/", 3: "team __unattributed__"}.get(scope, "identity __unattributed__")
        assert any(one.part == "idle_stuck" and named in one.where for one in differences)
        assert rebuild(week.engine, week.scalar("SELECT MAX(hour) FROM hour_state WHERE state = 'settled'")) == 2
        assert verify(week.url).balances


def test_a_nanodollar_that_moved_between_two_teams_is_found(week):
    hour = week.scalar("SELECT MIN(hour) FROM allocation_hour WHERE identity > 6")
    pool = week.scalar("SELECT MIN(pool) FROM allocation_hour WHERE hour = :hour AND identity > 6", hour=hour)
    for sign, who in (("+", "identity = 1"), ("-", "identity > 6")):
        where = f"hour = {hour} AND pool = {pool} AND {who}"
        change(week, f"UPDATE allocation_hour SET decode_nanousd = decode_nanousd {sign} 1 WHERE {where}")
    differences = verify(week.url).differences
    assert {one.one_sum - one.other_sum for one in differences} == {1, -1}
    assert all(one.part == "decode" for one in differences)


def test_an_older_ledger_gets_its_shifts_and_teams(week):
    asked = (
        f"SELECT {', '.join((*SPEND_KEY, *LINE_COLUMNS))} FROM spend ORDER BY {', '.join(SPEND_KEY)}",
        f"SELECT {', '.join((*CAPACITY_KEY, *PART_COLUMNS))} FROM capacity_spend ORDER BY {', '.join(CAPACITY_KEY)}",
    )
    with week.engine.begin() as connection:
        before = [connection.execute(text(sql)).all() for sql in asked]
        connection.execute(text("DELETE FROM spend WHERE grain = 6 OR scope = 3"))
        connection.execute(text("DELETE FROM capacity_spend WHERE grain = 6"))
        assert [connection.execute(text(sql)).all() for sql in asked] != before
        for statement in m0014_shifts.STATEMENTS:
            connection.execute(text(statement))
        assert [connection.execute(text(sql)).all() for sql in asked] == before
    assert verify(week.url).balances
