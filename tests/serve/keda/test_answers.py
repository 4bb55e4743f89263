"""What KEDA is told of a variant, and what it is refused."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from controller.facts.actuators import ExternalOptions, Through
from controller.facts.decisions import OutcomeKind
from controller.facts.fleet import Mode
from controller.facts.missing import Missing
from controller.serve.wanted import METRIC
from tests.serve.keda.stage import TIMEOUT_S, no_pass, too_old


def test_the_value_is_the_desired_count_in_both_fields_over_a_target_of_one(ask, stub, ref):
    value = ask()
    assert (value.metricName, value.metricValue, value.metricValueFloat) == (METRIC, 5, 5.0)
    (spec,) = stub.GetMetricSpec(ref(), timeout=TIMEOUT_S).metricSpecs
    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == (METRIC, 1, 1.0)


def test_the_bytes_on_the_wire_are_those_of_the_contract(serve):
    """Worked out by hand: field numbers and wire types, no library on our side of the test."""
    ask = b"\x0a\x04chat\x12\x03llm" + b"\x1a\x0f\x0a\x07service\x12\x04chat" + b"\x1a\x0f\x0a\x07variant\x12\x04h100"
    metric = METRIC.encode()
    name = b"\x0a" + bytes([len(metric)]) + metric
    spec = name + b"\x10\x01\x19\x00\x00\x00\x00\x00\x00\xf0\x3f"
    value = name + b"\x10\x05\x19\x00\x00\x00\x00\x00\x00\x14\x40"
    question = b"\x0a" + bytes([len(ask)]) + ask + b"\x12" + name[1:]
    with serve() as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:

        def raw(method, wire):
            return channel.unary_unary(f"/externalscaler.ExternalScaler/{method}")(wire, timeout=TIMEOUT_S)

        assert raw("IsActive", ask) == b"\x08\x01"
        assert raw("GetMetricSpec", ask) == b"\x0a" + bytes([len(spec)]) + spec
        assert raw("GetMetrics", question) == b"\x0a" + bytes([len(value)]) + value


def test_a_prefix_of_keda_that_was_not_cut_off_does_no_harm(ask):
    assert ask(f"s0-{METRIC}").metricName == f"s0-{METRIC}"
    assert ask("").metricName == METRIC


def test_a_desired_of_zero_is_a_zero_and_not_active(stage, ask, stub, ref):
    stage.decide(0)
    assert (ask().metricValue, ask().metricValueFloat) == (0, 0.0)
    assert stub.IsActive(ref(), timeout=TIMEOUT_S).result is False
    stage.decide(1, current=0)
    assert stub.IsActive(ref(), timeout=TIMEOUT_S).result is True


def advises(stage):
    stage.result = replace(stage.result, mode=Mode.ADVISE)


def observes(stage):
    stage.result = replace(stage.result, mode=Mode.OBSERVE)


def stands_by(stage):
    stage.standby = "another daemon leads"


def nobody_counts(stage):
    observation = replace(stage.result.observation, replicas={("chat", "h100"): Missing("replicas", "list.json: gone")})
    stage.result = replace(stage.result, observation=observation)


def no_policy(stage):
    stage.result = replace(stage.result, decisions=())


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (no_pass, "no pass has finished yet"),
        (too_old, "the last pass was 46 s ago"),
        (advises, "the mode is advise"),
        (observes, "the mode is observe"),
        (stands_by, "another daemon leads"),
        (nobody_counts, "list.json: gone"),
        (no_policy, "no policy decides about it"),
    ],
)
def test_unknown_is_unavailable_and_never_a_zero(stage, refused, stub, ref, happens, words):
    happens(stage)
    code, told = refused()
    assert code == "UNAVAILABLE"
    assert words in told
    with pytest.raises(grpc.RpcError) as error:
        stub.IsActive(ref(), timeout=TIMEOUT_S)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert stub.GetMetricSpec(ref(), timeout=TIMEOUT_S).metricSpecs, "KEDA builds its HPA before the first pass as well"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (OutcomeKind.DONE, 5),
        (OutcomeKind.ALREADY, 5),
        (OutcomeKind.REFUSED, 2),
        (OutcomeKind.FAILED, 2),
        (OutcomeKind.UNKNOWN, 2),
    ],
)
def test_what_was_not_let_through_is_not_told(stage, ask, kind, value):
    stage.decide(5, current=2, kind=kind)
    assert ask().metricValue == value


def test_without_a_recorded_intent_the_count_is_held(stage, ask):
    stage.decide(5, current=2, kind=None)
    assert ask().metricValue == 2


@pytest.mark.parametrize(
    ("metadata", "code", "words"),
    [
        ({"variant": None}, "INVALID_ARGUMENT", "no `variant`; expected service and variant, such as chat/h100"),
        ({"variant": None, "varient": "h100"}, "INVALID_ARGUMENT", "did you mean 'varient'?"),
        ({"service": "chta"}, "NOT_FOUND", "no variant chta/h100; did you mean 'chat/h100'?; there is chat/h100"),
        ({"variant": "l4"}, "NOT_FOUND", "there is chat/h100"),
    ],
)
def test_an_unknown_name_is_told_with_those_that_there_are(refused, metadata, code, words):
    found, told = refused(**metadata)
    assert found == code
    assert words in told


def test_an_unknown_metric_is_told(refused):
    assert refused("queue") == ("NOT_FOUND", f"there is no metric 'queue'; the only one is {METRIC}")


def test_names_may_come_from_the_environment_of_the_target(ask):
    assert ask(service=None, serviceFromEnv="chat").metricValue == 5


def test_a_variant_that_we_scale_ourselves_has_no_second_writer(stage, refused):
    stage.with_options(None, "process")
    code, told = refused()
    assert code == "FAILED_PRECONDITION"
    assert "chat/h100 has the actuator process; a target has one writer" in told


def test_a_variant_that_an_hpa_asks_for_is_not_told_to_keda(stage, refused):
    stage.with_options(ExternalOptions(through=Through.HPA))
    assert refused() == ("FAILED_PRECONDITION", "chat/h100 is scaled through hpa; a target has one writer")


def test_a_scaled_object_of_another_namespace_is_refused(stage, refused):
    stage.with_options(ExternalOptions(namespace="prod"))
    code, told = refused()
    assert code == "FAILED_PRECONDITION"
    assert "in the namespace prod, and this ScaledObject in llm" in told


def test_what_is_no_message_is_refused(serve):
    with serve() as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary("/externalscaler.ExternalScaler/IsActive")(b"\xff\xff", timeout=TIMEOUT_S)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
