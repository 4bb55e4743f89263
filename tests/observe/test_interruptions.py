"""The board between those who announce and the passes."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.aws.interruptions_messages import Told
from controller.errors import LedgerError
from controller.facts.interruptions import LOCAL, Notice, NoticeKind
from controller.facts.missing import Missing
from controller.facts.readings import Phase, ReplicaState
from controller.observe.interruptions import KEPT, MOST_NOTICES, Interruptions, joined

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SPOT = Notice(node="i-1", kind=NoticeKind.SPOT, at=NOW, deadline=NOW + timedelta(seconds=120), source="sqs")


def later(s):
    return NOW + timedelta(seconds=s)


def told(board, *notices, now=NOW, **changes):
    board.heard("sqs")(Told(notices=notices, **changes), now)


def test_a_notice_counts_at_once_and_is_forgotten_when_its_machine_is_long_gone():
    board = Interruptions()
    told(board, SPOT)
    assert board.notices(NOW) == {"i-1": SPOT}
    assert board.notices(later(120) + KEPT) == {"i-1": SPOT}
    assert board.notices(later(121) + KEPT) == {}


def test_a_warning_that_comes_too_late_still_says_that_the_machine_is_lost():
    board = Interruptions()
    told(board, SPOT, now=later(121))
    (notice,) = board.notices(later(121)).values()
    assert (notice.kind, notice.ends, notice.deadline) == (NoticeKind.STOPPED, True, SPOT.deadline)


@pytest.mark.parametrize("first", [True, False])
def test_of_a_hint_and_a_warning_the_warning_counts(first):
    board, hint = Interruptions(), replace(SPOT, kind=NoticeKind.REBALANCE, deadline=None, at=later(1))
    told(board, *((hint, SPOT) if first else (SPOT, hint)))
    assert board.notices(NOW) == {"i-1": SPOT}


def test_a_warning_that_comes_again_gives_no_more_time():
    board = Interruptions()
    told(board, SPOT)
    told(board, replace(SPOT, at=later(60), deadline=later(180)))
    assert board.notices(NOW)["i-1"].deadline == later(120)
    told(board, replace(SPOT, at=later(60), deadline=later(90)))
    assert board.notices(NOW)["i-1"].deadline == later(90)


def test_maintenance_counts_from_its_lead_on():
    board = Interruptions(timedelta(minutes=30))
    planned = Notice(node="i-1", kind=NoticeKind.MAINTENANCE, at=NOW, deadline=NOW + timedelta(days=3), source="sqs")
    told(board, planned)
    assert board.notices(NOW) == {}
    assert board.notices(NOW + timedelta(days=3, minutes=-30)) == {"i-1": planned}
    unknown = replace(planned, node="i-2", deadline=None)
    told(board, unknown)
    assert board.notices(NOW) == {"i-2": unknown}, "when it begins is not known: it may be now"


@pytest.mark.parametrize("first", [True, False])
def test_maintenance_of_an_unknown_time_and_of_a_later_date_do_not_silence_each_other(first):
    """Its group ends an instance now (a lifecycle action tells no time) that is also planned to be retired in days."""
    board = Interruptions(timedelta(minutes=30))
    planned = Notice(node="i-1", kind=NoticeKind.MAINTENANCE, at=NOW, deadline=NOW + timedelta(days=3), source="sqs")
    now = replace(planned, deadline=None, at=later(5))
    for one in (now, planned) if first else (planned, now):
        told(board, one)
    assert board.notices(later(5)) == {"i-1": now}
    assert board.notices(NOW + timedelta(days=3, minutes=-30)) == {"i-1": planned}


def test_where_both_count_the_date_is_told():
    board = Interruptions(timedelta(minutes=30))
    soon = Notice(node="i-1", kind=NoticeKind.MAINTENANCE, at=NOW, deadline=later(600), source="sqs")
    for at in (later(-5), later(5)):
        told(board, soon, replace(soon, deadline=None, at=at))
        assert board.notices(later(5)) == {"i-1": soon}


def test_a_spot_warning_without_a_time_gets_it_from_the_next_one():
    board = Interruptions()
    told(board, replace(SPOT, deadline=None))
    told(board, replace(SPOT, at=later(5)))
    assert board.notices(later(5))["i-1"].deadline == SPOT.deadline


def test_a_machine_that_runs_again_has_no_notice_of_before():
    board = Interruptions()
    told(board, SPOT)
    told(board, running="i-1", at=later(-1))
    assert board.notices(NOW) == {"i-1": SPOT}, "events come in any order"
    told(board, running="i-1", at=later(300))
    assert board.notices(NOW) == {}


RETIRED = Notice(
    node="i-1",
    kind=NoticeKind.MAINTENANCE,
    at=NOW,
    deadline=NOW + timedelta(days=3),
    source="sqs",
    announcement="retirement",
)


def change(board, *notices, at, over=False, resolved=()):
    """What AWS Health says at ``at`` of the change ``RETIRED`` is of."""
    of = () if over else (*(one.node for one in notices), *resolved)
    told(board, *(replace(one, at=at) for one in notices), takes_back="retirement", of=of, at=at, now=at)


def test_maintenance_that_is_called_off_counts_no_more():
    board, other = Interruptions(timedelta(days=7)), replace(RETIRED, node="i-2")
    change(board, RETIRED, other, at=NOW)
    assert board.notices(NOW).keys() == {"i-1", "i-2"}
    change(board, other, at=later(60), resolved=("i-1",))
    assert board.notices(later(60)).keys() == {"i-2"}
    change(board, at=later(120), over=True)
    assert board.notices(later(120)) == {}


def test_maintenance_that_is_put_off_counts_from_its_new_date():
    board = Interruptions(timedelta(minutes=30))
    change(board, RETIRED, at=NOW)
    later_date = RETIRED.deadline + timedelta(days=4)
    change(board, replace(RETIRED, deadline=later_date), at=later(60))
    assert board.notices(RETIRED.deadline) == {}
    assert board.notices(later_date)["i-1"].deadline == later_date


def test_what_was_said_before_it_was_called_off_comes_too_late():
    """SQS and EventBridge keep no order."""
    board = Interruptions(timedelta(days=7))
    change(board, at=later(60), over=True)
    change(board, RETIRED, at=NOW)
    assert board.notices(later(61)) == {}
    change(board, RETIRED, at=later(120))
    assert board.notices(later(120)).keys() == {"i-1"}, "announced anew"
    change(board, at=later(60), over=True)
    assert board.notices(later(120)).keys() == {"i-1"}


def test_calling_one_change_off_leaves_what_others_said_of_the_machine():
    board = Interruptions(timedelta(days=7))
    sooner = replace(RETIRED, announcement="network", deadline=RETIRED.deadline - timedelta(days=1))
    told(board, SPOT, sooner, now=NOW)
    change(board, RETIRED, at=NOW)
    told(board, takes_back="network", at=later(5), now=later(5))
    assert board.notices(later(5)) == {"i-1": SPOT}
    told(board, running="i-1", at=later(5))
    change(board, RETIRED, at=later(6))
    assert board.notices(later(6))["i-1"].deadline == RETIRED.deadline


def test_of_two_changes_of_one_machine_the_sooner_counts():
    board = Interruptions(timedelta(days=7))
    sooner = replace(RETIRED, announcement="network", deadline=RETIRED.deadline - timedelta(days=1), at=later(5))
    told(board, RETIRED, sooner, now=later(5))
    assert board.notices(later(5)) == {"i-1": sooner}
    told(board, takes_back="network", at=later(6), now=later(6))
    assert board.notices(later(6)) == {"i-1": RETIRED}


def test_notices_are_bounded():
    board = Interruptions()
    for number in range(MOST_NOTICES + 5):
        board._put(replace(SPOT, node=f"i-{number}"))
    assert len(board.notices(NOW)) == MOST_NOTICES


class Book:
    """A ledger of what was announced; ``away``: it cannot be written."""

    def __init__(self):
        self.kept, self.writes, self.away = {}, 0, False

    def keep(self, said, over, now):
        if self.away:
            raise LedgerError("the ledger is away")
        self.writes += 1
        for one in over:
            del self.kept[one.key]
        self.kept |= {one.key: one for one in said}

    def board(self):
        """That of a new term."""
        board = Interruptions(timedelta(minutes=30))
        board.begin(self.kept.values(), self.keep)
        return board


def kept(board, *notices, now=NOW, **changes):
    told(board, *notices, now=now, **changes)
    board.keep(now)


def test_maintenance_days_ahead_is_known_after_a_restart():
    book = Book()
    kept(book.board(), RETIRED)
    assert book.board().notices(RETIRED.deadline - timedelta(minutes=15)) == {"i-1": RETIRED}


def test_what_was_taken_back_or_is_over_is_not_known_after_a_restart():
    book = Book()
    first = book.board()
    kept(first, RETIRED, replace(SPOT, node="i-2"), replace(SPOT, node="i-3"))
    kept(first, running="i-2", at=later(5))
    kept(book.board(), takes_back="retirement", at=later(60), now=later(60))
    assert book.board().notices(RETIRED.deadline).keys() == set()
    assert book.board().notices(later(60)).keys() == {"i-3"}
    kept(book.board(), now=later(121) + KEPT)
    assert book.kept == {}


def test_what_could_not_be_written_down_counts_all_the_same_and_is_written_with_the_next():
    book = Book()
    board, book.away = book.board(), True
    with pytest.raises(LedgerError):
        kept(board, SPOT)
    assert board.notices(NOW) == {"i-1": SPOT}
    book.away = False
    kept(board, replace(SPOT, node="i-2"))
    assert book.board().notices(NOW).keys() == {"i-1", "i-2"}


def test_what_says_nothing_new_writes_nothing():
    book = Book()
    board = book.board()
    kept(board, SPOT)
    kept(board, SPOT)
    kept(board, running="i-9", at=NOW)
    kept(book.board(), SPOT)
    assert book.writes == 1


def test_what_the_daemon_s_own_machine_is_told_is_no_word_on_another_daemon_s():
    book = Book()
    kept(book.board(), replace(SPOT, node=LOCAL), replace(SPOT, source="imds"))
    assert book.board().notices(NOW).keys() == {"i-1"}


class Source:
    """Somebody who was not heard for ``away_s``."""

    name = "sqs"

    def __init__(self, away_s):
        self.away_s, self.started, self.closed = away_s, False, False

    def start(self):
        self.started = True

    def close(self):
        self.closed = True

    def age_s(self, now):
        return self.away_s

    def problem(self, now):
        return Missing("interruption notices", "away") if self.away_s > 120 else None


def test_what_sources_lack_is_a_problem_and_how_long_a_metric():
    board, near, far = Interruptions(), Source(3.0), Source(200.0)
    board.heed([near, far])
    assert not near.started, "what earlier terms were told comes first"
    board.begin()
    told(board, SPOT)
    assert (near.started, far.started) == (True, True)
    assert [(one.age_s, one.heard) for one in board.seen(NOW)] == [(3.0, 1), (200.0, 1)]
    assert [str(one) for one in board.problems(NOW)] == [str(Missing("interruption notices", "away"))]
    board.close()
    assert near.closed
    assert far.closed


STATE = ReplicaState(replica="r1", variant="h100", phase=Phase.READY, since=NOW, node="i-1")


def test_replicas_learn_what_was_announced_about_their_machines():
    other = replace(STATE, replica="r2", node="i-2")
    known = replace(STATE, replica="r3", notice=replace(SPOT, source="kubernetes"))
    nowhere = replace(STATE, replica="r4", node="")
    seen = joined((STATE, other, known, nowhere), {"i-1": SPOT, "i-9": SPOT})
    assert seen == (replace(STATE, notice=SPOT), other, known, nowhere)
    assert joined(Missing("replicas", "away"), {"i-1": SPOT}) == Missing("replicas", "away")


@pytest.mark.parametrize("named", ["node-7", "i-7"])
def test_a_notice_finds_its_replica_by_either_name_of_the_machine(named):
    state = ReplicaState(replica="chat-0", variant="h100", phase=Phase.READY, since=NOW, node="node-7", instance="i-7")
    notice = replace(SPOT, node=named)
    assert joined((state,), {named: notice})[0].notice == notice
    hint = replace(SPOT, node="node-7", kind=NoticeKind.REBALANCE)
    both = {"node-7": hint, "i-7": replace(SPOT, node="i-7")}
    assert joined((state,), both)[0].notice.kind is NoticeKind.SPOT, "the more urgent of two"


NOTICES = st.builds(
    Notice,
    node=st.sampled_from(["i-1", "i-2"]),
    kind=st.sampled_from(NoticeKind),
    at=st.integers(-600, 600).map(later),
    deadline=st.none() | st.integers(-600, 600).map(later),
    source=st.just("sqs"),
)


@given(st.lists(NOTICES, max_size=6))
def test_no_end_is_lost_whatever_the_order(notices):
    board = Interruptions(timedelta(days=1))
    told(board, *notices)
    ending = {one.node for one in notices if one.ends}
    assert {node for node, one in board.notices(NOW).items() if one.ends} == ending


def test_writing_and_reading_at_once_do_no_harm():
    board, failed = Interruptions(), []

    def write():
        try:
            for number in range(300):
                told(board, replace(SPOT, node=f"i-{number}"))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        board.notices(NOW)
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(board.notices(NOW)) == 300
