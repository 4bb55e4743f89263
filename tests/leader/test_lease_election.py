"""The election over a Lease, against an API server that has real semantics and breaks on demand."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from controller.errors import AwayError, ConflictError, LedgerError
from controller.facts.leadership import LeaderTimes, Term
from controller.kubernetes.api import Api, config_of
from controller.kubernetes.resources import LEASES
from controller.leader.leadership import Elected
from controller.leader.lease_election import micro_time, record_of
from tests.cluster.faults import Fault, FaultKind
from tests.small_fleet import until


@pytest.fixture
def api(cluster, tmp_path):
    made = Api(config_of(kubeconfig=str(cluster.server.kubeconfig(tmp_path / "kubeconfig"))))
    yield made
    made.close()


@pytest.fixture
def lease(api):
    """The Lease as it is now."""
    return lambda: api.get(LEASES, "llm", "pennyweight")


@pytest.mark.cluster
def test_the_first_one_makes_the_lease_as_the_api_wants_it(candidate, lease, book):
    won = candidate("a").round(0.0)
    assert (won.ours, won.term.epoch, won.term.holder) == (True, 0, "a")
    spec = lease()["spec"]
    assert spec == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-11-21T12:00:00.000000Z",
        "renewTime": "2026-11-21T12:00:00.000000Z",
        "leaseTransitions": 0,
    }
    assert [one.epoch for one in book.terms] == [0]


def test_a_time_has_six_decimals_and_is_utc():
    here = timezone(timedelta(hours=2))
    assert micro_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=here)) == "2026-01-02T01:04:05.000000Z"
    assert re.fullmatch(r".*\.\d{6}Z", micro_time(datetime(2026, 1, 2, 3, 4, 5, 120, tzinfo=here)))


@pytest.mark.cluster
def test_a_second_one_follows_until_the_first_is_silent_for_its_whole_time(candidate, book):
    first, second = candidate("a"), candidate("b")
    assert first.round(0.0).ours
    followed = second.round(1000.0)
    assert (followed.ours, followed.term.holder, followed.free_in_s) == (False, "a", 15.0)
    assert not second.round(1014.9).ours
    won = second.round(1015.0)
    assert (won.ours, won.term.epoch) == (True, 1)
    with pytest.raises(ConflictError):
        first.round(20.0)  # it wakes, and renews what it knows
    assert first.round(22.0).term.holder == "b"
    assert [(one.epoch, one.holder) for one in book.terms] == [(0, "a"), (1, "b")]


def test_renewals_are_one_call_each_and_keep_the_term(candidate, cluster, lease):
    one = candidate("a")
    one.round(0.0)
    cluster.server.forget_calls()
    assert [one.round(float(at)).term.epoch for at in (2, 4, 6)] == [0, 0, 0]
    assert cluster.server.counts() == {("update", "leases.coordination.k8s.io"): 3}
    assert lease()["spec"]["leaseTransitions"] == 0


@pytest.mark.cluster
def test_somebody_elses_annotation_costs_a_round_and_nothing_else(candidate, api, lease):
    one = candidate("a")
    one.round(0.0)
    api.patch(LEASES, "llm", "pennyweight", {"metadata": {"annotations": {"seen-by": "ann"}}})
    with pytest.raises(ConflictError):
        one.round(2.0)
    assert one.round(4.0).term.epoch == 0
    assert lease()["metadata"]["annotations"] == {"seen-by": "ann"}, "what others wrote stays"


@pytest.mark.cluster
def test_whoever_resigns_is_followed_at_once_and_the_count_goes_on(candidate, lease):
    first, second = candidate("a"), candidate("b")
    first.round(0.0)
    second.round(0.0)
    first.resign()
    assert (lease()["spec"]["holderIdentity"], lease()["spec"]["leaseTransitions"]) == ("", 0)
    assert second.round(1.0).term.epoch == 1


@pytest.mark.cluster
def test_whoever_leads_no_longer_gives_nothing_back(candidate, lease):
    first, second = candidate("a"), candidate("b")
    first.round(0.0)
    second.round(0.0)
    second.round(15.0)
    first.resign()
    assert lease()["spec"]["holderIdentity"] == "b"


@pytest.mark.parametrize("kind", [FaultKind.LOST, FaultKind.HANG, FaultKind.GARBAGE_AFTER, FaultKind.STATUS_AFTER])
@pytest.mark.parametrize("verb", ["create", "update"])
def test_a_write_that_worked_without_an_answer_is_found_in_the_next_round(candidate, cluster, book, kind, verb):
    one = candidate("a")
    if verb == "update":
        one.round(0.0)
    cluster.server.faults.add(Fault(kind=kind, verb=verb, resource="leases.coordination.k8s.io"))
    with pytest.raises(AwayError if kind is not FaultKind.GARBAGE_AFTER else Exception):
        one.round(2.0)
    won = one.round(4.0)
    assert (won.ours, won.term.epoch) == (True, 0)
    assert len(book.terms) == 1


@pytest.mark.cluster
def test_a_lease_that_was_deleted_begins_a_term_that_no_earlier_one_had(candidate, cluster, book):
    first, second = candidate("a"), candidate("b")
    first.round(0.0)
    second.round(0.0)
    second.round(15.0)
    cluster.remove("Lease", "pennyweight")
    with pytest.raises(ConflictError):
        second.round(17.0)
    won = second.round(19.0)
    assert (won.ours, won.term.epoch) == (True, 2), "not 0 again: the ledger knows 1"
    assert [one.epoch for one in book.terms] == [0, 1, 2]


@pytest.mark.cluster
def test_without_the_ledger_nobody_begins_and_the_lease_is_left_to_who_can(candidate, book, api):
    book.down = True
    with pytest.raises(LedgerError):
        candidate("a").round(0.0)
    with pytest.raises(Exception, match="404"):
        api.get(LEASES, "llm", "pennyweight")


@pytest.mark.cluster
def test_who_cannot_write_the_ledger_leaves_a_lease_that_is_free_to_who_can(candidate, book, lease):
    first, second = candidate("a"), candidate("b")
    first.round(0.0)
    first.resign()
    book.read_only = True
    for at in range(3):
        with pytest.raises(LedgerError):
            second.round(float(at))
    assert (lease()["spec"]["holderIdentity"], lease()["spec"]["leaseTransitions"]) == ("", 0), (
        "nothing goes to and fro"
    )
    book.read_only = False
    assert second.round(4.0).term.epoch == 1


def test_a_lease_whose_term_could_not_be_recorded_is_not_renewed(candidate, cluster, book, monkeypatch):
    first, second = candidate("a"), candidate("b")
    monkeypatch.setattr(book, "enter", lambda term: book.newest_term() or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        first.round(0.0)
    monkeypatch.undo()
    book.read_only = True
    cluster.server.forget_calls()
    with pytest.raises(LedgerError):
        first.round(2.0)
    assert ("update", "leases.coordination.k8s.io") not in cluster.server.counts()
    second.round(2.0)
    book.read_only = False
    assert second.round(17.0).ours


def test_a_leader_that_is_cut_off_from_the_ledger_is_followed_and_stands_again_when_it_is_not(
    candidate, cluster, book, lease
):
    times = LeaderTimes(duration_s=1.0, renew_deadline_s=0.8, retry_s=0.1)
    cut_off = replace(book)  # the same terms
    first, second = (Elected(candidate(me, sees, times), times) for me, sees in (("a", cut_off), ("b", book)))
    first.start()
    until(lambda: first.held() == 0, "the first one to lead")
    second.start()
    cut_off.down = True
    first.resign("3 passes in a row could not be recorded")
    until(lambda: second.held() == 1, "the other one to lead")
    assert first.held() is None
    second.release()
    time.sleep(2 * times.duration_s)
    assert (first.held(), lease()["spec"]["leaseTransitions"]) == (None, 1), "it does not stand"
    cut_off.down = False
    until(lambda: first.held() == 2, "the first one to lead again")
    first.release()


@pytest.mark.cluster
def test_an_entry_whose_answer_was_lost_is_the_same_term(candidate, book):
    book.answers = False
    one = candidate("a")
    with pytest.raises(LedgerError):
        one.round(0.0)
    assert one.round(2.0).term.epoch == 0
    assert [entry.epoch for entry in book.terms] == [0]


@pytest.mark.cluster
def test_a_term_that_the_ledger_has_seen_of_another_is_not_begun_again(candidate, book):
    book.terms.append(Term(epoch=7, holder="by the ledger's lock"))
    assert candidate("a").round(0.0).term.epoch == 8


def test_two_that_ask_in_the_same_moment_have_one_winner(candidate, cluster):
    first, second = candidate("a"), candidate("b")
    cluster.server.faults.add(Fault(kind=FaultKind.STATUS, code=409, verb="create"))
    lost = first.round(0.0)
    assert (lost.ours, lost.term) == (False, None)
    assert second.round(0.0).ours


@pytest.mark.parametrize("spec", [None, {}, {"holderIdentity": None, "leaseTransitions": None}, {"renewTime": "soon"}])
def test_a_lease_that_says_nothing_is_free(spec):
    record = record_of({"spec": spec})
    assert (record.holder, record.transitions) == ("", 0)
