"""What counts as idle, and the actuator that touches nothing."""

from __future__ import annotations

import pytest

from controller.act.dry_run import DryRunActuator
from controller.act.probe import nothing_left
from controller.facts.decisions import OutcomeKind
from controller.facts.missing import Missing


@pytest.mark.parametrize(
    ("page", "idle"),
    [
        ("", False),
        ("vllm:num_requests_running 0.0\nvllm:num_requests_waiting 0.0\n", True),
        ('vllm:num_requests_running{engine="0"} 0.0\nvllm:num_requests_running{engine="1"} 2.0\n', False),
        ("vllm:num_requests_running 0\nvllm:num_requests_waiting 1\n", False),
        ('sglang:num_running_reqs{model_name="m"} 0.0\nsglang:num_queue_reqs{model_name="m"} 0.0\n', True),
        ("tgi_batch_current_size 0\ntgi_queue_size 3\n", False),
        ("vllm:num_requests_running NaN\n", False),
        ("# HELP vllm:num_requests_running 0\n", False),
    ],
)
def test_idle_is_when_every_count_is_zero_and_there_is_one(page, idle):
    assert nothing_left(page) is idle


def test_dry_run_only_says_what_it_would_do(make_hand):
    hand = make_hand(DryRunActuator(), None, "dry_run")
    assert isinstance(hand.actuator.replicas(hand.variant, hand.now), Missing)
    outcome = hand.scale(3, 2, "chat-7")
    assert outcome.kind is OutcomeKind.ADVISED
    assert "would scale down from 3 to 2, removing chat-7" in outcome.detail
