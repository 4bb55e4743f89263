"""What was learned and forecast, kept over a restart and told to people, on SQLite and on PostgreSQL alike."""

from datetime import timedelta
from math import inf, nan

import pytest

from controller.facts.decisions import Memory
from controller.facts.demand import Forecast, ForecastAccuracy
from controller.facts.learned import Learned
from controller.facts.missing import Missing
from controller.facts.passes import Gap
from controller.facts.performance import ReplicaCapacity, ServingPoint
from controller.facts.readings import Counter, Phase
from controller.ledger.demand import NO_REPLICA, NOT_WATCHED


def forecast(make, seconds, horizon_s=240.0, middle=4.0):
    return Forecast(
        at=make.at(seconds),
        horizon_s=horizon_s,
        quantiles={0.5: middle, 0.9: 5.0, 0.95: 6.0, 0.99: 8.0},
        basis="day",
        scored=12,
    )


def accuracy(**given):
    usual = {
        "service": "chat",
        "horizon_s": 240.0,
        "scored": 12,
        "error_ratio": 0.08,
        "bias_ratio": -0.01,
        "coverage_ratio": {0.5: 0.47, 0.95: 0.96},
    }
    return ForecastAccuracy(**usual | given)


def capacity(**given):
    point = {"running": 71.0, "kv_cache_ratio": 0.4, "busy_ratio": 0.3, "ttft_s": 0.4, "tpot_s": 0.03} | given
    at = ServingPoint(requests_per_s=9.5, **point)
    return ReplicaCapacity(requests_per_s=9.5, binding="ttft", at=at, source="learned", band_ratio=0.12)


def recorded(ledger, make, seconds, **given):
    ledger.record_intent(make.record(seconds, learned=Learned(**given)))


def test_what_was_learned_is_there_again_after_a_restart_and_the_newest_stands(ledger, make):
    payload = '{"weights": [0.25, 1e-9], "why": "süß"}'
    recorded(ledger, make, 0, states={("demand", "chat", ""): "old", ("step", "chat", "h100"): "{}"})
    recorded(ledger, make, 300, states={("demand", "chat", ""): payload})
    assert ledger.restore().learned.states == {("demand", "chat", ""): payload, ("step", "chat", "h100"): "{}"}


def test_a_pass_with_nothing_new_leaves_what_is_known(ledger, make):
    recorded(ledger, make, 0, states={("demand", "chat", ""): "kept"})
    ledger.record_intent(make.record(15))
    ledger.record_outcomes(make.result(15), Memory())
    assert ledger.restore().learned == Learned(states={("demand", "chat", ""): "kept"})


def test_an_empty_ledger_has_learned_nothing(ledger, reader, make):
    assert ledger.restore().learned == Learned()
    assert reader.latest_forecasts("chat") == ()
    assert reader.forecasts("chat", make.at(0), make.at(999)) == ()
    assert reader.forecast_accuracy("chat", make.at(0), make.at(999)) == ()
    assert reader.capacities("chat", make.at(0), make.at(999)) == ()


def test_of_five_minutes_one_forecast_a_horizon_is_kept_and_told_by_when_it_is_due(ledger, reader, make):
    for seconds in (0, 150, 290, 300):
        made = tuple(forecast(make, seconds, horizon, middle=4.0 + seconds) for horizon in (60.0, 240.0))
        recorded(ledger, make, seconds, forecasts={"chat": made, "code": made})
    everything = reader.forecasts("chat", make.at(0), make.at(999))
    assert everything == tuple(
        forecast(make, seconds, horizon, middle=4.0 + seconds) for horizon in (60.0, 240.0) for seconds in (290, 300)
    )
    assert reader.forecasts("chat", make.at(530), make.at(540), horizon_s=240.0) == (forecast(make, 290, middle=294.0),)
    assert reader.latest_forecasts("chat") == (
        forecast(make, 300, 60.0, middle=304.0),
        forecast(make, 300, 240.0, middle=304.0),
    )


def test_quantiles_that_are_not_kept_or_no_numbers_are_left_out(ledger, reader, make):
    made = Forecast(
        at=make.at(0), horizon_s=60.0, quantiles={0.5: 3.0, 0.7: 4.0, 0.95: inf, 0.99: nan}, basis="level", scored=0
    )
    recorded(ledger, make, 0, forecasts={"chat": (made,)})
    (read,) = reader.latest_forecasts("chat")
    assert (dict(read.quantiles), read.basis, read.scored) == ({0.5: 3.0}, "level", 0)


def test_accuracy_is_kept_by_the_hour_with_its_newest_value_and_says_why_it_is_unknown(ledger, reader, make):
    nothing_due = Missing("forecast error", "no forecast at this horizon has come due yet")
    unknown = accuracy(scored=0, error_ratio=nothing_due, bias_ratio=nothing_due, coverage_ratio={})
    recorded(ledger, make, 0, accuracy=(unknown,))
    recorded(ledger, make, 300, accuracy=(accuracy(),))
    recorded(ledger, make, 3600, accuracy=(unknown, accuracy(horizon_s=60.0)))
    found = reader.forecast_accuracy("chat", make.at(0), make.at(9999))
    assert [(one.hour, one.accuracy.horizon_s) for one in found] == [
        (make.at(3600), 60.0),
        (make.at(0), 240.0),
        (make.at(3600), 240.0),
    ]
    assert found[1].accuracy == accuracy()
    assert found[2].accuracy.error_ratio == nothing_due


def test_capacity_is_kept_by_the_hour_with_what_binds_it(ledger, reader, make):
    no_table = Missing("capacity", "the model is in no table")
    recorded(ledger, make, 0, capacity={("chat", "h100"): no_table, ("chat", "l4"): no_table})
    recorded(ledger, make, 600, capacity={("chat", "h100"): capacity(), ("code", "h100"): capacity()})
    recorded(ledger, make, 3700, capacity={("chat", "h100"): capacity(ttft_s=inf)})
    found = reader.capacities("chat", make.at(0), make.at(9999))
    assert [(one.variant, one.hour, one.at) for one in found] == [
        ("h100", make.at(0), make.at(600)),
        ("h100", make.at(3600), make.at(3700)),
        ("l4", make.at(0), make.at(0)),
    ]
    assert [one.capacity for one in found] == [capacity(), capacity(ttft_s=inf), no_table]


def test_what_is_shown_goes_after_thirty_days_and_states_with_their_service(ledger, reader, make):
    day = 86_400
    given = {"forecasts": {"chat": (forecast(make, 0),)}, "accuracy": (accuracy(),)}
    given |= {"capacity": {("chat", "h100"): capacity()}}
    states = {("demand", "chat", ""): "{}", ("profile", "chat", "h100"): "{}"}
    recorded(ledger, make, 0, states=states, **given)
    recorded(ledger, make, 60 * day, states={("demand", "code", ""): "{}"})
    assert ledger.prune(make.at(29 * day), minutes_s=90 * day, decisions_s=400 * day) == 0
    ledger.prune(make.at(31 * day), minutes_s=90 * day, decisions_s=400 * day)
    assert reader.latest_forecasts("chat") == ()
    assert reader.forecast_accuracy("chat", make.at(-day), make.at(day)) == ()
    assert reader.capacities("chat", make.at(-day), make.at(day)) == ()
    assert set(ledger.restore().learned.states) == {*states, ("demand", "code", "")}
    ledger.prune(make.at(401 * day), minutes_s=90 * day, decisions_s=400 * day)
    assert set(ledger.restore().learned.states) == {("profile", "chat", "h100"), ("demand", "code", "")}


def test_a_pass_that_could_not_be_recorded_kept_nothing_of_what_it_learned(ledger, make):
    recorded(ledger, make, 0, states={("demand", "chat", ""): "before"})
    twice = make.decision(15, id="same")
    broken = make.record(15, learned=Learned(states={("demand", "chat", ""): "after"}), decisions=(twice, twice))
    with pytest.raises(Exception, match="could not record the pass"):
        ledger.record_intent(broken)
    assert ledger.restore().learned.states == {("demand", "chat", ""): "before"}


COUNTS = {
    Counter.REQUESTS: 30.0,
    Counter.REJECTIONS: 6.0,
    Counter.PROMPT_TOKENS: 6000.0,
    Counter.CACHED_PROMPT_TOKENS: 1500.0,
    Counter.OUTPUT_TOKENS: 900.0,
}


def history(reader, make, minutes):
    return reader.demand_history("chat", make.at(0), make.at(60 * minutes))


def test_demand_is_what_all_replicas_finished_and_refused_minute_by_minute(ledger, reader, make):
    both = [make.use(0, 60, replica=name, counts=COUNTS) for name in ("a", "b")]
    other = make.use(0, 60, service="code", counts=COUNTS)
    ledger.record_intent(make.record(60, uses=(*both, other)))
    (one,) = history(reader, make, 1)
    assert (one.minute, one.requests, one.rejections, one.arrivals) == (make.at(0), 60.0, 12.0, 72.0)
    assert one.arrivals_per_s == pytest.approx(1.2)
    means = (one.mean_prompt_tokens, one.mean_cached_prompt_tokens, one.mean_output_tokens)
    assert means == (200.0, 50.0, 30.0)


def test_silence_is_a_zero_and_everything_that_nobody_saw_is_unknown_with_its_reason(ledger, reader, make):
    silent = make.use(0, 60, counts=dict.fromkeys(COUNTS, 0.0))
    unread = make.use(60, 120, missing="connection refused")
    starting = make.use(120, 180, phase=Phase.STARTING, missing="still starting")
    for minute, uses in enumerate(((silent,), (unread,), (starting,), ())):
        ledger.record_intent(make.record(60 * (minute + 1), uses=uses))
    found = history(reader, make, 6)
    assert [one.minute for one in found] == [make.at(60 * minute) for minute in range(6)]
    assert [one.requests for one in found] == [0.0, None, None, None, None, None]
    assert found[0].mean_output_tokens is None
    whys = ["", "connection refused", NO_REPLICA, NO_REPLICA, NOT_WATCHED, NOT_WATCHED]
    assert [one.unknown_why for one in found] == whys


def test_what_was_counted_over_a_gap_says_nothing_of_its_minutes(ledger, reader, make):
    gap = Gap(start=make.at(60), end=make.at(195), why="the daemon was not running")
    ledger.record_intent(make.record(60, uses=(make.use(0, 60, counts=COUNTS),)))
    ledger.record_intent(make.record(195, uses=(make.use(60, 195, counts=COUNTS),), gaps=(gap,)))
    ledger.record_intent(make.record(240, uses=(make.use(195, 240, counts=COUNTS),)))
    found = history(reader, make, 4)
    assert [one.unknown_why for one in found] == ["", gap.why, gap.why, ""]
    assert found[3].requests is not None


def test_one_unreadable_replica_of_many_leaves_a_minute_known_and_half_of_them_do_not(ledger, reader, make):
    def uses(start, read, unread):
        good = [make.use(start, start + 60, replica=f"g{n}", counts=COUNTS) for n in range(read)]
        bad = [make.use(start, start + 60, replica=f"b{n}", missing="timed out") for n in range(unread)]
        return (*good, *bad)

    ledger.record_intent(make.record(60, uses=uses(0, 3, 1)))
    ledger.record_intent(make.record(120, uses=uses(60, 1, 2)))
    many, few = history(reader, make, 2)
    assert (many.requests, few.requests, few.unknown_why) == (90.0, None, "timed out")


def test_a_minute_watched_in_part_is_a_rate_over_that_part(ledger, reader, make):
    ledger.record_intent(make.record(45, uses=(make.use(0, 45, counts=COUNTS),)))
    ledger.record_intent(make.record(70, uses=(make.use(60, 70, counts=COUNTS),)))
    whole, little = history(reader, make, 2)
    assert (whole.watched_s, whole.arrivals_per_s) == (45.0, pytest.approx(36 / 45))
    assert little.unknown_why == NOT_WATCHED


def test_commitments_that_nobody_uses_are_no_replicas(ledger, reader, make):
    unused = make.use(0, 60, replica="", missing="no replica uses this committed capacity")
    ledger.record_intent(make.record(60, uses=(unused,)))
    (one,) = history(reader, make, 1)
    assert one.unknown_why == NO_REPLICA


def test_history_begins_at_the_minute_of_its_start(ledger, reader, make):
    ledger.record_intent(make.record(60, uses=(make.use(0, 60, counts=COUNTS),)))
    (one,) = reader.demand_history("chat", make.at(20), make.at(60))
    assert (one.minute, one.requests) == (make.at(20) - timedelta(seconds=20), 30.0)
