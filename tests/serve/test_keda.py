"""KEDA's external scaler, asked over a real channel by stubs that the official compiler made of KEDA's contract."""

from __future__ import annotations

import importlib.util
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest
from grpc_tools import protoc

from controller.errors import PennyweightError
from controller.facts.actuators import ExternalOptions, Through
from controller.facts.decisions import OutcomeKind
from controller.facts.doors import Door, Tls
from controller.facts.fleet import Mode
from controller.facts.missing import Missing
from controller.serve.keda.answers import Answers
from controller.serve.keda.server import KedaServer
from controller.serve.wanted import METRIC, Asked
from tests.serve.pki import Authority
from tests.serve.stages import Stage
from tests.small_fleet import until

PROTO = """\
syntax = "proto3";
package externalscaler;
service ExternalScaler {
    rpc IsActive(ScaledObjectRef) returns (IsActiveResponse) {}
    rpc StreamIsActive(ScaledObjectRef) returns (stream IsActiveResponse) {}
    rpc GetMetricSpec(ScaledObjectRef) returns (GetMetricSpecResponse) {}
    rpc GetMetrics(GetMetricsRequest) returns (GetMetricsResponse) {}
    rpc StreamMetricSpec(ScaledObjectRef) returns (stream GetMetricSpecResponse) {}
}
message ScaledObjectRef { string name = 1; string namespace = 2; map<string, string> scalerMetadata = 3; }
message IsActiveResponse { bool result = 1; }
message GetMetricSpecResponse { repeated MetricSpec metricSpecs = 1; }
message MetricSpec { string metricName = 1; int64 targetSize = 2; double targetSizeFloat = 3; }
message GetMetricsRequest { ScaledObjectRef scaledObjectRef = 1; string metricName = 2; }
message GetMetricsResponse { repeated MetricValue metricValues = 1; }
message MetricValue { string metricName = 1; int64 metricValue = 2; double metricValueFloat = 3; }
"""

METADATA = {"scalerAddress": "pennyweight:9190", "service": "chat", "variant": "h100", "metricType": "AverageValue"}
TIMEOUT_S = 10.0


@pytest.fixture(scope="session")
def keda(tmp_path_factory):
    """Modules that the official compiler made: (messages, stubs)."""
    folder = tmp_path_factory.mktemp("proto")
    (folder / "keda_contract.proto").write_text(PROTO)
    arguments = ["protoc", f"-I{folder}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert protoc.main([*arguments, str(folder / "keda_contract.proto")]) == 0
    modules = []
    for name in ("keda_contract_pb2", "keda_contract_pb2_grpc"):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules.append(module)
    return modules


@pytest.fixture
def stage(plan):
    return Stage(plan.fleet)


@pytest.fixture
def asked():
    return Asked()


@pytest.fixture
def serve(stage, asked):
    @contextmanager
    def served(token="", **door):
        door = Door(host="127.0.0.1", port=0, token=token, **door)
        with KedaServer(Answers(wanted=stage.wanted, token=token), door, asked) as server:
            yield server

    return served


@pytest.fixture
def client(serve, keda):
    """(server, stub) over a plain channel."""
    with serve() as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield server, keda[1].ExternalScalerStub(channel)


@pytest.fixture
def stub(client):
    return client[1]


@pytest.fixture
def ref(keda):
    def made(**metadata):
        known = {key: value for key, value in (METADATA | metadata).items() if value is not None}
        return keda[0].ScaledObjectRef(name="chat", namespace="llm", scalerMetadata=known)

    return made


@pytest.fixture
def ask(stub, keda, ref):
    def value(metric=METRIC, **metadata):
        request = keda[0].GetMetricsRequest(scaledObjectRef=ref(**metadata), metricName=metric)
        (found,) = stub.GetMetrics(request, timeout=TIMEOUT_S).metricValues
        return found

    return value


@pytest.fixture
def refused(ask):
    """Code and words of a question that is not answered."""

    def told(metric=METRIC, **metadata):
        with pytest.raises(grpc.RpcError) as error:
            ask(metric, **metadata)
        return error.value.code().name, error.value.details()

    return told


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


def no_pass(stage):
    stage.result = None


def too_old(stage):
    stage.now += timedelta(seconds=46)


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


# streams


def test_a_stream_says_what_is_so_at_once_and_then_each_change_and_nothing_else(stage, client, ref):
    server, stub = client
    stream = stub.StreamIsActive(ref(), timeout=TIMEOUT_S)
    assert next(stream).result is True
    too_old(stage)  # what is not known is not said
    server.passed()
    stage.now -= timedelta(seconds=46)
    server.passed()
    stage.decide(0)
    server.passed()
    assert next(stream).result is False
    stage.decide(3)
    server.passed()
    assert next(stream).result is True
    stream.cancel()


def test_a_stream_about_what_is_not_known_is_unavailable(stage, stub, ref):
    no_pass(stage)
    with pytest.raises(grpc.RpcError) as error:
        next(stub.StreamIsActive(ref(), timeout=TIMEOUT_S))
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_stream_of_specs_says_at_once_what_the_question_says(stub, ref):
    stream = stub.StreamMetricSpec(ref(), timeout=TIMEOUT_S)
    assert next(stream) == stub.GetMetricSpec(ref(), timeout=TIMEOUT_S)
    stream.cancel()


def test_streams_end_well_when_the_daemon_stops_so_that_keda_dials_again_soon(serve, keda, ref):
    with serve() as server:
        channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
        stream = keda[1].ExternalScalerStub(channel).StreamIsActive(ref(), timeout=TIMEOUT_S)
        assert next(stream).result is True
        ended = []
        reader = threading.Thread(target=lambda: ended.append(list(stream)))
        reader.start()
    reader.join(TIMEOUT_S)
    assert ended == [[]]
    assert stream.code() is grpc.StatusCode.OK
    channel.close()


def test_many_streams_are_told_of_one_pass(stage, client, ref):
    server, stub = client
    streams = [stub.StreamIsActive(ref(), timeout=60.0) for _ in range(50)]
    assert all(next(stream).result for stream in streams)
    stage.decide(0)
    server.passed()
    assert not any(next(stream).result for stream in streams)
    for stream in streams:
        stream.cancel()


def test_a_daemon_that_stands_by_does_not_listen_until_it_leads(stage, asked, keda, ref):
    leads = [False]
    with KedaServer(Answers(wanted=stage.wanted), Door(host="127.0.0.1", port=0), asked, lambda: leads[0]) as server:
        assert server.port == 0
        leads[0] = True
        until(lambda: server.port, "the server listens")
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = keda[1].ExternalScalerStub(channel)
            stream = stub.StreamIsActive(ref(), timeout=TIMEOUT_S)
            assert next(stream).result is True
            leads[0] = False
            assert list(stream) == [], "it ends well"
            assert stream.code() is grpc.StatusCode.OK
            with pytest.raises(grpc.RpcError) as error:
                stub.IsActive(ref(), timeout=TIMEOUT_S)
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE


# who may ask


def test_with_a_token_only_those_ask_who_know_it(serve, keda, ref):
    with serve(token="s3cret") as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub, told = keda[1].ExternalScalerStub(channel), []

        def code(header=None, **metadata):
            sent = (("authorization", header),) if header else ()
            try:
                stub.IsActive(ref(**metadata), metadata=sent, timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                told.append(error.details())
                return error.code().name
            return "OK"

        assert code() == code("Bearer wrong") == code(token="wrong") == "UNAUTHENTICATED"
        assert not any("s3cret" in words for words in told)
        assert code("Bearer s3cret") == code(token="s3cret") == code(tokenFromEnv="s3cret") == "OK"


def test_a_port_that_is_taken_names_the_key(serve, stage, asked):
    with serve() as server:
        door = Door(host="127.0.0.1", port=server.port)
        with pytest.raises(PennyweightError, match=r"cannot listen on 127.0.0.1:\d+ for KEDA.*serve: \{keda"):
            KedaServer(Answers(wanted=stage.wanted), door, asked).__enter__()


def test_questions_are_counted_by_method_and_code(stage, ask, refused, asked):
    ask()
    ask()
    no_pass(stage)
    refused()
    assert asked.counts() == {("keda", "GetMetrics", "OK"): 2, ("keda", "GetMetrics", "UNAVAILABLE"): 1}


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "ca")


def secure(server, keda, root, certificate=None, key=None):
    """A channel that trusts ``root`` alone, and the stub on it."""
    credentials = grpc.ssl_channel_credentials(
        root.read_bytes(), key.read_bytes() if key else None, certificate.read_bytes() if certificate else None
    )
    channel = grpc.secure_channel(f"localhost:{server.port}", credentials)
    return channel, keda[1].ExternalScalerStub(channel)


def test_over_tls_callers_may_need_a_certificate_of_their_own(serve, keda, ref, authority, tmp_path):
    certificate, key = authority.issue("pennyweight")
    stranger = Authority(tmp_path, "stranger")
    tls = Tls(certificate=str(certificate), key=str(key), client_ca=str(authority.file))
    with serve(tls=tls) as server:
        known, stub = secure(server, keda, authority.file, *authority.issue("keda"))
        assert stub.IsActive(ref(), timeout=TIMEOUT_S).result is True
        known.close()
        for shown in ((), stranger.issue("keda", "strangers")):
            channel, stub = secure(server, keda, authority.file, *shown)
            with pytest.raises(grpc.RpcError) as error:
                stub.IsActive(ref(), timeout=TIMEOUT_S)
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
            channel.close()
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as plain, pytest.raises(grpc.RpcError):
            keda[1].ExternalScalerStub(plain).IsActive(ref(), timeout=TIMEOUT_S)


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_leaves_the_old_one(serve, keda, ref, tmp_path, caplog):
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    certificate, key = first.issue("pennyweight")
    with serve(tls=Tls(certificate=str(certificate), key=str(key))) as server:

        def answers(authority):
            channel, stub = secure(server, keda, authority.file)
            with channel:
                try:
                    return stub.IsActive(ref(), timeout=TIMEOUT_S).result
                except grpc.RpcError:
                    return False

        assert answers(first)
        certificate.unlink()
        assert answers(first)
        assert "the old one stays" in caplog.text
        second.issue("pennyweight")
        assert answers(second)
        assert not answers(first)


def test_a_certificate_that_cannot_be_read_stops_the_start(serve):
    with pytest.raises(PennyweightError, match=r"no\.crt"), serve(tls=Tls(certificate="no.crt", key="no.key")):
        pass
