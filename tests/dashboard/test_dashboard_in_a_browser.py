"""The dashboard as people meet it: a real Streamlit server, a real headless Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.small_fleet import free_port

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)
PATIENCE_S = 60.0
"""Only a broken page takes so long, or a machine with a lot else to do."""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next((path for name in CHROMIUMS if (path := shutil.which(name))), None)
    if found:
        return found
    why = f"no Chromium on this machine (looked for {', '.join(CHROMIUMS)})"
    if os.environ.get("PENNYWEIGHT_REQUIRE_TOOLS"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def site(virtual_day: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard on a free loopback port."""
    port = free_port()
    log = tmp_path_factory.mktemp("streamlit") / "log"
    options = ["--server.address", "127.0.0.1", "--server.port", str(port), "--server.headless", "true"]
    options += ["--server.fileWatcherType", "none", "--browser.gatherUsageStats", "false"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(APP), *options],
            cwd=APP.parents[1],
            env={**os.environ, "PENNYWEIGHT_LEDGER": virtual_day},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, server, log)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(f"{address}/_stcore/health") as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"the dashboard did not come up: {log.read_text()}")


@pytest.fixture(scope="module")
def browser_page(chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(PATIENCE_S * 1000)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        yield page
        icon = page.eval_on_selector("link[rel~=icon]", "link => link.href")
        abroad = [url for url in (*asked, icon) if urlsplit(url).hostname not in (None, "127.0.0.1", "localhost")]
        assert not abroad, "the dashboard asks other hosts"
        browser.close()


def _settled(page: Page, picture: Path) -> None:
    expect(page.get_by_test_id("stException")).to_have_count(0)
    page.screenshot(path=picture)
    assert picture.stat().st_size > 10_000


def test_every_page_shows_its_story_without_an_exception(site: str, browser_page: Page, tmp_path: Path) -> None:
    page = browser_page
    expect.set_options(timeout=PATIENCE_S * 1000)

    page.goto(site)
    expect(page.get_by_text("Projected month")).to_be_visible()
    expect(page.locator(".pw-card.pw-first .pw-value")).to_have_text(re.compile(r"^\$\d+\.\d\d/h$"))
    expect(page.get_by_text("Ledger time 1 Mar 2026, 13:30:00 UTC")).to_be_visible()
    expect(page.get_by_text("by mara: load test until noon")).to_be_visible()
    expect(page.get_by_text("chat, ttft over target:")).to_be_visible()
    _settled(page, tmp_path / "fleet.png")

    page.get_by_role("link", name="chat").click()
    expect(page.get_by_text("Replicas, and the decisions that moved them")).to_be_visible()
    expect(page.get_by_text("Time to first token, p95")).to_be_visible()
    charts = page.get_by_test_id("stVegaLiteChart")
    expect(charts).to_have_count(9)
    expect(charts.last.locator("canvas, svg").first).to_be_visible()
    _settled(page, tmp_path / "service.png")

    page.get_by_role("link", name="Forecast").click()
    expect(page.get_by_text("What was expected 4 min ahead, and what came")).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(1)
    expect(page.get_by_test_id("stVegaLiteChart").locator("canvas, svg").first).to_be_visible()
    expect(page.get_by_text("What one replica carries inside the latency targets")).to_be_visible()
    _settled(page, tmp_path / "forecast.png")

    for name in ("Spend", "Budgets", "Accounting"):
        page.get_by_role("link", name=name).click()
        expect(page.get_by_text("No hour is accounted yet.")).to_be_visible()
        expect(page.get_by_role("heading", name=name)).to_be_visible()

    page.get_by_role("link", name="Decision log").click()
    expect(page.get_by_text("Reason, and the numbers that decided")).to_be_visible()
    expect(page.get_by_text(re.compile(r"output tokens/s need .* replicas")).first).to_be_visible()
    expect(page.get_by_text("target set to").first).to_be_visible()
    _settled(page, tmp_path / "decisions.png")
