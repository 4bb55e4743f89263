"""`pennyweight stop` and `pennyweight go`, with and without a daemon."""

from __future__ import annotations

import pytest

from controller.settings.load import load_settings
from controller.wiring import built


def one_pass(fleet):
    with built(load_settings(fleet.file, {})) as everything:
        everything.daemon.look()
        everything.daemon.step()


def words(said):
    return " ".join(said.out.split())


def test_everything_is_stopped_until_told_to_go(pennyweight, fleet):
    fleet.queue(30.0)
    said = words(pennyweight("stop", "--reason", "the bill"))
    assert "everything is stopped by" in said
    assert "the bill" in said
    assert "lifted by: pennyweight go" in said
    one_pass(fleet)
    status = words(pennyweight("status"))
    assert status.startswith("STOPPED: everything is stopped by")
    assert "stopped: everything is stopped by" in status
    assert "would scale up from 2 to 6" in status
    assert "would scale up from 2 to 6" in words(pennyweight("explain", "chat"))
    assert words(pennyweight("go")) == "everything may be touched again, from the next decision on"
    one_pass(fleet)
    assert "STOPPED" not in pennyweight("status").out


def test_a_service_is_stopped_by_its_name_and_go_tells_what_still_stands(pennyweight, fleet):
    assert "chat is stopped by" in pennyweight("stop", "chat", "--for", "2h").out
    said = words(pennyweight("go"))
    assert said.startswith("everything was not stopped STOPPED: chat is stopped by")
    assert "until" in said
    assert "no reason given" in said
    assert words(pennyweight("go", "chat")) == "chat may be touched again, from the next decision on"


def test_who_stops_again_without_a_word_wipes_out_no_reason(pennyweight, fleet):
    pennyweight("stop", "--reason", "wrong image")
    first = words(pennyweight("stop"))
    assert "wrong image (it was already) nothing of it is touched" in first
    assert "wrong image" in words(pennyweight("stop", "--for", "2h"))
    said = words(pennyweight("status"))
    assert said.startswith("STOPPED: "), "also before the first pass"
    assert ("wrong image" in said, "until" in said, "no reason given" in said) == (True, True, False)
    assert "the bill" in words(pennyweight("stop", "--reason", "the bill"))
    assert "wrong image" not in words(pennyweight("status"))


def test_all_stops_are_lifted_at_once(pennyweight, fleet):
    pennyweight("stop")
    pennyweight("stop", "chat")
    said = pennyweight("go", "--all").out
    assert said.count("may be touched again") == 2


def test_a_stop_file_is_told_and_not_removed(pennyweight, fleet):
    path = fleet.folder / "pennyweight.stop"
    path.write_text("ask ann\n", encoding="utf-8")
    one_pass(fleet)
    assert "ask ann" in words(pennyweight("status"))
    said = words(pennyweight("go"))
    assert f"lifted by: remove {path}" in said
    assert path.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["stop", "chatt"], 1, "no service 'chatt'"),
        (["go", "chatt"], 1, "no service 'chatt'"),
        (["stop", "--for", "2"], 2, "expected a duration with its unit"),
    ],
)
def test_a_wrong_word_changes_nothing(pennyweight, fleet, arguments, code, message):
    said = pennyweight(*arguments)
    assert (said.code, message in said.err) == (code, True)
    assert "STOPPED" not in pennyweight("go").out


def test_a_shell_without_the_daemons_secrets_can_stop_and_ask(pennyweight, fleet):
    one_pass(fleet)
    with fleet.file.open("a", encoding="utf-8") as file:
        file.write("account: {ingest: {tokens: [{name: gateway, env: NOBODY_SET_THIS, trusted: true}]}}\n")
        file.write("notify: {slack: {webhook_url_env: NOR_THIS}}\n")
    assert pennyweight("stop", "--reason", "at night").code == 0
    assert "STOPPED" in pennyweight("status").out
    assert pennyweight("check").err.count("is not set") == 2


def test_with_a_broken_fleet_file_the_way_that_needs_none_is_told(pennyweight, fleet):
    with fleet.file.open("a", encoding="utf-8") as file:
        file.write("intervall: 5s\n")
    said = pennyweight("stop")
    assert said.code == 2
    assert said.err.startswith("NOTHING IS STOPPED YET")
    assert str(fleet.folder / "pennyweight.stop") in said.err
