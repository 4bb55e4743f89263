"""Prices that llm-d's label ``llm-d.ai/variant-cost`` gives, where the fleet file says what it is in.

The label has no unit and llm-d's default for it is 10, so without ``variant_cost`` under ``scrape.kubernetes`` it is no
price. It makes no difference between ways of buying: it is the price of all of them.
"""

from __future__ import annotations

from datetime import datetime

from controller.errors import ClusterError, PriceError
from controller.facts.fleet import Capacity, KubernetesPods, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price
from controller.kubernetes.cluster import Cluster, Clusters
from controller.kubernetes.llmd import COST, llmd_of
from controller.kubernetes.objects import Kind
from controller.kubernetes.selectors import parse_selector
from controller.kubernetes.targets import Wanted, the_one

UNITS = {"usd_per_replica_hour": "USD per replica-hour", "usd_per_gpu_hour": "USD per GPU-hour"}


class LlmdCost:
    """Reads the labels of watched targets and pods."""

    name = "llm-d"

    def __init__(self, clusters: Clusters | None = None) -> None:
        self._clusters = clusters or Clusters()

    def price(self, capacity: Capacity, variant: Variant, now: datetime) -> Price | Missing:
        """The label's; nothing to say where the fleet file gives it no unit. PriceError while the cluster is away."""
        del now
        sources = [one for one in variant.discovery if isinstance(one, KubernetesPods) and one.cost_unit]
        if not sources:
            return Missing("price", "")
        try:
            cost = _cost(self._clusters.of(sources[0].context), sources[0])
        except ClusterError as error:
            raise PriceError(str(error)) from error
        if isinstance(cost, Missing):
            return cost
        gpus = variant.gpus_per_replica if sources[0].cost_unit == "usd_per_replica_hour" else 1
        return Price(
            usd_per_gpu_hour=cost / gpus,
            capacity_type=capacity.type,
            source=f"{COST} of {variant.service}/{variant.name}, {UNITS[sources[0].cost_unit]}",
        )


def _cost(cluster: Cluster, source: KubernetesPods) -> float | Missing:
    """What the target says, else all of its pods alike."""
    namespace = source.namespace or cluster.api.namespace
    told: list[float | Missing | None] = []
    if source.kind:
        wanted = Wanted(kind=Kind(source.kind), namespace=namespace, name=source.name, selector=source.target)
        target = the_one(cluster, wanted, "price")
        if not isinstance(target, Missing):
            told.append(llmd_of(target.labels, target.annotations).cost)
        elif not source.selector:
            return target
    if source.selector and not any(told):
        pods = cluster.pods(namespace, parse_selector(source.selector))
        if isinstance(pods, Missing):
            return pods
        told += [llmd_of(pod.labels, pod.annotations).cost for pod in pods]
    return _agreed([one for one in told if one is not None])


def _agreed(told: list[float | Missing]) -> float | Missing:
    wrong = next((one for one in told if isinstance(one, Missing)), None)
    costs = sorted({one for one in told if not isinstance(one, Missing)})
    if wrong is not None or len(costs) == 1:
        return wrong or costs[0]
    if costs:
        return Missing("price", f"pods disagree about {COST}: {', '.join(f'{one:g}' for one in costs)}")
    return Missing("price", f"nothing has a label {COST}")
