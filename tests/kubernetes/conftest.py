"""A cluster of one's own for every test."""

from __future__ import annotations

from tests.cluster.fixtures import api, cluster, kubeconfig, world

__all__ = ["api", "cluster", "kubeconfig", "world"]
