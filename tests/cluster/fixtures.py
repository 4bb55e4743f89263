"""What tests on a cluster begin with. Import the names into a conftest.py.

from tests.cluster.fixtures import cluster, kubeconfig, world  # noqa: F401
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.kubernetes.api import Api, Timeouts, config_of
from controller.kubernetes.cluster import Cluster
from controller.kubernetes.watched import Pace
from tests.cluster.world import NAMESPACE, World, world_of

QUICK = Timeouts(connect_s=2.0, read_s=5.0, watch_s=60.0, silence_s=90.0)
"""A test that is about none of these never waits for them."""

PACE = Pace(stale_after_s=60.0, first_wait_s=10.0, retry_s=(0.01, 0.05))


@pytest.fixture
def world() -> Iterator[World]:
    """An empty cluster with the namespace "llm"; its API server answers."""
    with world_of() as made:
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
