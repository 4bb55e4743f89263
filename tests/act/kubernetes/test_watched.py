"""The actuator on real watches: it sees its own writes at once, and looking costs no call."""

import time
from contextlib import closing

from controller.act.kubernetes.actuator import KubernetesActuator
from controller.facts.decisions import OutcomeKind
from controller.facts.missing import Missing
from controller.kubernetes.cluster import Clusters

PATIENCE_S = 20.0


def until(stage, wanted):
    """Look again and again until the watches show it."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        states = stage.actuator.replicas(stage.variant, stage.world.now)
        phases = [] if isinstance(states, Missing) else sorted(one.phase.value for one in states)
        if phases == wanted:
            return
        assert time.monotonic() < ends, f"wanted {wanted}, found {phases or states}"
        time.sleep(0.02)


def test_a_count_grows_and_shrinks_by_watches_alone(stage_of, tmp_path):
    stage = stage_of(replicas=2)
    with closing(Clusters(kubeconfig=str(tmp_path / "kubeconfig"))) as clusters:
        stage.actuator = KubernetesActuator(clusters.of)
        until(stage, ["ready"] * 2)
        assert stage.scale(2, 3).kind is OutcomeKind.DONE
        assert stage.current() == 3  # before any watch can have told
        stage.world.step(8)
        until(stage, ["ready"] * 3)
        before = clusters.of().api.calls
        for _ in range(20):
            stage.seen()
        after = clusters.of().api.calls
        assert {key: count for key, count in after.items() if key[0] != "watch"} == {
            key: count for key, count in before.items() if key[0] != "watch"
        }
        victim = stage.pods()[0]
        stage.busy(victim)
        assert stage.scale(3, 2, [victim]).kind is OutcomeKind.DONE
        assert stage.current() == 2
        assert stage.scale(3, 2, [victim]).kind is OutcomeKind.ALREADY
        stage.busy(victim, 0)
        stage.seen()
        stage.world.step(2)
        until(stage, ["ready"] * 2)
        assert (stage.replicas, victim in stage.pods()) == (2, False)
