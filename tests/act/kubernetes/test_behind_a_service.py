"""Engines behind a plain Service: the shipped example leaves out who drains, and takes back who serves again."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from controller.act.kubernetes.others import NOTE
from controller.errors import StaleActError
from controller.kubernetes.objects import Kind
from controller.kubernetes.resources import PHASE_LABEL

EXAMPLE = Path(__file__).parents[3] / "deploy" / "kubernetes" / "examples" / "draining.yaml"
SERVICE, DEPLOYMENT = yaml.safe_load_all(EXAMPLE.read_text(encoding="utf-8"))
LABELS = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]


def selected(stage) -> set[str]:
    """The pods that its endpoints are made of, as the endpoints controller finds them."""
    wanted = SERVICE["spec"]["selector"].items()
    return {pod["metadata"]["name"] for pod in stage.world.pods() if wanted <= pod["metadata"]["labels"].items()}


@pytest.fixture
def behind(stage_of):
    def made(kind: Kind = Kind.DEPLOYMENT):
        stage = stage_of(kind, 3, name=LABELS["app"], pods={"labels": LABELS})
        assert selected(stage) == set(stage.pods())
        return stage

    return made


def test_the_example_is_valid_and_the_mark_takes_no_pod_from_its_controller():
    for one in (SERVICE, DEPLOYMENT):
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    assert PHASE_LABEL in SERVICE["spec"]["selector"]
    assert PHASE_LABEL not in DEPLOYMENT["spec"]["selector"]["matchLabels"]
    assert SERVICE["spec"]["selector"].items() <= LABELS.items()


@pytest.mark.cluster
@pytest.mark.parametrize("kind", [Kind.DEPLOYMENT, Kind.STATEFUL_SET])
def test_who_drains_gets_no_new_connection_and_is_still_its_controller_s(behind, kind):
    stage = behind(kind)
    victim = sorted(stage.pods())[-1]
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    stage.passes(2, every_s=5)
    assert selected(stage) == set(stage.pods()) - {victim}
    assert len(stage.pods()) == 3, "nobody was made in its place"


@pytest.mark.cluster
def test_who_was_to_go_and_serves_again_gets_connections_again(behind):
    stage = behind()
    victim = stage.pods()[0]
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    stage.passes(2, every_s=5)
    assert victim not in selected(stage)
    stage.world.scale("Deployment", stage.name, 4)
    stage.world.step(2)
    stage.passes(4, every_s=5)
    assert len(stage.pods()) == 4
    assert selected(stage) == set(stage.pods())


SELECTING = [
    ({"matchLabels": {"app": "chat", PHASE_LABEL: "serving"}}, f"{PHASE_LABEL}=serving"),
    (
        {
            "matchLabels": {"app": "chat"},
            "matchExpressions": [{"key": PHASE_LABEL, "operator": "NotIn", "values": ["draining"]}],
        },
        rf"{PHASE_LABEL} notin \(draining\)",
    ),
]


@pytest.mark.cluster
@pytest.mark.parametrize(("selector", "told"), SELECTING)
@pytest.mark.parametrize("kind", [Kind.DEPLOYMENT, Kind.STATEFUL_SET])
def test_a_target_that_selects_by_the_phase_is_refused_before_the_first_write(stage_of, kind, selector, told):
    stage = stage_of(kind, 3, pods={"labels": {PHASE_LABEL: "serving"}}, spec={"selector": selector})
    for desired in (2, 4):
        with pytest.raises(StaleActError, match=f"the selector of {kind} llm/chat has {told}: .* make it anew"):
            stage.scale(3, desired)
    assert (stage.phases(), stage.replicas, phases_told(stage)) == ({"ready": 3}, 3, {"serving"})
    assert NOTE not in (stage.world.get(kind, "chat")["metadata"].get("annotations") or {})


def test_a_target_that_selects_by_the_phase_keeps_who_lies_on_a_machine_that_goes(stage_of):
    stage = stage_of(pods={"labels": {PHASE_LABEL: "serving"}}, spec={"selector": SELECTING[0][0]})
    pods = set(stage.pods())
    stage.world.taint(stage.world.get("Pod", min(pods))["spec"]["nodeName"], "karpenter.sh/disrupted")
    stage.passes(3, every_s=5)
    assert (set(stage.pods()), phases_told(stage)) == (pods, {"serving"}), (
        "nobody is marked, and nobody made in its place"
    )
    assert "draining" in stage.phases(), "what is announced is told all the same"


def phases_told(stage) -> set[str]:
    """What the pods' own labels say."""
    return {stage.world.get("Pod", pod)["metadata"]["labels"][PHASE_LABEL] for pod in stage.pods()}
