"""Who owns the count: an applied manifest, whoever made the object, a program that keeps writing, a label of llm-d."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from controller.errors import StaleActError
from controller.facts.decisions import OutcomeKind
from controller.kubernetes.llmd import MANAGED
from controller.kubernetes.objects import Kind
from tests.cluster.kinds import BY_KIND
from tests.cluster.store import Writer
from tests.cluster.world import NAMESPACE

ARGO = "argocd-controller"
MINUTE = timedelta(minutes=1)


def counted(count):
    return lambda doc: doc | {"spec": doc["spec"] | {"replicas": count}}


def applied(stage, count, manager=ARGO):
    """A server-side apply of a manifest that has the count, by force."""
    writer = Writer(manager, operation="Apply")
    stage.world.store.write(BY_KIND[stage.kind], NAMESPACE, "chat", counted(count), writer)


def later(stage, minutes):
    stage.world.store.now += minutes * MINUTE


@pytest.mark.parametrize("kind", list(Kind))
def test_a_count_that_a_manifest_applies_is_refused_before_the_first_write(stage_of, kind):
    stage = stage_of(kind, 2)
    applied(stage, 3)
    stage.world.step(70)
    later(stage, 60)
    version = stage.world.store.version
    for desired in (2, 4):
        with pytest.raises(StaleActError, match=f"field manager '{ARGO}' applies spec.replicas of {kind} llm/chat"):
            stage.scale(3, desired)
    stage.seen()
    assert (stage.world.store.version, stage.replicas) == (version, 3)


def test_the_refusal_says_what_to_do(stage_of):
    stage = stage_of()
    applied(stage, 4)
    with pytest.raises(
        StaleActError, match=r"leave spec\.replicas out of its manifest, once it is handed over as docs"
    ):
        stage.scale(4, 5)


def test_who_took_the_count_from_a_manifest_hands_it_over(stage_of):
    stage = stage_of()
    applied(stage, 4)
    stage.world.scale("Deployment", "chat", 5, manager="kubectl")
    assert stage.scale(5, 4).kind is OutcomeKind.DONE


def test_a_manifest_that_is_applied_while_victims_drain_gets_them_back(stage_of):
    stage = stage_of()
    victim = stage.pods()[0]
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    applied(stage, 4)
    stage.world.step(8)
    stage.passes(2, every_s=5)
    assert (stage.replicas, stage.phases()) == (4, {"ready": 4})
    later(stage, 60)
    with pytest.raises(StaleActError, match="applies spec"):
        stage.scale(4, 3)


@pytest.mark.parametrize("maker", ["kubectl-client-side-apply", "kubectl-create", "helm", ARGO])
def test_who_made_the_object_with_a_count_does_not_own_it(stage_of, maker):
    stage = stage_of()
    stage.world.remove("Deployment", "chat")
    stage.world.step(70)
    from tests.cluster.parts import deployment, template

    stage.world.add(deployment("chat", 3, template("chat", port=stage.engines.port)), writer=Writer(maker))
    stage.world.step(8)
    assert stage.scale(3, 2).kind is OutcomeKind.DONE


def test_what_a_program_wrote_just_before_us_is_left_alone_for_a_while(stage_of):
    stage = stage_of()
    later(stage, 60)
    stage.world.edit("Deployment", "chat", counted(4), manager=ARGO)
    stage.world.step(8)
    with pytest.raises(StaleActError, match=f"'{ARGO}' changed spec.replicas at 2026-11-21 13:00:08 UTC"):
        stage.scale(4, 3)
    later(stage, 11)
    assert stage.scale(4, 3).kind is OutcomeKind.DONE


@pytest.mark.cluster
def test_what_somebody_scaled_by_hand_before_us_is_where_we_begin(stage_of):
    stage = stage_of()
    stage.world.scale("Deployment", "chat", 4, manager="kubectl")
    stage.world.step(8)
    assert stage.scale(4, 3).kind is OutcomeKind.DONE


def put_back(stage, manager, *, times):
    """So many times we scale to 4 and they write 3, each time as soon as we are let."""
    for _ in range(times):
        assert stage.scale(3, 4).kind is OutcomeKind.DONE
        stage.world.step(8)
        stage.world.edit("Deployment", "chat", counted(3), manager=manager)
        stage.world.step(70)
        stage.seen()
        assert (stage.replicas, stage.current()) == (3, 3)
        later(stage, 11)


def test_a_program_that_keeps_writing_the_count_is_not_fought_every_ten_minutes(stage_of):
    stage = stage_of()
    put_back(stage, ARGO, times=3)
    said = f"'{ARGO}' changed spec.replicas at .* UTC, 3 times in a row: it seems to own it, and has it for a day"
    for hours in (0, 12, 11):
        later(stage, 60 * hours)
        with pytest.raises(StaleActError, match=said):
            stage.another().scale(3, 4)
    later(stage, 60)
    put_back(stage, ARGO, times=1)
    with pytest.raises(StaleActError, match="4 times in a row"):
        stage.scale(3, 4)


@pytest.mark.parametrize("manager", ["kubectl-edit", "kubectl"])
def test_a_person_may_say_it_as_often_as_he_likes(stage_of, manager):
    stage = stage_of()
    put_back(stage, manager, times=4)
    assert stage.scale(3, 4).kind is OutcomeKind.DONE


def test_a_program_that_writes_the_count_now_and_then_does_not_own_it(stage_of):
    """A deployment a day brings its count back."""
    stage = stage_of()
    for _ in range(4):
        put_back(stage, "helm", times=1)
        later(stage, 60 * 24)
    assert stage.scale(3, 4).kind is OutcomeKind.DONE


def test_several_changes_before_we_wrote_again_are_one(stage_of):
    stage = stage_of()
    put_back(stage, "k9s", times=1)
    for count in (5, 6, 5):
        stage.world.edit("Deployment", "chat", counted(count), manager="k9s")
        stage.world.step(8)
        stage.seen()
    with pytest.raises(StaleActError, match=r"'k9s' changed spec\.replicas at 2026-11-21 \S+ UTC\)"):
        stage.scale(5, 4)
    later(stage, 11)
    assert stage.scale(5, 4).kind is OutcomeKind.DONE


@pytest.mark.cluster
def test_a_manifest_is_handed_over_as_the_docs_say(real, stage_of, tmp_path):
    """docs/kubernetes.md, One writer; left out without that, the API server makes the count 1."""
    from tests.cluster.control_plane import kubectl

    stage, config = stage_of(), real.kubeconfig(tmp_path / "admin", namespace=NAMESPACE)

    def apply(manager, **spec):
        manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "chat"}, "spec": spec}
        (tmp_path / "chat.json").write_text(json.dumps(manifest))
        command = ("apply", "--server-side", "--force-conflicts", f"--field-manager={manager}", "--validate=false")
        kubectl(config, *command, "-f", str(tmp_path / "chat.json"))

    apply(ARGO, replicas=3, minReadySeconds=0)
    with pytest.raises(StaleActError, match=f"field manager '{ARGO}' applies spec"):
        stage.scale(3, 4)
    apply("pennyweight", replicas=3)
    apply(ARGO, minReadySeconds=0)
    stage.world.step(2)
    assert (stage.replicas, stage.scale(3, 4).kind) == (3, OutcomeKind.DONE)


def labelled(where, value):
    def change(doc):
        return doc | {"metadata": doc["metadata"] | {where: (doc["metadata"].get(where) or {}) | {MANAGED: value}}}

    return change


@pytest.mark.cluster
@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_what_llm_d_says_is_not_to_be_managed_is_left_to_its_owner(stage_of, where):
    stage = stage_of()
    stage.world.edit("Deployment", "chat", labelled(where, "false"))
    stage.world.step(2)
    with pytest.raises(StaleActError, match="managed of Deployment llm/chat is 'false': its owner scales it"):
        stage.scale(3, 4)
    stage.world.edit("Deployment", "chat", labelled(where, "true"))
    stage.world.step(2)
    assert stage.scale(3, 4).kind is OutcomeKind.DONE


def test_who_is_taken_from_us_while_victims_drain_keeps_them_as_they_are(stage_of):
    stage = stage_of()
    victim = stage.pods()[0]
    stage.busy(victim)
    stage.scale(3, 2, [victim])
    stage.world.edit("Deployment", "chat", labelled("labels", "false"))
    stage.world.step(2)
    stage.busy(victim, 0)
    stage.passes(3, every_s=5)
    assert (stage.replicas, stage.phases()) == (3, {"draining": 1, "ready": 2})
    stage.world.edit("Deployment", "chat", labelled("labels", "true"))
    stage.passes(3, every_s=5)
    assert (stage.replicas, stage.phases()) == (2, {"ready": 2})
