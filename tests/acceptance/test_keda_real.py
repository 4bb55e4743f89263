"""KEDA itself carries out what we decide: its operator and its server of external metrics, on a real control plane.

`make cluster`, where the folder holds KEDA's programs as well (docs/keda.md). The HPA controller looks every second
there, not every 15; KEDA's own periods are those of the shipped example.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from controller.clock import utc_now
from controller.facts.decisions import OutcomeKind
from tests.acceptance.cluster_stage import Stage, staged
from tests.acceptance.keda_stage import Gateway, KedaStage, Watched
from tests.cluster.documents import Doc
from tests.cluster.kubelet import Behaviour
from tests.cluster.parts import NodeShape, deployment, template
from tests.cluster.programs import BINARIES, KEDA, binaries, lacking
from tests.cluster.world import NAMESPACE

if TYPE_CHECKING:
    from tests.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.cluster

Measured = dict[str, timedelta]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ControlPlane, Path]]:
    """A control plane of its own with KEDA, so that nobody else's ScaledObjects are looked at; what KEDA logs."""
    programs = binaries()
    missing = lacking(programs, KEDA) if programs is not None else list(KEDA)
    if programs is None or missing:
        pytest.skip(f"{BINARIES} names no folder with {', '.join(missing)}; see docs/keda.md")
    from tests.cluster.control_plane import control_plane
    from tests.cluster.neighbours import keda

    with (
        control_plane(programs, tmp_path_factory.mktemp("control-plane")) as made,
        keda(made, programs, tmp_path_factory.mktemp("keda")) as log,
    ):
        yield made, log


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    """How long things took: shown with pytest -s."""
    found: Measured = {}
    yield found
    for name, took in found.items():
        print(f"\n{name}: {took.total_seconds():.2f} s", end="")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway() as made:
        yield made


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, plane: tuple[ControlPlane, Path], gateway: Gateway
) -> Iterator[KedaStage]:
    """The example's service, one that may go to zero, one that we scale ourselves; and the daemon."""
    from tests.cluster.control_plane import free_port

    folder: Path = tmp_path_factory.mktemp("keda-fleet")
    real, log = plane
    with staged(folder, real) as inner:
        inner.world.behave("", Behaviour(start_s=0.5))
        inner.world.add_nodes(5, NodeShape())
        made = KedaStage(inner, real, free_port(), log)
        made.service("chat", "vllm-chat", 1)
        made.service("rare", "vllm-rare", 1, least=0, gateway=gateway.url)
        made.service("many", "vllm-many", 1, most=30)
        inner.world.add(deployment("own-h100", 1, template("own-h100", port=inner.port)))
        inner.service("own", {"h100": ""}, scaling="max_replicas: 4, foreign_hold: 2s")
        made.write()
        inner.start()
        inner.wait(lambda: inner.daemon.get("/readyz")[0] == 200, "the first pass", 180)
        yield made


@pytest.fixture(scope="module")
def example(stage: KedaStage) -> KedaStage:
    """The shipped example is at work."""
    said = stage.apply(*stage.example())
    assert "Warning" not in said
    stage.stage.wait(lambda: stage.condition("vllm-chat", "Ready") == "True", "KEDA to take the example")
    return stage


def inner(stage: KedaStage) -> Stage:
    return stage.stage


# --- one to many and back ---------------------------------------------------------------------------------------------


def test_the_shipped_example_gets_an_hpa_that_takes_our_count_as_it_is(example: KedaStage) -> None:
    example.stage.wait(lambda: example.hpa("vllm-chat").get("status", {}).get("currentMetrics"), "the HPA's first look")
    spec = example.hpa("vllm-chat")["spec"]
    (metric,) = spec["metrics"]
    assert metric["external"]["metric"]["name"] == "s0-pennyweight_replicas"
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "1"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 8)
    assert {spec["behavior"][way]["tolerance"] for way in ("scaleUp", "scaleDown")} == {"0"}
    example.stage.wait(
        lambda: (
            {one for one, code in example.asked() if code == "OK"}
            >= {"GetMetricSpec", "GetMetrics", "IsActive", "StreamIsActive"}
        ),
        "every question of KEDA's",
    )


def test_keda_follows_up_and_down_within_seconds_of_our_decision(example: KedaStage, measured: Measured) -> None:
    with Watched(example, "vllm-chat") as watched:
        since = utc_now()
        inner(example).router.load["vllm-chat"] = 28.0
        inner(example).wait(lambda: example.ready("vllm-chat") == 3, "three that are ready")
        up = example.decision("chat", 3, since).decision.at
        until, back = utc_now() - since, utc_now()
        inner(example).router.load["vllm-chat"] = 0.0
        inner(example).wait(lambda: example.ready("vllm-chat") == 1, "one again")
    measured["up: decided to replicas"] = watched.reached(3, up)
    measured["up: load to ready"] = until
    down = example.decision("chat", 1, back).decision.at
    measured["down: decided to replicas"] = watched.reached(1, down)
    assert watched.counts == [1, 3, 1], "no step between, and none beyond"


def test_one_step_of_many_lands_though_an_hpa_tolerates_a_tenth(stage: KedaStage) -> None:
    """From 20 to 21 is within any HPA's usual tolerance, which the example switches off."""
    stage.apply(*stage.example(target="vllm-many", metadata={"service": "many"}, maxReplicaCount=30))
    inner(stage).router.load["vllm-many"] = 195.0
    inner(stage).wait(lambda: stage.ready("vllm-many") == 20, "twenty that are ready", 180)
    inner(stage).router.load["vllm-many"] = 205.0
    inner(stage).wait(lambda: stage.ready("vllm-many") == 21, "one more", 180)
    stage.remove("vllm-many")
    inner(stage).router.load["vllm-many"] = 0.0
    inner(stage).world.remove("Deployment", "vllm-many")  # so many would slow down what follows


# --- what is not known is never a zero --------------------------------------------------------------------------------


def test_replicas_stay_while_the_daemon_is_gone_and_follow_again_when_it_is_back(
    example: KedaStage, measured: Measured
) -> None:
    """KEDA's fallback does not help here: it asks for the metric's name first, and so never counts these failures
    (https://github.com/kedacore/keda/issues/8056)."""
    inner(example).router.load["vllm-chat"] = 28.0
    inner(example).wait(lambda: example.ready("vllm-chat") == 3, "three that are ready")
    with Watched(example, "vllm-chat") as watched:
        inner(example).daemon.kill()
        inner(example).router.load["vllm-chat"] = 0.0  # nobody is there to see it
        held(example, "vllm-chat")
        back = utc_now()
        inner(example).start()
        inner(example).wait(lambda: example.ready("vllm-chat") == 1, "one again", 180)
        down = example.decision("chat", 1, back).decision.at
        measured["daemon back: decided to replicas"] = watched.reached(1, down)
    assert watched.counts == [3, 1]


def test_a_daemon_that_stood_by_answers_keda_soon_after_the_other_one_died(
    example: KedaStage, measured: Measured
) -> None:
    first = inner(example).daemon
    inner(example).start()
    inner(example).wait(lambda: "standing by" in inner(example).daemon.get("/readyz")[1], "the second to stand by", 180)
    inner(example).router.load["vllm-chat"] = 28.0
    inner(example).wait(lambda: example.ready("vllm-chat") == 3, "three that are ready")
    with Watched(example, "vllm-chat") as watched:
        gone = utc_now()
        first.kill()
        inner(example).router.load["vllm-chat"] = 0.0
        inner(example).wait(lambda: inner(example).wanted("vllm-chat") == 1, "one again")
        measured["one of two daemons killed: the other one's count carried out"] = watched.reached(1, gone)
    assert watched.counts == [3, 1]


def test_what_is_unavailable_raises_to_the_fallback_and_never_lowers(example: KedaStage) -> None:
    with Watched(example, "vllm-chat") as watched:
        example.write(mode="advise")  # the daemon is there, and may tell nobody a number
        inner(example).daemon.process.send_signal(signal.SIGHUP)
        inner(example).wait(lambda: example.answered("GetMetrics", "UNAVAILABLE"), "an answer that is none")
        inner(example).wait(lambda: inner(example).wanted("vllm-chat") == 2, "the example's fallback")
        assert example.condition("vllm-chat", "Fallback") == "True"
        held(example, "vllm-chat")
        example.write()
        inner(example).daemon.process.send_signal(signal.SIGHUP)
        inner(example).wait(lambda: inner(example).wanted("vllm-chat") == 1, "what we say again")
    assert watched.counts == [1, 2, 1]


def held(stage: KedaStage, target: str, times: int = 5) -> None:
    """KEDA asks so many times more in vain, and nothing changes."""
    before, failed = inner(stage).wanted(target), stage.failures(target)
    inner(stage).wait(lambda: stage.failures(target) >= failed + times, "KEDA to go on asking")
    assert inner(stage).wanted(target) == before


# --- to zero and from zero --------------------------------------------------------------------------------------------

TO_ZERO = {"minReplicaCount": 0, "pollingInterval": 1, "cooldownPeriod": 0}
PUSHED_ONLY = TO_ZERO | {"pollingInterval": 600}
"""So KEDA asks once in ten minutes: what happens sooner came over the stream, or by the HPA."""


@pytest.fixture(scope="module")
def rare(stage: KedaStage) -> KedaStage:
    """The example for a service that may go to zero."""
    scaled(stage, **TO_ZERO)
    inner(stage).wait(lambda: stage.condition("vllm-rare", "Ready") == "True", "KEDA to take it")
    return stage


def scaled(stage: KedaStage, **spec: int) -> None:
    said = stage.apply(*stage.example(target="vllm-rare", metadata={"service": "rare"}, **spec))
    assert "Warning" not in said


def sleeps_until_pushed(stage: KedaStage) -> None:
    """It is at zero, and KEDA's own questions will not wake it in time."""
    inner(stage).wait(lambda: inner(stage).wanted("vllm-rare") == 0, "zero")
    scaled(stage, **PUSHED_ONLY)


def test_a_proven_idle_service_goes_to_zero_and_comes_back_by_push(
    rare: KedaStage, gateway: Gateway, measured: Measured
) -> None:
    sleeps_until_pushed(rare)
    with Watched(rare, "vllm-rare") as watched:
        since = utc_now()
        gateway.waiting = 5.0
        inner(rare).wait(lambda: rare.ready("vllm-rare") == 1, "the first to serve")
        woken = rare.decision("rare", 1, since).decision.at
        measured["push from zero: decided to replicas"] = watched.reached(1, woken)
        gateway.waiting, inner(rare).router.load["vllm-rare"] = 0.0, 18.0
        inner(rare).wait(lambda: rare.ready("vllm-rare") == 2, "two by the HPA")
        inner(rare).router.load["vllm-rare"] = 0.0
        inner(rare).wait(lambda: inner(rare).wanted("vllm-rare") == 1, "one by the HPA")
        scaled(rare, **TO_ZERO)
        inner(rare).wait(lambda: inner(rare).wanted("vllm-rare") == 0, "zero by KEDA's next question")


def test_zero_stays_zero_while_the_daemon_is_gone_and_wakes_by_push_when_it_is_back(
    rare: KedaStage, gateway: Gateway, measured: Measured
) -> None:
    sleeps_until_pushed(rare)
    with Watched(rare, "vllm-rare") as watched:
        inner(rare).daemon.kill()
        held(rare, "vllm-chat")
        gateway.waiting = 5.0
        back = utc_now()
        inner(rare).start()
        inner(rare).wait(lambda: rare.ready("vllm-rare") == 1, "the first to serve", 180)
        woken = rare.decision("rare", 1, back).decision.at
        measured["daemon back, push from zero: decided to replicas"] = watched.reached(1, woken)
        gateway.waiting = 0.0
    assert watched.counts == [0, 1]


def test_one_that_may_go_to_zero_does_not_while_nobody_knows(rare: KedaStage) -> None:
    inner(rare).router.load["vllm-rare"] = 5.0
    inner(rare).wait(lambda: rare.ready("vllm-rare") == 1, "one that serves")
    with Watched(rare, "vllm-rare") as watched:
        inner(rare).daemon.kill()
        inner(rare).router.load["vllm-rare"] = 0.0
        scaled(rare, **TO_ZERO)
        held(rare, "vllm-rare", 10)
        assert min(watched.counts) == 1
        inner(rare).start()
        inner(rare).wait(lambda: inner(rare).wanted("vllm-rare") == 0, "zero, now that it is known", 180)


def test_a_cooldown_period_holds_the_last_one_for_as_long_as_it_says(rare: KedaStage, gateway: Gateway) -> None:
    """Ours is 0 in the example, for we have proven that nobody asks; whoever wants to wait longer can."""
    scaled(rare, **(TO_ZERO | {"cooldownPeriod": 8}))
    inner(rare).router.load["vllm-rare"] = 0.0
    gateway.waiting = 5.0
    inner(rare).wait(lambda: rare.ready("vllm-rare") == 1, "one that serves")
    gateway.waiting = 0.0
    with Watched(rare, "vllm-rare") as watched:
        inner(rare).wait(lambda: rare.condition("vllm-rare", "Active", "reason") == "ScalerCooldown", "the cooldown")
        assert inner(rare).wanted("vllm-rare") == 1
        active = rare.last_active("vllm-rare")
        inner(rare).wait(lambda: inner(rare).wanted("vllm-rare") == 0, "zero")
    assert watched.reached(0, active) >= timedelta(seconds=8)


# --- one writer -------------------------------------------------------------------------------------------------------


def workload_scaled(name: str, target: str) -> Doc:
    """Somebody's ScaledObject that wants as many as there are pods of another app; it asks nobody outside."""
    trigger = {"type": "kubernetes-workload", "metadata": {"podSelector": "app=vllm-chat", "value": "1"}}
    spec = {"scaleTargetRef": {"name": target}, "minReplicaCount": 1, "maxReplicaCount": 4, "triggers": [trigger]}
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": meta, "spec": spec}


def test_a_target_that_a_scaled_object_owns_is_left_alone_until_it_is_paused(stage: KedaStage) -> None:
    stage.apply(workload_scaled("somebodys", "own-h100"))
    inner(stage).wait(lambda: stage.hpa("somebodys").get("metadata"), "KEDA's HPA")
    inner(stage).router.load["own-h100"] = 18.0

    def refused() -> bool:
        tried = [one.outcome for one in inner(stage).decided("own") if one.outcome is not None]
        return any(one.kind is OutcomeKind.REFUSED and "ScaledObject llm/somebodys" in one.detail for one in tried)

    inner(stage).wait(refused, "the refusal that names it")
    assert inner(stage).wanted("own-h100") == 1
    paused = workload_scaled("somebodys", "own-h100")
    paused["metadata"]["annotations"] = {"autoscaling.keda.sh/paused": "true"}
    stage.apply(paused)
    inner(stage).wait(lambda: stage.ready("own-h100") == 2, "our own scaling, now that it is paused")
    inner(stage).router.load["own-h100"] = 0.0
    inner(stage).wait(lambda: stage.ready("own-h100") == 1, "one again")


def test_a_scaled_object_that_asks_for_what_we_scale_ourselves_is_told_so_and_moves_nothing(stage: KedaStage) -> None:
    stage.remove("somebodys")
    asking = stage.example(target="own-h100", metadata={"service": "own"}, **TO_ZERO)
    stage.apply(*asking)
    inner(stage).wait(lambda: stage.answered("GetMetricSpec", "FAILED_PRECONDITION"), "the refusal")
    held_at = inner(stage).wanted("own-h100")
    inner(stage).wait(lambda: stage.condition("own-h100", "Ready") == "False", "KEDA to say that it cannot")
    assert inner(stage).wanted("own-h100") == held_at == 1
    stage.remove("own-h100")


# --- who may ask ------------------------------------------------------------------------------------------------------


def test_a_token_from_the_targets_environment_lets_keda_in_and_no_other_one(
    stage: KedaStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCALER_TOKEN", "right")
    inner(stage).daemon.kill()
    stage.write(door=f"keda: {{port: {stage.port}, token_env: SCALER_TOKEN}}")
    inner(stage).start()
    inner(stage).wait(lambda: inner(stage).daemon.get("/readyz")[0] == 200, "the first pass", 180)
    for most, token, code in ((7, "wrong", "UNAUTHENTICATED"), (8, "right", "OK")):
        inner(stage).world.edit("Deployment", "vllm-chat", partial(with_token, token=token))
        assert not stage.answered("GetMetrics", "OK")
        shown = {"enableTLS": "false", "tokenFromEnv": "SCALER_TOKEN"}
        asking, _ = stage.example(metadata=shown, maxReplicaCount=most)  # changed, so KEDA reads its variables anew
        del asking["spec"]["triggers"][0]["authenticationRef"]
        stage.apply(asking)
        inner(stage).wait(partial(stage.answered, "GetMetricSpec", code), f"an answer to a {token} token")
    inner(stage).wait(partial(stage.answered, "GetMetrics", "OK"), "the count")


def with_token(doc: Doc, *, token: str) -> Doc:
    doc["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "SCALER_TOKEN", "value": token}]
    return doc
