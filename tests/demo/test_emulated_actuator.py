"""The emulated actuator keeps the actuator contract over replicas that really answer HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.demo.world import EmulatedWorld
from controller.errors import StaleActError
from controller.facts.decisions import Because, Decision, OutcomeKind
from controller.facts.fleet import Capacity, CapacityType, EngineKind, Gpu, Variant
from controller.facts.readings import Phase

START = datetime.fromtimestamp(79_200.0, UTC)
GPU = Gpu(name="H100-SXM", memory_bytes=80e9, bandwidth_bytes_per_s=3.35e12, peak_flop_per_s={}, tdp_w=700)
VARIANT = Variant(
    service="chat",
    name="h100-fp8",
    gpu=GPU,
    gpus_per_replica=2,
    quantization="fp8",
    kv_cache_dtype="fp8",
    engine=EngineKind.VLLM,
    capacity=(Capacity(type=CapacityType.RESERVED, replicas=2, usd_per_gpu_hour=3.9),),
)


def decision(current: int, desired: int, victims: tuple[str, ...] = ()) -> Decision:
    return Decision(
        id=f"{current}-{desired}",
        at=START,
        service="chat",
        variant="h100-fp8",
        current=current,
        ready=current,
        desired=desired,
        wanted=desired,
        because=Because.DEMAND,
        detail="a test",
        usd_per_hour_before=1.0,
        usd_per_hour_after=1.0,
        victims=victims,
    )


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_started_replica_answers_503_until_its_start_is_over_and_then_as_vllm_does(world: EmulatedWorld) -> None:
    outcome = world.actuator.apply(decision(2, 3), VARIANT, START)
    assert outcome.kind is OutcomeKind.DONE
    new = world.actuator.replicas(VARIANT, START)[-1]
    assert new.phase is Phase.STARTING
    assert get(f"{new.url}/health")[0] == 503
    world.advance(79_200.0 + 300)
    assert [one.phase for one in world.actuator.replicas(VARIANT, START)] == [Phase.READY] * 3
    assert get(f"{new.url}/health") == (200, "")
    status, page = get(f"{new.url}/metrics")
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert status == 200
    assert families["vllm:generation_tokens"].samples[0].value > 0


def test_acting_twice_is_acting_once(world: EmulatedWorld) -> None:
    world.actuator.apply(decision(2, 4), VARIANT, START)
    again = world.actuator.apply(decision(2, 4), VARIANT, START)
    assert again.kind is OutcomeKind.ALREADY
    assert len(world.actuator.replicas(VARIANT, START)) == 4


def test_a_decision_about_another_count_is_refused_and_nothing_changes(world: EmulatedWorld) -> None:
    with pytest.raises(StaleActError, match="decided on 5 replicas, found 2"):
        world.actuator.apply(decision(5, 6), VARIANT, START)
    assert len(world.actuator.replicas(VARIANT, START)) == 2


def test_the_victim_drains_answers_everybody_and_its_port_is_closed(world: EmulatedWorld) -> None:
    world.advance(79_260.0)
    first = world.actuator.replicas(VARIANT, START)[0]
    world.actuator.apply(decision(2, 1, victims=(first.replica,)), VARIANT, START)
    phases = {one.replica: one.phase for one in world.actuator.replicas(VARIANT, START)}
    assert phases[first.replica] is Phase.DRAINING
    world.advance(79_200.0 + 900)
    assert first.replica not in {one.replica for one in world.actuator.replicas(VARIANT, START)}
    with pytest.raises(urllib.error.URLError):
        get(f"{first.url}/health")
    assert world.served.dropped == 0


def test_the_targets_file_names_address_phase_and_how_each_replica_is_bought(
    world: EmulatedWorld, tmp_path: Path
) -> None:
    world.actuator.apply(decision(2, 3), VARIANT, START + timedelta(seconds=1))
    groups = json.loads((tmp_path / "targets" / "chat.json").read_text())
    bought = [(one["labels"]["capacity_type"], one["labels"]["phase"]) for one in groups]
    assert bought == [("reserved", "ready"), ("reserved", "ready"), ("on_demand", "starting")]
    assert all(one["targets"][0].startswith("127.0.0.1:") for one in groups)
