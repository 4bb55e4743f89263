"""The daemon around its terms: it begins, ends and stands by as the election says, and tells so."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from controller.daemon import UNRECORDED_PASSES, Daemon
from controller.errors import LedgerError
from controller.facts.decisions import Memory, ServiceMemory
from controller.facts.leadership import LeaderSeen, Term
from controller.loop import Running

THEIRS = Term(epoch=8, holder="pod-1")


@dataclass
class Terms:
    """What an election and the ledger would say."""

    world: object
    epoch: int | None = None
    told: LeaderSeen = field(default_factory=LeaderSeen)
    broken: Exception | None = None
    did: list[str] = field(default_factory=list)

    def held(self):
        return self.epoch

    def begin(self, epoch, now):
        self.did.append(f"begin {epoch}")
        if self.broken is not None:
            raise self.broken
        memory = Memory(services={"chat": ServiceMemory(expected={"h100": 2})})
        return self.world, Running(memory=memory, resumed=True)

    def end(self):
        self.did.append("end")

    def rest(self):
        self.did.append("rest")

    def release(self):
        self.did.append("release")
        self.epoch = None

    def resign(self, why):
        self.did.append(f"resign: {why}")
        self.epoch = None

    def seen(self):
        return self.told

    def on_change(self, told):
        self.wake = told


@pytest.fixture
def terms(world):
    return Terms(world)


@pytest.fixture
def daemon(plan, terms):
    accounts, prunes = [], []
    made = Daemon(None, plan, Running(), terms=terms, account=accounts.append, prune=prunes.append)
    made.accounts, made.prunes = accounts, prunes
    return made


def test_while_another_one_leads_nothing_is_observed_decided_or_told(daemon, world, terms):
    terms.told = LeaderSeen(term=THEIRS)
    daemon._pass_job()
    daemon._account_job()
    daemon._prune_job()
    assert (world.elapsed, world.records, world.told, daemon.accounts, daemon.prunes) == (0, [], [], [], [])
    assert (daemon.leads, daemon.epoch, daemon.latest()) == (False, None, None)
    assert terms.did == ["rest"]
    health = daemon.health()
    assert (health.ready, health.standing_by) == (True, "standing by, pod-1 leads (epoch 8)")


def test_a_term_begins_from_the_ledger_and_its_passes_are_ours(daemon, world, terms):
    terms.epoch = 3
    daemon._pass_job()
    daemon._account_job()
    daemon._prune_job()
    assert terms.did == ["begin 3"]
    assert daemon._running.memory.services["chat"].expected, "what the ledger remembers"
    assert (len(world.results), len(daemon.accounts), len(daemon.prunes)) == (1, 1, 1)
    assert (daemon.leads, daemon.epoch, daemon.terms_begun) == (True, 3, 1)
    assert daemon.health().ready
    daemon._pass_job()
    assert terms.did == ["begin 3"], "the term goes on"


@pytest.mark.parametrize("then", [None, 4])
def test_a_term_that_is_over_is_ended_before_anything_else(daemon, world, terms, then):
    terms.epoch = 3
    daemon._pass_job()
    terms.epoch = then
    assert not daemon.leads
    assert daemon.latest() is not None
    daemon._pass_job()
    assert terms.did == ["begin 3", "end", *(["begin 4"] if then else [])]
    assert (daemon.leads, daemon.epoch) == (then is not None, then)
    assert len(world.results) == (2 if then else 1)


def test_a_begin_that_fails_is_tried_again_and_says_so(daemon, world, terms):
    terms.epoch, terms.broken = 3, LedgerError("the ledger is away")
    daemon._pass_job()
    assert not daemon.leads
    assert daemon.health().reasons == ("taking over; the last try failed: LedgerError: the ledger is away",)
    terms.broken = None
    daemon._pass_job()
    assert (daemon.leads, len(world.results)) == (True, 1)


AWAY = LedgerError("could not record the pass: no route to host")


def test_a_leader_that_can_record_no_pass_gives_the_lead_to_one_that_can(daemon, world, terms, monkeypatch, caplog):
    def away(record):
        raise AWAY

    terms.epoch = 3
    daemon._pass_job()
    with monkeypatch.context() as broken:
        broken.setattr(world, "record_intent", away)
        for _ in range(UNRECORDED_PASSES - 1):
            daemon._pass_job()
    daemon._pass_job()
    monkeypatch.setattr(world, "record_intent", away)
    for _ in range(UNRECORDED_PASSES - 1):
        daemon._pass_job()
    assert terms.did == ["begin 3"], "a pass that was recorded begins the count anew"
    daemon._pass_job()
    why = "3 passes in a row could not be recorded: nothing was acted on: could not record the pass: no route to host"
    assert terms.did == ["begin 3", f"resign: {why}"]
    assert "gives the lead back" in caplog.text
    daemon._pass_job()
    assert terms.did[2:] == ["end"]


def test_so_does_one_that_cannot_even_begin(daemon, terms):
    terms.epoch, terms.broken = 3, LedgerError("the ledger is away")
    for _ in range(UNRECORDED_PASSES):
        daemon._pass_job()
    assert terms.did[-1] == "resign: 3 passes in a row could not be recorded: the ledger is away"
    daemon._pass_job()
    assert terms.did.count("begin 3") == UNRECORDED_PASSES


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (LeaderSeen(problem="the API server is away"), "cannot see who leads: the API server is away"),
        (LeaderSeen(), "nobody leads yet"),
    ],
)
def test_who_cannot_see_a_leader_is_not_ready(daemon, terms, told, reason):
    terms.told = told
    assert daemon.health() == replace(daemon.health(), ready=False, reasons=(reason,), standing_by="")


def test_the_lead_is_given_back_when_the_daemon_ends_and_begun_without_waiting_for_an_interval(
    plan, terms, world, while_leading
):
    daemon = Daemon(None, replace(plan, interval_s=3600.0), Running(), terms=terms)
    while_leading(daemon, terms, world)
    assert terms.did == ["begin 5", "release"]
