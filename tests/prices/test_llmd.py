"""llm-d's variant-cost: a price where its unit is said, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.facts.fleet import Capacity, CapacityType, KubernetesPods, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price
from controller.kubernetes.cluster import Clusters
from controller.prices.llmd import LlmdCost
from tests.cluster.fixtures import PACE, QUICK
from tests.cluster.parts import deployment, template
from tests.cluster.world import World, world_of
from tests.prices.variants import variant

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SPOT = Capacity(type=CapacityType.SPOT)
COST = "llm-d.ai/variant-cost"


@pytest.fixture
def world() -> Iterator[World]:
    with world_of() as made:
        made.add_nodes(1)
        yield made


@pytest.fixture
def source(world: World, tmp_path: Path) -> Iterator[LlmdCost]:
    path = world.server.kubeconfig(tmp_path / "kubeconfig", namespace="llm")
    clusters = Clusters(kubeconfig=str(path), pace=PACE, timeouts=QUICK)
    yield LlmdCost(clusters)
    clusters.close()


def of(unit: str, selector: str = "") -> Variant:
    pods = KubernetesPods(namespace="llm", kind="Deployment", name="chat", selector=selector, cost_unit=unit)
    return replace(variant(SPOT), discovery=(pods,))


@pytest.mark.parametrize(("unit", "usd"), [("usd_per_replica_hour", 4.0), ("usd_per_gpu_hour", 8.0)])
def test_the_targets_label_is_the_price_in_the_unit_that_is_said(
    world: World, source: LlmdCost, unit: str, usd: float
) -> None:
    doc = deployment("chat", 1, template("chat"))
    doc["metadata"]["labels"] = {COST: "8.0"}
    world.add(doc)
    price = source.price(SPOT, of(unit), NOON)
    assert isinstance(price, Price)
    assert (price.usd_per_gpu_hour, price.capacity_type) == (usd, CapacityType.SPOT)
    assert "USD per" in price.source


def test_without_a_unit_it_is_no_price_and_nobody_is_asked(world: World, source: LlmdCost) -> None:
    answer = source.price(SPOT, of(""), NOON)
    assert isinstance(answer, Missing)
    assert answer.why == ""
    assert world.server.calls == []


@pytest.mark.parametrize(
    ("costs", "said"),
    [(("3", "4"), "pods disagree about llm-d.ai/variant-cost: 3, 4"), (("free",), "found 'free'"), ((), "nothing has")],
)
def test_pods_that_do_not_agree_give_no_price(
    world: World, source: LlmdCost, costs: tuple[str, ...], said: str
) -> None:
    for index, cost in enumerate(costs):
        world.add(deployment(f"chat{index}", 1, template("chat", labels={COST: cost, "tier": "llm"})))
    world.step(5)
    answer = source.price(SPOT, of("usd_per_replica_hour", "tier=llm"), NOON)
    assert isinstance(answer, Missing)
    assert said in answer.why
