"""`pennyweight backtest` as a user types it, on a trace of ten minutes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from controller.backtest.results import QUANTITIES
from controller.cli.backtest_arguments import OPTIONS
from controller.simulate.opponents.catalogue import OPPONENTS
from tests.backtest.command import FLEET, POLICY, Said


def numbers(said: Said) -> dict[str, Any]:
    """What --json - printed, less what differs from run to run: how long things took."""
    found: dict[str, Any] = json.loads(said.out)
    for one in found["controllers"]:
        for place in (one, *one["runs"]):
            del place["pass"]
    for key in ("made_at", "command"):
        del found[key]
    return found


def test_a_trace_and_a_policy_are_enough_and_every_default_is_said(backtest):
    said = backtest()
    assert said.code == 0
    for told in (
        "1,800 requests", "llama-3.1-70b", "2 x H100-SXM", "1 to 6 replicas", "the sample fleet", "--token-budget",
        "$13.76 per replica and hour", "price book", "cold_pod", "the forecaster has seen nothing",
        "against static, hpa-load, keda-queue; seed 1",
    ):  # fmt: skip
        assert told in said.words
    table = said.out.split("controller ")[1]
    rows = [line.split()[0] for line in table.split("\n\n")[0].splitlines()[1:]]
    assert rows == ["pennyweight", "static", "hpa-load", "keda-queue"]
    assert max(map(len, said.out.splitlines())) <= 80
    assert "…" not in said.out


def test_without_a_terminal_a_log_gets_a_line_a_run_on_stderr(backtest):
    said = backtest("--against", "static")
    lines = said.err.splitlines()
    assert [line.split(",")[0] for line in lines if " of 2: " in line] == ["1 of 2: pennyweight", "2 of 2: static"]


def test_the_json_holds_what_the_table_shows_and_nothing_else_is_on_stdout(backtest):
    said = backtest("--against", "none", "--json", "-")
    found = json.loads(said.out)
    one = found["controllers"][0]
    assert (one["name"], len(found["controllers"])) == ("pennyweight", 1)
    assert one["cost"]["mean"] == one["runs"][0]["cost"] > 0
    assert found["lower_usd"]["why"] == "the lower bound was not asked for; --bracket asks for it"
    assert found["command"].startswith("pennyweight backtest --against none --json -")
    assert "kept the SLO" in said.err


@pytest.mark.parametrize(
    ("condition", "code", "told"),
    [
        ("cost > 100000 or attainment < 1%", 0, 'gate passed for pennyweight: "cost > 100000 or attainment < 1%"'),
        ("cost > 0.01 or attainment < 1%", 1, "cost > 0.01: cost is $"),
        ("dropped > 5 or idle < 100%", 1, "idle < 100%: idle is"),
        ("regret > 10%", 1, "unknown, and so not fine"),
    ],
)
def test_the_gate_sets_the_exit_code_and_tells_each_clause_that_failed(backtest, condition, code, told):
    said = backtest("--against", "none", "--fail-if", condition)
    assert said.code == code
    assert told in said.words


@pytest.mark.parametrize("conditions", [("cost > 0.01", "attainment < 1%"), ("attainment < 1%", "cost > 0.01")])
def test_any_of_several_conditions_fails_the_gate(backtest, conditions):
    said = backtest("--against", "none", "--to", "2m", *(word for one in conditions for word in ("--fail-if", one)))
    assert said.code == 1
    assert "gate FAILED for pennyweight: cost > 0.01: cost is $" in said.words


def test_the_gate_judges_the_first_policy_and_not_the_others(backtest, folder):
    (folder / "tiny.yaml").write_text(POLICY.replace("max_replicas: 6", "max_replicas: 1"))
    typed = ("--against", "none", "--fail-if", "replica_hours > 0.2")
    assert backtest(*typed, "--policy", "tiny.yaml", "--policy", "chat.yaml").code == 0
    assert backtest(*typed, "--policy", "chat.yaml", "--policy", "tiny.yaml").code == 1


def test_several_policies_are_told_apart_by_their_files(backtest, folder):
    (folder / "wide.yaml").write_text(POLICY.replace("min_replicas: 1", "min_replicas: 4"))
    said = backtest("--policy", "chat.yaml", "--policy", "wide.yaml", "--against", "none", "--json", "-")
    chat, wide = json.loads(said.out)["controllers"]
    assert (chat["name"], wide["name"]) == ("pennyweight chat", "pennyweight wide")
    assert wide["cost"]["mean"] > chat["cost"]["mean"], "each plays with its own limits"


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(backtest):
    first, again = (numbers(backtest("--against", "hpa-load", "--json", "-")) for _ in range(2))
    other = numbers(backtest("--against", "hpa-load", "--json", "-", "--seed", "2"))
    assert first == again
    assert other["controllers"] != first["controllers"]


@pytest.mark.parametrize(
    ("typed", "played"),
    [
        ("dynamo", ["dynamo"]),
        ("dynamo-all", ["dynamo-throughput", "dynamo-load", "dynamo"]),
        ("keda", ["keda-queue", "keda-load"]),
        ("keda-all,kpa,keda-load", ["keda-queue", "keda-load", "kpa"]),
    ],
)
def test_a_name_plays_one_and_a_family_all_of_it(backtest, typed, played):
    said = backtest("--against", typed, "--to", "1m", "--json", "-")
    assert [one["name"] for one in json.loads(said.out)["controllers"]] == ["pennyweight", *played]


def test_one_request_is_told_as_one_and_a_minute_says_nothing_about_a_year(backtest, folder):
    (folder / "one.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,100,10\n")
    said = backtest("--trace", "one.csv", "--against", "none")
    assert "1 request in 1 s, 1 a second; 100 prompt" in said.words
    assert "too little to say what a year would cost" in said.words


def test_an_end_after_the_traces_is_told(backtest, folder):
    (folder / "bins.csv").write_text("time_s,requests\n0,60\n60,60\n")
    said = backtest("--trace", "bins.csv", "--to", "1h", "--against", "none")
    assert "--to 1h was asked for, the trace lasts 2 min" in said.words
    assert "in the busiest minute" in said.words


def test_a_run_that_is_stopped_says_that_nothing_is_written(backtest, monkeypatch, folder):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("controller.cli.backtest.Scores", interrupted)
    said = backtest("--json", "out.json")
    assert said.code == 130
    assert "stopped before the end; nothing is told or written" in said.err
    assert not (folder / "out.json").exists()


def test_a_log_sees_that_the_bracket_goes_on(backtest):
    assert "bracket: lower bound, then a clairvoyant schedule" in backtest("--against", "none", "--bracket").err


def test_two_processes_find_what_one_finds(backtest):
    typed = ("--against", "static,hpa-load", "--seeds", "2", "--json", "-")
    here, elsewhere = (numbers(backtest(*typed, "--jobs", jobs)) for jobs in ("1", "2"))
    assert [run["seed"] for run in here["controllers"][0]["runs"]] == [1, 2]
    assert here == elsewhere


def test_a_part_is_replayed_and_what_was_before_is_shown_to_the_forecaster(backtest):
    found = json.loads(backtest("--from", "5m", "--to", "10m", "--against", "none", "--json", "-").out)
    assert found["hours"] == pytest.approx(5 / 60, rel=0.01)
    assert "has seen the 5 min before" in found["description"]
    blind = json.loads(backtest("--from", "5m", "--warm-up", "none", "--against", "none", "--json", "-").out)
    assert "has seen nothing" in blind["description"]


def test_rates_take_their_lengths_from_a_file(backtest, folder):
    (folder / "rates.csv").write_text("time_s,requests\n" + "".join(f"{60 * i},{30 + i}\n" for i in range(10)))
    (folder / "lengths.csv").write_text("percentile,prompt_tokens,output_tokens\n0,100,10\n50,100,10\n100,100,10\n")
    typed = ("--trace", "rates.csv", "--lengths", "lengths.csv", "--against", "none", "--json", "-")
    found = json.loads(backtest(*typed).out)
    assert "100 prompt and 10 output tokens" in found["description"]


def test_a_markdown_report_is_written_with_its_pictures(backtest, folder):
    said = backtest("--against", "static", "--report", "out.md")
    page = (folder / "out.md").read_text()
    assert said.code == 0
    assert "report: out.md" in said.out
    for told in ("# Backtest of trace.csv", "fitted to NVIDIA AIConfigurator", "No replica fails", "out-replicas.svg"):
        assert told.replace("_", "\\_") in page
    assert (folder / "out-replicas.svg").read_text().startswith("<?xml")


def test_the_fleet_file_gives_the_price_the_variant_and_the_engine(backtest, folder):
    (folder / "fleet.yaml").write_text(FLEET % ", usd_per_gpu_hour: 2.5")
    said = backtest("--against", "none", "--token-budget", "512", "--max-sequences", "64")
    assert said.code == 0
    for told in ("fleet.yaml: chat/h100-fp8", "$5.00 per replica and hour (2 GPUs at $2.50)", "512 tokens and 64 seq"):
        assert told in said.words


def test_what_the_fleet_file_says_of_the_engine_is_simulated(backtest, folder):
    engine = (
        "kv_cache_dtype: fp8\n        start_up: 150s\n        max_num_batched_tokens: 1024\n        max_num_seqs: 96"
    )
    (folder / "fleet.yaml").write_text(FLEET.replace("kv_cache_dtype: fp8", engine) % ", usd_per_gpu_hour: 2.5")
    said = backtest("--against", "none")
    assert "1,024 tokens and 96 sequences" in said.words
    assert "150 s (112.5 to 187.5 s)" in said.words
    assert "75 s (60 to 90 s), warm_node" in backtest("--against", "none", "--start-up", "warm_node").words


SPECULATION = "max_num_seqs: 96\n        speculation: {draft_tokens: 3, acceptance: 0.6, draft_overhead: 0.1}"


def test_an_engine_that_drafts_is_simulated_as_the_fleet_file_and_the_options_say(backtest, folder):
    fleet = FLEET.replace("kv_cache_dtype: fp8", f"kv_cache_dtype: fp8\n        {SPECULATION}")
    (folder / "fleet.yaml").write_text(fleet % ", usd_per_gpu_hour: 2.5")
    typed = ("--against", "static", "--to", "5m")
    assert (
        "drafts 3 tokens, 60 % of them kept: 2.8 tokens a step, which drafting makes 10 % longer"
        in backtest(*typed).words
    )
    assert "drafts 3 tokens, 25 % of them kept: 1.75 tokens a step" in backtest(*typed, "--acceptance", "25%").words
    assert "drafts" not in backtest(*typed, "--draft-tokens", "0").words


def test_drafts_that_are_kept_make_tokens_faster_and_those_that_are_not_only_cost(backtest, folder):
    (folder / "lone.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,100,1000\n")
    settings = (
        "--trace",
        "lone.csv",
        "--token-budget",
        "512",
        "--max-sequences",
        "64",
        "--against",
        "none",
        "--json",
        "-",
    )

    def token_s(*drafts):
        return json.loads(backtest(*settings, *drafts).out)["controllers"][0]["tpot_p50"]["mean"]

    good, poor, none = (
        token_s("--draft-tokens", "3", "--acceptance", acceptance, "--draft-overhead", "10%")
        for acceptance in ("80%", "30%", "0%")
    )
    assert good < poor < token_s() < none
    assert good == pytest.approx(none / (1 + 3 * 0.8), rel=0.05)


def test_a_price_in_the_options_comes_before_all_others(backtest):
    one, two = (
        json.loads(backtest("--against", "none", "--json", "-", "--usd-per-gpu-hour", usd).out)["controllers"][0]
        for usd in ("1", "2")
    )
    assert two["cost"]["mean"] == pytest.approx(2 * one["cost"]["mean"])


def test_an_engine_without_a_fit_is_worked_out_and_its_error_is_said(backtest):
    described = ("--model", "llama-3.1-8b", "--gpu", "A10G", "--quantization", "int8", "--usd-per-gpu-hour", "1")
    said = backtest(*described, "--against", "none")
    assert said.code == 0, said.err
    assert "roofline" in said.words
    assert "typical error" in said.words


def test_a_constant_fleet_is_there_from_the_beginning_and_never_moves(backtest):
    said = backtest("--against", "static", "--start-up", "30s", "--json", "-")
    static = json.loads(said.out)["controllers"][1]["runs"][0]
    assert static["moves"] == 0
    assert static["replica_hours"] == pytest.approx(round(static["replica_hours"] * 6) / 6, rel=0.01)


def test_what_stands_in_for_gpu_utilization_is_said(backtest):
    said = backtest("--against", "hpa-gpu", "--to", "5m", "--json", "-")
    assert any("GPU utilization that hpa-gpu goes by" in note for note in json.loads(said.out)["notes"])


def test_the_best_possible_is_told_when_asked_for(backtest):
    found = json.loads(backtest("--against", "none", "--bracket", "--json", "-").out)
    assert 0 < found["lower_usd"] <= found["upper_usd"]
    assert found["controllers"][0]["cost"]["mean"] >= found["lower_usd"]
    assert found["upper_to_lower"] == found["upper_usd"] / found["lower_usd"]


@pytest.mark.parametrize(("others", "kept"), [((), 4), (("--policy", "two.yaml"), 2), (("--failures", "30d"), 0)])
def test_nobody_undercuts_the_replicas_that_every_policy_keeps(backtest, folder, others, kept):
    for name, least in (("two", 2), ("four", 4)):
        (folder / f"{name}.yaml").write_text(POLICY.replace("min_replicas: 1", f"min_replicas: {least}"))
    typed = ("--policy", "four.yaml", *others, "--usd-per-gpu-hour", "30", "--to", "5m", "--against", "none")
    said = backtest(*typed, "--bracket", "--json", "-")
    assert said.code == 0, "nobody is below the bound"
    found = json.loads(said.out)
    whole_minutes = 4  # the last one may be cut short
    assert kept * whole_minutes * 0.999 <= found["lower_usd"] < (kept + 2) * whole_minutes


@pytest.mark.parametrize(
    "told", [*OPPONENTS, *QUANTITIES, *(f"--{name}" for some in OPTIONS.values() for name, *_ in some)]
)
def test_the_docs_name_every_opponent_quantity_and_option(repository, told):
    page = (repository / "docs" / "backtest.md").read_text(encoding="utf-8")
    assert f"`{told}" in page or f"{told}`" in page or f" {told} " in page


def test_prompts_that_are_late_even_alone_are_counted_before_anything_is_played(backtest, folder):
    """Every request has an engine to itself: as many miss the first token as were said to."""
    rows = [f"{30 * number},{300 * number},10" for number in range(1, 101)]
    (folder / "long.csv").write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]))
    said = backtest("--trace", "long.csv", "--against", "none")
    told = re.search(r"the first token of ([\d.]+) % of the requests takes over 2 s even alone", said.words)
    kept = re.search(r"pennyweight MISSED \S+ first ([\d.]+) %", said.words)
    assert told is not None, said.words
    assert kept is not None, said.words
    assert 15 < float(told[1]) < 85
    assert float(told[1]) + float(kept[1]) == pytest.approx(100)
    assert f"with prompts of {300 * (101 - round(float(told[1]))):,} tokens and more at" in said.words
