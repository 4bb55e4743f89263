"""Several fleets on one ledger: each daemon keeps what is its own, and whoever reads sees all of them."""

from __future__ import annotations

from contextlib import ExitStack, closing
from datetime import timedelta

import pytest
from sqlalchemy import text

from controller.catalog.load import find_gpu, find_model
from controller.errors import LedgerError
from controller.facts.accounts import Pool
from controller.facts.commitments import Bought
from controller.facts.decisions import AlertPhase, AlertState, Memory, ServiceMemory
from controller.facts.estimates import Estimates
from controller.facts.fleet import Capacity, CapacityType, EngineKind, Fleet, Service, Variant
from controller.facts.passes import Gap
from controller.facts.readings import CounterMark
from controller.ledger.claim import Lead
from controller.ledger.engine import writer_engine
from controller.ledger.fleets import bought_in
from controller.ledger.migrate import MIGRATIONS, migrate
from controller.ledger.read import LedgerReader
from controller.ledger.write import Ledger


def fleet_of(*services, offer="aws/us-east-1/p5.48xlarge"):
    def service(name):
        variant = Variant(
            service=name,
            name="h100",
            gpu=find_gpu("H100-SXM"),
            gpus_per_replica=1,
            quantization="bf16",
            kv_cache_dtype="auto",
            engine=EngineKind.VLLM,
            capacity=(Capacity(type=CapacityType.ON_DEMAND, offer=offer),),
            actuator="fake",
        )
        return Service(name=name, model=find_model("llama-3.1-8b"), variants={"h100": variant})

    return Fleet(services={name: service(name) for name in services})


def memory_of(service, make):
    alert = AlertState(service=service, name="queue", phase=AlertPhase.FIRING, since=make.at(0))
    return Memory(services={service: ServiceMemory(expected={"h100": 2})}, alerts={(service, "queue"): alert})


def estimates_of(service, seconds, make, **given):
    return Estimates(
        at=make.at(seconds),
        fleet=make.estimate(seconds, **given | {"service": ""}),
        services={service: make.estimate(seconds, **given | {"service": service})},
        variants={(service, "h100"): make.estimate(seconds, **given | {"service": service, "variant": "h100"})},
        replicas={},
        costs=(),
        findings=(),
    )


def passed(ledger, service, seconds, make, **given):
    """One whole pass of a daemon whose fleet is that one service."""
    memory = memory_of(service, make)
    ledger.record_intent(make.record(seconds, estimates=estimates_of(service, seconds, make, **given), memory=memory))
    ledger.record_outcomes(make.result(seconds, problems=(f"of {service}",)), memory)


@pytest.fixture
def opened(url):
    """Opens the ledger as a fleet's daemon does."""
    with ExitStack() as stack:

        def open_as(name, *services, at=None):
            ledger = stack.enter_context(closing(Ledger.open(url, name)))
            ledger.claim()
            if services:
                assert ledger.own(fleet_of(*services), at) == {}
            return ledger

        yield open_as


@pytest.fixture
def two(opened, make):
    """The fleets eu, with chat, and us, with code."""
    return opened("eu", "chat", at=make.at(0)), opened("us", "code", at=make.at(0))


def test_each_fleet_remembers_its_own_and_finds_nothing_of_the_other(two, make):
    eu, us = two
    marks = tuple(
        CounterMark(target_url="http://shared", series="requests/0", started_s=None, value=value, at=make.at(0))
        for value in (1.0, 2.0)
    )
    for ledger, service, mark in ((eu, "chat", marks[0]), (us, "code", marks[1])):
        move = make.decision(15, id=f"move-{service}", service=service)
        ledger.record_intent(
            make.record(
                15,
                estimates=estimates_of(service, 15, make),
                memory=memory_of(service, make),
                marks=(mark,),
                decisions=(move,),
            )
        )
    for _ in range(2):  # each replaces what it remembered, in turns
        for ledger, service in ((eu, "chat"), (us, "code")):
            ledger.record_outcomes(make.result(15), memory_of(service, make))
    for ledger, service, mark in ((eu, "chat", marks[0]), (us, "code", marks[1])):
        restored = ledger.restore()
        assert restored.memory == memory_of(service, make)
        assert restored.marks == (mark,)
        assert restored.last_pass_at == make.at(15)
        assert [one.id for one in restored.unfinished] == [f"move-{service}"]


def test_two_passes_of_one_moment_are_two(two, reader_of, make):
    eu, us = two
    passed(eu, "chat", 0, make)
    passed(us, "code", 0, make)
    passed(us, "code", 15, make)
    now = reader_of().fleet_now()
    assert [(one.fleet, one.at, one.problems) for one in now.passes] == [
        ("us", make.at(15), ("of code",)),
        ("eu", make.at(0), ("of chat",)),
    ]
    assert now.last_pass == reader_of().last_pass() == now.passes[0]
    assert {name: now.pass_of(name).fleet for name in ("chat", "code")} == {"chat": "eu", "code": "us"}


def test_totals_are_the_sums_of_the_fleets(two, reader_of, make):
    eu, us = two
    passed(eu, "chat", 0, make, usd_per_hour=6.0, prompt_tokens_per_s=30.0, output_tokens_per_s=10.0, ttft_p95_s=0.5)
    passed(us, "code", 70, make, usd_per_hour=2.0, prompt_tokens_per_s=10.0, output_tokens_per_s=30.0, ttft_p95_s=0.2)
    now = reader_of().fleet_now()
    assert [one.service for one in now.services] == ["chat", "code"]
    assert [(one.service, one.variant) for one in now.variants] == [("chat", "h100"), ("code", "h100")]
    total = now.fleet
    assert (total.replicas_current, total.replicas_ready, total.gpus, total.usd_per_hour) == (4, 2, 8, 8.0)
    assert (total.tokens_per_usd, total.usd_per_million_output_tokens) == (36_000.0, pytest.approx(8 / 0.144))
    assert (total.ttft_p95_s, total.queue_depth, total.mfu_ratio) == (0.5, None, None)
    series = reader_of().service_series("", make.at(0), make.at(600))
    assert [(one.minute, one.service, one.variant, one.usd_per_hour) for one in series] == [
        (make.at(0), "", "", 6.0),
        (make.at(60), "", "", 8.0),  # eu's last minute still stands
    ]


def test_the_total_of_one_fleet_is_what_it_recorded_whatever_its_name(opened, reader_of, make):
    only = opened("eu", "chat", at=make.at(0))
    passed(only, "chat", 0, make, usd_per_hour=6.0, mfu_ratio=0.4)
    total = reader_of().fleet_now().fleet
    assert (total.service, total.variant, total.usd_per_hour, total.mfu_ratio) == ("", "", 6.0, 0.4)
    assert reader_of().service_series("", make.at(0), make.at(60)) == (total,)
    assert reader_of().variants("chat") == ("h100",)


def test_a_gap_of_one_fleet_is_none_of_the_others(two, reader_of, make):
    eu, us = two
    gap = Gap(start=make.at(0), end=make.at(300), why="the daemon was not running", fleet="eu")
    eu.record_intent(make.record(300, estimates=estimates_of("chat", 300, make), gaps=(gap,)))
    for seconds in range(0, 301, 60):
        us.record_intent(make.record(seconds, estimates=estimates_of("code", seconds, make)))
    reader = reader_of()
    assert reader.gaps(make.at(0), make.at(300)) == (gap,)
    assert reader.gaps(make.at(0), make.at(300), "chat") == (gap,)
    assert reader.gaps(make.at(0), make.at(300), "code") == ()
    whys = {name: reader.demand_history(name, make.at(60), make.at(240))[0].unknown_why for name in ("chat", "code")}
    assert whys == {
        "chat": "the daemon was not running",
        "code": "no replica was ready, and what arrives then is not seen here",
    }


def test_a_service_of_a_fleet_whose_daemon_runs_cannot_be_had(two, opened, make):
    third = opened("asia")
    assert third.own(fleet_of("new", "chat", "code"), make.at(0)) == {"chat": "eu", "code": "us"}
    assert third.own(fleet_of("new"), make.at(0)) == {}
    assert third.own(fleet_of("new", "chat"), make.at(0)) == {"chat": "eu"}


def test_a_service_moves_with_its_memory_when_nobody_works_for_the_other_fleet(opened, url, make):
    with closing(Ledger.open(url, "old")) as old:
        old.claim()
        old.own(fleet_of("chat"), make.at(0))
        passed(old, "chat", 0, make)
    new = opened("new", "chat", at=make.at(60))
    assert new.restore().memory == memory_of("chat", make)
    assert new.restore().last_pass_at is None, "it has made no pass itself"
    with closing(Ledger.open(url, "old")) as old:
        old.claim()
        assert old.own(fleet_of("chat"), make.at(120)) == {"chat": "new"}


def test_a_service_that_is_given_up_can_be_had(two, make):
    eu, us = two
    assert us.own(fleet_of("code", "chat"), make.at(60)) == {"chat": "eu"}
    assert eu.own(fleet_of("mail"), make.at(60)) == {}
    assert us.own(fleet_of("code", "chat"), make.at(60)) == {}


def test_each_fleet_is_claimed_for_itself(opened, url):
    opened("eu")
    opened("")
    for name, told in (("eu", " for the fleet eu"), ("", "")):
        with closing(Ledger.open(url, name)) as ledger, pytest.raises(LedgerError, match=f"already works on .*{told}"):
            ledger.claim()


def test_the_last_pass_of_every_fleet_is_kept(two, reader_of, make):
    eu, us = two
    passed(eu, "chat", 0, make)
    for seconds in (0, 7200):
        passed(us, "code", seconds, make)
    us.prune(make.at(9e6), minutes_s=0, decisions_s=0)
    assert [(one.fleet, one.at) for one in reader_of().fleet_now().passes] == [
        ("us", make.at(7200)),
        ("eu", make.at(0)),
    ]


def test_how_other_fleets_buy_their_capacity_is_known_to_whoever_settles(two, url, make):
    chat = Pool(service="chat", variant="h100", capacity_type=CapacityType.ON_DEMAND)
    assert bought_in(url, chat) == Bought(offer="aws/us-east-1/p5.48xlarge")
    two[0].own(fleet_of("chat", offer=None), make.at(60))
    assert bought_in(url, chat) == Bought()
    assert bought_in(url, Pool(service="mail", variant="h100", capacity_type=CapacityType.SPOT)) == Bought()


def test_one_leads_until_it_is_gone(url, ledger):
    with closing(Lead(url)) as second:
        with closing(Lead(url)) as first:
            assert first.held()
            assert not second.held()
            assert first.held(), "asked again"
        assert second.held()


@pytest.mark.parametrize("migrates", [True], ids=["from version 7"])
def test_what_was_recorded_before_there_were_fleets_is_of_the_one_without_a_name(url, make):
    engine = writer_engine(url)
    migrate(engine, MIGRATIONS[:7])
    at = "'2026-03-01T12:00:00.000000+00:00'"
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO passes VALUES ({at}, 'act', 1, 2, 0.5)"))
        connection.execute(text(f"INSERT INTO pass_problem VALUES ({at}, 0, 'slow')"))
        connection.execute(text(f"INSERT INTO counter_mark VALUES ('http://a', 'requests/0', NULL, 7, {at})"))
    engine.dispose()
    with closing(Ledger.open(url)) as ledger, closing(LedgerReader(url)) as reader:
        assert (reader.last_pass().at, reader.last_pass().problems) == (make.at(0), ("slow",))
        assert ledger.restore().last_pass_at == make.at(0)
        assert [one.value for one in ledger.restore().marks] == [7.0]
        assert ledger.own(fleet_of("chat"), make.at(0) + timedelta(days=1)) == {}
        assert reader.fleet_now().passes[0].fleet == ""


@pytest.fixture
def reader_of(url):
    with closing(LedgerReader(url)) as reader:
        yield lambda: reader
