"""KEDA's streams: told at once of each change, and ended well."""

from __future__ import annotations

import threading
from datetime import timedelta

import grpc
import pytest

from controller.facts.doors import Door
from controller.serve.keda.answers import Answers
from controller.serve.keda.server import KedaServer
from tests.serve.keda.stage import TIMEOUT_S, no_pass, too_old
from tests.small_fleet import until


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


def test_a_stream_about_what_is_not_known_yet_says_nothing_until_it_is(stage, client, asked, ref):
    """A stream that broke is dialled again later and later, up to a minute: a service at zero would sleep as long."""
    server, stub = client
    result = stage.result
    no_pass(stage)
    stream = stub.StreamIsActive(ref(), timeout=TIMEOUT_S)
    until(lambda: asked.counts() == {("keda", "StreamIsActive", "UNAVAILABLE"): 1}, "the question")
    server.passed()
    stage.result = result
    server.passed()
    assert next(stream).result is True
    stream.cancel()


def test_a_stream_about_what_nobody_may_ask_ends_with_the_reason(stub, ref):
    with pytest.raises(grpc.RpcError) as error:
        next(stub.StreamIsActive(ref(variant="none"), timeout=TIMEOUT_S))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


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
