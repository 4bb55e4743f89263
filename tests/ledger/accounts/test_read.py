"""Questions about money: the answer from cubes is the sum of the lines, whatever is asked."""

from __future__ import annotations

import random
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from controller.attribute.tables import HourLines
from controller.errors import LedgerError
from controller.facts.accounts import Identity
from controller.facts.fleet import CapacityType
from controller.ledger.accounts import cubes, dictionaries, lines, question
from controller.ledger.accounts.hours import hour_of
from controller.ledger.accounts.read import DIMENSIONS
from controller.ledger.accounts.retention import Keep, prune
from controller.ledger.accounts.tiling import Summed, tiled
from controller.ledger.accounts.verify import verify

POOLS = [("chat", "h100", "on_demand"), ("chat", "h100", "spot"), ("code", "a100", "reserved")]
PEOPLE = [
    Identity(team="search"),
    Identity(team="search", feature="rank"),
    Identity(team="sales", feature="rank", environment="staging"),
    Identity(tenant="acme"),
]
MONDAY = 96
"""1970-01-05 in hours."""

DAYS = 17
OPEN = 5
HOURS = DAYS * 24 - 11


@pytest.fixture
def filled(books):
    """Seventeen days from a Thursday noon on, of which the last hours are open; and all of its lines, one by one."""
    made = random.Random(7)
    pools = dictionaries.pools().ids(books.engine, POOLS)
    people = dictionaries.identities().ids(books.engine, [dictionaries.identity_key(one) for one in PEOPLE])
    first = hour_of(books.at(-84))
    facts = []
    with books.engine.begin() as connection:
        for hour in range(first, first + HOURS):
            settled = hour < first + HOURS - OPEN
            keys = [(pool, who) for pool in pools for who in people if made.random() < 0.4]
            post(connection, hour, 0, made_lines(made, keys), "settled" if settled else "open", facts)
            if settled:
                cubes.close(connection, hour)
        for _ in range(20):
            hour = made.randrange(first, first + HOURS - OPEN)
            change = made_lines(made, [(pools[0], people[0]), (pools[0], people[1]), (pools[2], people[3])])
            correct(connection, hour, change, first + HOURS - OPEN - 1, facts)
    names = dict(zip(pools, POOLS, strict=True)), dict(zip(people, PEOPLE, strict=True))
    return books, first, [(hour, named(names, pool, who), sums) for hour, pool, who, sums in facts]


def made_lines(made, keys):
    rows = np.array([[made.randrange(-1000, 10**9) for _ in range(16)] for _ in keys], dtype=np.int64).reshape(-1, 16)
    pairs = np.array(keys, dtype=np.int64).reshape(-1, 2)
    return HourLines(pool=pairs[:, 0], identity=pairs[:, 1], parts=rows[:, :12], tokens=rows[:, 12:])


def post(connection, hour, revision, made, state, facts):
    lines.insert_lines(connection, hour, revision, made)
    cubes.replace_hour(connection, hour, made)
    tokens = ", ".join(
        f"{who}_{name}" for who in ("engine", "logged") for name in ("uncached", "cached", "output", "requests")
    )
    now = "2026-03-01T00:00:00.000000+00:00"
    connection.execute(
        text(
            f"INSERT INTO hour_state (hour, state, revision, worked_at, method, note, measured_nanousd, cost_nanousd, {tokens}) "
            "VALUES (:hour, :state, 0, :now, '', '', 0, :cost, 0, 0, 0, 0, 0, 0, 0, 0)"
        ),
        {"hour": hour, "state": state, "now": now, "cost": int(made.parts.sum())},
    )
    remember(facts, hour, made)


def correct(connection, hour, change, through, facts):
    newest = connection.scalar(
        text("SELECT COALESCE(MAX(revision), 0) FROM allocation_hour WHERE hour = :hour"), {"hour": hour}
    )
    lines.insert_lines(connection, hour, newest + 1, change)
    cubes.correct(connection, hour, change, [], through)
    remember(facts, hour, change)


def remember(facts, hour, made):
    columns = (made.pool.tolist(), made.identity.tolist(), np.hstack((made.parts, made.tokens)).tolist())
    facts.extend((hour, pool, who, sums) for pool, who, sums in zip(*columns, strict=True))


def named(names, pool, who):
    service, variant, capacity_type = names[0][pool]
    identity = names[1][who]
    return {
        **{name: getattr(identity, name) for name in ("team", "tenant", "feature", "environment", "api_key")},
        "service": service,
        "variant": variant,
        "capacity_type": str(CapacityType(capacity_type)),
    }


def naive(facts, start, end, by, where, step):
    """The sum of all lines one by one."""
    sums = {}
    for hour, names, values in facts:
        if start <= hour < end and all(names[name] == value for name, value in where.items()):
            place = 0 if step is None else (hour - MONDAY) // step - (start - MONDAY) // step
            key = (place, tuple(names[name] for name in by))
            sums[key] = [a + b for a, b in zip(sums.get(key, [0] * 16), values, strict=True)]
    return {key: values for key, values in sums.items() if any(values)}


def asked(table):
    columns = (table.step.tolist(), table.key.tolist(), table.sums.tolist())
    return {(step, table.keys[key]): sums for step, key, sums in zip(*columns, strict=True) if any(sums)}


WHERE = st.sampled_from(
    [{}, {}, {"team": "search"}, {"service": "chat"}, {"feature": "rank", "capacity_type": "spot"}, {"team": "nobody"}]
)


def test_any_question_is_answered_with_the_sum_of_the_lines(filled, monkeypatch):
    books, first, facts = filled

    @settings(max_examples=40, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(
        begin=st.integers(-30, HOURS),
        length=st.integers(1, HOURS + 30),
        by=st.lists(st.sampled_from(DIMENSIONS), unique=True, max_size=3),
        where=WHERE,
        step=st.sampled_from([None, None, 24, 168, 7]),
    )
    def check(begin, length, by, where, step):
        start = first + begin
        table = books.reader.lines(
            books.at(-84 + begin),
            books.at(-84 + begin + length),
            by=by,
            where=where,
            step=None if step is None else timedelta(hours=step),
        )
        assert asked(table) == naive(facts, start, start + length, by, where, step)

    check()
    for step in (5, 24, 168):  # steps that begin before there was anything
        table = books.reader.lines(books.at(-84 - 30), books.at(100), by=("team",), step=timedelta(hours=step))
        assert asked(table) == naive(facts, first - 30, first + 184, ("team",), {}, step)
    monkeypatch.setattr(question, "LISTED", 0)  # too many to be listed: filtered after reading
    for by, where in (((), {"team": "search"}), (("service",), {"feature": "rank"}), (("team",), {"service": "chat"})):
        for step in (None, 24):
            length = None if step is None else timedelta(hours=step)
            table = books.reader.lines(books.at(-84), books.at(100), by=by, where=where, step=length)
            assert asked(table) == naive(facts, first, first + 184, by, where, step)


def test_a_team_that_goes_by_two_numbers_is_one_team(filled):
    """Two writers number theirs in any order: the first of a team may come after the second."""
    books, first, _ = filled
    pool = books.scalar("SELECT MIN(pool) FROM allocation_hour")
    one, other = made_lines(random.Random(3), [(pool, 1000)]), made_lines(random.Random(4), [(pool, 1000), (pool, 999)])
    for number, change in ((1000, one), (999, other)):
        books.run(
            "INSERT INTO identity (id, team, tenant, feature, environment, api_key) VALUES (:id, 'late', '', :name, '', '')",
            id=number,
            name=str(number),
        )
        with books.engine.begin() as connection:
            correct(connection, first + 30, change, first + HOURS - OPEN - 1, [])
    table = books.reader.lines(books.at(-84), books.at(200), by=("team", "service"), where={"team": "late"})
    assert table.keys == [("late", "chat")]
    assert table.sums.tolist() == [
        np.sum([*one.parts, *other.parts], axis=0).tolist() + np.sum([*one.tokens, *other.tokens], axis=0).tolist()
    ]


def test_shifts_of_before_there_were_any_are_made_of_their_hours(filled):
    books, first, facts = filled
    made = books.scalar("SELECT MIN(start) FROM spend WHERE grain = 6 AND start > :first + 200", first=first)
    books.run("DELETE FROM spend WHERE grain = 6 AND start < :made", made=made)
    for begin, end in ((0, 220), (100, 300), (190, 210)):
        table = books.reader.lines(books.at(-84 + begin), books.at(-84 + end), by=("team", "service"))
        assert asked(table) == naive(facts, first + begin, first + end, ("team", "service"), {}, None)


def test_after_hours_are_forgotten_whole_days_are_still_told_and_parts_of_days_refused(filled):
    books, first, facts = filled
    now = books.at(-84 + HOURS)
    assert prune(books.engine, now, Keep(hours=timedelta(days=4))) > 0
    kept = books.scalar("SELECT MIN(hour) FROM allocation_hour")
    assert kept > first
    assert books.scalar("SELECT MIN(start) FROM spend WHERE grain = 6") >= kept
    table = books.reader.lines(books.at(-84), books.at(200), by=("team",))
    assert asked(table) == naive(facts, first, first + 284, ("team",), {}, None)
    with pytest.raises(LedgerError, match="ask from midnight to midnight UTC"):
        books.reader.lines(books.at(-48), books.at(-45))


@given(
    start=st.integers(0, 2000),
    length=st.integers(0, 1500),
    through=st.integers(-1, 3000),
    shifts=st.none() | st.integers(0, 2000),
)
def test_tiles_cover_a_window_once_and_never_take_an_open_day_nor_a_shift_that_is_not_there(
    start, length, through, shifts
):
    tiles = tiled(start, start + length, Summed(through, shifts))
    edges = [edge for tile in tiles for edge in (tile.start, tile.end)]
    assert edges[:1] + edges[-1:] == ([start, start + length] if length else [])
    assert edges[1:-1:2] == edges[2::2]
    for tile in tiles:
        assert (tile.end - tile.start) % tile.grain == 0
        assert tile.grain == 1 or tile.end <= through + 1
        assert tile.grain != 6 or (shifts is not None and tile.start >= shifts)
    if through >= start + length and length >= 14 * 24:
        assert any(tile.grain == 168 for tile in tiles)
    if through >= start + length and shifts == 0:
        assert sum(tile.end - tile.start for tile in tiles if tile.grain == 1) <= 5 + 5


def test_a_dimension_that_there_is_not_is_named(books):
    with pytest.raises(LedgerError, match="unknown dimension colour; expected some of team, tenant"):
        books.reader.lines(books.at(0), books.at(1), by=("colour",))


def test_a_day_can_be_read_line_by_line_and_seat_by_seat(books):
    books.hour(3, prompt_tokens=3000.0, output_tokens=1000.0, requests=10.0, prefill_s=20.0, decode_s=30.0)
    books.send(books.record("r", 3))
    books.settler.settle(books.at(6))
    books.send(books.record("late", 3, identity=Identity(team="sales")))
    books.settler.settle(books.at(6.1))
    day = books.midnight.date()
    found = list(books.reader.hour_lines(day))
    paid = books.scalar("SELECT SUM(cost_nanousd) FROM replica_minute")
    assert sum(sum(one.parts) for one in found) == paid
    assert {one.posted_at for one in found if one.revision == 1} == {books.at(6.1)}
    assert [one.effective_nanousd for one in books.reader.seat_hours(day)] == [paid]
    assert books.reader.minutes(books.at(3), books.at(4)).cost_nanousd == paid
    assert [one.revision for one in books.reader.revisions(books.at(0), books.at(24))] == [1]
    assert books.reader.open_hours(books.at(0), books.at(24)) == 3
    assert [one.records for one in books.reader.sources()] == [2]
    assert verify(books.url).balances
