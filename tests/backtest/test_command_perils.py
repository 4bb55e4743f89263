"""`pennyweight backtest` where replicas fail, spot capacity comes and goes, and there is more than one way to buy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.__main__ import main

POLICY = """\
service: chat
slo: {ttft_p95: 2s, tpot_p95: 50ms, attainment: 90%}
capacity_mix: {spot: {allow: true}}
scaling:
  min_replicas: 2
  max_replicas: 6
  targets: {queue_depth: 10, kv_cache: 80%}
  scale_up:   {stabilization: 0s}
  scale_down: {stabilization: 60s}
"""
FLEET = """\
services:
  chat:
    model: llama-3.1-70b
    variants:
      h100:
        gpu: H100-80GB-SXM
        gpus_per_replica: 2
        quantization: fp8
        kv_cache_dtype: fp8
        start_up: 60s
        scrape: {static: ["http://127.0.0.1:1"]}
        capacity: [H100]
      l40s:
        gpu: L40S
        gpus_per_replica: 4
        quantization: fp8
        kv_cache_dtype: fp8
        start_up: 60s
        scrape: {static: ["http://127.0.0.1:1"]}
        capacity: [L40S]
"""
RESERVED = "{type: reserved, replicas: 1, usd_per_gpu_hour: 2}"
DEMAND = "{type: on_demand, usd_per_gpu_hour: 3}"
SPOT = "{type: spot, offer: gcp/us-central1/a3-highgpu-8g, usd_per_gpu_hour: 1}"
CHEAP = "{type: on_demand, usd_per_gpu_hour: 0.05}"

OPTIONS = ("--against", "none", "--json", "-")
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five minutes of a service that grows, its policy, and a spot market of two zones that loses one after 200 s."""
    random = np.random.default_rng(4)
    at = np.sort(np.concatenate([random.uniform(0, 300, 600), random.uniform(100, 300, 1800), [0.1, 299.9]]))
    lengths = zip(random.integers(50, 2500, len(at)), random.integers(5, 300, len(at)), strict=True)
    rows = [f"{time:.3f},{prompt},{output}" for time, (prompt, output) in zip(at, lengths, strict=True)]
    (tmp_path / "trace.csv").write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]) + "\n")
    (tmp_path / "chat.yaml").write_text(POLICY)
    (tmp_path / "spot.csv").write_text("time_s,zone,available\n0,x-a,1\n0,x-b,1\n200,x-a,0\n400,x-a,1\n400,x-b,1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.delenv("PENNYWEIGHT_LEDGER", raising=False)
    return tmp_path


@pytest.fixture
def backtest(folder: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Types the command in that folder; exit code, stdout, stderr."""

    def typed(*more: str, h100: str = DEMAND, l40s: str = "", safety: str = "") -> tuple[int, str, str]:
        text = FLEET.replace("H100]", f"{h100}]") if l40s else FLEET.replace("H100]", f"{h100}]").split("      l40s")[0]
        (folder / "fleet.yaml").write_text(text.replace("L40S]", f"{l40s}]") + safety)
        trace = [] if "--trace" in more else ["--trace", "trace.csv"]
        code = main(["backtest", *trace, "--policy", "chat.yaml", *more])
        said = capsys.readouterr()
        return code, said.out, said.err

    return typed


def ours(said: tuple[int, str, str]) -> dict[str, Any]:
    assert said[0] == 0, said[2]
    found: dict[str, Any] = json.loads(said[1])["controllers"][0]["runs"][0]
    return found


def test_nothing_is_shown_of_what_there_is_not(backtest: Typed) -> None:
    code, out, _ = backtest("--against", "static")
    assert code == 0
    table = out.split("controller ")[1]
    assert not [word for word in ("interrup", "failures", "lost", "reserved", "on demand", "spot") if word in table]
    assert "failures  " not in out


def test_what_is_reserved_is_paid_for_by_everybody(backtest: Typed) -> None:
    said = backtest("--against", "static", "--json", "-", h100=f"{RESERVED}, {DEMAND}")
    for one in json.loads(said[1])["controllers"]:
        (run,) = one["runs"]
        assert run["usd_reserved"] >= 0.999 * 4 / 12, "five minutes of one replica"
        assert run["cost"] == pytest.approx(run["usd_reserved"] + run["usd_on_demand"])
    assert ours(said)["cost"] < ours(backtest(*OPTIONS))["cost"]


def test_spot_is_taken_away_with_notice_and_paid_for_at_its_price(backtest: Typed) -> None:
    said = backtest(*OPTIONS, "--spot-trace", "spot.csv", "--spot-notice", "aws", h100=f"{SPOT}, {DEMAND}")
    run = ours(said)
    assert run["interruptions"] >= 1
    assert run["failures"] == 0
    assert run["usd_spot"] > 0
    assert run["cost"] == pytest.approx(run["usd_spot"] + run["usd_on_demand"])
    assert run["cost"] < ours(backtest(*OPTIONS))["cost"]


def test_the_table_and_the_report_tell_what_befell_whom_and_where_the_money_went(backtest: Typed, folder: Path) -> None:
    market = ("--spot-trace", "spot.csv", "--failures", "10m", "--failed-starts", "20%")
    code, out, _ = backtest("--against", "static", *market, "--report", "out.md", h100=f"{SPOT}, {DEMAND}")
    assert code == 0
    for told in (
        "interrup-",
        "failures",
        "on demand",
        "spot.csv, 2 zones, 30s of notice",
        "20.0 % of all",
        "1 seed only",
        "; static ",
        "Lost: pennyweight ",
    ):
        assert told in out
    page = (folder / "out.md").read_text()
    for told in ("interruptions", "Replicas fail: a replica crashes every 10m on average", "Spot capacity: spot.csv"):
        assert told in page


def test_a_market_is_drawn_where_no_record_is_given_and_its_seed_may_be_named(backtest: Typed) -> None:
    runs = [
        json.loads(backtest(*OPTIONS, *more, h100=f"{SPOT}, {DEMAND}")[1])
        for more in ([], ["--seed", "2"], ["--spot-seed", "1", "--seed", "1"], ["--spot-zones", "us-east-1a,us-west-2"])
    ]
    assert runs[0]["controllers"][0]["runs"][0]["cost"] == runs[2]["controllers"][0]["runs"][0]["cost"]
    notes = [next(note for note in run["notes"] if note.startswith("Spot")) for run in runs]
    assert "the run's seed: us-east-2a, us-east-2b" in notes[0]
    assert "seed 1" in notes[2]
    assert "us-east-1a, us-west-2a, us-west-2b, us-west-2c" in notes[3]


def test_our_rules_choose_between_the_variants_and_others_keep_the_first(backtest: Typed) -> None:
    typed = ("--against", "static", "--json", "-")
    said = backtest(*typed, l40s=CHEAP)
    mine, static = json.loads(said[1])["controllers"]
    assert [(one["variant"], one["type"]) for one in mine["runs"][0]["paid"]] == [
        ("h100", "on_demand"),
        ("l40s", "on_demand"),
    ]
    assert [one["variant"] for one in static["runs"][0]["paid"]] == ["h100"]
    alone, again = json.loads(backtest(*typed, "--variant", "h100", l40s=CHEAP)[1])["controllers"]
    assert mine["cost"]["mean"] < alone["cost"]["mean"]
    assert static["cost"] == again["cost"]


def test_failures_are_the_same_with_the_same_seed_and_count_for_the_gate(backtest: Typed) -> None:
    typed = (*OPTIONS, "--failures", "5m")
    one, again, other = (ours(backtest(*typed, "--seed", seed)) for seed in ("1", "1", "2"))
    for run in (one, again, other):
        del run["pass"]
    assert one == again != other
    assert one["failures"] + other["failures"] > 0
    assert backtest("--against", "none", "--failures", "5m", "--fail-if", "failures > 0 or usd_spot > 1")[0] == 1


def test_published_failures_are_rare(backtest: Typed) -> None:
    code, out, _ = backtest("--against", "none", "--failures", "published")
    assert code == 0
    assert "a GPU every 50,677 h on average" in out


# --- wrong input -----------------------------------------------------------------------------------------------------


def test_all_that_is_wrong_is_told_at_once(backtest: Typed) -> None:
    code, out, err = backtest(
        *("--failures", "often", "--failed-starts", "2", "--spot-notice", "soon", "--spot-seed", "1"),
        *("--spot-trace", "spot.csv", "--spot-zones", "mars", "--bracket"),
        h100=f"{SPOT}, {DEMAND}",
    )
    assert (code, out) == (2, "")
    for told in (
        "--failures: expected published, or the time between two crashes of a replica such as 30d, found 'often'",
        "--failed-starts: expected a share from 0% to 100%, such as 2%, found '2'",
        "--spot-notice: expected aws, gcp, azure or a duration such as 30s, found 'soon'",
        "--spot-seed: draws a market, and --spot-trace is one; choose one of them",
        "--spot-zones: no zone 'mars'; expected one of x-a, x-b",
        "--bracket: the bound and the schedule know one variant, bought on demand",
    ):
        assert told in err


@pytest.mark.parametrize(
    ("more", "fleet", "told"),
    [
        (["--spot-seed", "3"], {}, "--spot-seed: nothing is bought on spot: expected a fleet file with"),
        (["--spot-trace", "spot.csv"], {"h100": f"{SPOT}, {DEMAND}", "policy": "no"}, "nothing is bought on spot"),
        (["--spot-trace", "short.csv"], {"h100": SPOT}, "short.csv lasts 1 min, 5 min are replayed; replay less"),
        (["--spot-trace", "bad.csv"], {"h100": SPOT}, "bad.csv:3:6: available: expected a number, found 'some'"),
        (["--trace", "long.csv"], {}, "long.csv: has a request of 140,005 tokens, a replica of h100 takes 131,072"),
        ([], {"l40s": "{type: on_demand}"}, "Give usd_per_gpu_hour in the fleet file, or leave others out with"),
    ],
)
def test_what_cannot_be_rehearsed_says_what_is_expected(
    backtest: Typed, folder: Path, more: list[str], fleet: dict[str, str], told: str
) -> None:
    (folder / "long.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,140000,5\n")
    (folder / "short.csv").write_text("time_s,zone,available\n0,a,1\n60,a,1\n")
    (folder / "bad.csv").write_text("time_s,zone,available\n0,a,1\n60,a,some\n")
    if fleet.pop("policy", ""):
        (folder / "chat.yaml").write_text(POLICY.replace("allow: true", "allow: false"))
    code, _, err = backtest(*more, **fleet)
    assert code == 2
    assert told in err


def test_spot_that_no_policy_allows_needs_no_price(backtest: Typed, folder: Path) -> None:
    (folder / "chat.yaml").write_text(POLICY.replace("allow: true", "allow: false"))
    run = ours(backtest(*OPTIONS, h100=f"{{type: spot}}, {DEMAND}"))
    assert run["usd_spot"] == 0


FROZEN = """\
safety:
  grow: {per_pass: {replicas: 1}}
  freeze:
    - {name: launch, weekly: [sun 00:00-24:00]}
    - {name: audit, from: 2026-11-01, until: 2026-12-01}
"""


def test_the_safety_rules_of_the_fleet_file_hold_the_policy_and_are_told(backtest: Typed, folder: Path) -> None:
    free = ours(backtest(*OPTIONS))
    said = backtest(*OPTIONS, "--report", "out.md", safety=FROZEN)
    held = ours(said)
    assert free["moves"] > 0
    assert held["moves"] == 0, "a trace begins on a Sunday"
    assert free["held"] == 0 < held["held"]
    assert "| passes held |" in " ".join((folder / "out.md").read_text().split())
    told = json.loads(said[1])["safety"]
    assert told.startswith("fleet.yaml: grows by at most 1 replica in a pass; freezes launch, audit; the rest as usual")
    assert "Sunday 2024-05-12 00:00 UTC" in told
    assert told in (folder / "out.md").read_text()
    assert told in " ".join(said[2].split()), "however it is folded"


def test_without_safety_rules_in_the_fleet_file_the_usual_ones_hold(backtest: Typed) -> None:
    said = backtest(*OPTIONS)
    assert json.loads(said[1])["safety"] == "the usual rules: fleet.yaml has no others"


def test_safety_rules_that_are_wrong_are_told_and_nothing_runs(backtest: Typed) -> None:
    code, _, err = backtest(*OPTIONS, safety="safety: {grow: {per_pas: {replicas: 1}}}\n")
    assert code == 2
    assert "per_pass" in err
