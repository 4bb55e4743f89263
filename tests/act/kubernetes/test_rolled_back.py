"""Somebody else changes the template that we rolled out: it is theirs from then on, and nobody writes over it."""

import copy
from datetime import timedelta

import pytest

from controller.act.kubernetes.course import BROUGHT, ROLLOUT
from controller.act.kubernetes.others import NOTE
from controller.act.kubernetes.template import changed, restored
from controller.facts.actuators import EngineTemplate
from controller.facts.decisions import OutcomeKind
from tests.act.kubernetes.test_rollout import SAFE, begun, change, engine, least_ready
from tests.cluster.kubelet import Behaviour

V2, V3 = (EngineTemplate(image=f"vllm/vllm-openai:v{number}") for number in (2, 3))
ROLLBACK = "vllm/vllm-openai:v1-rollback"
ELEVEN_MINUTES = timedelta(minutes=11)
COMES_BACK = "kubectl label -n llm deployment chat pennyweight.dev/template-"


def set_image(stage, image, manager="kubectl-set"):
    """As `kubectl set image` does."""

    def with_image(doc):
        doc["spec"]["template"]["spec"]["containers"][0]["image"] = image
        return doc

    stage.world.edit("Deployment", "chat", with_image, manager=manager)


def target(stage):
    return copy.deepcopy(stage.world.get("Deployment", "chat"))


def undo_to(stage, before, annotations):
    """As `kubectl rollout undo` does: the template of an older ReplicaSet, and all annotations that the Deployment had
    when that one was its newest."""

    def undone(doc):
        doc["spec"]["template"] = before["spec"]["template"]
        doc["metadata"]["annotations"] = dict(annotations)
        return doc

    stage.world.edit("Deployment", "chat", undone, manager="kubectl")


def lift(stage):
    """As `kubectl label` without the label does."""

    def lifted(doc):
        del doc["metadata"]["labels"][BROUGHT]
        return doc

    stage.world.edit("Deployment", "chat", lifted, manager="kubectl-label")


@pytest.fixture
def through(stage_of):
    """Our rollout to v2 is through."""
    stage = stage_of(replicas=2, spec=SAFE, template=V2)
    assert begun(stage).kind is OutcomeKind.DONE
    least_ready(stage, 40)
    assert (engine(stage)["image"], change(stage)) == (V2.image, None)
    return stage


def test_an_operators_rollback_is_not_undone_by_itself(through):
    set_image(through, ROLLBACK)
    through.world.step(30)
    stage, what, detail = change(through)
    assert (stage, what) == ("blocked", "image vllm/vllm-openai:v2")
    assert "'kubectl-set' changed its template at 2026-11-21 12:00:" in detail
    assert COMES_BACK in detail
    outcome = begun(through)
    assert (outcome.kind, "'kubectl-set' changed its template" in outcome.detail) == (OutcomeKind.REFUSED, True)
    through.world.step(ELEVEN_MINUTES.total_seconds())
    heir = through.another()
    assert change(heir)[0] == "blocked"
    assert begun(heir).kind is OutcomeKind.REFUSED
    assert engine(heir)["image"] == ROLLBACK


@pytest.mark.cluster
def test_an_operators_image_while_ours_is_on_its_way_ends_our_rollout(stage_of):
    stage = stage_of(replicas=2, spec=SAFE, template=V2, start_timeout_s=3)
    stage.world.behave("chat", Behaviour(start_s=90))
    begun(stage)
    stage.passes(1, every_s=1)
    set_image(stage, ROLLBACK)
    stage.passes(8, every_s=1)
    assert engine(stage)["image"] == ROLLBACK, "and not what was there before ours"
    assert change(stage)[0] == "blocked"
    assert "'kubectl-set' changed its template" in change(stage)[2]
    assert ROLLOUT not in target(stage)["metadata"]["annotations"]


def test_who_undoes_the_rollout_as_kubectl_does_is_obeyed(stage_of):
    stage = stage_of(replicas=2, spec=SAFE, template=V2)
    stage.seen()
    before = target(stage)
    begun(stage)
    least_ready(stage, 40)
    undo_to(stage, before, before["metadata"].get("annotations") or {})
    stage.world.step(30)
    stage = stage.another()
    assert (change(stage)[0], begun(stage).kind) == ("blocked", OutcomeKind.REFUSED)
    assert "'kubectl' changed its template" in change(stage)[2]
    assert engine(stage)["image"] == "vllm/vllm-openai:v0.11"


def test_a_note_of_an_older_rollout_that_comes_back_with_an_undo_takes_nothing_back(through):
    """A ReplicaSet keeps the annotations that its Deployment had: of v2's, that a rollout to it was on its way."""
    begun(third := through.another(template=V3))
    third.passes(1, every_s=1)
    on_its_way = target(third)
    least_ready(third, 40)
    begun(fourth := third.another(template=EngineTemplate(image="vllm/vllm-openai:v4")))
    least_ready(fourth, 40)
    fourth.world.step(ELEVEN_MINUTES.total_seconds())
    undo_to(fourth, on_its_way, on_its_way["metadata"]["annotations"])
    fourth.passes(8, every_s=10)
    assert engine(fourth)["image"] == V3.image, "where the operator went back to"
    assert change(fourth)[0] == "blocked"
    assert fourth.phases() == {"ready": 2}


def test_a_count_of_long_ago_that_comes_back_with_an_undo_removes_nobody(stage_of):
    """Somebody else's rollout, and his undo: the annotations are those of when the old version was the newest."""
    stage = stage_of(replicas=6, spec=SAFE)
    stage.scale(6, 2)
    stage.passes(4)
    assert stage.replicas == 2
    quiet = target(stage)
    set_image(stage, ROLLBACK)
    stage.passes(4)
    assert stage.scale(2, 6).kind is OutcomeKind.DONE
    stage.passes(4)
    undo_to(stage, quiet, quiet["metadata"]["annotations"])
    stage.passes(12)
    assert (stage.replicas, stage.phases()) == (6, {"ready": 6})
    assert stage.scale(6, 5).kind is OutcomeKind.DONE
    stage.passes(4)
    assert (stage.replicas, stage.phases()) == (5, {"ready": 5})


def test_another_template_of_the_fleet_file_waits_until_the_operator_had_ten_minutes(through):
    set_image(through, ROLLBACK)
    through.world.step(30)
    later = through.another(template=V3)
    stage, _, detail = change(later)
    assert stage == "blocked"
    assert "'kubectl-set' changed its template at 2026-11-21 12:00:" in detail
    assert "left alone for 600 s from then" in detail
    assert begun(later).kind is OutcomeKind.REFUSED
    later.world.step(ELEVEN_MINUTES.total_seconds())
    assert change(later)[0] == "wanted"
    assert begun(later).kind is OutcomeKind.DONE
    least_ready(later, 40)
    assert (engine(later)["image"], change(later)) == (V3.image, None)


def test_without_its_label_the_template_of_the_fleet_file_is_asked_for_again(through):
    set_image(through, ROLLBACK)
    through.world.step(30)
    lift(through)
    assert change(through)[0] == "wanted"
    assert begun(through).kind is OutcomeKind.DONE
    least_ready(through, 40)
    assert engine(through)["image"] == V2.image


def test_without_its_label_a_template_that_was_taken_back_is_tried_again(stage_of):
    stage = stage_of(replicas=2, spec=SAFE, template=V2)
    stage.world.behave("chat", Behaviour(image="manifest unknown"))
    begun(stage)
    least_ready(stage, 30)
    assert change(stage)[0] == "taken_back"
    lift(stage)
    stage.world.behave("chat", Behaviour())
    assert change(stage)[0] == "wanted"
    assert ROLLOUT not in target(stage)["metadata"]["annotations"]


def test_who_puts_back_what_the_fleet_file_says_has_nothing_to_lift(through):
    set_image(through, ROLLBACK)
    through.passes(3)
    set_image(through, V2.image)
    through.passes(3)
    assert change(through) is None
    set_image(through, ROLLBACK)
    through.passes(3)
    assert change(through)[0] == "blocked"


def test_what_was_as_the_fleet_file_says_before_we_came_is_not_put_back_either(stage_of):
    stage = stage_of(replicas=2, spec=SAFE, template=EngineTemplate(image="vllm/vllm-openai:v0.11"))
    assert change(stage) is None
    set_image(stage, ROLLBACK)
    stage.passes(2)
    assert change(stage)[0] == "blocked"


def test_nothing_is_noted_while_nothing_may_be_touched(stage_of):
    stage = stage_of(replicas=2, spec=SAFE, template=EngineTemplate(image="vllm/vllm-openai:v0.11"))
    stage.actuator.heed(lambda service: False)
    stage.seen()
    assert BROUGHT not in (target(stage)["metadata"].get("labels") or {})


def test_what_is_set_once_is_noted_once(through):
    noted = target(through)["metadata"]["resourceVersion"]
    through.passes(3, every_s=0)
    assert target(through)["metadata"]["resourceVersion"] == noted


def test_a_rollout_that_is_taken_back_leaves_what_others_set_beside_it(stage_of):
    stage = stage_of(replicas=2, spec=SAFE, template=EngineTemplate(image="vllm/vllm-openai:none", env={"A": "1"}))
    stage.world.behave("chat", Behaviour(image="manifest unknown"))
    begun(stage)

    def with_another(doc):
        doc["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "OPERATORS", "value": "2"})
        return doc

    stage.world.edit("Deployment", "chat", with_another)
    least_ready(stage, 30)
    assert change(stage)[0] == "taken_back"
    assert engine(stage)["image"] == "vllm/vllm-openai:v0.11"
    assert engine(stage)["env"] == [{"name": "OPERATORS", "value": "2"}]


A, B, C = ({"name": name, "value": value} for name, value in (("A", "1"), ("B", "2"), ("C", "3")))


@pytest.mark.parametrize(
    ("before", "ours", "now", "after"),
    [
        ({"image": "a"}, {"image": "b"}, {"image": "b"}, {"image": "a"}),
        ({"image": "a"}, {"args": ["--x"]}, {"image": "c", "args": ["--x"]}, {"image": "c"}),
        ({"args": ["--y"]}, {"args": ["--x"]}, {"args": ["--x"]}, {"args": ["--y"]}),
        ({}, {"env": [A]}, {"env": [A]}, {}),
        ({"env": [A, B]}, {"env": [{"name": "A", "value": "9"}]}, {"env": [B, A]}, {"env": [A, B]}),
        ({"env": [B]}, {"env": [A]}, {"env": [C, A]}, {"env": [C]}),
    ],
)
def test_only_what_a_rollout_set_is_taken_back(before, ours, now, after):
    assert restored({"name": "engine", **now}, before, ours) == {"name": "engine", **after}


def test_an_empty_variable_is_as_the_api_server_keeps_it():
    kept = {"name": "engine", "env": [{"name": "A"}]}
    assert changed(kept, EngineTemplate(env={"A": ""})) is kept


@pytest.mark.cluster
def test_kubectl_itself_undoes_a_rollout_of_ours(real, stage_of, tmp_path):
    """Of a version to which ours had been on its way, with fewer replicas: its ReplicaSet says so yet."""
    from tests.cluster.control_plane import kubectl

    stage = stage_of(replicas=2, spec=SAFE, template=V2)
    for template, replicas in ((V2, 3), (V3, 4)):
        stage = stage.another(template=template, start_timeout_s=20)
        assert begun(stage).kind is OutcomeKind.DONE
        stage.passes(6, every_s=2)
        assert (engine(stage)["image"], change(stage)) == (template.image, None)
        assert stage.scale(replicas - 1, replicas).kind is OutcomeKind.DONE
        stage.passes(3, every_s=2)
    kubectl(real.kubeconfig(tmp_path / "admin", namespace="llm"), "rollout", "undo", "deployment/chat")
    back = target(stage)["metadata"]["annotations"]
    assert (ROLLOUT in back, '"counted": 3' in back[NOTE]) == (True, True), "what was written down then came back"
    stage.passes(8, every_s=2)
    assert (engine(stage)["image"], stage.replicas, stage.phases()) == (V2.image, 4, {"ready": 4})
    assert change(stage)[0] == "blocked"
    assert "'kubectl' changed its template" in change(stage)[2]
    assert ROLLOUT not in target(stage)["metadata"]["annotations"]
