"""Elections by the ledger's own locks: SQLite's file beside it, PostgreSQL's advisory lock."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing

import psycopg
import pytest

from controller.errors import LedgerError
from controller.facts.leadership import LeaderTimes
from controller.ledger.election import AdvisoryElection, FileElection
from controller.ledger.write import Ledger
from tests.small_fleet import until

TIMES = LeaderTimes(duration_s=4.0, renew_deadline_s=3.0, retry_s=0.1)
AGES = LeaderTimes(duration_s=900.0, renew_deadline_s=600.0, retry_s=0.1)
"""Nobody waits for the end of these: what happens with them happens at once, however slow the machine."""

LEAD_ON = """
import sys, time
from datetime import UTC, datetime
from controller.facts.leadership import LeaderTimes
from controller.ledger.election import AdvisoryElection, FileElection
url = sys.argv[1]
kind = FileElection if url.startswith("sqlite") else AdvisoryElection
duration_s, renew_deadline_s = map(float, sys.argv[2:])
times = LeaderTimes(duration_s=duration_s, renew_deadline_s=renew_deadline_s, retry_s=0.1)
one = kind(url, "", me="other", times=times, utc=lambda: datetime(2026, 3, 1, tzinfo=UTC))
while True:
    try:
        told = one.round(time.monotonic())
        print("leads" if told.ours else "follows", told.term.epoch, flush=True)
    except Exception as error:
        print("failed", str(error).replace(chr(10), " "), flush=True)
    time.sleep(0.05)
"""


@pytest.fixture
def times():
    return TIMES


@pytest.fixture
def election(url, make, times):
    """Makes candidates for the lead of a ledger that is there."""
    with closing(Ledger.open(url)):
        """The schema."""
    made = []

    def stand(me, fleet=""):
        kind = FileElection if url.startswith("sqlite") else AdvisoryElection
        made.append(kind(url, fleet, me=me, times=times, utc=lambda: make.noon))
        return made[-1]

    yield stand
    for one in made:
        one.resign()


@pytest.fixture
def other(url, election, times):
    """The same in a process of its own."""
    command = [sys.executable, "-c", LEAD_ON, url, str(times.duration_s), str(times.renew_deadline_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def heard(process, pattern, deadline_s=60.0):
    ends = time.monotonic() + deadline_s
    while not re.match(pattern, line := process.stdout.readline()):
        assert time.monotonic() < ends, line
    return line


def test_one_leads_the_others_see_who_and_whoever_resigns_is_followed_at_once(election):
    a, b = election("a"), election("b")
    assert [a.round(0.0).ours, a.round(1.0).term.epoch] == [True, 0]
    followed = b.round(1.0)
    assert (followed.ours, followed.term.holder, followed.term.epoch) == (False, "a", 0)
    assert followed.term.since is not None
    a.resign()
    until(lambda: b.round(1.1).ours, "the lock to be free: PostgreSQL frees it when it has seen the session end")
    won = b.round(1.1)
    assert (won.term.epoch, won.term.holder) == (1, "b")
    assert a.round(1.2).term.holder == "b", "who resigned may stand again"


def test_the_leaders_of_two_fleets_do_not_know_of_each_other(election):
    assert election("a", "eu").round(0.0).ours
    assert election("b", "us").round(0.0).ours


@pytest.mark.parametrize("times", [AGES], ids=["ages"])
def test_a_leader_that_is_killed_is_followed_at_once(election, other):
    assert heard(other, "leads") == "leads 0\n"
    mine = election("mine")
    assert not mine.round(time.monotonic()).ours
    other.kill()
    other.wait()
    until(lambda: mine.round(time.monotonic()).ours, "the lock to be free, long before its time is over")


def test_a_leader_that_is_stopped_loses_the_lead_and_finds_out_when_it_goes_on(election, other):
    heard(other, "leads")
    mine = election("mine")
    mine.round(time.monotonic())
    os.kill(other.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        until(lambda: mine.round(time.monotonic()).ours, "the other one's time to be over")
        assert time.monotonic() - began > TIMES.renew_deadline_s - 0.2, "not before it has stopped itself"
    finally:
        os.kill(other.pid, signal.SIGCONT)
    assert heard(other, "follows") == "follows 1\n"
    assert mine.round(time.monotonic()).ours


def test_a_database_that_is_away_is_a_sentence_and_no_lead(election, url, fresh_postgres):
    if url.startswith("sqlite"):
        one = FileElection("sqlite:////nowhere/at/all.db", "", me="a", times=TIMES, utc=lambda: None)
        expected = "could not see who leads in /nowhere/at/all.db.leader: No such file"
    else:
        away = re.sub("host=.*", "host=/nowhere", url)
        one, expected = AdvisoryElection(away, "", me="a", times=TIMES, utc=lambda: None), "could not see who leads in"
    with pytest.raises(LedgerError, match=expected):
        one.round(0.0)
    one.resign()


class TestTheFile:
    """Times are told, none passes."""

    @pytest.fixture
    def times(self):
        return LeaderTimes(duration_s=2.0, renew_deadline_s=1.5, retry_s=0.1)

    @pytest.fixture
    def fresh_url(self, tmp_path):
        return lambda: f"sqlite:///{tmp_path / 'ledger.db'}"

    def test_of_two_that_wait_for_a_stopped_leader_one_takes_over(self, election):
        a, b, c = election("a"), election("b"), election("c")
        a.round(0.0)
        assert b.round(0.0).free_in_s == c.round(0.0).free_in_s == 2.0
        assert b.round(2.0).ours
        assert c.round(2.0).term.holder == "b"
        assert a.round(2.1).term.holder == "b"

    def test_a_leader_that_renews_is_waited_for(self, election):
        a, b = election("a"), election("b")
        for at in range(6):
            assert a.round(float(at)).ours
            assert not b.round(float(at)).ours

    def test_a_lock_file_that_was_deleted_ends_the_term_and_begins_the_next(self, election, tmp_path):
        a = election("a")
        a.round(0.0)
        (tmp_path / "ledger.db.leader").unlink()
        assert a.round(1.0).term.epoch == 1

    def test_a_file_that_says_nonsense_is_waited_for_like_any(self, election, tmp_path):
        a, b = election("a"), election("b")
        a.round(0.0)
        (tmp_path / "ledger.db.leader").write_text("{")
        assert (b.round(0.0).term, b.round(0.0).ours) == (None, False)


class TestTheAdvisoryLock:
    @pytest.fixture
    def fresh_url(self, fresh_postgres):
        return fresh_postgres

    def test_a_session_that_the_server_ended_is_a_lead_lost(self, election, url, postgres_folder):
        a, b = election("a"), election("b")
        a.round(0.0)
        with psycopg.connect(host=postgres_folder, user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", (a._backend,))
        with pytest.raises(LedgerError, match="could not see who leads"):
            until(lambda: a.round(1.0) is None, "the session to end")
        until(lambda: b.round(1.0).ours, "the ended session to let go of the lock")
        assert b.round(1.0).term.epoch == 1
        assert a.round(2.0).term.holder == "b"

    def test_a_pooler_that_hands_out_other_sessions_is_found_out(self, election):
        a = election("a")
        a.round(0.0)
        a._backend += 1
        with pytest.raises(LedgerError, match="answers from another session"):
            a.round(1.0)
