from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.estimate.costs import tokens_per_usd, usd_per_million
from controller.facts.estimates import FindingKind
from controller.facts.fleet import Capacity, CapacityType
from controller.facts.missing import Missing
from controller.facts.readings import Counter, Gauge, Phase, ReplicaState

RESERVED, ON_DEMAND, SPOT = CapacityType.RESERVED, CapacityType.ON_DEMAND, CapacityType.SPOT


def state(world, name: str, phase: Phase = Phase.READY, url: str = "") -> ReplicaState:
    return ReplicaState(replica=name, variant="h100", phase=phase, since=world.noon, url=url)


def two(world, **changes: float):
    return world.busy(world.target("r0")), world.busy(world.target("r1"), **changes)


def kinds(estimates) -> set[FindingKind]:
    return {finding.kind for finding in estimates.findings}


def test_totals_are_sums_and_every_level_agrees(world) -> None:
    got = world.estimate(world.observation(*two(world)))
    for seen in (got.fleet, got.services["chat"], got.variants["chat", "h100"]):
        assert seen.output_tokens_per_s == 2000.0
        assert seen.computed_prompt_tokens_per_s == 3200.0
        assert seen.queue_depth == 4.0
        assert (seen.replicas_current, seen.replicas_ready, seen.replicas_read, seen.gpus) == (2, 2, 2, 4)
        assert seen.usd_per_hour == 16.0
        assert seen.usd_per_million_output_tokens == pytest.approx(16 / (2000 * 3600) * 1e6)
        assert seen.usd_per_million_tokens == pytest.approx(16 / (6000 * 3600) * 1e6)
    assert got.replicas["chat", "h100", "r1"].output_tokens_per_s == 1000.0


def test_ratios_are_weighted_by_what_they_are_shares_of(world) -> None:
    readings = two(world, kv_cache_ratio=0.1, kv_capacity_tokens=300_000.0, prefix_queries_tokens=90_000.0)
    seen = world.estimate(world.observation(*readings)).fleet
    assert seen.kv_cache_ratio == pytest.approx((0.7 * 1 + 0.1 * 3) / 4)
    assert seen.prefix_hit_ratio == pytest.approx(12_000 / 120_000)


def test_kv_use_without_capacities_is_a_plain_mean(world) -> None:
    first, second = two(world, kv_cache_ratio=0.1)
    gauges = {name: value for name, value in second.gauges.items() if name != Gauge.KV_CAPACITY_TOKENS}
    seen = world.estimate(world.observation(first, replace(second, gauges=gauges))).fleet
    assert seen.kv_cache_ratio == pytest.approx(0.4)
    assert isinstance(seen.kv_capacity_tokens, Missing)


def test_a_replica_that_cannot_be_read_leaves_a_lower_bound_and_is_not_counted_as_read(world) -> None:
    states = [state(world, "r0"), state(world, "r1")]
    observation = world.observation(
        world.busy(world.target("r0")), targets=[world.target("r0"), world.target("r1")], states=states
    )
    seen = world.estimate(observation).fleet
    assert seen.output_tokens_per_s == 1000.0
    assert (seen.replicas_ready, seen.replicas_read) == (2, 1)
    assert seen.usd_per_hour == 16.0


def test_when_nobody_answers_every_number_is_missing_with_the_reason(world) -> None:
    target = world.target("r0")
    observation = replace(
        world.observation(targets=[target]), engines={target.url: Missing("engine", "timed out after 2 s")}
    )
    seen = world.estimate(observation).services["chat"]
    assert seen.replicas_current == 1
    assert seen.replicas_ready == 0
    assert seen.usd_per_hour == 8.0
    assert seen.queue_depth == Missing("queue_depth", "r0: timed out after 2 s")
    for name in (
        "output_tokens_per_s",
        "kv_cache_ratio",
        "mfu_ratio",
        "ttft_p95_s",
        "prefix_hit_ratio",
        "tokens_per_usd",
    ):
        assert isinstance(getattr(seen, name), Missing)


def test_no_replica_is_unknown_not_zero(world) -> None:
    seen = world.estimate(world.observation(states=[])).fleet
    assert seen.queue_depth == Missing("queue_depth", "there is no replica")
    assert seen.usd_per_hour == 0.0
    assert isinstance(seen.output_tokens_per_usd, Missing)


@pytest.mark.parametrize("gauge", [Gauge.RUNNING, Gauge.QUEUE_DEPTH, Gauge.KV_CACHE_RATIO])
def test_one_unknown_level_among_serving_replicas_hides_the_total(world, gauge: Gauge) -> None:
    first, second = two(world)
    frozen = replace(
        second,
        gauges={name: value for name, value in second.gauges.items() if name != gauge},
        missing={gauge: Missing(gauge.value, "frozen")},
    )
    seen = world.estimate(world.observation(first, frozen)).fleet
    assert seen.values()[gauge.value] == Missing(gauge.value, "r1: frozen")


def test_a_draining_replica_that_says_nothing_hides_nothing(world) -> None:
    states = [state(world, "r0"), state(world, "r1", Phase.DRAINING)]
    seen = world.estimate(
        world.observation(world.busy(world.target("r0")), world.reading(world.target("r1")), states=states)
    ).fleet
    assert (seen.queue_depth, seen.kv_cache_ratio, seen.replicas_current) == (2.0, 0.7, 1)


def test_a_first_reading_does_not_hide_the_rates_of_the_others(world) -> None:
    new = world.reading(world.target("r1"), window_s=0.0, gauges=world.busy().gauges)
    seen = world.estimate(world.observation(world.busy(world.target("r0")), new)).fleet
    assert (seen.output_tokens_per_s, seen.queue_depth) == (1000.0, 4.0)


def test_rejections_are_summed_over_the_engines_that_count_them(world) -> None:
    first, second = two(world)
    counters = {name: value for name, value in second.counters.items() if name != Counter.REJECTIONS}
    seen = world.estimate(world.observation(first, replace(second, counters=counters))).fleet
    assert seen.rejections_per_s == 0.0


def test_a_large_fleet_lists_a_few_reasons_and_counts_the_rest(world) -> None:
    targets = [world.target(f"r{index}") for index in range(9)]
    why = world.estimate(world.observation(targets=targets)).fleet.queue_depth
    assert isinstance(why, Missing)
    assert why.why.endswith("; and 6 more")


def test_speculation_is_counted_or_taken_from_the_gauges(world) -> None:
    reading = world.busy()
    drafted = {Counter.DRAFTS: 100.0, Counter.DRAFT_TOKENS: 300.0, Counter.ACCEPTED_TOKENS: 150.0}
    seen = world.estimate(world.observation(replace(reading, counters={**reading.counters, **drafted}))).fleet
    assert (seen.acceptance_ratio, seen.accepted_length_tokens) == (0.5, 2.5)
    gauges = {**reading.gauges, Gauge.ACCEPTANCE_RATIO: 0.8, Gauge.ACCEPTED_LENGTH_TOKENS: 3.0}
    seen = world.estimate(world.observation(replace(reading, gauges=gauges))).fleet
    assert (seen.acceptance_ratio, seen.accepted_length_tokens) == (0.8, 3.0)


def test_gpu_readings_are_averaged_and_their_power_is_summed(world) -> None:
    gpus = [world.gpu("a"), world.gpu("b", utilization_ratio=0.5), world.gpu("a")]
    seen = world.estimate(world.observation(world.busy(), gpus=gpus))
    assert seen.fleet.gpu_utilization_ratio == pytest.approx(0.7)
    assert seen.fleet.power_w == 1000.0
    assert seen.fleet.joules_per_token == 1.0
    assert seen.replicas["chat", "h100", "r0"].power_w == 1000.0


def test_a_gpu_without_power_or_activity_is_not_a_zero(world) -> None:
    gone = Missing("power_w", "the whole board's under MIG")
    gpu = world.gpu(power_w=gone, tensor_active_ratio=Missing("tensor", "profiling is off"))
    seen = world.estimate(world.observation(world.busy(), gpus=[world.gpu("b", tensor_active_ratio=gone), gpu])).fleet
    assert seen.power_w == gone
    assert isinstance(seen.joules_per_token, Missing)
    assert isinstance(seen.tensor_active_ratio, Missing)


def test_one_replicas_gpus_are_those_of_its_pod(world) -> None:
    gpus = [world.gpu("a", pod="r0"), world.gpu("b", pod="r1", power_w=100.0), world.gpu("c")]
    replicas = world.estimate(world.observation(*two(world), gpus=gpus)).replicas
    assert replicas["chat", "h100", "r1"].power_w == 100.0
    unnamed = world.estimate(world.observation(*two(world), gpus=[world.gpu("c")])).replicas
    assert isinstance(unnamed["chat", "h100", "r0"].power_w, Missing)


def test_actuator_and_discovery_are_joined_by_address_then_name_then_what_is_left(world) -> None:
    by_url, by_name, left = world.target("a"), world.target("b"), world.target("c")
    states = [
        state(world, "pod-a", url="http://a:8000/"),
        state(world, "b"),
        state(world, "pod-c"),
        state(world, "pod-d", Phase.STARTING, url="http://d:8000"),
    ]
    extra = world.target("e")
    observation = world.observation(
        *[world.busy(target) for target in (by_url, by_name, left, extra)],
        targets=[by_url, by_name, left, extra, world.target("gone")],
        states=states,
    )
    got = world.estimate(observation)
    assert {key[2] for key in got.replicas} == {"pod-a", "b", "pod-c", "pod-d", "e"}
    assert got.replicas["chat", "h100", "pod-c"].running == 8.0
    assert isinstance(got.replicas["chat", "h100", "pod-d"].running, Missing)
    assert (got.fleet.replicas_current, got.fleet.replicas_read) == (5, 4)


def bought(world, names, capacity, labels=None, usd=None):
    readings = [world.busy(world.target(name, **(labels or {}).get(name, {}))) for name in names]
    got = world.estimate(
        world.observation(*readings), fleet=world.fleet(world.variant(*capacity)), prices=world.prices(usd)
    )
    return got, [(cost.replica, cost.capacity_type) for cost in got.costs]


def test_reserved_is_filled_first_and_what_is_left_of_it_is_paid_too(world) -> None:
    capacity = (Capacity(type=SPOT, replicas=1), Capacity(type=ON_DEMAND), Capacity(type=RESERVED, replicas=2))
    got, rows = bought(world, ["r0", "r1", "r2", "r3"], capacity)
    assert rows == [("r0", RESERVED), ("r1", RESERVED), ("r2", SPOT), ("r3", ON_DEMAND)]
    assert got.fleet.usd_per_hour == 2 * (2 + 2 + 1 + 4)
    got, rows = bought(world, ["r0"], capacity)
    assert rows == [("r0", RESERVED), ("", RESERVED)]
    assert got.fleet.usd_per_hour == 8.0


def test_a_label_says_how_its_replica_is_bought_and_uses_that_place(world) -> None:
    capacity = (Capacity(type=RESERVED, replicas=1), Capacity(type=ON_DEMAND))
    labels = {"r1": {"capacity_type": "reserved"}, "r2": {"capacity_type": "spot"}}
    _, rows = bought(world, ["r0", "r1", "r2"], capacity, labels)
    assert rows == [("r0", ON_DEMAND), ("r1", RESERVED), ("r2", SPOT)]


def test_reserved_without_a_count_commits_to_nothing(world) -> None:
    _, rows = bought(world, ["r0"], (Capacity(type=RESERVED),))
    assert rows == [("r0", RESERVED)]


@pytest.mark.parametrize(
    ("capacity", "labels", "why"),
    [
        ((Capacity(type=RESERVED, replicas=1),), {}, "less capacity than there are replicas"),
        ((Capacity(type=ON_DEMAND),), {"r1": {"capacity_type": "spot"}}, "names no spot capacity"),
    ],
)
def test_one_unknown_price_makes_the_bill_unknown(world, capacity, labels, why) -> None:
    usd = {capacity[0].type: 2.0}
    got, _ = bought(world, ["r0", "r1"], capacity, labels, usd)
    assert isinstance(got.fleet.usd_per_hour, Missing)
    assert why in got.fleet.usd_per_hour.why
    assert isinstance(got.fleet.tokens_per_usd, Missing)
    assert got.replicas["chat", "h100", "r0"].usd_per_hour == 4.0
    assert FindingKind.PRICE_UNKNOWN in kinds(got)


@given(st.floats(0.01, 1e5), st.floats(1e-6, 1e9))
def test_tokens_per_usd_is_the_inverse_of_usd_per_million(usd: float, rate: float) -> None:
    assert tokens_per_usd("x", usd, rate) * usd_per_million("y", usd, rate) == pytest.approx(1e6)


def test_no_tokens_cost_nothing_that_can_be_said(world) -> None:
    seen = world.estimate(world.observation(world.busy(output_tokens=0.0, prompt_tokens=0.0))).fleet
    assert isinstance(seen.usd_per_million_output_tokens, Missing)
    assert isinstance(seen.tokens_per_usd, Missing)
    assert isinstance(tokens_per_usd("x", 1.0, Missing("rate", "gone")), Missing)
    assert tokens_per_usd("x", 0.0, 5.0) == Missing("x", "nothing is paid for")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, FindingKind.LOW_MFU_WITH_QUEUE),
        ({"queue_depth": 0.0, "kv_cache_ratio": 0.3}, FindingKind.KV_OVER_PROVISIONED),
        ({"kv_cache_ratio": 0.97, "preemptions": 3.0}, FindingKind.KV_EXHAUSTED),
        ({"prompt_tokens": 1e7 * 15, "queue_depth": 0.0}, FindingKind.WRONG_PEAK),
        ({"engine_steps": 1e5}, FindingKind.WRONG_PEAK),
    ],
)
def test_findings_carry_their_numbers_and_what_to_do(world, changes, kind) -> None:
    found = {one.kind: one for one in world.estimate(world.observation(world.busy(**changes))).findings}
    assert found[kind].numbers
    assert found[kind].do


def test_a_full_gpu_is_found(world) -> None:
    reading = world.busy()
    busy = replace(reading, counters={**reading.counters, Counter.FLOP_PER_GPU: 15 * 0.9 * 1979e12})
    assert kinds(world.estimate(world.observation(busy))) == {FindingKind.HIGH_MFU}


def test_a_healthy_fleet_has_no_finding(world) -> None:
    assert not kinds(world.estimate(world.observation(world.busy(queue_depth=0.0))))


@pytest.mark.parametrize(
    ("ages_s", "waiting", "found"),
    [
        ((300, 150, 15), (3, 2, 1), True),
        ((300, 150, 15), (3, 0, 1), False),
        ((150, 15), (3, 2), False),
        ((), (), False),
    ],
)
def test_a_queue_is_persistent_when_it_never_emptied(world, ages_s, waiting, found) -> None:
    queue = [(world.noon - timedelta(seconds=age), float(count)) for age, count in zip(ages_s, waiting, strict=True)]
    got = world.estimate(world.observation(world.busy()), queue=queue)
    assert (FindingKind.PERSISTENT_QUEUE in kinds(got)) is found


@pytest.mark.parametrize(("readings", "tokens", "found"), [(1, 0.0, False), (2, 0.0, True), (2, 1.0, False)])
def test_running_without_tokens_for_long_enough_is_stuck(world, readings, tokens, found) -> None:
    still = [
        world.busy(age_s=15.0 * at, prompt_tokens=tokens, cached_prompt_tokens=0.0, output_tokens=0.0)
        for at in range(readings)
    ]
    got = world.estimate(world.observation(still[0]), history={still[0].target.url: still})
    assert (FindingKind.STUCK in kinds(got)) is found


@given(st.sets(st.sampled_from([*Gauge, *Counter])))
def test_a_missing_signal_never_becomes_a_number(world, gone) -> None:
    reading = world.busy()
    less = replace(
        reading,
        gauges={name: value for name, value in reading.gauges.items() if name not in gone},
        counters={name: value for name, value in reading.counters.items() if name not in gone},
    )
    full = world.estimate(world.observation(reading)).fleet.values()
    seen = world.estimate(world.observation(less)).fleet.values()
    for name, value in seen.items():
        if not isinstance(value, Missing):
            assert value == full[name] or name == "computed_prompt_tokens_per_s"
