"""What tests on a cluster begin with. Import the names into a conftest.py; ``real_cluster`` into the outermost one.

from tests.cluster.fixtures import cluster, kubeconfig, world  # noqa: F401

The same tests run on a real API server where they are marked `cluster` and its programs are there: `make cluster`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from controller.kubernetes.api import Api, Timeouts, config_of
from controller.kubernetes.cluster import Cluster
from controller.kubernetes.watched import Pace
from tests.cluster.programs import BINARIES, LWS, binaries, lacking
from tests.cluster.world import NAMESPACE, World, world_of

if TYPE_CHECKING:
    from tests.cluster.control_plane import ControlPlane

QUICK = Timeouts(connect_s=2.0, read_s=5.0, watch_s=60.0, silence_s=90.0)
"""A test that is about none of these never waits for them."""

PACE = Pace(stale_after_s=60.0, first_wait_s=10.0, retry_s=(0.01, 0.05))


@pytest.fixture(scope="session")
def real_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane | None]:
    """One for all tests, with the controller of LeaderWorkerSets where it is there; None where nobody says where the
    programs are."""
    programs = binaries()
    if programs is None:
        yield None
        return
    from tests.cluster.control_plane import control_plane  # nobody else need load what makes certificates
    from tests.cluster.neighbours import group_controller

    with ExitStack() as stack:
        made = stack.enter_context(control_plane(programs, tmp_path_factory.mktemp("control-plane")))
        if not lacking(programs, LWS):
            stack.enter_context(group_controller(made, programs, tmp_path_factory.mktemp("groups")))
        yield made


@pytest.fixture(scope="session")
def real(real_cluster: ControlPlane | None) -> ControlPlane:
    """For what no double can show."""
    if real_cluster is None:
        pytest.skip(f"{BINARIES} names no folder with a real API server; see docs/kubernetes.md")
    return real_cluster


def world_for(request: pytest.FixtureRequest) -> AbstractContextManager[World]:
    """An empty world: on a real API server for tests that are marked so, where there is one."""
    marked = request.node.get_closest_marker("cluster") is not None and binaries() is not None
    if not marked:
        return world_of()
    from tests.cluster.live import live_world

    return live_world(request.getfixturevalue("real"))


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """An empty cluster with the namespace "llm"; its API server answers."""
    with world_for(request) as made:
        yield made


@pytest.fixture
def kubeconfig(world: World, tmp_path: Path) -> Path:
    """A kubeconfig of it, for any client."""
    return world.server.kubeconfig(tmp_path / "kubeconfig", namespace=NAMESPACE)


@pytest.fixture
def api(kubeconfig: Path) -> Iterator[Api]:
    """Our client."""
    made = Api(config_of(kubeconfig=str(kubeconfig)), timeouts=QUICK)
    yield made
    made.close()


@pytest.fixture
def cluster(api: Api) -> Iterator[Cluster]:
    """Our view of it."""
    made = Cluster(api, pace=PACE)
    yield made
    made.close()
