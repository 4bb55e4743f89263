"""`pennyweight backtest` given something wrong: all of it is told at once, and nothing runs."""

from __future__ import annotations

import gzip

import pytest

from controller.__main__ import main
from tests.backtest.command import FLEET, POLICY


def test_a_report_and_its_figures_need_a_file_each(backtest):
    said = backtest("--report", "x.html", "--json", "./x.html")
    assert said.code == 2
    assert "--json: ./x.html is the report's file; name another" in said.err


def test_every_mistake_is_told_at_once_before_anything_runs(backtest, folder):
    (folder / "bad.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n-1,20,5\n2,x,5\n")
    (folder / "bad.yaml").write_text(POLICY.replace("max_replicas", "max_replica"))
    said = backtest(
        *("--trace", "bad.csv", "--policy", "bad.yaml", "--policy", "none.yaml", "--start-up", "slow", "--from", "3"),
        *("--against", "hpaa", "--fail-if", "cots > 5", "--report", "x.pdf", "--usd-per-gpu-hour", "0"),
        *("--json", "nowhere/x.json", "--warm-up", "some", "--interval", "0s", "--seeds", "x", "--jobs", "0"),
        *("--polcy", "chat.yaml", "--gpu", "H1000", "--model", "lama", "--quantization", "fp7"),
    )
    assert said.code == 2
    assert said.out == ""
    for told in (
        "bad.csv:3:1: arrival_s: must be at least 0, found -1",
        "bad.csv:4:3: prompt_tokens: expected a number, found 'x'",
        "did you mean 'max_replicas'?",
        "none.yaml: cannot be read",
        "--start-up: expected warm_node, cold_pod, cold_node, seconds",
        "--from: expected a duration with its unit",
        "--against: there is no 'hpaa'; did you mean 'hpa'? There are static, hpa-load,",
        "dynamo, skyserve, ray-serve, the families hpa, keda, wva and dynamo-all, all and none",
        "--fail-if:1:1: unknown name 'cots'; did you mean 'cost'?",
        "x.pdf: a report's name ends in .html or .md",
        "--usd-per-gpu-hour: expected US dollars above 0",
        "--json: nowhere/x.json cannot be written",
        "--warm-up: expected auto, none or a duration",
        "--interval: expected more than no time",
        "--seeds: expected a whole number of 1 or more, found 'x'",
        "--jobs: expected a whole number of 1 or more, found '0'",
        "--polcy: there is no such option; did you mean --policy?",
        "--gpu: 'H1000' is not one row of the GPU table; did you mean",
        "--model: 'lama' is not in the model table; did you mean",
        "--quantization: 'fp7' is not known; did you mean fp8",
        "problems; nothing was started or changed",
    ):
        assert told in said.err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--from", "2h"], "--from: nothing is left from 2h on: the trace lasts 10 min"),
        (["--from", "5m", "--to", "4m"], "--from: nothing is left from 5m to 4m"),
        (["--gpu", "L40S"], "L40S has no price. Give --usd-per-gpu-hour USD, or --offer"),
        (["--gpu", "H100"], "--gpu: 'H100' is not one row of the GPU table; it may be"),
        (["--model", "lama-3.1-70b"], "--model: 'lama-3.1-70b' is not in the model table; did you mean llama-3.1-70b"),
        (["--quantization", "fp7"], "--quantization: 'fp7' is not known"),
        (["--model", "llama-3.1-8b", "--fleet", "fleet.yaml"], "--fleet: a fleet file and --model"),
        (["--variant", "h100"], "--variant: chooses one of a fleet file's variants"),
        (
            ["--draft-tokens", "3"],
            "--acceptance: is missing: h100-sxm-fp8 drafts 3 tokens a step; how many of them are",
        ),
        (["--draft-tokens", "3", "--acceptance", "60%"], "--draft-overhead: is missing: h100-sxm-fp8 drafts 3 tokens"),
        (["--draft-tokens", "3", "--acceptance", "60"], "--acceptance: expected a share from 0% to 100%"),
        (["--draft-tokens", "0", "--acceptance", "60%"], "--acceptance: means nothing: no engine here drafts tokens"),
        (["--draft-overhead", "5%"], "--draft-overhead: means nothing: no engine here drafts tokens"),
        (
            [*("--draft-tokens", "3", "--acceptance", "60%", "--draft-overhead", "5%"), "--max-sequences", "400"],
            "--max-sequences: 400 sequences of 4 tokens leave no room for prompts",
        ),
        (["--max-sequences", "9000"], "--max-sequences: 9000 sequences leave no room for prompts"),
        (["--lengths", "trace.csv"], "--lengths: trace.csv tells the lengths of every request itself"),
        (["--profile", "chat.yaml"], "chat.yaml: cannot be used as a profile"),
        (["--offer", "aws/us-east-1/p5.48xlarg", "--gpu", "H100-SXM"], "did you mean aws/us-east-1/p5.48xlarge"),
        (["--from-ledger", "7d"], "--from-ledger: which ledger? Give --ledger URL"),
        (["--from-ledger", "7d", "--ledger", "mysql://x"], "--ledger: expected sqlite:///FILE"),
        (["--against", "none,static"], "--against: none stands alone: leave it out of 'none,static', or the others"),
        (["--against", ""], "--against: expected names with commas between, all or none, found nothing"),
        (["--against", "static,"], "--against: expected names with commas between, all or none, found 'static,'"),
        (["--against", "kpa-all-of"], "--against: there is no 'kpa-all-of'"),
        (["--seed", "-1"], "--seed: expected a whole number of 0 or more, found '-1'"),
        (["--jobs", "0"], "--jobs: expected a whole number of 1 or more, found '0'"),
    ],
)
def test_a_wrong_argument_says_what_is_expected(backtest, typed, told):
    said = backtest(*typed)
    assert said.code == 2
    assert told in said.err


def test_a_policy_and_something_to_replay_are_needed_and_said_beside_all_else(folder, capsys):
    assert main(["backtest", "--seed", "x"]) == 2
    told = capsys.readouterr().err
    for option in (
        "--policy: is missing",
        "--trace: is missing: give --trace FILE, or --from-ledger",
        "--seed: expected",
    ):
        assert option in told
    assert main(["backtest", "--policy", "chat.yaml", "--trace", "trace.csv", "--from-ledger", "1d"]) == 2
    assert "--from-ledger: cannot stand beside --trace" in capsys.readouterr().err


def test_a_fleet_file_for_rehearsals_needs_no_way_to_the_metrics(backtest, folder):
    text = (FLEET % ", usd_per_gpu_hour: 3").replace('        scrape: {static: ["http://127.0.0.1:1"]}\n', "")
    (folder / "fleet.yaml").write_text(text)
    assert backtest("--against", "none").code == 0


def test_a_wrong_fleet_file_hides_no_mistake_of_the_policy(backtest, folder):
    (folder / "fleet.yaml").write_text((FLEET % ", offer: aws/us-east-1/p5.48xlrge").replace("chat:", "chatt:"))
    said = backtest()
    assert said.code == 2
    assert "did you mean 'aws/us-east-1/p5.48xlarge'?" in said.err
    assert "the fleet has no service 'chat'; did you mean 'chatt'?" in said.err


def test_a_fleet_without_a_price_says_how_to_give_one(backtest, folder):
    (folder / "fleet.yaml").write_text(FLEET % "")
    said = backtest()
    assert said.code == 2
    assert "usd_per_gpu_hour" in said.err
    assert "Give --usd-per-gpu-hour USD" in said.err


def test_mistakes_that_are_only_counted_are_counted_at_the_end_too(backtest, folder):
    (folder / "bad.csv").write_text("arrival_s,prompt_tokens,output_tokens\n" + "0,x,1\n" * 97)
    lines = backtest("--trace", "bad.csv", "--seed", "x").err.splitlines()
    assert lines[1] == "bad.csv: 97 mistakes; the first 20 by line:"
    assert lines[-1] == "98 problems; nothing was started or changed"


def test_a_row_that_reaches_what_is_wanted_may_be_short(backtest, folder):
    (folder / "short.csv").write_text("arrival_s,prompt_tokens,output_tokens,note\n0,100,10\n1,100,10,x\n")
    assert backtest("--trace", "short.csv", "--against", "none").code == 0


def test_a_file_in_anothers_place_is_told_as_what_it_is(backtest, folder):
    (folder / "fleet.yaml").write_text(FLEET % ", usd_per_gpu_hour: 3")
    (folder / "packed").write_bytes(gzip.compress((folder / "trace.csv").read_bytes()))
    said = backtest("--trace", "chat.yaml", "--policy", "trace.csv", "--policy", "packed", "--policy", "fleet.yaml")
    is_policy = "backtest takes it as --policy, a fleet file names it under 'policies'"
    assert said.err.splitlines() == [
        f"chat.yaml: this is a policy, not a CSV table; {is_policy}",
        "fleet.yaml: this is a fleet file, not a policy; give it as --fleet",
        "packed: this is a CSV table, not a policy; backtest takes it as --trace",
        "trace.csv: this is a CSV table, not a policy; backtest takes it as --trace",
        "4 problems; nothing was started or changed",
    ]
    said = backtest("--fleet", "chat.yaml")
    assert said.err.splitlines()[0] == f"chat.yaml: this is a policy, not a fleet file; {is_policy}"
    assert said.err.splitlines()[1] == "1 problem; nothing was started or changed"


@pytest.mark.parametrize(
    "wrong", ["services: chat\nscaling: {}\n", "service:\n  chat: {}\nmode: act\n", "service: chat\n"]
)
def test_a_file_that_does_not_plainly_tell_what_it_is_is_read_as_it_was_given(backtest, folder, wrong):
    (folder / "odd.yaml").write_text(wrong)
    said = backtest("--policy", "odd.yaml", "--fleet", "odd.yaml")
    assert said.code == 2
    assert "this is" not in said.err


def test_policies_of_two_services_are_not_compared(backtest, folder):
    (folder / "other.yaml").write_text(POLICY.replace("service: chat", "service: other"))
    said = backtest("--policy", "chat.yaml", "--policy", "other.yaml")
    assert said.code == 2
    assert "other.yaml: is about the service 'other', chat.yaml is about 'chat'" in said.err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"arrival_s,prompt_tokens\n1,5\n", "output_tokens: the column is missing"),
        (
            gzip.compress(b"arrival_s,prompt_tokens,output_tokens\n1,5,5\n" * 400)[:-20],
            "the gzip file is cut off after line ",
        ),
        (b"arrival_s,prompt_tokens,output_tokens\n1700000000000,5,5\n", "expected seconds; are these milliseconds"),
    ],
)
def test_a_bad_trace_names_the_file_and_the_mistake(backtest, folder, content, told):
    (folder / "bad.csv").write_bytes(content)
    said = backtest("--trace", "bad.csv")
    assert said.code == 2
    assert "bad.csv" in said.err
    assert told in said.err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--trace", "other.csv"], "--trace: given twice, as other.csv and trace.csv; give one"),
        (["--seeds", "2", "--seeds", "3"], "--seeds: given twice, as 2 and 3; give one"),
        (["--against", "hpa", "--against", "keda"], "--against: given twice, as hpa and keda; give one"),
        (["--jobs", "0", "--jobs", "2"], "--jobs: expected a whole number of 1 or more, found '0'"),
    ],
)
def test_two_values_of_one_option_are_not_silently_the_last(backtest, typed, told):
    said = backtest(*typed, "--trace", "trace.csv") if "--trace" in typed else backtest(*typed)
    assert said.code == 2
    assert said.err.splitlines() == [told, "1 problem; nothing was started or changed"]


def test_one_value_said_twice_is_one_value(backtest):
    assert backtest("--against", "none", "--to", "2m", "--to", "2m", "--trace", "trace.csv").code == 0


def test_every_condition_is_read_and_each_mistake_has_its_number(backtest):
    said = backtest("--fail-if", "cost > 1 and", "--fail-if", "cots > 3")
    assert said.code == 2
    assert "--fail-if:1:13: expected a name or a number" in said.err
    assert "--fail-if:2:1: unknown name 'cots'" in said.err
