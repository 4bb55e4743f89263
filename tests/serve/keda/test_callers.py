"""Who may ask as KEDA does: tokens, certificates, and how questions are counted."""

from __future__ import annotations

import grpc
import pytest

from controller.errors import PennyweightError
from controller.facts.doors import Door, Tls
from controller.serve.keda.answers import Answers
from controller.serve.keda.server import KedaServer
from tests.serve.keda.stage import TIMEOUT_S, no_pass
from tests.serve.pki import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "ca")


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
