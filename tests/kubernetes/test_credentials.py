"""Proving who we are, where that goes wrong: it is said, and tried again."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from time import monotonic

import pytest
import yaml
from lightkube.config.models import User

from controller.errors import ClusterError, ForbiddenError
from controller.facts.missing import Missing
from controller.kubernetes import api as api_of
from controller.kubernetes import credentials
from controller.kubernetes.api import Api, config_of
from controller.kubernetes.cluster import Cluster, Clusters
from controller.kubernetes.resources import PODS
from tests.cluster.fixtures import PACE, QUICK
from tests.cluster.world import World
from tests.small_fleet import until

FAILS = "echo could not reach sts >&2; exit 1"
PRINTED = '{"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": {"token": "%s"}}'


class Plugin:
    """An exec credential plugin, as of EKS and GKE: a script, and how often it ran."""

    def __init__(self, folder: Path) -> None:
        self.path, self._ran = folder / "get-token", folder / "ran"
        self.does(FAILS)

    def does(self, what: str) -> None:
        made = self.path.with_suffix(".new")  # put in place at once: the daemon may run it just now
        made.write_text(f"#!/bin/sh\necho >> {self._ran}\n{what}\n", encoding="utf-8")
        made.chmod(0o755)
        made.rename(self.path)

    def gives(self, token: str) -> None:
        self.does(f"echo '{PRINTED % token}'")

    @property
    def runs(self) -> int:
        return len(self._ran.read_text().splitlines()) if self._ran.exists() else 0


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def kubeconfig_of(world: World, folder: Path, user: dict[str, object]) -> str:
    path = world.server.kubeconfig(folder / "kubeconfig", namespace="llm")
    config = yaml.safe_load(path.read_text())
    config["users"][0]["user"] = user
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)


@pytest.fixture
def api(world: World, plugin: Plugin, tmp_path: Path) -> Iterator[Api]:
    """It asks the plugin for a token, and the API server wants the second one."""
    world.server.token = "second"
    command = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(plugin.path)}
    made = Api(config_of(kubeconfig=kubeconfig_of(world, tmp_path, {"exec": command})), timeouts=QUICK)
    yield made
    made.close()


@pytest.fixture
def cluster(api: Api) -> Iterator[Cluster]:
    made = Cluster(api, pace=PACE)
    yield made
    made.close()


def sees_the_node(cluster: Cluster) -> Callable[[], bool]:
    def seen() -> bool:
        found = cluster.nodes()
        return not isinstance(found, Missing) and list(found) == ["node-1"]

    return seen


NO_TOKEN = [
    pytest.param(FAILS, r"get-token.* exit 1: could not reach sts", id="it fails"),
    pytest.param("echo no json", r"get-token.* printed no token", id="no JSON"),
    pytest.param("echo '{}'", r"get-token.* printed no token", id="no status"),
    pytest.param("echo '{\"status\": null}'", r"get-token.* printed no token", id="an empty status"),
    pytest.param('echo \'{"status": {"token": 7}}\'', r"get-token.* printed no token", id="a number"),
    pytest.param("printf '\\377\\376'", r"get-token.* printed no token", id="no text"),
    pytest.param("""echo '{"status": {"token": "zwölf"}}'""", r"get-token.* printed no token", id="no ASCII"),
    pytest.param(r"""printf '{"status": {"token": "a\\nb"}}'""", r"get-token.* printed no token", id="two lines"),
]


@pytest.mark.parametrize(("does", "said"), NO_TOKEN)
def test_a_plugin_that_gives_no_token_is_an_error_of_the_call(api: Api, plugin: Plugin, does: str, said: str) -> None:
    plugin.does(does)
    with pytest.raises(ClusterError, match=rf"get pods llm/chat: no credentials for http.*{said}.*; nothing was done"):
        api.get(PODS, "llm", "chat")


def test_a_plugin_that_is_not_there_is_named(api: Api, plugin: Plugin) -> None:
    plugin.path.unlink()
    with pytest.raises(ClusterError, match=r"no credentials for .*get-token.*No such file.*; nothing was done"):
        api.get(PODS, "llm", "chat")


def test_a_plugin_that_hangs_is_ended(api: Api, plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "PLUGIN_S", 0.2)
    plugin.does("sleep 60")
    began = monotonic()
    with pytest.raises(ClusterError, match=r"get-token.* did not end within 0.2 s; nothing was done"):
        api.get(PODS, "llm", "chat")
    assert monotonic() - began < 10


def test_a_token_serves_until_it_is_refused(world: World, api: Api, plugin: Plugin) -> None:
    plugin.gives("second")
    for _ in range(3):
        api.list(PODS, "llm")
    assert plugin.runs == 1
    world.server.token = "third"
    plugin.gives("third")
    api.list(PODS, "llm")
    assert plugin.runs == 2


def test_many_calls_that_want_a_token_at_once_ask_for_one(api: Api, plugin: Plugin) -> None:
    plugin.does(f"sleep 0.3; echo '{PRINTED % 'second'}'")
    threads = [Thread(target=api.list, args=(PODS, "llm")) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert plugin.runs == 1


def test_many_calls_that_wait_for_a_token_that_does_not_come_fail_with_the_first(api: Api, plugin: Plugin) -> None:
    plugin.does(f"sleep 0.3; {FAILS}")
    failed: list[str] = []

    def call() -> None:
        try:
            api.list(PODS, "llm")
        except ClusterError as error:
            failed.append(str(error))

    threads = [Thread(target=call) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(failed) == 6
    assert plugin.runs <= 2, "one that began late may run it once more"


def test_a_watch_whose_token_expired_while_the_plugin_fails_goes_on_when_it_works_again(
    world: World, cluster: Cluster, plugin: Plugin
) -> None:
    plugin.gives("second")
    nodes = cluster.nodes()
    assert not isinstance(nodes, Missing)
    until(lambda: world.server.watching >= 1, "the watch")
    world.server.token = "third"
    plugin.does(FAILS)
    world.server.drop()
    until(lambda: any("could not reach sts" in one.why for one in cluster.problems()), "the complaint")
    world.add_nodes(1)
    plugin.gives("third")
    until(sees_the_node(cluster), "the node")
    assert cluster.problems() == ()


SPOILS = [
    pytest.param(Path.unlink, r"token cannot be read: No such file", id="it is gone"),
    pytest.param(lambda file: file.write_bytes(b""), r"token holds no token", id="it is being written"),
    pytest.param(lambda file: file.write_bytes(b"half\na token"), r"token holds no token", id="two lines"),
    pytest.param(lambda file: file.write_bytes("söcond".encode()), r"token holds no token", id="no ASCII"),
    pytest.param(lambda file: file.write_bytes(b"\xff\xfe"), r"token holds no token", id="no text"),
]


@pytest.mark.parametrize(("spoil", "said"), SPOILS)
def test_a_token_file_that_holds_no_token_for_a_moment_is_read_again(
    world: World, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    file, whole = tmp_path / "token", tmp_path / "whole"
    file.write_text("first\n")
    world.server.token = "first"
    config = config_of(kubeconfig=str(world.server.kubeconfig(tmp_path / "kubeconfig", namespace="llm")))
    api = Api(config._replace(user=User(token_file=str(file))), timeouts=QUICK)  # as in a pod
    cluster = Cluster(api, pace=PACE)
    assert not isinstance(cluster.nodes(), Missing)
    until(lambda: world.server.watching >= 1, "the watch")
    spoil(file)
    world.server.token = "second"
    world.server.drop()
    until(lambda: any(re.search(said, one.why) for one in cluster.problems()), "the complaint")
    world.add_nodes(1)
    whole.write_text("second\n")
    whole.rename(file)
    until(sees_the_node(cluster), "the node")
    assert cluster.problems() == ()
    cluster.close()


def test_a_token_that_is_written_into_the_kubeconfig_anew_is_read_when_the_old_one_is_refused(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_of, "AGAIN_S", 0.0)
    world.server.token = "first"
    clusters = Clusters(kubeconfig=kubeconfig_of(world, tmp_path, {"token": "first"}), pace=PACE, timeouts=QUICK)
    cluster = clusters.of("")
    assert not isinstance(cluster.nodes(), Missing)
    until(lambda: world.server.watching >= 1, "the watch")
    world.server.token = "second"
    world.server.drop()
    until(lambda: any("does not know us" in one.why for one in cluster.problems()), "the complaint")
    world.add_nodes(1)
    kubeconfig_of(world, tmp_path, {"token": "second"})
    until(sees_the_node(cluster), "the node")
    assert cluster.problems() == ()
    clusters.close()


def test_a_kubeconfig_that_was_switched_to_another_cluster_is_not_followed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_of, "AGAIN_S", 0.0)
    world.server.token = "first"
    file = Path(kubeconfig_of(world, tmp_path, {"token": "first"}))
    clusters = Clusters(kubeconfig=str(file), timeouts=QUICK)
    api = clusters.of("").api
    api.list(PODS, "llm")
    world.server.token = "second"
    switched = yaml.safe_load(file.read_text())
    switched["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    switched["users"][0]["user"] = {"token": "of the other"}
    file.write_text(yaml.safe_dump(switched))
    for _ in range(2):
        with pytest.raises(ForbiddenError, match="does not know us"):
            api.list(PODS, "llm")
    clusters.close()


@pytest.mark.parametrize("written", ["", "{", "clusters: []"])
def test_a_kubeconfig_of_which_half_is_written_leaves_everything_as_it_is(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setattr(api_of, "AGAIN_S", 0.0)
    world.server.token = "first"
    file = kubeconfig_of(world, tmp_path, {"token": "first"})
    clusters = Clusters(kubeconfig=file, timeouts=QUICK)
    api = clusters.of("").api
    api.list(PODS, "llm")
    world.server.token = "second"
    Path(file).write_text(written)
    for _ in range(2):
        with pytest.raises(ForbiddenError, match="does not know us"):
            api.list(PODS, "llm")
    world.server.token = "first"
    api.list(PODS, "llm")
    clusters.close()


@pytest.mark.parametrize(
    "user",
    [
        {"client-certificate": "/nonexistent/cert", "client-key": "/nonexistent/key"},
        {"client-certificate-data": "bm8gUEVN", "client-key-data": "bm8gUEVN"},
        {"auth-provider": {"name": "gcp"}},
    ],
)
def test_credentials_that_cannot_be_loaded_are_an_error_of_the_cluster(
    world: World, tmp_path: Path, user: dict[str, object]
) -> None:
    clusters = Clusters(kubeconfig=kubeconfig_of(world, tmp_path, user))
    with pytest.raises(ClusterError, match=r"no credentials for http://127"):
        clusters.of("")


def test_a_watch_goes_on_after_an_error_that_nobody_thought_of(
    world: World, plugin: Plugin, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plugin.gives("second")
    real = Api.list

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    logging.disable(logging.NOTSET)
    monkeypatch.setattr(Api, "list", broken)
    found = cluster.nodes()
    assert isinstance(found, Missing)
    assert "ZeroDivisionError: a bug of ours" in found.why
    told = [one for one in caplog.records if "a bug of ours" in one.getMessage()]
    assert len(told) == 1, "once, not at each try"
    assert told[0].exc_info
    monkeypatch.setattr(Api, "list", real)
    world.add_nodes(1)
    until(sees_the_node(cluster), "the node")
