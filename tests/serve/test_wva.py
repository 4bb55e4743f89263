"""The names of the Workload Variant Autoscaler on /metrics, and our own about other autoscalers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from controller.facts.actuators import ExternalOptions, Through
from controller.facts.decisions import OutcomeKind
from controller.facts.fleet import Mode
from controller.facts.missing import Missing
from controller.facts.readings import Target
from controller.serve.wanted import EXTERNAL_METRICS, Asked, external_metrics
from controller.serve.wva import LABELS, WVA_METRICS, Wva
from tests.serve.stages import Stage, decision


@pytest.fixture
def stage(plan, busy):
    made = Stage(plan.fleet)
    made.busy = replace(busy, decisions=(decision(2, 5),), at=made.now)
    made.result = replace(made.busy, outcomes=made.result.outcomes)
    return made


def samples(collect):
    """(name, labels) -> value of a page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(type("Page", (), {"collect": staticmethod(lambda: list(collect()))})())
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def shown(stage):
    def page(*results, namespace="unknown", gpu="H100-80GB-SXM"):
        wva = Wva(stage.wanted)
        for result in results or (stage.result,):
            stage.result = result
            wva.observe(result)
        found = samples(wva.metrics)
        usual = {"variant_name": "h100", "namespace": namespace, "accelerator_type": gpu, "service": "chat"}
        named = dict(found)

        def value(name, **more):
            return named.get(
                (name, tuple(sorted((usual | more).items()))), named.get((name, tuple(sorted(more.items()))))
            )

        return value

    return page


@pytest.fixture
def gpu(stage):
    return stage.fleet.services["chat"].variants["h100"].gpu.name


def test_desired_current_and_ratio_go_by_variant_namespace_and_accelerator(shown, gpu):
    value = shown(gpu=gpu)
    assert value("wva_desired_replicas") == 5.0
    assert value("wva_current_replicas") == 2.0
    assert value("wva_desired_ratio") == 2.5


def test_a_label_that_is_not_known_is_unknown_and_the_series_stays(stage, shown, gpu):
    assert shown(gpu=gpu)("wva_desired_replicas") == 5.0
    labelled = Target(service="chat", variant="h100", replica="r", url="http://r", labels={"namespace": "llm"})
    seen = replace(stage.result.observation, targets=(labelled,))
    found = shown(replace(stage.result, observation=seen), gpu=gpu, namespace="llm")
    assert found("wva_desired_replicas") == 5.0
    stage.with_options(ExternalOptions(namespace="prod"))
    assert shown(gpu=gpu, namespace="prod")("wva_desired_replicas") == 5.0


def test_a_variant_goes_by_the_name_that_llm_d_gives_its_pods_also_when_they_are_gone(stage, shown, gpu):
    pods = (
        Target(service="chat", variant="h100", replica=name, url=f"http://{name}", labels={"llmd_variant": "fast"})
        for name in "ab"
    )
    named = replace(stage.result, observation=replace(stage.result.observation, targets=tuple(pods)))
    assert shown(named, gpu=gpu)("wva_desired_replicas", variant_name="fast") == 5.0
    assert shown(named, stage.result, gpu=gpu)("wva_desired_replicas", variant_name="fast") == 5.0


def test_a_variant_whose_pods_llm_d_calls_differently_goes_by_our_name(stage, shown, gpu):
    pods = (
        Target(service="chat", variant="h100", replica=name, url=f"http://{name}", labels={"llmd_variant": name})
        for name in ("fast", "slow")
    )
    named = replace(stage.result, observation=replace(stage.result.observation, targets=tuple(pods)))
    assert shown(named, gpu=gpu)("wva_desired_replicas") == 5.0


def test_what_nobody_may_act_on_has_no_sample_and_never_a_zero(stage, shown, gpu):
    value = shown(replace(stage.result, mode=Mode.ADVISE), gpu=gpu)
    assert value("wva_desired_replicas") is None
    assert value("wva_desired_ratio") is None
    assert value("wva_current_replicas") == 2.0
    uncounted = replace(stage.result.observation, replicas={("chat", "h100"): Missing("replicas", "gone")})
    value = shown(replace(stage.busy, observation=uncounted), gpu=gpu)
    assert value("wva_desired_replicas") is None
    assert value("wva_current_replicas") is None


def test_a_variant_that_is_only_said_has_no_desired_count(stage, shown, gpu):
    stage.with_options(None, "dry_run")
    assert shown(gpu=gpu)("wva_desired_replicas") is None


def test_from_zero_the_ratio_is_the_desired_count(stage, shown, gpu):
    grown = decision(0, 3)
    outcome = replace(stage.result.outcomes[0], decision_id=grown.id)
    assert shown(replace(stage.busy, decisions=(grown,), outcomes=(outcome,)), gpu=gpu)("wva_desired_ratio") == 3.0
    assert shown(replace(stage.busy, decisions=(decision(3, 3),)), gpu=gpu)("wva_desired_ratio") == 1.0


def test_changes_and_failures_are_counted_by_direction_and_reason(stage, shown, gpu):
    done = stage.result
    failed = replace(done, outcomes=(replace(done.outcomes[0], kind=OutcomeKind.FAILED),))
    value = shown(done, done, failed, gpu=gpu)
    assert value("wva_replica_scaling_total", direction="up", reason="demand") == 2.0
    assert value("wva_errors_total") == 1.0


def test_what_engines_say_is_told_too(stage, shown, gpu):
    value = shown(gpu=gpu)
    assert value("wva_saturation_utilization") == 0.5
    assert value("wva_saturation_metrics_up") == 1.0
    assert value("wva_kv_cache_tokens_capacity") is None, "these engines do not tell it"


def test_every_name_is_described_and_every_series_has_the_labels(stage):
    wva = Wva(stage.wanted)
    wva.observe(stage.result)
    families = list(wva.metrics())
    assert {f"{one.name}{'_total' if one.type == 'counter' else ''}" for one in families} == set(WVA_METRICS)
    assert all(set(LABELS) <= set(sample.labels) for one in families for sample in one.samples if len(sample.labels))


def test_our_own_name_tells_only_what_others_may_scale(stage):
    asked = Asked()
    asked.count(Through.KEDA, "GetMetrics", "OK")
    told = samples(lambda: external_metrics(stage.wanted, asked, {("chat", "h100"): 130.0}))
    where = (("service", "chat"), ("variant", "h100"))
    assert told[("pennyweight_external_replicas", where)] == 5.0
    assert told[("pennyweight_external_unfollowed_seconds", where)] == 130.0
    counted = (("code", "OK"), ("method", "GetMetrics"), ("through", "keda"))
    assert told[("pennyweight_external_requests_total", counted)] == 1.0
    assert {name for name, _ in told} == set(EXTERNAL_METRICS)
    stage.with_options(None, "process")
    told = samples(lambda: external_metrics(stage.wanted, asked))
    assert ("pennyweight_external_replicas", where) not in told
