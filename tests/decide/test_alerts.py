"""Alerts: pending, firing, resolved."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.decide.alerts import abnormal, advance_alerts
from controller.decide.rules import AlertRule
from controller.facts.decisions import AlertPhase, Because
from controller.facts.missing import Missing

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
UNKNOWN = Missing("queue_depth", "timed out")


@dataclass(frozen=True)
class Over50:
    text: str = "queue_depth > 50"

    def evaluate(self, values):
        value = values["queue_depth"]
        return value if isinstance(value, Missing) else value > 50


def run(build, rule, depths):
    """Feed one depth every 15 s; return the phase after each pass and the messages sent."""
    policy, states, phases, sent = replace(build.policy(), alerts=(rule,)), {}, [], []
    for index, depth in enumerate(depths):
        values = {"queue_depth": depth, "usd_per_hour": 12.0, "mfu_ratio": 0.2}
        (step,) = advance_alerts(policy, values, states, NOON + timedelta(seconds=15 * index))
        states = {(step.state.service, step.state.name): step.state}
        phases.append(step.state.phase.value)
        sent += [step.message] if step.message else []
    return phases, sent


@pytest.mark.parametrize(
    ("case", "rule", "depths", "phases"),
    [
        ("fires after for", {"for_s": 30}, [60, 60, 60, 60], "pending pending firing firing"),
        ("a dip starts the wait again", {"for_s": 30}, [60, 60, 0, 60, 60], "pending pending inactive pending pending"),
        ("fires at once without for", {}, [60], "firing"),
        ("resolves once, then is quiet", {}, [60, 0, 0], "firing resolved inactive"),
        ("fires again after being resolved", {}, [60, 0, 60], "firing resolved firing"),
        ("keeps firing for a while", {"keep_firing_for_s": 30}, [60, 0, 0, 0], "firing firing firing resolved"),
        (
            "a relapse starts that while again",
            {"keep_firing_for_s": 30},
            [60, 0, 60, 0, 0],
            "firing firing firing firing firing",
        ),
        ("the unknown neither fires", {}, [UNKNOWN, UNKNOWN], "inactive inactive"),
        ("the unknown nor resolves", {}, [60, UNKNOWN, UNKNOWN], "firing firing firing"),
        ("the unknown keeps waiting", {"for_s": 30}, [60, UNKNOWN, 60], "pending pending firing"),
    ],
)
def test_an_alert_moves_as_prometheus_would_move_it(build, case, rule, depths, phases):
    assert run(build, AlertRule(name="queue", condition=Over50(), **rule), depths)[0] == phases.split(), case


def test_firing_and_resolved_are_told_once_each_with_numbers_and_dollars(build):
    _, sent = run(build, AlertRule(name="queue", condition=Over50()), [60, 60, 0, 0])
    assert [message.phase for message in sent] == [AlertPhase.FIRING, AlertPhase.RESOLVED]
    assert sent[0].numbers == {"queue_depth": 60, "usd_per_hour": 12.0}
    assert sent[1].since == NOON


def test_a_lasting_alert_is_told_again_after_its_resend_time(build):
    _, sent = run(build, AlertRule(name="queue", condition=Over50(), resend_s=30), [60] * 5)
    assert [message.at for message in sent] == [NOON, NOON + timedelta(seconds=30), NOON + timedelta(seconds=60)]


def test_a_decision_that_a_person_must_hear_of_raises_its_own_alert_and_resolves_it(build):
    from controller.decide.replicas import decide_replicas

    policy = build.policy(min_replicas=4)
    decisions, _ = decide_replicas(build.situation(variants=(build.variant(2, bound=2),)), policy, build.memory())
    (step,) = abnormal(decisions, {}, NOON)
    assert step.message is not None
    assert step.message.name == Because.INFEASIBLE.value
    assert "min_replicas is 4, but the allowed capacity holds 2" in step.message.summary
    calm, _ = decide_replicas(build.situation(4), build.policy(), build.memory())
    (after,) = abnormal(calm, {("chat", "infeasible"): step.state}, NOON + timedelta(seconds=15))
    assert after.message is not None
    assert after.message.phase is AlertPhase.RESOLVED
