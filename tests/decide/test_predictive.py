"""What the forecast decides, and when it leaves the decision to the loads."""

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.predictive import forecast_wish, needs_until
from controller.decide.replicas import decide_replicas
from controller.decide.reserve import at_quantile
from controller.decide.rules import ForecastRule, Method, Targets
from controller.facts.decisions import Because, ServiceMemory
from controller.facts.fleet import Mode
from controller.facts.missing import Missing
from controller.facts.slo import Slo


def p95(quantiles):
    return at_quantile(quantiles, 0.95)


NO_LOADS = Targets()
GONE = Missing("requests_per_s", "vllm-0:8000 timed out after 2 s")


def one(decisions):
    (decision,) = decisions
    return decision


def decided(build, outlook, ready=4, starting=0, *, memory=None, signals=None, **rule):
    situation = build.situation(ready, starting, outlook=outlook, **(signals or {}))
    policy = build.policy(**({"targets": NO_LOADS} | rule))
    return one(decide_replicas(situation, policy, memory or build.memory())[0])


@pytest.mark.parametrize(
    ("case", "needs", "ready", "starting", "desired", "because"),
    [
        ("more is expected when a replica ordered now is ready", {0: 30, 240: 55}, 4, 0, 6, Because.FORECAST),
        ("what is expected fits exactly", {0: 40, 240: 40}, 4, 0, 4, Because.STEADY),
        ("starting replicas are supply", {0: 30, 240: 55}, 4, 2, 6, Because.STARTING),
        ("less is expected all the time", {0: 18, 240: 15}, 4, 0, 2, Because.FORECAST),
        ("a lull shorter than a start-up keeps what comes after it", {0: 10, 120: 5, 240: 40}, 4, 0, 4, Because.STEADY),
        ("a peak before a new one is ready keeps what there is", {0: 38, 240: 5}, 4, 0, 4, Because.STEADY),
        ("a peak nearer than a start-up orders nothing", {0: 10, 120: 90, 240: 20}, 4, 0, 4, Because.STEADY),
        ("a peak later than a start-up orders nothing yet", {0: 40, 240: 40, 600: 90}, 4, 0, 4, Because.STEADY),
        ("a lull later than a start-up keeps nothing", {0: 10, 240: 10, 600: 40}, 4, 0, 1, Because.FORECAST),
        ("nobody is expected", {0: 0, 240: 0}, 4, 0, 1, Because.FORECAST),
        ("more than the limit is expected", {0: 40, 240: 4000}, 4, 0, 8, Because.FORECAST),
        ("the limit is reached", {0: 40, 240: 4000}, 8, 0, 8, Because.LIMIT),
        ("below the minimum comes back at once", {0: 0, 240: 0}, 0, 0, 1, Because.LIMIT),
    ],
)
def test_replicas_follow_the_forecast(build, case, needs, ready, starting, desired, because):
    decision = decided(build, build.outlook(needs), ready, starting)
    assert (decision.desired, decision.because) == (desired, because), case


def test_the_demand_at_the_start_up_time_is_read_off_between_two_horizons(build):
    outlook = build.outlook({0: 20, 120: 40, 360: 80}, start_up_s=180)
    # Half a minute's quarter of the way from 40 at 120 s to 80 at 360 s.
    assert needs_until(outlook.forecasts, p95, 180) == [20, 40, 50]
    assert decided(build, outlook).desired == 5


def test_beyond_the_last_horizon_the_last_forecast_holds(build):
    assert needs_until(build.outlook({0: 20, 120: 40}).forecasts, p95, 600) == [20, 40, 40]


def test_a_more_careful_quantile_orders_more(build):
    outlook = build.outlook(0.0)
    outlook = replace(outlook, forecasts=tuple(build.forecast(at_s, 60, p50_per_s=42) for at_s in (0, 240)))
    wanted = {
        quantile: decided(build, outlook, forecast=ForecastRule(quantile=quantile)).desired
        for quantile in (0.5, 0.725, 0.95, 0.99)
    }
    # Straight lines between the quantiles that are told, the outermost beyond them.
    assert wanted == {0.5: 5, 0.725: 6, 0.95: 6, 0.99: 6}


def test_what_waits_is_worked_off_beside_the_demand(build):
    # 240 s from now 600 + (40 + 40) / 2 x 240 - 40 x 240 = 600 wait; in a minute that is 10 requests/s.
    outlook = build.outlook(40, arriving=40.0, waiting=600.0)
    assert decided(build, outlook).desired == 5
    assert decided(build, outlook, forecast=ForecastRule(drain_s=20)).desired == 7
    assert (
        "P95 of the demand in 240 s is 40.0 requests/s and 10.0 more for what waits" in decided(build, outlook).detail
    )


def test_what_may_come_beside_what_is_expected_does_not_queue_up_as_well(build):
    wide = tuple(build.forecast(at_s, 60, p50_per_s=10) for at_s in (0, 240))
    outlook = replace(build.outlook(60, arriving=40.0, waiting=600.0), forecasts=wide)
    # Four replicas work off the 600 and 10 requests/s: the six are for the 60 that may come.
    decision = decided(build, outlook)
    assert (decision.desired, "for what waits" in decision.detail) == (6, False)


@pytest.mark.parametrize("waiting", [0.0, 39.0, Missing("queue_depth", "not exported"), nan])
def test_a_moments_queue_and_an_unknown_one_order_nothing(build, waiting):
    assert decided(build, build.outlook(40, arriving=40.0, waiting=waiting)).desired == 4


def test_what_waits_keeps_replicas_that_the_demand_alone_would_let_go(build):
    assert decided(build, build.outlook(10, arriving=10.0)).desired == 1
    # Four would have worked off the 900 by the time a new one came; one would not: 10 + 900 / 60 needs three.
    fewer = decided(build, build.outlook(10, arriving=10.0, waiting=900.0))
    assert (fewer.desired, fewer.because) == (3, Because.FORECAST)
    assert "is 10.0 requests/s and 15.0 more for what waits" in fewer.detail


# --- surges that nothing foresees ------------------------------------------------------------------------------------

SURGES = {0.5: 5.0, 0.9: 12.0, 0.95: 20.0, 0.99: 60.0, 0.999: 90.0}


def standing(build, attainment=0.99, ready=4, forecast=None, **changes):
    outlook = replace(build.outlook({0: 3, 240: 3}), surges=SURGES, **changes)
    return decided(build, outlook, ready, slo=Slo(attainment_ratio=attainment), forecast=forecast or ForecastRule())


@pytest.mark.parametrize(("attainment", "desired"), [(0.9, 2), (0.95, 2), (0.97, 4), (0.99, 6), (0.999, 8)])
def test_the_fleet_stands_for_what_the_slos_share_of_the_requests_came_with(build, attainment, desired):
    # At 97 % half of the way from 20 to 60 requests/s; 90 requests/s would want nine, and eight are allowed.
    assert standing(build, attainment).desired == desired


def test_then_neither_the_usual_demand_nor_the_forecasts_quantile_decides(build):
    others = [{"usual_per_s": 3.0}, {"usual_per_s": 300.0}, {"forecast": ForecastRule(quantile=0.5)}]
    assert {standing(build, **one).desired for one in others} == {6}


def test_such_a_move_says_what_the_fleet_stands_for(build):
    said = "99 % of the requests come while at most 60.0 requests/s do, a replica carries 10.00 (learned, tpot binds)"
    assert standing(build).detail.startswith(said)
    assert standing(build, ready=8).detail.startswith(said)


# --- when the forecast has nothing to say ---------------------------------------------------------------------------


def without_start_up(build):
    return replace(build.outlook(90), start_up_s={})


def without_forecast(build):
    return replace(build.outlook(90), forecasts=())


UNKNOWN = Missing("capacity", "no request has finished yet")

SILENT = [
    ("no outlook", lambda build: Missing("outlook", "nothing has been forecast"), "nothing has been forecast"),
    ("no forecast", without_forecast, "no forecast yet"),
    ("no capacity", lambda build: build.outlook(90, capacity={"h100": UNKNOWN}), "no request has finished yet"),
    (
        "another variant's capacity",
        lambda build: build.outlook(90, capacity={"l40s": 5}),
        "capacity of h100 is not known",
    ),
    ("a capacity of nothing", lambda build: build.outlook(90, capacity=0.0), "h100 carries nothing inside the SLO"),
    ("a capacity that is no number", lambda build: build.outlook(90, capacity=nan), "carries nothing inside the SLO"),
    ("no start-up time", without_start_up, "how long h100 takes to start is not known"),
    ("a demand that is no number", lambda build: build.outlook({0: 10, 240: nan}), "it is not a number"),
    ("a nearer one that is none", lambda build: build.outlook({0: 10, 120: nan, 240: 10}), "it is not a number"),
    ("a demand without bound", lambda build: build.outlook(inf), "it is not a number"),
]


@pytest.mark.parametrize(("outlook", "why"), [case[1:] for case in SILENT], ids=[case[0] for case in SILENT])
@pytest.mark.parametrize("ready", [0, 4])
def test_without_a_usable_forecast_the_loads_decide_as_if_the_method_were_reactive(build, outlook, why, ready):
    policy = build.policy(min_replicas=0, targets=Targets(queue_depth=50, headroom_ratio=0))
    reactive = build.policy(min_replicas=0, targets=policy.replicas.targets, method=Method.REACTIVE)
    for queue in (0.0, 260.0):
        situation = build.situation(ready, queue_depth=queue, outlook=outlook(build))
        found = decide_replicas(situation, policy, build.memory())
        assert found == decide_replicas(situation, reactive, build.memory())


@pytest.mark.parametrize(("outlook", "why"), [case[1:] for case in SILENT], ids=[case[0] for case in SILENT])
def test_without_a_usable_forecast_and_without_loads_it_holds_and_says_why(build, outlook, why):
    decision = decided(build, outlook(build))
    assert (decision.desired, decision.because) == (4, Because.BLIND)
    assert why in decision.detail


def test_a_latency_alone_never_lets_starting_replicas_go_for_want_of_a_forecast(build):
    decision = decided(build, Missing("outlook", "nothing"), 4, 2, signals={"ttft_s": 0.95}, slo=build.slo(ttft_s=1.0))
    assert (decision.desired, decision.because) == (6, Because.BLIND)


def test_the_reactive_method_reads_no_forecast(build):
    decision = decided(build, build.outlook(400), targets=Targets(queue_depth=50), method=Method.REACTIVE)
    assert decision.because is not Because.FORECAST
    assert decision.desired < 4


# --- the loads as a floor -------------------------------------------------------------------------------------------


def test_never_fewer_than_the_loads_ask_for(build):
    targets = Targets(queue_depth=50, headroom_ratio=0)
    decision = decided(build, build.outlook(10), targets=targets, signals={"queue_depth": 300.0})
    assert (decision.desired, decision.because, decision.signal) == (6, Because.DEMAND, "queue_depth")


def test_rejected_requests_ask_for_one_more_beside_a_forecast_too(build):
    decision = decided(build, build.outlook(10), signals={"rejections_per_s": 0.5})
    assert (decision.desired, decision.because) == (5, Because.DEMAND)


def test_a_broken_latency_is_left_to_the_trim_of_the_capacity(build):
    decision = decided(build, build.outlook(40), signals={"ttft_s": 3.0}, slo=build.slo(ttft_s=1.0))
    assert (decision.desired, decision.because) == (4, Because.STEADY)


def test_headroom_holds_on_the_loads_when_the_forecast_would_let_go(build):
    targets = Targets(kv_cache_ratio=0.8, headroom_ratio=0.15)
    decision = decided(build, build.outlook(10), targets=targets, signals={"kv_cache_ratio": 0.6})
    assert (decision.desired, decision.because) == (4, Because.HEADROOM)


# --- blind ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "arriving", "signals", "why"),
    [
        ("what arrives is unknown", GONE, {}, "vllm-0:8000 timed out"),
        ("a replica was not read", 20.0, {"read": 3}, "only 3 of 4 ready replicas could be read"),
        ("a named load is missing", 20.0, {"kv_cache_ratio": GONE}, "vllm-0:8000 timed out"),
    ],
)
def test_nothing_shrinks_blind_and_growing_needs_no_more_than_the_forecast(build, case, arriving, signals, why):
    rule = {"targets": Targets(kv_cache_ratio=0.8)}
    signals = {"kv_cache_ratio": 0.1} | signals
    fewer = decided(build, build.outlook(10, arriving=arriving), signals=signals, **rule)
    assert (fewer.desired, fewer.because) == (4, Because.BLIND), case
    assert why in fewer.detail
    more = decided(build, build.outlook(60, arriving=arriving), signals=signals, **rule)
    assert (more.desired, more.because) == (6, Because.FORECAST), case


def test_the_forecast_and_what_arrives_must_have_been_there_for_the_whole_window_before_anything_goes(build):
    policy = build.policy(targets=NO_LOADS, scale_down=build.behaviour(300))
    seen = build.situation(4, outlook=build.outlook(10))
    young = one(decide_replicas(seen, policy, build.memory((300, 1), (150, 1), live_s=285))[0])
    assert (young.desired, young.because) == (4, Because.BLIND)
    assert one(decide_replicas(seen, policy, build.memory((300, 1), (150, 1)))[0]).desired == 1
    for gap in (build.outlook(10, arriving=GONE), without_forecast(build)):
        _, memory = decide_replicas(build.situation(4, outlook=gap), policy, build.memory((300, 1), (150, 1)))
        assert memory.live_since is None


@pytest.mark.parametrize(
    ("changes", "because"),
    [({"paused": "paused by ann"}, Because.PAUSED), ({"mode": Mode.OBSERVE}, Because.OBSERVING)],
)
def test_an_operator_or_the_mode_stops_the_forecast_too(build, changes, because):
    situation = build.situation(4, outlook=build.outlook(400), **changes)
    decision = one(decide_replicas(situation, build.policy(), build.memory())[0])
    assert (decision.desired, decision.because) == (4, because)


# --- zero -----------------------------------------------------------------------------------------------------------


def test_a_forecast_wakes_a_service_at_zero_in_its_very_first_pass(build):
    situation = build.situation(0, outlook=build.outlook(25, arriving=GONE))
    policy = build.policy(min_replicas=0, targets=NO_LOADS)
    decision = one(decide_replicas(situation, policy, ServiceMemory())[0])
    assert (decision.desired, decision.because, decision.signal) == (3, Because.FORECAST, "forecast")
    assert decision.numbers["forecast"] == 25


def test_at_zero_with_nothing_expected_it_stays_there(build):
    policy = build.policy(min_replicas=0, targets=NO_LOADS)
    decision = one(decide_replicas(build.situation(0, outlook=build.outlook(0.1)), policy, ServiceMemory())[0])
    assert decision.desired == 0


def test_a_trace_of_demand_in_the_forecast_does_not_keep_an_idle_service_up(build):
    policy = build.policy(min_replicas=0, targets=NO_LOADS)
    quiet = {"queue_depth": 0.0, "running": 0.0, "requests_per_s": 0.0, "token_load_per_s": 0.0}
    idle = build.situation(1, outlook=build.outlook(0.1, arriving=0.0), **quiet)
    decision = one(decide_replicas(idle, policy, build.memory())[0])
    assert (decision.desired, decision.because) == (0, Because.IDLE)
    asked = build.situation(1, outlook=build.outlook(0.3, arriving=0.0), **quiet)
    assert one(decide_replicas(asked, policy, build.memory())[0]).desired == 1


def test_zero_must_be_proven_even_if_nothing_is_expected(build):
    decision = decided(build, build.outlook(0, arriving=0.0), 1, min_replicas=0)
    assert (decision.desired, decision.because) == (1, Because.NOT_PROVEN_IDLE)


# --- words ----------------------------------------------------------------------------------------------------------


def test_a_move_says_what_is_expected_when_and_what_a_replica_carries(build):
    decision = decided(build, build.outlook(55))
    assert str(decision) == (
        "chat/h100: scale up 4 -> 6 (forecast): P95 of the demand in 240 s is 55.0 requests/s, "
        "a replica carries 10.00 (learned, tpot binds): wants 6; $8.00/h -> $12.00/h"
    )
    assert (decision.numbers["forecast"], decision.numbers["forecast_target"]) == (55 / 4, 10)
    assert decision.signal == "forecast"


def test_a_shrink_says_the_most_that_is_expected_meanwhile(build):
    decision = decided(build, build.outlook({0: 18, 240: 15}))
    assert decision.detail.startswith("P95 of the demand within 240 s is 18.0 requests/s, a replica carries 10.00")


# --- for all --------------------------------------------------------------------------------------------------------

rates = st.floats(0, 200)


def wanted(build, outlook, quantile=0.95, ready=4, starting=0):
    situation = build.situation(ready, starting, outlook=outlook)
    return forecast_wish(situation, build.policy(forecast=ForecastRule(quantile=quantile))).wanted


@given(
    needs=st.lists(rates, min_size=1, max_size=5),
    more=st.lists(rates, min_size=5, max_size=5),
    ready=st.integers(0, 8),
    starting=st.integers(0, 4),
    waiting=st.floats(0, 2000),
    each=st.floats(0.1, 50),
)
def test_more_demand_never_wants_fewer(build, needs, more, ready, starting, waiting, each):
    low, high = (
        build.outlook(
            {60.0 * index: need + extra * up for index, (need, extra) in enumerate(zip(needs, more, strict=False))},
            capacity=each,
            waiting=waiting,
        )
        for up in (0, 1)
    )
    assert wanted(build, low, ready=ready, starting=starting) <= wanted(build, high, ready=ready, starting=starting)


@given(
    values=st.lists(rates, min_size=5, max_size=5).map(sorted),
    pair=st.tuples(st.floats(0.5, 0.995), st.floats(0.5, 0.995)).map(sorted),
    ready=st.integers(0, 8),
)
def test_a_higher_quantile_never_wants_fewer(build, values, pair, ready):
    quantiles = dict(zip((0.5, 0.8, 0.9, 0.95, 0.99), values, strict=True))
    outlook = build.outlook(0.0)
    outlook = replace(outlook, forecasts=tuple(replace(one, quantiles=quantiles) for one in outlook.forecasts))
    low, high = (wanted(build, outlook, quantile, ready) for quantile in pair)
    assert low <= high
