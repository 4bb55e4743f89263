"""One round over a Lease, in tables and over made-up histories: never two holders, never a clock of somebody else's."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.leader.lease import LeaseRecord, Watched, lease_step, released

THEIRS = LeaseRecord(holder="b", duration_s=15, acquired="then", renewed="t0", transitions=4)
MINE = replace(THEIRS, holder="a")
FREE = replace(THEIRS, holder="")


def step(record, watched=None, now_s=100.0):
    return lease_step(record, watched, me="a", now_s=now_s, at="now", duration_s=15)


def seen(record, since_s):
    return Watched(record=record, since_s=since_s)


@pytest.mark.parametrize(
    ("record", "watched", "written"),
    [
        (None, None, LeaseRecord(holder="a", duration_s=15, acquired="now", renewed="now", transitions=0)),
        (MINE, None, replace(MINE, renewed="now")),
        (FREE, None, LeaseRecord(holder="a", duration_s=15, acquired="now", renewed="now", transitions=5)),
        (THEIRS, None, None),
        (THEIRS, seen(THEIRS, 86.0), None),
        (
            THEIRS,
            seen(THEIRS, 85.0),
            LeaseRecord(holder="a", duration_s=15, acquired="now", renewed="now", transitions=5),
        ),
        (THEIRS, seen(replace(THEIRS, renewed="t-1"), 0.0), None),
        (replace(THEIRS, duration_s=60), seen(replace(THEIRS, duration_s=60), 85.0), None),
        (replace(THEIRS, duration_s=1), seen(replace(THEIRS, duration_s=1), 90.0), None),
        (LeaseRecord(), None, LeaseRecord(holder="a", duration_s=15, acquired="now", renewed="now", transitions=1)),
    ],
    ids=[
        "no Lease yet",
        "ours is renewed: acquired and transitions stay",
        "released: at once",
        "seen for the first time: its whole duration from now",
        "unchanged for 14 s",
        "unchanged for 15 s",
        "renewed since we looked last",
        "it asks for longer than we would",
        "it asks for less than we would",
        "somebody made an empty one by hand",
    ],
)
def test_what_is_written(record, watched, written):
    assert step(record, watched).write == written


def test_the_time_of_day_in_the_record_decides_nothing():
    old = replace(THEIRS, renewed="1970-01-01T00:00:00.000000Z", acquired="1970-01-01T00:00:00.000000Z")
    assert step(old).write is None
    future = replace(THEIRS, renewed="2999-01-01T00:00:00.000000Z")
    assert step(future, seen(future, 85.0)).takes


def test_whoever_follows_knows_when_the_time_is_over():
    first = step(THEIRS, now_s=100.0)
    assert (first.free_in_s, first.watched) == (15.0, seen(THEIRS, 100.0))
    assert step(THEIRS, first.watched, now_s=106.5).free_in_s == 8.5


def test_release_empties_the_holder_and_keeps_the_transitions():
    assert released(MINE, "now") == replace(MINE, holder="", duration_s=1, renewed="now")
    assert step(released(replace(MINE, holder="b"), "now")).write.transitions == 5


class Node:
    """A candidate with a clock of its own, which may go at its own time but not at its own speed."""

    def __init__(self, name: str, offset_s: float) -> None:
        self.name, self.offset_s = name, offset_s
        self.watched: Watched | None = None
        self.until_s = -inf

    def round(self, record: LeaseRecord | None, now_s: float) -> LeaseRecord | None:
        mine_s = now_s + self.offset_s
        made = lease_step(record, self.watched, me=self.name, now_s=mine_s, at=f"{now_s}", duration_s=15)
        self.watched = made.watched
        if made.write is not None:
            self.until_s = mine_s + 10
        return made.write

    def leads(self, now_s: float) -> bool:
        return now_s + self.offset_s < self.until_s


@given(
    offsets=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=4),
    moves=st.lists(st.tuples(st.integers(0, 3), st.floats(0.01, 12.0)), min_size=1, max_size=60),
)
def test_never_do_two_lead_at_once_whatever_their_clocks_say_and_whoever_sleeps(offsets, moves):
    nodes, record, now_s, transitions = [Node(f"n{i}", one) for i, one in enumerate(offsets)], None, 0.0, []
    for who, pause_s in moves:
        now_s += pause_s
        written = nodes[who % len(nodes)].round(record, now_s)
        if written is not None:
            if record is not None and written.holder != record.holder:
                assert written.transitions == record.transitions + 1
            record = written
            transitions.append((record.transitions, record.holder))
        assert sum(one.leads(now_s) for one in nodes) <= 1
    assert [one for one, _ in transitions] == sorted(one for one, _ in transitions)
    assert len(set(transitions)) == len({one for one, _ in transitions}), "an epoch has one holder"
