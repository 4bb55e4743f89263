"""Correlated losses: what is one storm, what is none, and until when."""

import pytest

from controller.facts.fleet import CapacityType
from controller.facts.interruptions import NoticeKind
from controller.facts.readings import Phase
from controller.facts.safety import SafetyMemory
from controller.safety.rules import StormRule
from controller.safety.storm import doubtful, struck, weathered

RULE = StormRule(losses=3, share=0.4, window_s=300, quiet_s=1800)


def everyone(service, variant, replica):
    return True


def nobody(service, variant, replica):
    return False


def storms(make, *states, memory=None, served=everyone, seconds=0):
    return weathered(memory or SafetyMemory(), RULE, make.seen(seconds, *states), served)


def test_three_replicas_of_one_domain_are_a_storm(make):
    lost = [make.state(f"r{index}", phase=Phase.FAILED) for index in range(3)]
    rest = [make.state(f"s{index}", domain="zone-b/p5") for index in range(20)]
    (storm,) = storms(make, *lost, *rest).storms.values()
    assert (storm.domain, storm.until) == ("zone-a/p5", make.at(1800))
    assert "3 replicas of zone-a/p5 were lost within 300 s" in storm.why


def test_a_share_of_the_spot_replicas_is_a_storm_in_each_domain_that_lost_some(make):
    lost = [make.state("r0", notice=make.notice()), make.state("r1", notice=make.notice(), domain="zone-b/p5")]
    rest = [make.state(f"s{index}") for index in range(3)]
    found = storms(make, *lost, *rest)
    assert set(found.storms) == {"zone-a/p5", "zone-b/p5"}
    assert "2 of 5 spot replicas" in found.storms["zone-a/p5"].why


@pytest.mark.parametrize(
    "given",
    [
        {"phase": Phase.DRAINING},
        {"notice_kind": NoticeKind.REBALANCE},
        {"notice_kind": NoticeKind.MAINTENANCE},
        {"phase": Phase.FAILED, "capacity_type": None, "domain": ""},
    ],
)
def test_what_we_drained_hints_maintenance_and_unknown_machines_are_none(make, given):
    kind = given.pop("notice_kind", None)
    notice = make.notice(kind=kind) if kind else None
    lost = [make.state(f"r{index}", notice=notice, **given) for index in range(5)]
    assert storms(make, *lost).losses == ()


def test_starts_that_fail_are_no_losses(make):
    failed = [make.state(f"r{index}", phase=Phase.FAILED) for index in range(5)]
    assert storms(make, *failed, served=nobody) == SafetyMemory()


def test_one_loss_is_told_once_however_long_its_notice_stands(make):
    noticed = make.state("r0", notice=make.notice())
    memory = storms(make, noticed)
    for seconds in range(15, 200, 15):
        memory = storms(make, noticed, memory=memory, seconds=seconds)
    assert len(memory.losses) == 1
    assert storms(make, noticed, memory=memory, seconds=400).losses == ()


def test_each_further_loss_prolongs_a_storm_and_quiet_ends_it(make):
    memory = storms(make, *(make.state(f"r{index}", phase=Phase.FAILED) for index in range(3)))
    memory = storms(make, make.state("r9", phase=Phase.FAILED), memory=memory, seconds=1000)
    assert memory.storms["zone-a/p5"].until == make.at(2800)
    assert storms(make, memory=memory, seconds=2799).storms
    over = storms(make, memory=memory, seconds=2800)
    assert over == SafetyMemory()


def test_spot_of_the_struck_domain_is_struck_for_the_whole_storm(make):
    memory = storms(make, *(make.state(f"r{index}", phase=Phase.FAILED) for index in range(3)))
    later = make.seen(1500)
    memory = weathered(memory, RULE, later, everyone)
    assert set(struck(memory, later)) == {("chat", "h100")}


def test_a_variant_that_serves_on_spot_elsewhere_is_not_struck(make):
    memory = storms(make, *(make.state(f"r{index}", phase=Phase.FAILED) for index in range(3)))
    elsewhere = make.seen(15, make.state("s0", domain="zone-b/p5"))
    assert struck(memory, elsewhere) == {}
    starting = make.seen(15, make.state("s0", domain="zone-b/p5", phase=Phase.STARTING))
    assert struck(memory, starting)


def test_spot_that_starts_in_a_storm_is_doubtful_until_it_is_ready(make):
    memory = storms(make, *(make.state(f"r{index}", phase=Phase.FAILED) for index in range(3)))
    seen = make.seen(
        15,
        make.state("starts", phase=Phase.STARTING),
        make.state("nowhere yet", phase=Phase.STARTING, domain=""),
        make.state("ready"),
        make.state("bought", phase=Phase.STARTING, capacity_type=CapacityType.ON_DEMAND),
        make.state("elsewhere", phase=Phase.STARTING, domain="zone-b/p5"),
    )
    assert doubtful(memory, seen) == {("chat", "h100", "starts"), ("chat", "h100", "nowhere yet")}
