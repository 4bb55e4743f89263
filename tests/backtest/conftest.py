"""Runs of a realistic shape without a simulator, a service with a daily wave and fleets that follow it; and the command
as a user types it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.__main__ import main
from controller.backtest.results import Backtest
from controller.facts.missing import Missing
from controller.facts.slo import LatencyTarget, Slo
from controller.simulate.score import Move, RunScore, Series
from tests.backtest.command import POLICY, ROWS, Said, Typed

USD_PER_REPLICA_HOUR = 8.8
INTERVAL_S = 15.0
PER_REPLICA = 5.0
SLO = Slo(ttft=LatencyTarget(quantile=0.95, seconds=2.0), tpot=LatencyTarget(quantile=0.95, seconds=0.05))


def _run(
    controller: str = "ours", *, margin: float = 1.2, seed: int = 1, intervals: int = 5_760, **changes: Any
) -> RunScore:
    """A fleet ``margin`` times as large as demand needs, looking ten minutes back."""
    noise = np.random.default_rng(seed)
    time_s = INTERVAL_S * np.arange(1, intervals + 1)
    wave = 22 - 16 * np.cos(2 * np.pi * time_s / 86_400) + 9 * np.exp(-(((time_s % 86_400) - 50_000) ** 2) / 3e6)
    rate = noise.poisson(wave * INTERVAL_S) / INTERVAL_S
    wanted = np.ceil(margin * np.roll(wave, 40) / PER_REPLICA)
    ready = np.repeat(wanted[::20], 20)[:intervals].astype(np.int32)
    judged = (rate * INTERVAL_S).astype(np.int32)
    load = wave / (ready * PER_REPLICA)
    ratio = np.clip(1.0 - np.maximum(0.0, load - 0.78) * 1.6, 0.0, 1.0)
    within = np.minimum(judged, noise.binomial(judged, ratio)).astype(np.int32)
    usd = ready * USD_PER_REPLICA_HOUR * INTERVAL_S / 3600
    at = np.flatnonzero(np.diff(ready))
    moves = tuple(
        Move(
            at_s=float(time_s[i]),
            before=int(ready[i]),
            after=int(ready[i + 1]),
            reason=_reason(int(ready[i + 1] - ready[i]), float(wave[i])),
        )
        for i in at
    )
    fields: dict[str, Any] = {
        "controller": controller, "trace": "chat-week", "seed": seed, "hours": intervals * INTERVAL_S / 3600,
        "usd": float(usd.sum()), "replica_hours": float(ready.sum() * INTERVAL_S / 3600), "requests": int(judged.sum()),
        "finished": int(judged.sum()), "dropped": 0, "within_slo": int(within.sum()),
        "within_ttft": int((within + judged).sum() // 2), "within_tpot": int(judged.sum() - 17),
        "worst_five_minutes_ratio": 0.8123, "ttft_p50_s": 0.31 / margin, "ttft_p99_s": 2.4 / margin, "tpot_p50_s": 0.024,
        "tpot_p99_s": 0.049 / margin, "prompt_tokens": 1_000_000, "output_tokens": 400_000, "preemptions": 3, "moves": moves,
        "reversals": len(moves) // 9, "idle_ratio": 0.123, "forecast_error_ratio": Missing("forecast error", "it does not forecast"),
        "pass_s": 0.0031, "wall_s": 12.5,
        "series": Series(
            time_s=time_s, arrivals_per_s=rate, ready=ready, current=np.maximum(ready, np.roll(ready, -16)),
            waiting=np.zeros(intervals, np.int32), within_slo=within, judged=judged, usd=usd,
        ),
    }  # fmt: skip
    fields["finished"] -= changes.get("dropped", 0)
    return RunScore(**{**fields, **changes})


def _reason(by: int, rate: float) -> str:
    if by > 0:
        return f"forecast of {rate * 1.1:.1f} requests/s in 240 s needs {abs(by)} more than are ready"
    return f"{rate:.1f} requests/s fit on {abs(by)} fewer with 15 % headroom for 300 s"


def _backtest(*runs: RunScore, **changes: Any) -> Backtest:
    fields: dict[str, Any] = {
        "trace": "chat-week", "description": "1,900,000 requests of a chat service, mean prompt 1,200 tokens", "slo": SLO,
        "price": "$8.80 per replica and hour, billed by the second", "start_up": "240 s, ±20 %, drawn anew for every start",
        "runs": runs or (_run(), _run("hpa", margin=1.5)), "command": "pennyweight backtest --trace chat-week.csv.gz --against hpa",
    }  # fmt: skip
    return Backtest(**{**fields, **changes})


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunScore]:
    return _run


@pytest.fixture(scope="session")
def make_backtest() -> Callable[..., Backtest]:
    return _backtest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten minutes of a service whose load triples half-way, and one policy."""
    random = np.random.default_rng(4)
    at = np.sort(np.concatenate([random.uniform(0, 600, 900), random.uniform(300, 600, 898), [0.2, 599.9]]))
    lengths = zip(random.integers(50, 2500, len(at)), random.integers(5, 300, len(at)), strict=True)
    rows = [f"{time:.3f},{prompt},{output}" for time, (prompt, output) in zip(at, lengths, strict=True)]
    (tmp_path / "trace.csv").write_text("\n".join([*ROWS, *rows]) + "\n")
    (tmp_path / "chat.yaml").write_text(POLICY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("PENNYWEIGHT_LEDGER", raising=False)
    return tmp_path


@pytest.fixture
def backtest(folder: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Types the command in that folder: --trace and --policy are there unless others are given."""

    def typed(*more: str) -> Said:
        given = list(more)
        if "--trace" not in given and "--from-ledger" not in given:
            given += ["--trace", "trace.csv"]
        if "--policy" not in given:
            given += ["--policy", "chat.yaml"]
        try:
            code = main(["backtest", *given])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return typed
