"""Stops, and what the safety kernel remembers."""

from contextlib import closing

from controller.facts.decisions import Memory
from controller.facts.safety import Damping, Loss, Move, SafetyMemory, Stop, Storm
from controller.ledger.write import Ledger


def remembered(make):
    return SafetyMemory(
        moves=(
            Move(id="z", at=make.at(1), service="chat", variant="h100", replicas=3, usd=6.5, before=2),
            Move(id="a", at=make.at(2), service="chat", variant="h100", replicas=-1, usd=None, unwound=True),
        ),
        losses=(Loss(service="chat", variant="h100", replica="r1", at=make.at(3), domain="z-a", spot=True),),
        storms={"z-a": Storm(domain="z-a", since=make.at(3), last=make.at(3), until=make.at(99), why="3 were lost")},
        damped={"chat": Damping(since=make.at(4), until=make.at(604), hold_s=600.0)},
        stops=(Stop(since=make.at(5), by="ann", reason="x", source="/etc/stop", unsure=True),),
    )


def test_what_the_kernel_remembers_comes_back_as_it_was(url, ledger, make):
    memory = Memory(safety=remembered(make))
    ledger.record_intent(make.record(15, memory=memory))
    assert ledger.restore().memory.safety == memory.safety
    ledger.record_outcomes(make.result(15), Memory())
    assert ledger.restore().memory.safety == SafetyMemory()


def test_each_fleet_has_its_own(url, ledger, make):
    with closing(Ledger.open(url, "eu")) as other:
        ledger.record_intent(make.record(15, memory=Memory(safety=remembered(make))))
        other.record_intent(make.record(15))
        assert ledger.restore().memory.safety == remembered(make)
        ledger.stop(Stop(since=make.at(0), by="ann", reason="x"))
        assert other.stops() == ()
        assert not other.lift("", make.at(1), "ann")


def test_a_stop_stands_until_it_is_lifted_and_a_newer_one_takes_its_place(ledger, reader, make):
    first = Stop(since=make.at(0), by="ann", reason="x")
    second = Stop(since=make.at(9), by="bob", reason="y", until=make.at(99))
    other = Stop(service="chat", since=make.at(0), by="ann", reason="z")
    for one in (first, other, second, second):
        ledger.stop(one)
    assert ledger.stops() == reader.stops() == (second, other)
    assert ledger.lift("", make.at(20), "ann")
    assert not ledger.lift("", make.at(21), "ann")
    assert ledger.stops() == (other,)


def test_who_reads_only_the_ledger_sees_stops_of_elsewhere(ledger, reader, make):
    safety = remembered(make)
    ledger.record_intent(make.record(15, memory=Memory(safety=safety)))
    assert reader.stops() == safety.stops
