"""Deciding and acting together on a test cluster: stock-outs, images that are not there, one variant for another."""

from dataclasses import replace

import pytest

from controller.decide.memory import remember
from controller.decide.replicas import decide_replicas
from controller.decide.rules import Behaviour as Pace
from controller.decide.rules import ReplicaRule, ServicePolicy, Step, Targets, VariantRule
from controller.decide.situation import CapacityPrice, ReplicaView, Signals, Situation, VariantSituation
from controller.errors import ActError, StaleActError
from controller.facts.decisions import Outcome, OutcomeKind, ServiceMemory
from controller.facts.fleet import CapacityType, Mode
from controller.facts.missing import Missing
from controller.facts.readings import Phase
from controller.facts.slo import Slo
from tests.cluster.kubelet import Behaviour
from tests.cluster.parts import NodeShape

UNREAD = Missing("signal", "not part of this test")
EVERY_S = 15.0
GPU_OF = {"chat": "h100", "chat-l40s": "l40s"}


class Service:
    """Some targets of one service, decided on together."""

    def __init__(self, stages, prices, **rule):
        self.stages = {stage.variant.name: stage for stage in stages}
        self.prices, self.world = prices, stages[0].world
        plain = ReplicaRule(
            min_replicas=1,
            max_replicas=8,
            targets=Targets(queue_depth=50.0, headroom_ratio=0.0),
            scale_up=Pace(stabilization_s=0, at_most=Step(per_s=60, replicas=2)),
            scale_down=Pace(stabilization_s=0),
        )
        variants = tuple(VariantRule(name=name) for name in self.stages)
        self.policy = ServicePolicy(
            service="chat", source="", slo=Slo(), replicas=replace(plain, **rule), variants=variants
        )
        self.memory = ServiceMemory(live_since=self.world.now.replace(year=2025))
        self.said = []
        self.most_waiting = 0

    def one_pass(self, waiting):
        now = self.world.now
        states = {name: stage.seen() for name, stage in self.stages.items()}
        variants = {name: self.variant(name, some) for name, some in states.items()}
        situation = Situation(
            service="chat", at=now, mode=Mode.ACT, signals=self.signals(variants, waiting), variants=variants
        )
        decisions, self.memory = decide_replicas(situation, self.policy, self.memory)
        moves = sorted((one for one in decisions if not one.holds), key=lambda one: one.desired < one.current)
        outcomes = {one.id: self.act(one) for one in moves}
        self.memory = remember(self.memory, decisions, outcomes, now)
        self.said += [str(one) for one in decisions]
        stuck = [one for some in states.values() for one in some if one.stuck is not None]
        self.most_waiting = max(self.most_waiting, len(stuck))
        self.world.step(EVERY_S)

    def act(self, decision):
        stage = self.stages[decision.variant]
        try:
            return stage.actuator.apply(decision, stage.variant, self.world.now)
        except StaleActError as error:
            return Outcome.of(decision, OutcomeKind.REFUSED, str(error), self.world.now)
        except ActError as error:
            return Outcome.of(decision, OutcomeKind.FAILED, str(error), self.world.now)

    def variant(self, name, states):
        views = tuple(
            ReplicaView(
                name=one.replica,
                phase=one.phase,
                since=one.since,
                running=1.0,
                usd_per_hour=self.prices[name],
                noticed=one.notice is not None and one.notice.ends,
                stuck=one.stuck,
            )
            for one in states
        )
        price = CapacityPrice(type=CapacityType.ON_DEMAND, usd_per_replica_hour=self.prices[name])
        return VariantSituation(name=name, replicas=views, capacity=(price,))

    def signals(self, variants, waiting):
        return Signals(
            read_replicas=sum(one.ready for one in variants.values()),
            queue_depth=waiting,
            kv_cache_ratio=UNREAD,
            token_load_per_s=UNREAD,
            gpu_utilization_ratio=UNREAD,
            ttft_s=UNREAD,
            tpot_s=UNREAD,
            running=1.0,
            requests_per_s=1.0,
            rejections_per_s=UNREAD,
        )

    def passes(self, number, waiting):
        for _ in range(number):
            self.one_pass(waiting)

    def ready(self):
        return {name: len(self.world.ready(stage.name)) for name, stage in self.stages.items()}

    def replicas(self):
        return {name: stage.replicas for name, stage in self.stages.items()}


@pytest.fixture
def two(stage_of):
    """h100, cheap, with room for two; l40s, dear, with room."""

    def made(cheap=2, dear=1, h100_nodes=1, **rule):
        h100 = stage_of(
            replicas=cheap,
            nodes=h100_nodes,
            shape=NodeShape(gpus=2, labels={"gpu": "h100"}),
            pods={"nodeSelector": {"gpu": "h100"}},
        )
        l40s = stage_of(
            name="chat-l40s",
            replicas=dear,
            nodes=1,
            shape=NodeShape(gpus=8, labels={"gpu": "l40s"}),
            pods={"nodeSelector": {"gpu": "l40s"}},
        )
        return Service([h100, l40s], {"h100": 1.0, "chat-l40s": 3.0}, **rule)

    return made


def test_a_stock_out_is_one_step_and_the_second_choice_takes_over(two):
    service = two(stuck_deadline_s=30)
    service.passes(12, waiting=240.0)
    assert service.most_waiting <= 2
    assert service.ready() == {"h100": 2, "chat-l40s": 3}
    assert service.replicas() == {"h100": 2, "chat-l40s": 3}
    assert any("cannot start: unschedulable" in said for said in service.said)


def test_without_a_second_choice_a_stock_out_never_puts_more_than_a_step_out(stage_of):
    stage = stage_of(replicas=2, nodes=1, shape=NodeShape(gpus=2))
    service = Service([stage], {"h100": 1.0}, stuck_deadline_s=30)
    service.passes(16, waiting=900.0)
    assert service.most_waiting == 2
    assert service.ready() == {"h100": 2}
    tries = sum("2 -> 4" in said for said in service.said)
    assert 1 <= tries <= 3
    stage.world.add_nodes(1)
    service.passes(16, waiting=900.0)
    assert service.ready()["h100"] >= 4


def test_an_image_that_is_not_there_is_given_up_at_once(two):
    service = two(h100_nodes=4)
    service.world.behave("chat-", Behaviour(start_s=5))
    service.world.behave("chat-l40s", Behaviour())
    service.world.behave(f"{service.stages['h100'].pods()[0][:-5]}", Behaviour(image="manifest unknown"))
    service.passes(6, waiting=190.0)
    assert service.ready()["chat-l40s"] == 2
    assert any("cannot start: image" in said for said in service.said)


def test_one_variant_takes_the_place_of_another_without_a_gap(two):
    """Growing comes before shrinking: the cheap one comes back, the dear one goes when the other serves."""
    service = two(cheap=0, dear=3, h100_nodes=2, max_replicas=6, scale_up=Pace(stabilization_s=0))
    fewest = 9
    service.passes(2, waiting=140.0)
    for _ in range(3):
        service.one_pass(290.0)
        fewest = min(fewest, sum(service.ready().values()))
    for _ in range(8):
        service.one_pass(140.0)
        fewest = min(fewest, sum(service.ready().values()))
    assert fewest >= 3
    assert service.ready() == {"h100": 3, "chat-l40s": 0}


def test_a_noticed_node_is_covered_and_the_extra_count_is_dropped(stage_of):
    stage = stage_of(replicas=2, nodes=2, shape=NodeShape(gpus=1, capacity="spot"))
    stage.world.add_nodes(1)
    service = Service([stage], {"h100": 1.0})
    service.passes(2, waiting=90.0)
    victim = stage.pods()[0]
    stage.busy(victim)
    node = stage.world.get("Pod", victim)["spec"]["nodeName"]
    stage.world.taint(node, "aws-node-termination-handler/spot-itn")
    service.passes(4, waiting=90.0)
    stage.world.remove_node(node)
    service.passes(6, waiting=90.0)
    assert (service.ready(), service.replicas()) == ({"h100": 2}, {"h100": 2})
    assert service.memory.foreign_until is None
    assert {state.phase for state in stage.seen()} == {Phase.READY}
