"""Targets on a test cluster."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from controller.kubernetes.objects import Kind
from tests.act.kubernetes.stage import PodEngines, Stage, staged
from tests.cluster.fixtures import world_for


@pytest.fixture
def stage_of(request, tmp_path):
    """A Kubernetes target on a test cluster; see stage.py."""
    with world_for(request) as world, PodEngines().up() as engines, ExitStack() as stack:

        def made(*what, **how) -> Stage:
            if Kind.LEADER_WORKER_SET in what and not world.groups:
                pytest.skip("nobody makes pods of a LeaderWorkerSet on this API server")
            stage = staged(world, engines, tmp_path, *what, **how)
            stack.callback(stage.cluster.api.close)
            return stage

        yield made
