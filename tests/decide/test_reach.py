"""A variant that cannot keep the SLO with any number of replicas says so, with the numbers."""

from dataclasses import replace
from datetime import timedelta
from math import inf

import pytest

from controller.decide.alerts import OUT_OF_REACH_FOR_S, abnormal
from controller.decide.explain import explain
from controller.decide.reach import REMEDY
from controller.decide.replicas import decide_replicas
from controller.facts.decisions import AlertPhase
from controller.facts.performance import OutOfReach

SAID = "h100 cannot keep the SLO however few requests it gets (prior): TPOT P95 0.083 s, target 0.05 s, TTFT P95 0.4 s"


@pytest.fixture
def unfit(build):
    def made(tpot_s=0.083, ttft_s=0.4):
        point = replace(build.carries(0.003).at, ttft_s=ttft_s, tpot_s=tpot_s)
        return OutOfReach("capacity", "a lone sequence takes 80 ms a token", point, "prior")

    return made


@pytest.fixture
def decided(build, unfit):
    def made(found=None, at=None, **variants):
        policy = build.policy(slo=build.slo(ttft_s=1.0, tpot_s=0.05))
        capacity = {"h100": found or unfit(), **variants.pop("capacity", {})}
        there = variants.pop("variants", (build.variant(2),))
        outlook = build.outlook(30.0, capacity=capacity)
        situation = build.situation(variants=there, queue_depth=150.0, outlook=outlook, at=at or build.noon)
        return decide_replicas(situation, policy, build.memory())[0]

    return made


def test_growing_what_cannot_keep_the_slo_says_so_with_prediction_and_target(decided):
    (decision,) = decided()
    assert (decision.current, decision.desired) == (2, 3)
    assert decision.detail.endswith(f"; {SAID}, target 1 s")
    assert decision.numbers["least_load_tpot_s"] == 0.083
    assert decision.numbers["least_load_tpot_s_target"] == 0.05


def test_where_no_latency_is_predicted_the_reason_is_told(decided, unfit):
    (decision,) = decided(unfit(inf, inf))
    assert decision.detail.endswith("(prior): a lone sequence takes 80 ms a token")


def test_the_explanation_says_what_to_do_about_it(build, decided):
    told = explain(decided(), {}, build.noon)
    assert SAID in told
    assert REMEDY in told


def test_what_can_keep_the_slo_is_grown_first_whatever_it_costs(build, decided):
    variants = (build.variant(2, price=1.0), build.variant(0, name="h200", price=9.0))
    grown = decided(variants=variants, capacity={"h200": 10.0})
    assert {one.variant: one.desired for one in grown} == {"h100": 2, "h200": 1}


def test_a_variant_that_is_not_used_is_not_told_of(build, decided):
    variants = (build.variant(0), build.variant(2, name="h200"))
    assert not any("cannot keep" in one.detail for one in decided(variants=variants, capacity={"h200": 10.0}))


def test_it_raises_an_alert_once_it_has_lasted(build, decided):
    states, phases, sent = {}, [], []
    for after_s in (0.0, OUT_OF_REACH_FOR_S - 15, OUT_OF_REACH_FOR_S, OUT_OF_REACH_FOR_S + 15):
        now = build.noon + timedelta(seconds=after_s)
        (step,) = abnormal(decided(at=now), states, now)
        states = {("chat", step.state.name): step.state}
        phases.append(step.state.phase)
        sent += [step.message] if step.message else []
    assert phases == [AlertPhase.PENDING, AlertPhase.PENDING, AlertPhase.FIRING, AlertPhase.FIRING]
    (message,) = sent
    assert (message.name, message.do) == ("slo_out_of_reach", REMEDY)
    assert SAID in message.summary
