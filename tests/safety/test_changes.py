"""Changes of engines, of which the count tells nothing: the kernel holds them all the same."""

from __future__ import annotations

from datetime import UTC

import pytest

from controller.facts.decisions import Because
from controller.facts.safety import SafetyMemory, Stop
from controller.safety.kernel import screened
from controller.safety.rules import Freeze


@pytest.fixture
def change(make):
    def made(service="chat", **given):
        return make.decision(service, 4, 4, because=Because.ROLLOUT, change="image vllm:2", **given)

    return made


def test_a_change_is_let_through_and_is_no_move(make, change):
    (one,), memory = screened([change()], make.rules(), SafetyMemory(), make.scene())
    assert (one, memory.moves) == (change(), ())


def test_a_stop_holds_it_and_says_what_would_have_been(make, change):
    stop = Stop(since=make.noon, by="ann", reason="wrong image")
    (one,), _ = screened([change()], make.rules(), SafetyMemory(), make.scene(stops=(stop,)))
    assert (one.change, one.holds, one.because) == ("", True, Because.STOPPED)
    assert "stopped by ann" in one.detail
    assert "Decided: would change to image vllm:2" in one.detail


@pytest.mark.parametrize(("grow", "shrink"), [(True, False), (False, True), (True, True)])
def test_a_freeze_of_either_direction_holds_it(make, change, grow, shrink):
    freeze = Freeze(name="holidays", grow=grow, shrink=shrink, zone=UTC)
    (one,), _ = screened([change()], make.rules(freezes=(freeze,)), SafetyMemory(), make.scene())
    assert (one.change, one.because, "'holidays'" in one.detail) == ("", Because.FROZEN, True)


def test_one_of_the_fleet_begins_in_a_pass_whatever_the_order_and_screening_again_changes_nothing(make, change):
    both, more = [change("mail"), change("chat")], make.decision("batch", 2, 3)
    for decisions in ([*both, more], [more, *reversed(both)]):
        made, memory = screened(decisions, make.rules(), SafetyMemory(), make.scene())
        by_service = {one.service: one for one in made}
        assert {name: one.change for name, one in by_service.items()} == {
            "chat": "image vllm:2",
            "mail": "",
            "batch": "",
        }
        assert "another rollout begins in this pass" in by_service["mail"].detail
        assert by_service["batch"] == more
        again, _ = screened(made, make.rules(), memory, make.scene())
        assert again == made


def test_one_that_is_stopped_keeps_nobody_else_waiting(make, change):
    stop = Stop(service="chat", since=make.noon, by="ann", reason="wrong image")
    made, _ = screened([change("chat"), change("mail")], make.rules(), SafetyMemory(), make.scene(stops=(stop,)))
    assert [one.change for one in made] == ["", "image vllm:2"]
