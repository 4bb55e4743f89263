"""KEDA's external scaler over a real channel, asked by stubs that the official compiler made of KEDA's contract."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import contextmanager

import grpc
import pytest
from grpc_tools import protoc

from controller.facts.doors import Door
from controller.serve.keda.answers import Answers
from controller.serve.keda.server import KedaServer
from controller.serve.wanted import METRIC, Asked
from tests.serve.keda.stage import METADATA, PROTO, TIMEOUT_S
from tests.serve.stages import Stage


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
