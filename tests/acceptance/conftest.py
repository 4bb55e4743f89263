"""A cluster of one's own, beside the module's."""

from __future__ import annotations

from tests.cluster.fixtures import api, kubeconfig, world

__all__ = ["api", "kubeconfig", "world"]
