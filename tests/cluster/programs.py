"""Where the programs of a real API server are, and those of controllers beside it, for tests that run on one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

BINARIES = "PENNYWEIGHT_CLUSTER_BINARIES"
"""Names the folder with all of them."""

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

KEDA = ("keda-operator", "keda-adapter", "keda.yaml")
"""KEDA, and the manifest of its release. `keda-webhooks` is used as well where it is there."""

LWS = ("lws-manager", "lws.yaml")
"""The controller of LeaderWorkerSets, and the manifest of its release."""


def binaries() -> Path | None:
    """The folder, where one is named."""
    named = os.environ.get(BINARIES)
    if not named:
        return None
    folder = Path(named)
    missing = lacking(folder, PROGRAMS)
    assert not missing, f"{BINARIES}={named} lacks {', '.join(missing)}"
    return folder


def lacking(folder: Path, names: Sequence[str]) -> list[str]:
    """Those that are not in ``folder``."""
    return [name for name in names if not (folder / name).is_file()]
