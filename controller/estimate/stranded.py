"""GPUs of rented nodes that no replica uses, where a provider sells whole nodes only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from controller.facts.estimates import ReplicaCost
from controller.facts.fleet import CapacityType, Fleet, Variant

Nodes = tuple[str, CapacityType, int]
"""What is bought, how, and the GPUs of one node of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranded:
    """GPUs left over on nodes that ``variant`` shares in."""

    variant: Variant
    bought: CapacityType
    gpus: int


def stranded_gpus(fleet: Fleet, costs: Sequence[ReplicaCost]) -> Iterator[Stranded]:
    """What is left over, variant by variant; nothing where nothing is.

    Nodes are shared by all variants that name the same offer. Their number is what discovery's ``node`` labels say;
    replicas without one are taken to be packed as tightly as can be: nodes = ceil(GPUs / GPUs of a node). What is left
    over is borne in whole GPUs, in proportion to those that each variant uses, at the variant's own price.
    """
    for (_, bought, node_gpus), used in _by_nodes(fleet, costs).items():
        by_variant: dict[tuple[str, str], int] = {}
        for cost in used:
            key = (cost.service, cost.variant)
            by_variant[key] = by_variant.get(key, 0) + cost.gpus
        left = _left_over(used, node_gpus)
        for (service, name), gpus in _in_proportion(left, by_variant).items():
            if gpus:
                yield Stranded(variant=fleet.services[service].variants[name], bought=bought, gpus=gpus)


def _by_nodes(fleet: Fleet, costs: Sequence[ReplicaCost]) -> dict[Nodes, list[ReplicaCost]]:
    found: dict[Nodes, list[ReplicaCost]] = {}
    for cost in costs:
        for capacity in fleet.services[cost.service].variants[cost.variant].capacity:
            if capacity.type is cost.capacity_type and capacity.node_gpus is not None:
                own = f"{cost.service}/{cost.variant}"
                found.setdefault((capacity.offer or own, capacity.type, capacity.node_gpus), []).append(cost)
    return found


def _left_over(used: Sequence[ReplicaCost], node_gpus: int) -> int:
    """Free GPUs of the nodes that are named, after the replicas of which nobody says where they are went there; and of
    the nodes that these take besides."""
    named: dict[str, int] = {}
    for cost in used:
        named[cost.node] = named.get(cost.node, 0) + cost.gpus
    unnamed = named.pop("", 0)
    free = sum(max(node_gpus - gpus, 0) for gpus in named.values())
    return free - unnamed if unnamed <= free else -(unnamed - free) % node_gpus


def _in_proportion(total: int, weights: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """In whole units that add up to ``total``: the growth of floor(total x what was reached / all)."""
    whole, reached, given = sum(weights.values()), 0, {}
    for key, weight in weights.items():
        given[key] = total * (reached + weight) // whole - total * reached // whole
        reached += weight
    return given
