"""A ledger as a day of a real fleet leaves it: written by the daemon's own side, read by the pages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner

from tests.dashboard.fleet_day import Filled

Fill = Callable[..., str]


@pytest.fixture(scope="session")
def fill(tmp_path_factory: pytest.TempPathFactory) -> Fill:
    """``fill(end=..., minutes=..., gap=(from, to))`` writes a ledger and gives its URL."""

    def filled(*, end: datetime, minutes: int, gap: tuple[int, int] | None = None) -> str:
        url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'pennyweight.db'}"
        filler = Filled(url, end)
        try:
            filler.fill(minutes, gap)
        finally:
            filler.close()
        return url

    return filled


VIRTUAL_END = datetime(2026, 3, 1, 13, 30, tzinfo=UTC)


@pytest.fixture(scope="session")
def virtual_day(fill: Fill) -> str:
    """Some hours of a day long past, or simulated, with twenty minutes that nobody watched."""
    return fill(end=VIRTUAL_END, minutes=240, gap=(100, 120))


@pytest.fixture(scope="session", autouse=True)
def no_components() -> Iterator[None]:
    """Before every run of a page Streamlit reads what each installed package says of itself, half of the run's work, to
    find components: we have none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", list)
        yield


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Mapping[str, str]]]:
    """Points the dashboard at a ledger."""

    def point(url: str) -> Mapping[str, str]:
        monkeypatch.setenv("PENNYWEIGHT_LEDGER", url)
        return {"PENNYWEIGHT_LEDGER": url}

    yield point
    st.cache_resource.clear()


@pytest.fixture(scope="session")
def demo_ledger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the real daemon wrote about twenty minutes of the emulated fleet, in which everything was known."""
    folder = tmp_path_factory.mktemp("demo")
    arguments = ["demo", "--passes", "40", "--no-dashboard", "--fast", "--directory", str(folder)]
    done = subprocess.run([sys.executable, "-m", "controller", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return f"sqlite:///{folder / 'pennyweight.db'}"
