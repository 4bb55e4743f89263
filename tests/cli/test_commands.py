"""Every command as a user types it: what it prints, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest

from controller.daemon import utc_now
from controller.settings.load import load_settings
from controller.wiring import built
from tests.small_fleet import free_port, until

COMMANDS = ["demo", "run", "once", "check", "schema", "status", "explain", "pause", "resume", "stop", "go", "backtest"]
ACCOUNTING = ["report", "export", "ledger", "usage", "bill"]
PARTS = ["export focus", "usage import", "usage sources", "bill import"]
PARTS += [f"ledger {name}" for name in ("verify", "close", "rebuild", "size")]

POLICY_TEST = """\
policy: chat.yaml
every: 15s
tests:
  - name: a long queue grows at once
    replicas: 2
    input: {queue_depth: 40}
    expect:
      - {at: 0s, scale: %d, because: demand}
"""


def one_pass(pennyweight):
    assert pennyweight("once", "--window", "50ms").code == 0


def test_help_names_every_command(pennyweight):
    said = pennyweight("--help")
    assert said.code == 0
    assert [name for name in COMMANDS + ACCOUNTING if f"\n    {name} " not in said.out] == []


@pytest.mark.parametrize("command", COMMANDS + ACCOUNTING + PARTS)
def test_help_of_a_command_says_what_it_does_and_what_each_argument_is(pennyweight, command):
    said = pennyweight(*command.split(), "--help")
    assert said.code == 0
    usage, description, *rest = said.out.split("\n\n")
    assert command in usage
    assert len(description) > 40
    for line in "\n\n".join(rest).splitlines():
        assert len(line) <= 80


@pytest.mark.parametrize("command", ["report", *PARTS])
def test_help_of_the_accounts_ends_with_an_example_of_one_line(pennyweight, command):
    last = pennyweight(*command.split(), "--help").out.splitlines()[-1]
    assert last.startswith(f"For example: pennyweight {command}")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ([], "required: COMMAND"),
        (["statsu"], "statsu: there is no such command; did you mean status?"),
        (["demo", "--passes", "none"], "--passes: expected a whole number of 1 or more, found 'none'"),
        (["demo", "--passes", "0"], "--passes: expected a whole number of 1 or more, found '0'"),
        (["demo", "--fsat"], "--fsat: there is no such option; did you mean --fast?"),
        (["demo", "--speed", "0", "--passes", "x"], "2 problems; nothing was started or changed"),
        (["status", "chat"], "chat: there is no such argument; `pennyweight status --help` lists what there is"),
        (["pause", "chat"], "required: --reason"),
        (["schema", "flet"], "'flet' is none of its choices; did you mean fleet?"),
    ],
)
def test_a_wrong_argument_is_told_with_exit_code_2(pennyweight, typed, told):
    said = pennyweight(*typed)
    assert said.code == 2
    assert told in said.err


@pytest.mark.parametrize(
    "typed",
    [
        ["run"],
        ["once"],
        ["check"],
        ["status"],
        ["explain", "chat"],
        ["resume", "chat"],
        ["report"],
        ["export", "focus", "--from", "2026-10"],
        ["ledger", "verify"],
        ["ledger", "close", "2026-10"],
        ["ledger", "rebuild"],
        ["ledger", "size"],
        ["usage", "sources"],
        ["usage", "import", "."],
        ["bill", "import", "--cost-explorer", "2026-10"],
    ],
)
def test_a_missing_fleet_file_says_what_to_do(pennyweight, typed):
    said = pennyweight(*typed)
    assert said.code == 2
    assert said.err.startswith("fleet.yaml: there is no such file")
    assert "pennyweight demo" in said.err
    assert "docs/fleet.md" in said.err


def test_verbose_may_stand_before_and_after_the_command(pennyweight, fleet):
    assert pennyweight("-v", "check").code == 0
    assert pennyweight("check", "-v").code == 0


def test_check_says_that_right_files_are_right(pennyweight, fleet):
    fleet.policy.with_name("chat.test.yaml").write_text(POLICY_TEST % 4)
    said = pennyweight("check")
    assert said.err == ""
    assert said.code == 0
    assert said.out == "3 files read and nothing wrong: 1 policy, 1 policy test passed\n"


def test_check_tells_every_mistake_of_every_file_at_once(pennyweight, fleet):
    fleet.file.write_text(fleet.file.read_text().replace("H100-SXM", "H100-SMX").replace("advise", "adwise"))
    fleet.policy.write_text(fleet.policy.read_text().replace("severity: warning", "severity: warnin"))
    other = fleet.policy.with_name("other.yaml")
    other.write_text(fleet.policy.read_text().replace("service: chat", "service: other") + "colour: red\n")
    said = pennyweight("check", "policies")
    assert said.code == 2
    for told in ("adwise", "chat.yaml:9", "warnin", "colour"):
        assert told in said.err
    assert "problems; nothing was started or changed" in said.err


def test_a_failing_policy_test_is_a_mistake_with_the_numbers(pennyweight, fleet):
    fleet.policy.with_name("chat.test.yaml").write_text(POLICY_TEST % 5)
    said = pennyweight("check")
    assert said.code == 2
    assert "a long queue grows at once" in said.err
    assert "chat.test.yaml:8" in said.err


@pytest.mark.parametrize(("kind", "key"), [("policy", "scaling"), ("fleet", "services")])
def test_schema_is_json_that_knows_the_keys(pennyweight, kind, key):
    said = pennyweight("schema", kind)
    assert said.code == 0
    assert key in json.loads(said.out)["properties"]


def test_a_reader_that_goes_away_is_no_traceback(repository):
    process = subprocess.Popen(
        [sys.executable, "-m", "controller", "schema", "fleet"],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(30) == 141


def test_status_before_the_first_pass_says_how_to_make_one(pennyweight, fleet):
    said = pennyweight("status")
    assert said.code == 1
    assert "has it run?" in said.err
    pennyweight("resume", "chat")  # makes the ledger, and no pass
    said = pennyweight("status")
    assert said.code == 1
    assert "pennyweight run" in said.out + said.err


def test_once_measures_decides_and_shows(pennyweight, fleet):
    fleet.queue(30.0)
    said = pennyweight("once", "--window", "50ms")
    assert said.code == 0, said.err
    assert "chat" in said.out
    assert "2/2" in said.out
    assert "scale up 2 -> 6" in " ".join(said.out.split())
    assert "…" not in said.out, "a number was cut off"
    assert max(map(len, said.out.splitlines())) <= 80


def test_a_long_name_folds_and_no_number_is_cut(pennyweight, fleet):
    long = "customer-support-assistant-in-europe"
    for file in (fleet.file, fleet.policy):
        file.write_text(file.read_text().replace("  chat:", f"  {long}:").replace("service: chat", f"service: {long}"))
    one_pass(pennyweight)
    said = pennyweight("status")
    assert "…" not in said.out
    assert "4.00" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_once_tells_which_engine_does_not_answer(pennyweight, fleet):
    fleet.engines[1].close()
    said = pennyweight("once", "--window", "50ms")
    assert said.code == 0
    assert fleet.engines[1].url.removeprefix("http://") in said.out.replace("\n", "")


def test_once_with_a_wrong_window_starts_nothing(pennyweight, fleet):
    said = pennyweight("once", "--window", "15")
    assert said.code == 2
    assert "--window: expected a duration with its unit" in said.err


def test_status_and_explain_tell_the_last_pass(pennyweight, fleet):
    fleet.queue(30.0)
    one_pass(pennyweight)
    status = pennyweight("status")
    assert status.code == 0
    assert "2/2 -> 6" in status.out
    assert "ago, mode advise" in " ".join(status.out.split())
    assert "…" not in status.out
    explained = pennyweight("explain", "chat")
    assert explained.code == 0
    assert "queue" in explained.out


def test_status_and_explain_tell_the_same_story_of_a_blind_service(pennyweight, fleet):
    one_pass(pennyweight)
    for engine in fleet.engines:
        engine.close()
    one_pass(pennyweight)
    status, explained = (" ".join(pennyweight(*typed).out.split()) for typed in (("status",), ("explain", "chat")))
    assert "0/2 -> 2" in status
    for said in (status, explained):
        assert "hold at 2 replicas (0 ready, 0 starting, 2 that could not be read)" in said
        assert "blind: queue_depth missing" in said
        assert f"{fleet.engines[0].url} cannot be reached" in said
    assert "the table shows what was read last" in status


def test_once_names_every_gpu_exporter_that_cannot_be_read(pennyweight, fleet):
    lost = 'dcgm: {static: ["http://127.0.0.1:9", "http://127.0.0.1:7"]}'
    fleet.file.write_text(fleet.file.read_text().replace("actuator:", f"{lost}\n        actuator:"))
    said = " ".join(pennyweight("once", "--window", "50ms").out.split())
    assert "GPUs of chat/h100 missing: http://127.0.0.1:9 cannot be reached" in said
    assert "GPUs of chat/h100 missing: http://127.0.0.1:7 cannot be reached" in said


def test_status_names_every_gpu_exporter_that_cannot_be_read(pennyweight, fleet):
    lost = 'dcgm: {static: ["http://127.0.0.1:9", "http://127.0.0.1:7"]}'
    fleet.file.write_text(fleet.file.read_text().replace("actuator:", f"{lost}\n        actuator:"))
    one_pass(pennyweight)
    said = " ".join(pennyweight("status").out.split())
    assert "problem: GPUs of chat/h100 missing: http://127.0.0.1:9 cannot be reached" in said
    assert "problem: GPUs of chat/h100 missing: http://127.0.0.1:7 cannot be reached" in said


def test_a_fresh_pass_is_not_said_to_be_stale(pennyweight, fleet):
    one_pass(pennyweight)
    assert "is the daemon running?" not in pennyweight("status").out


def test_a_stale_pass_is_said_to_be_stale(pennyweight, fleet):
    with built(load_settings(fleet.file, {}), clock=lambda: utc_now() - timedelta(hours=3)) as made:
        made.daemon.step()
    said = pennyweight("status")
    assert "3 h ago" in " ".join(said.out.split())
    assert "is the daemon running?" in " ".join(said.out.split())


@pytest.mark.parametrize("command", ["pause", "resume", "explain"])
def test_an_unknown_service_names_the_known_ones(pennyweight, fleet, command):
    one_pass(pennyweight)
    said = pennyweight(command, "chatt", *(["--reason", "x"] if command == "pause" else []))
    assert said.code == 1
    assert "chatt" in said.err
    assert "chat" in said.err.replace("chatt", "")


def test_a_pause_survives_until_resumed(pennyweight, fleet):
    fleet.queue(30.0)
    assert "chat is paused" in pennyweight("pause", "chat", "--reason", "launch day").out
    one_pass(pennyweight)
    status = " ".join(pennyweight("status").out.split())
    assert "chat is paused by" in status
    assert "launch day" in status
    assert "launch day" in " ".join(pennyweight("explain", "chat").out.split())
    assert pennyweight("resume", "chat").out == "chat is resumed: it is decided again from the next pass on\n"
    assert pennyweight("resume", "chat").out == "chat was not paused\n"
    one_pass(pennyweight)
    assert "paused" not in pennyweight("status").out


def test_the_demo_runs_to_its_summary(repository, tmp_path):
    arguments = ["demo", "--passes", "5", "--no-dashboard", "--fast", "--directory", str(tmp_path / "demo")]
    done = subprocess.run(
        [sys.executable, "-m", "controller", *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "COLUMNS": "80"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "5 passes" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_dashboard_serves_the_fleet_files_ledger_on_loopback(fleet):
    port = free_port()
    command = [sys.executable, "-m", "controller", "dashboard", "--fleet", str(fleet.file), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout.readline() == f"dashboard: http://127.0.0.1:{port} (Ctrl-C ends it)\n"
        until(lambda: _answers(f"http://127.0.0.1:{port}/_stcore/health"), "the dashboard being up", 60)
    finally:
        process.terminate()
        process.communicate()


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_check_tells_policy_mistakes_even_when_the_fleet_file_is_wrong(pennyweight, fleet):
    fleet.file.write_text("mode: acting\n" + fleet.file.read_text().replace("mode: advise\n", ""))
    fleet.policy.write_text(fleet.policy.read_text().replace("max_replicas", "max_replica"))
    said = pennyweight("check")
    assert said.code == 2
    assert "'acting' is not one of" in said.err
    assert "did you mean 'max_replicas'?" in said.err


def test_check_knows_services_variants_and_offers_of_a_fleet_file_that_is_wrong_elsewhere(pennyweight, fleet):
    text = fleet.file.read_text().replace("H100-SXM", "H100-SMX").replace("policies/*", "mine/*")
    fleet.file.write_text(text.replace("usd_per_gpu_hour: 2.00", "offer: aws/us-east-1/p5.48xlrge"))
    mine = fleet.file.with_name("mine")
    mine.mkdir()
    (mine / "one.yaml").write_text(fleet.policy.read_text().replace("service: chat", "service: chatt"))
    (mine / "two.yaml").write_text(fleet.policy.read_text() + "variants: {h1000: {}}\n")
    said = pennyweight("check")
    told = [Path(line.split(":", 1)[0]).name for line in said.err.splitlines()[:-1]]
    assert sorted(told) == ["fleet.yaml", "fleet.yaml", "one.yaml", "two.yaml"]
    for one in (
        "did you mean 'aws/us-east-1/p5.48xlarge'?",
        "no service 'chatt'; did you mean 'chat'?",
        "no variant 'h1000'",
    ):
        assert one in said.err


def test_the_demos_actuator_in_a_real_fleet_file_is_a_mistake_not_a_traceback(pennyweight, fleet):
    fleet.write(actuator="emulated")
    said = pennyweight("once", "--window", "1s")
    assert said.code == 2
    assert (
        "'emulated' belongs to `pennyweight demo`; expected aws_asg, dry_run, external, kubernetes, process" in said.err
    )


def test_a_service_without_a_policy_is_told_apart_from_one_that_is_not_there(pennyweight, fleet):
    fleet.policy.rename(fleet.folder / "aside.yaml")
    assert pennyweight("once", "--window", "1s").code == 0
    assert "a policy must name it" in pennyweight("explain", "chat").err
    assert "there is no service 'chatt' in the ledger; it knows chat" in pennyweight("explain", "chatt").err


def test_a_fleet_of_which_a_part_is_undecided_shows_no_desired_sum(pennyweight, fleet):
    other = fleet.file.read_text(encoding="utf-8").split("services:\n")[1].replace("  chat:", "  other:", 1)
    with fleet.file.open("a", encoding="utf-8") as file:
        file.write(other)
    assert pennyweight("once", "--window", "1s").code == 0
    lines = [line for line in reversed(pennyweight("status").out.splitlines()) if line.strip()]
    rows = {line.split()[0]: line for line in lines}  # of several that begin alike the first: the table's
    assert "->" in rows["chat"]
    assert "->" not in rows["other"]
    assert "->" not in rows["fleet"]


def test_the_log_says_once_that_engines_do_not_answer(pennyweight, fleet, caplog):
    fleet.engines[0].close()
    assert pennyweight("once", "--window", "1s").code == 0
    told = [line for line in caplog.messages if line.startswith("metrics of chat/h100 missing: 1 of 2 targets")]
    assert len(told) == 1
    assert f"127.0.0.1:{fleet.engines[0].server_port}" in told[0]
