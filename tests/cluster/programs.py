"""Where the programs of a real API server are, for tests that run on one."""

from __future__ import annotations

import os
from pathlib import Path

BINARIES = "PENNYWEIGHT_CLUSTER_BINARIES"
"""Names the folder with all of them."""

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def binaries() -> Path | None:
    """The folder, where one is named."""
    named = os.environ.get(BINARIES)
    if not named:
        return None
    folder = Path(named)
    lacking = [name for name in PROGRAMS if not (folder / name).is_file()]
    assert not lacking, f"{BINARIES}={named} lacks {', '.join(lacking)}"
    return folder
