"""What may be believed of the lead, and for how long: by the clock alone."""

from __future__ import annotations

import threading
from collections import deque

import pytest

from controller.errors import AwayError
from controller.facts.leadership import LeaderTimes, Round, Term
from controller.leader.leadership import Elected, Sole, Tenure, identity
from tests.small_fleet import until

TIMES = LeaderTimes(duration_s=15, renew_deadline_s=10, retry_s=2)


def ours(epoch):
    return Round(ours=True, term=Term(epoch=epoch, holder="me"))


THEIRS = Round(term=Term(epoch=8, holder="other"), free_in_s=0.4)


class Script:
    """An election that answers as it is told, one answer a round; each round takes so long on the clock."""

    def __init__(self, *answers, takes_s=0.0):
        self.answers, self.takes_s, self.now_s, self.resigned = deque(answers), takes_s, 0.0, 0

    def clock(self):
        return self.now_s

    def round(self, now_s):
        assert now_s == self.now_s
        self.now_s += self.takes_s
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def resign(self):
        self.resigned += 1


@pytest.fixture
def stand():
    """An elected one whose rounds the test makes by hand."""

    def made(*answers, **how):
        script = Script(*answers, **how)
        return Elected(script, TIMES, clock=script.clock, chance=lambda: 0.5), script

    return made


def test_the_lead_is_believed_until_the_deadline_and_not_a_moment_longer(stand):
    one, script = stand(ours(3))
    assert one.held() is None
    one._round()
    assert one.held() == 3
    script.now_s = 9.99
    assert one.held() == 3
    script.now_s = 10.0
    assert one.held() is None, "though nobody has told us"


def test_the_deadline_counts_from_before_the_call_for_others_count_from_its_arrival(stand):
    one, script = stand(ours(3), takes_s=6.0)
    one._round()
    script.now_s = 9.9
    assert one.held() == 3
    script.now_s = 10.1
    assert one.held() is None


def test_a_round_that_fails_changes_nothing_before_the_deadline(stand):
    one, script = stand(ours(3), AwayError("the API server is away"), ours(3))
    one._round()
    script.now_s = 8.0
    assert one._round() == pytest.approx(2.0)
    assert one.held() == 3
    script.now_s = 9.5
    assert one._round() == 2.0
    script.now_s = 19.0
    assert one.held() == 3, "renewed at 9.5"


def test_who_leads_is_not_known_any_more_when_no_round_worked_for_the_whole_duration(stand):
    one, script = stand(THEIRS, AwayError("the API server is away"))
    one._round()
    assert one.seen().term.holder == "other"
    script.now_s = 14.0
    one._round()
    assert one.seen().problem == ""
    script.now_s = 15.1
    assert one.seen().problem == "the API server is away"


def test_another_one_s_lead_ends_ours_at_once(stand):
    one, _ = stand(ours(3), THEIRS)
    one._round()
    one._round()
    assert one.held() is None


def test_who_stands_by_looks_twice_as_often_and_in_time_for_the_end(stand):
    one, _ = stand(THEIRS, Round(), Round(free_in_s=30.0))
    assert one._round() == pytest.approx(0.4)
    assert one._round() == pytest.approx(1.1)
    assert one._round() == pytest.approx(1.1)


def test_a_tenure_is_one_term_and_no_other(stand):
    one, _ = stand(ours(3), THEIRS, ours(9))
    one._round()
    tenure = Tenure(3, one)
    assert tenure.lead() == 3
    one._round()
    assert tenure.lead() is None
    one._round()
    assert (one.held(), tenure.lead()) == (9, None)


def test_changes_are_told_once_each_and_a_broken_listener_stops_nothing(stand):
    one, script = stand(ours(3), ours(3), THEIRS)
    told = []
    one.on_change(lambda epoch: 1 / 0)
    one.on_change(told.append)
    for _ in range(3):
        one._round()
        one._tell()
    script.now_s = 100.0
    one._tell()
    assert told == [3, None]


def test_release_ends_the_lead_at_once_and_resigns_after_the_round_under_way():
    began, go_on = threading.Event(), threading.Event()

    class Slow(Script):
        def round(self, now_s):
            began.set()
            go_on.wait(20)
            return ours(4)

    script = Slow()
    one = Elected(script, TIMES, clock=script.clock)
    one.start()
    began.wait(20)
    releasing = threading.Thread(target=one.release)
    releasing.start()
    until(one._stop.is_set, "the release to begin")
    go_on.set()
    releasing.join(20)
    assert one.held() is None, "what the last round won is not kept"
    assert script.resigned == 1


def test_who_gives_the_lead_back_leads_no_longer_at_once_and_stands_again_when_others_had_their_chance(stand):
    one, script = stand(ours(3), ours(5))
    one._round()
    one.resign("its ledger is away")
    assert one.held() is None
    assert one.seen().problem == "this daemon gave the lead back: its ledger is away"
    assert one._turn() == TIMES.duration_s
    assert (script.resigned, one.held()) == (1, None)
    one._turn()
    assert (one.held(), one.seen().problem) == (5, "")


def test_a_round_under_way_keeps_no_lead_that_was_given_back(stand):
    class Slow(Script):
        def round(self, now_s):
            one.resign("its ledger is away")
            return ours(4)

    script = Slow()
    one = Elected(script, TIMES, clock=script.clock)
    one._turn()
    assert one.held() is None
    one._turn()
    assert script.resigned == 1


def test_a_lead_that_cannot_be_given_back_is_over_all_the_same(stand):
    class Away(Script):
        def resign(self):
            raise AwayError("the API server is away")

    script = Away(ours(4))
    one = Elected(script, TIMES, clock=script.clock)
    one._turn()
    one.resign("its ledger is away")
    assert one._turn() == TIMES.duration_s
    assert one.held() is None


def test_a_thread_that_meets_a_bug_goes_on():
    class Buggy(Script):
        rounds = 0

        def round(self, now_s):
            self.rounds += 1
            if self.rounds == 1:
                raise ZeroDivisionError("a bug")
            return ours(1)

    script = Buggy()
    one = Elected(script, LeaderTimes(duration_s=1, renew_deadline_s=0.5, retry_s=0.02), clock=script.clock)
    one.start()
    until(lambda: one.held() == 1, "the second round")
    one.release()
    one.release()
    assert script.resigned == 1


def test_every_start_of_a_process_is_somebody_else(monkeypatch):
    monkeypatch.setenv("POD_NAME", "pennyweight-0")
    assert identity().startswith("pennyweight-0_")
    assert identity() != identity()


def test_the_only_one_leads_as_long_as_it_lives():
    one = Sole(5)
    one.resign("its ledger is away")
    one.release()
    assert (one.held(), one.seen().term) == (5, None)
