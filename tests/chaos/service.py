"""What is scaled in every cell: one service, by its policy, and the fleet that it is."""

from __future__ import annotations

from dataclasses import replace

from controller.catalog.load import find_model
from controller.decide.rules import Behaviour, Method, ReplicaRule, ServicePolicy, Targets
from controller.facts.fleet import Fleet, Service, Variant
from controller.facts.slo import Slo
from tests.chaos import story as told


def policy() -> ServicePolicy:
    return ServicePolicy(
        service="chat",
        source="chat.yaml",
        slo=Slo(),
        replicas=ReplicaRule(
            min_replicas=told.MINIMUM,
            max_replicas=told.MAXIMUM,
            targets=Targets(queue_depth=told.PER_REPLICA, headroom_ratio=told.HEADROOM),
            scale_up=Behaviour(stabilization_s=told.UP_S),
            scale_down=Behaviour(stabilization_s=told.DOWN_S),
            method=Method.REACTIVE,
            start_deadline_s=told.START_DEADLINE_S,
            stuck_deadline_s=told.START_DEADLINE_S,
            foreign_hold_s=told.FOREIGN_HOLD_S,
        ),
    )


def fleet_of(variant: Variant, usd_per_hour: float | None) -> Fleet:
    model = find_model("llama-3.1-8b")
    assert model is not None
    capacity = tuple(replace(one, usd_per_gpu_hour=usd_per_hour) for one in variant.capacity)
    its = {variant.name: replace(variant, capacity=capacity)}
    return Fleet(services={"chat": Service(name="chat", model=model, variants=its)})
