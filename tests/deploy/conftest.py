from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.rendered import DEPLOY, kustomized


@pytest.fixture(scope="session")
def built():
    """A folder of deploy/kubernetes as kubectl would send it."""
    known: dict[str, list[dict[str, Any]]] = {}

    def documents(kubectl: str, folder: str) -> list[dict[str, Any]]:
        if folder not in known:
            known[folder] = kustomized(kubectl, DEPLOY / "kubernetes" / folder)
        return known[folder]

    return documents
