"""`pennyweight backtest --from-ledger`: a ledger's own history, with a gap in it, replayed."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from controller.__main__ import main
from controller.backtest.ledger_trace import recorded
from controller.daemon import utc_now
from controller.errors import ConfigError
from controller.facts.decisions import Memory
from controller.facts.estimates import Estimate, Estimates
from controller.facts.fleet import CapacityType, Mode
from controller.facts.missing import Missing
from controller.facts.passes import Gap, PassRecord, ReplicaUse
from controller.facts.readings import Counter, Phase
from controller.ledger.write import Ledger
from controller.simulate.shell import EPOCH

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = """\
service: chat
slo: {ttft_p95: 2s, tpot_p95: 50ms, attainment: 90%}
scaling: {min_replicas: 1, max_replicas: 4, targets: {queue_depth: 10}}
"""


def record(at: datetime, requests: float, gap: Gap | None = None) -> PassRecord:
    """A pass at the end of a minute in which one replica finished ``requests``."""
    unknown = {field.name: Missing(field.name, "this test does not say") for field in fields(Estimate)}
    estimate = Estimate(**unknown | {
        "at": at, "window_s": 60.0, "service": "", "variant": "", "replica": "", "replicas_current": 1,
        "replicas_ready": 1, "replicas_read": 1, "gpus": 2, "mfu_source": "", "mbu_source": "",
    })  # fmt: skip
    use = ReplicaUse(
        service="chat", variant="h100", replica="chat-0", capacity_type=CapacityType.ON_DEMAND, phase=Phase.READY,
        gpus=2, start=at - MINUTE, end=at,
        counts={
            Counter.REQUESTS: requests, Counter.REJECTIONS: 0.0, Counter.PROMPT_TOKENS: 400 * requests,
            Counter.CACHED_PROMPT_TOKENS: 100 * requests, Counter.OUTPUT_TOKENS: 50 * requests,
        },
    )  # fmt: skip
    return PassRecord(
        at=at,
        mode=Mode.ADVISE,
        estimates=Estimates(at=at, fleet=estimate, services={}, variants={}, replicas={}, costs=(), findings=()),
        uses=(use,),
        decisions=(),
        marks=(),
        memory=Memory(),
        gaps=(gap,) if gap else (),
    )


def write(url: str, start: datetime, minutes: int, lost: range) -> None:
    """30, 31, 32 ... requests by minute; the ``lost`` ones fell into a gap."""
    with closing(Ledger.open(url)) as ledger:
        for minute in range(minutes):
            if minute in lost:
                continue
            end = start + (minute + 1) * MINUTE
            first = minute == lost.stop and len(lost) > 0
            gap = Gap(start=end - (len(lost) + 1) * MINUTE, end=end - MINUTE, why="the daemon was not running")
            ledger.record_intent(record(end, 30.0 + minute, gap if first else None))


def test_minutes_that_nobody_saw_are_estimated_named_and_not_zero(tmp_path):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    write(url, NOON, 20, lost=range(8, 12))
    found = recorded(url, "chat", NOON - timedelta(days=1), NOON + timedelta(hours=1))
    assert list(np.flatnonzero(found.unknown)) == [8, 9, 10, 11]
    assert found.trace.requests == pytest.approx(np.arange(30.0, 50.0))
    assert found.trace.start_s == (NOON - EPOCH).total_seconds(), "hours and weekdays are the real ones"
    (gaps,) = [note for note in found.notes if "Nobody saw" in note]
    assert "4 of 20 minutes, 4 in a row at most (the daemon was not running: 4)" in gaps
    assert found.lengths.mean_prompt_tokens == pytest.approx(400, rel=0.05)
    assert found.lengths.mean_output_tokens == pytest.approx(50, rel=0.1)
    assert found.cached_ratio == pytest.approx(0.25)


def test_a_history_of_holes_is_refused_with_the_numbers(tmp_path):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    write(url, NOON, 20, lost=range(2, 18))
    with pytest.raises(ConfigError, match=r"16 of 20 minutes are unknown .* most of the trace would be made up"):
        recorded(url, "chat", NOON, NOON + timedelta(hours=1))


def test_a_service_that_the_ledger_does_not_know_is_told_with_those_that_it_does(tmp_path):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    write(url, NOON, 3, lost=range(0))
    with pytest.raises(ConfigError, match="no minute of 'chatt' since 2026-03-01 12:00 UTC"):
        recorded(url, "chatt", NOON, NOON + timedelta(hours=1))


@pytest.mark.parametrize(
    ("asked", "ago", "told"),
    [
        (timedelta(days=1), timedelta(days=8), "8 days ago. --from-ledger 9d replays the last 24 h of it"),
        (timedelta(hours=2), timedelta(hours=5), "5 h ago. --from-ledger 7h replays the last 2 h of it"),
    ],
)
def test_an_old_history_says_when_it_ends_and_what_to_type(tmp_path, asked, ago, told):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    write(url, NOON - 20 * MINUTE, 20, lost=range(0))
    now = NOON + ago
    with pytest.raises(ConfigError) as error:
        recorded(url, "chat", now - asked, now)
    assert f"its history ends 2026-03-01 12:00 UTC, {told}" in str(error.value)
    back = timedelta(days=9) if "9d" in told else timedelta(hours=7)
    assert recorded(url, "chat", now - back, now).unknown.sum() == 0


def test_the_last_hours_of_a_ledger_are_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    write(url, utc_now().replace(second=0, microsecond=0) - 30 * MINUTE, 20, lost=range(8, 10))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat.yaml").write_text(POLICY)
    typed = ["--from-ledger", "2h", "--ledger", url, "--from", "12m", "--against", "none", "--json", "-"]
    assert main(["backtest", "--policy", "chat.yaml", *typed]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "from the ledger" in found["trace"]
    assert found["hours"] == pytest.approx(8 / 60)
    assert "has seen the 12 min before" in found["description"]
    assert any("2 of 20 minutes" in note for note in found["notes"])
    assert any("0.25 of each prompt cached" in note for note in found["notes"])
    short = "2 h were asked for, 20 min of them are in the ledger"
    assert short in found["description"]
    assert f"{short}." in found["details"]


def test_a_history_that_is_there_but_for_its_edges_is_not_called_short(tmp_path):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    write(url, NOON, 20, lost=range(0))
    whole, half = (recorded(url, "chat", NOON - early * MINUTE, NOON + 22 * MINUTE) for early in (0, 18))
    assert whole.short == ""
    assert half.short == "40 min were asked for, 20 min of them are in the ledger"


def test_a_ledger_that_is_not_there_is_a_mistake_beside_all_others_and_no_failed_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat.yaml").write_text(POLICY)
    typed = ["backtest", "--policy", "chat.yaml", "--from-ledger", "7d", "--trace", "x.csv", "--fail-if", "cost > 1"]
    assert main([*typed, "--ledger", f"sqlite:///{tmp_path / 'none.db'}"]) == 2
    told = capsys.readouterr().err
    assert "none.db" in told
    assert "--from-ledger: cannot stand beside --trace" in told


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--from-ledger", "7d", "--ledger", "/tmp/x.db"], "--ledger: expected sqlite:///FILE"),
        (["--from-ledger", "7d", "--policy", "none.yaml"], "none.yaml: cannot be read"),
        (["--from-ledger", "-7d"], "--from-ledger: expected how far back, such as 7d, found '-7d'; did you mean 7d?"),
    ],
)
def test_what_is_wrong_is_told_and_not_what_follows_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PENNYWEIGHT_LEDGER", raising=False)
    (tmp_path / "chat.yaml").write_text(POLICY)
    policy = [] if "--policy" in typed else ["--policy", "chat.yaml"]
    assert main(["backtest", *policy, *typed]) == 2
    found = capsys.readouterr().err
    assert told in found
    assert "which ledger?" not in found
