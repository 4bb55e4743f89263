"""The safety invariants of the design, over whole generated histories of a service."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decide.memory import remember
from controller.decide.predictive import needs_until
from controller.decide.replicas import decide_replicas
from controller.decide.reserve import at_quantile
from controller.decide.rules import Method, Targets
from controller.decide.situation import VariantSituation
from controller.facts.decisions import Because, Outcome, OutcomeKind, ServiceMemory
from controller.facts.missing import Missing, first_missing
from controller.facts.readings import Phase


def p95(quantiles):
    return at_quantile(quantiles, 0.95)


GONE = Missing("signal", "timed out")
LOADS = Targets(queue_depth=50, kv_cache_ratio=0.8, headroom_ratio=0.0)

loads = st.one_of(st.just(GONE), st.floats(0, 5000))
shares = st.one_of(st.just(GONE), st.floats(0, 1))


rates = st.floats(0, 150)
looks = st.fixed_dictionaries(
    {
        "needs": st.lists(rates, max_size=5),
        "capacity": st.one_of(st.just(GONE), st.just(0.0), st.floats(0.5, 50)),
        "arriving": st.one_of(st.just(GONE), rates),
        "waiting": loads,
    }
)
outlooks = st.one_of(st.none(), looks, looks)
"""Half of a history and more has a forecast; some forecasts are empty, or have no capacity to be divided by."""


anything = st.fixed_dictionaries(
    {
        "queue_depth": loads,
        "kv_cache_ratio": shares,
        "ttft_s": st.one_of(st.just(GONE), st.floats(0.01, 10)),
        "rejections_per_s": st.one_of(st.just(GONE), st.just(0.0), st.floats(0, 5)),
        "unread": st.integers(0, 1),
        "matures": st.booleans(),
        "outlook": outlooks,
    }
)
calm = st.fixed_dictionaries(
    {
        "queue_depth": st.sampled_from([0.0, 0.0, 20.0, 90.0]),
        "kv_cache_ratio": st.sampled_from([0.0, 0.1, 0.3]),
        "matures": st.just(True),
        "unread": st.just(0),
        "outlook": st.fixed_dictionaries(
            {
                "needs": st.lists(rates, min_size=1, max_size=4),
                "capacity": st.floats(5, 50),
                "arriving": st.one_of(rates, rates, rates, st.just(GONE)),
                "waiting": st.just(0.0),
            }
        ),
    }
)
"""Nothing is wrong, but perhaps what arrives is unknown: left alone for a while, the service shrinks."""


@st.composite
def passes(draw):
    """What each of up to 40 passes sees: signals, how many replicas could be read, which starting ones became ready."""
    phases = draw(st.lists(st.tuples(st.one_of(anything, calm, calm), st.integers(1, 14)), min_size=1, max_size=8))
    return [seen for seen, times in phases for _ in range(times)][:40]


@st.composite
def rules(draw, build):
    low = draw(st.integers(0, 4))
    return build.policy(
        min_replicas=low,
        max_replicas=low + draw(st.integers(0, 8)),
        targets=draw(st.sampled_from([LOADS, LOADS, replace(LOADS, headroom_ratio=0.15), Targets()])),
        scale_up=build.behaviour(draw(st.sampled_from([0, 60])), draw(st.sampled_from([None, 2])), 120),
        scale_down=build.behaviour(draw(st.sampled_from([0, 120])), draw(st.sampled_from([None, 1])), 60),
        slo=build.slo(ttft_s=1.0),
    )


def outlook_of(build, look):
    if look is None:
        return Missing("outlook", "nothing has been forecast")
    needs = {80.0 * index: need for index, need in enumerate(look["needs"])}
    rest = {name: value for name, value in look.items() if name not in ("needs", "capacity")}
    return build.outlook(needs, capacity={"h100": look["capacity"]}, **rest)


def run(build, policy, history, start, blind_start=False):
    """Drive the decisions through ``history``, obeying each; yield (situation, memory before, decision)."""
    replicas, memory = list(build.replicas(start)), ServiceMemory()
    for index, seen in enumerate(history):
        now = build.noon + timedelta(seconds=15 * index)
        if seen["matures"]:
            replicas = [replace(one, phase=Phase.READY) for one in replicas]
        variant = VariantSituation(name="h100", replicas=tuple(replicas), capacity=build.variant(1).capacity)
        signals = {name: value for name, value in seen.items() if name not in ("unread", "matures", "outlook")}
        situation = build.situation(
            variants=(variant,),
            at=now,
            read=max(0, variant.ready - seen["unread"]),
            outlook=outlook_of(build, seen["outlook"]),
            **signals,
        )
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


@settings(max_examples=100)
@given(data=st.data(), start=st.integers(0, 12), history=passes())
def test_nothing_ever_leaves_the_limits_or_moves_for_no_reason(build, data, start, history):
    policy = data.draw(rules(build))
    for situation, _, decision in run(build, policy, history, start):
        low, high = policy.replicas.min_replicas, policy.replicas.max_replicas
        if not decision.holds:
            assert min(low, situation.current) <= decision.desired <= max(high, situation.current)
            assert decision.detail
            assert len(decision.victims) == max(0, decision.current - decision.desired)


def required_are_there(situation, policy):
    """The loads that the policy names, and what arrives; without any load, a forecast that can be divided."""
    targets, seen, outlook = policy.replicas.targets, situation.signals, situation.outlook
    forecast = not isinstance(outlook, Missing) and outlook.forecasts
    usable = forecast and not isinstance(outlook.capacity["h100"], Missing) and outlook.capacity["h100"].requests_per_s
    loads_there = targets == Targets() or not isinstance(first_missing(seen.queue_depth, seen.kv_cache_ratio), Missing)
    arrivals_there = not usable or not isinstance(outlook.demand.requests_per_s, Missing)
    return loads_there and arrivals_there and (targets != Targets() or bool(usable))


@settings(max_examples=100)
@given(data=st.data(), start=st.integers(0, 12), history=passes())
def test_nothing_ever_shrinks_blind(build, data, start, history):
    policy = data.draw(rules(build))
    window_s = policy.replicas.scale_down.stabilization_s
    live_s = None
    for situation, _, decision in run(build, policy, history, start):
        seen = situation.signals
        live = situation.ready > 0 and seen.read_replicas >= situation.ready and required_are_there(situation, policy)
        live_s = (0 if live_s is None else live_s + 15) if live else None
        if decision.desired < decision.current and decision.because not in (Because.LIMIT, Because.START_FAILED):
            assert live_s is not None
            assert live_s >= window_s
        if decision.desired < decision.current and decision.because is Because.LIMIT:
            assert seen.read_replicas >= situation.ready


@settings(max_examples=100)
@given(data=st.data(), start=st.integers(0, 12), history=passes())
def test_deciding_twice_on_the_same_inputs_is_equal(build, data, start, history):
    policy = data.draw(rules(build))
    for situation, memory, decision in run(build, policy, history, start):
        assert decide_replicas(situation, policy, memory) == decide_replicas(situation, policy, memory)
        assert decide_replicas(situation, policy, memory)[0][0] == decision


@settings(max_examples=100)
@given(data=st.data(), start=st.integers(0, 12), history=passes())
def test_no_window_is_ever_overruled_in_either_direction(build, data, start, history):
    policy = data.draw(rules(build))
    rule, wanted = policy.replicas, []
    for situation, _, decision in run(build, policy, history, start):
        if decision.because in (Because.DEMAND, Because.FORECAST, Because.IDLE) and not decision.holds:
            growing = decision.desired > decision.current
            window_s = (rule.scale_up if growing else rule.scale_down).stabilization_s
            inside = [count for at, count in wanted if (situation.at - at).total_seconds() <= window_s]
            limited = [min(max(count, rule.min_replicas), rule.max_replicas) for count in inside]
            assert all(decision.desired <= count if growing else decision.desired >= count for count in limited)
        if decision.signal:
            wanted.append((situation.at, decision.wanted))


@settings(max_examples=100)
@given(data=st.data(), start=st.integers(0, 12), history=passes())
def test_a_shrink_by_forecast_leaves_what_carries_the_forecast(build, data, start, history):
    policy = data.draw(rules(build))
    for situation, _, decision in run(build, policy, history, start):
        if decision.because is Because.FORECAST and decision.desired < decision.current:
            each = situation.outlook.capacity["h100"].requests_per_s
            most = max(needs_until(situation.outlook.forecasts, p95, 240))
            assert decision.desired * each >= most - 1e-6 or most < 0.02 * each
            assert situation.signals.read_replicas >= situation.ready


@settings(max_examples=100)
@given(data=st.data(), start=st.integers(0, 12), history=passes())
def test_nobody_who_looks_ahead_holds_fewer_than_who_does_not_would_ask_for(build, data, start, history):
    policy = data.draw(rules(build))
    reactive = replace(policy, replicas=replace(policy.replicas, method=Method.REACTIVE), slo=build.slo())
    for situation, memory, decision in run(build, policy, history, start):
        there = not isinstance(first_missing(situation.signals.queue_depth, situation.signals.kv_cache_ratio), Missing)
        if policy.replicas.targets != Targets() and there and decision.numbers.get("forecast_wanted") is not None:
            floor = decide_replicas(situation, reactive, memory)[0][0].wanted
            assert decision.wanted >= floor or situation.ready == 0


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
