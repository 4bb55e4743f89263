"""The safety invariants of the design, over whole generated histories of a service."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decide.memory import remember
from controller.decide.replicas import decide_replicas
from controller.decide.rules import Targets
from controller.decide.situation import VariantSituation
from controller.facts.decisions import Because, Outcome, OutcomeKind, ServiceMemory
from controller.facts.missing import Missing
from controller.facts.readings import Phase

GONE = Missing("signal", "timed out")

loads = st.one_of(st.just(GONE), st.floats(0, 5000))
shares = st.one_of(st.just(GONE), st.floats(0, 1))


@st.composite
def passes(draw):
    """What each of up to 40 passes sees: signals, how many replicas could be read, and which starting ones became ready."""
    step = st.fixed_dictionaries(
        {
            "queue_depth": loads,
            "kv_cache_ratio": shares,
            "ttft_s": st.one_of(st.just(GONE), st.floats(0.01, 10)),
            "rejections_per_s": st.one_of(st.just(GONE), st.just(0.0), st.floats(0, 5)),
            "unread": st.integers(0, 1),
            "matures": st.booleans(),
        }
    )
    return draw(st.lists(step, min_size=1, max_size=40))


@st.composite
def rules(draw, build):
    low = draw(st.integers(0, 4))
    return build.policy(
        min_replicas=low,
        max_replicas=low + draw(st.integers(0, 8)),
        targets=Targets(queue_depth=50, kv_cache_ratio=0.8, headroom_ratio=draw(st.sampled_from([0.0, 0.15]))),
        scale_up=build.behaviour(draw(st.sampled_from([0, 60])), draw(st.sampled_from([None, 2])), 120),
        scale_down=build.behaviour(draw(st.sampled_from([0, 120])), draw(st.sampled_from([None, 1])), 60),
        slo=build.slo(ttft_s=1.0),
    )


def run(build, policy, history, start, blind_start=False):
    """Drive the decisions through ``history``, obeying each; yield (situation, memory before, decision)."""
    replicas, memory = list(build.replicas(start)), ServiceMemory()
    for index, seen in enumerate(history):
        now = build.noon + timedelta(seconds=15 * index)
        if seen["matures"]:
            replicas = [replace(one, phase=Phase.READY) for one in replicas]
        variant = VariantSituation(name="h100", replicas=tuple(replicas), capacity=build.variant(1).capacity)
        signals = {name: value for name, value in seen.items() if name not in ("unread", "matures")}
        situation = build.situation(variants=(variant,), at=now, read=max(0, variant.ready - seen["unread"]), **signals)
        decisions, after = decide_replicas(situation, policy, memory)
        yield situation, memory, decisions[0]
        outcome = Outcome(
            decision_id=decisions[0].id, service="chat", variant="h100", kind=OutcomeKind.DONE, detail="", at=now
        )
        moved = {} if decisions[0].holds else {decisions[0].id: outcome}
        memory = remember(after, decisions, moved, now)
        replicas = [one for one in replicas if one.name not in decisions[0].victims]
        for extra in range(decisions[0].desired - decisions[0].current):
            fresh = build.replicas(1)[0]
            replicas.append(replace(fresh, name=f"r{index}-{extra}", phase=Phase.STARTING, since=now))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), start=st.integers(0, 12), history=passes())
def test_nothing_ever_leaves_the_limits_or_moves_for_no_reason(build, data, start, history):
    policy = data.draw(rules(build))
    for situation, _, decision in run(build, policy, history, start):
        low, high = policy.replicas.min_replicas, policy.replicas.max_replicas
        if not decision.holds:
            assert min(low, situation.current) <= decision.desired <= max(high, situation.current)
            assert decision.detail
            assert len(decision.victims) == max(0, decision.current - decision.desired)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), start=st.integers(0, 12), history=passes())
def test_nothing_ever_shrinks_blind(build, data, start, history):
    policy = data.draw(rules(build))
    window_s = policy.replicas.scale_down.stabilization_s
    live_s = None
    for situation, _, decision in run(build, policy, history, start):
        seen = situation.signals
        live = (
            situation.ready > 0
            and not isinstance(seen.queue_depth, Missing)
            and not isinstance(seen.kv_cache_ratio, Missing)
            and seen.read_replicas >= situation.ready
        )
        live_s = (0 if live_s is None else live_s + 15) if live else None
        if decision.desired < decision.current and decision.because not in (Because.LIMIT, Because.START_FAILED):
            assert live_s is not None
            assert live_s >= window_s
        if decision.desired < decision.current and decision.because is Because.LIMIT:
            assert seen.read_replicas >= situation.ready


@settings(max_examples=100, deadline=None)
@given(data=st.data(), start=st.integers(0, 12), history=passes())
def test_deciding_twice_on_the_same_inputs_is_equal(build, data, start, history):
    policy = data.draw(rules(build))
    for situation, memory, decision in run(build, policy, history, start):
        assert decide_replicas(situation, policy, memory) == decide_replicas(situation, policy, memory)
        assert decide_replicas(situation, policy, memory)[0][0] == decision


@pytest.mark.parametrize("wanted_by", ["queue_depth", "kv_cache_ratio"])
@given(count=st.integers(2, 12), share=st.floats(0, 1))
def test_a_shrink_always_leaves_headroom_on_what_remains(build, wanted_by, count, share):
    targets = Targets(queue_depth=50, kv_cache_ratio=0.8, headroom_ratio=0.15)
    value = share * (50 * count if wanted_by == "queue_depth" else 1)
    other = {"queue_depth": 0.0, "kv_cache_ratio": 0.0} | {wanted_by: value}
    decision = decide_replicas(
        build.situation(count, **other), build.policy(targets=targets, max_replicas=20), build.memory()
    )[0][0]
    if decision.desired < count:
        each = value / count if wanted_by == "queue_depth" else value
        assert each * count / decision.desired <= getattr(targets, wanted_by) * 0.85 + 1e-9
