"""Pods of a cluster as targets: where their metrics are, what machine they are on, and how it is bought.

Only a pod that serves, or has served, is read: one that starts answers nothing yet, and is its actuator's to tell of.
One that is being deleted is still read, as draining, for it still works. While the cluster cannot be seen, what was
there last stays in use and the problem is told: an unseen fleet is not an empty one.

Labels of a target: replica, pod, namespace, node, instance_id (the provider's id of the node), capacity_type, zone,
instance_type, region, offer, gpu, phase, role and llmd_variant (as llm-d labels pods), pods (all of a group's, where
a replica is several). ``instance_type`` and ``offer`` are there even when they are not known, and then empty: a machine
of an unknown type has no known price.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from controller.catalog.load import is_another_gpu
from controller.errors import ClusterError
from controller.facts.fleet import KubernetesPods, Variant
from controller.facts.missing import Missing
from controller.kubernetes.cluster import Cluster, Clusters
from controller.kubernetes.llmd import llmd_of, same_model
from controller.kubernetes.objects import Kind, Node, Pod, TargetRef
from controller.kubernetes.resources import DRAINING_SINCE, PHASE_LABEL
from controller.kubernetes.selectors import parse_selector
from controller.kubernetes.targets import Wanted, the_one
from controller.observe.discovery import METRICS_PATH, Address, Discovered

SETTLING = timedelta(seconds=2)
"""A pod's Ready condition is set when its containers are created, which run a moment later: what turned unready later
than this after it began to run had been ready. A guess: kubelets report times in whole seconds."""

Owner = tuple[str, str]
Found = list[Pod] | Missing


class PodDiscovery:
    """Looks at watched pods; makes no call of its own. Not for use by several threads at once."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._last: dict[tuple[Owner, KubernetesPods], tuple[Address, ...]] = {}
        self._nodes: dict[Owner, frozenset[str]] = {}

    def engines(self, source: KubernetesPods, variant: Variant) -> Discovered:
        """The variant's replicas that can be read."""
        owner = (variant.service, variant.name)
        found = self._looked(source)
        if isinstance(found, Missing):
            return self._kept(owner, source, found)
        pods, nodes = found
        members = _by_group(pods)
        problems: list[str] = []
        addresses = []
        for pod in pods:
            if not is_read(pod):
                continue
            url = url_of(pod, source)
            if isinstance(url, Missing):
                problems.append(url.why)
                continue
            group = members.get((pod.target, pod.group), [pod])
            addresses.append(Address(url=url, labels=labels_of(pod, nodes.get(pod.node), group)))
        self._nodes[owner] = frozenset(pod.node for pod in pods if pod.node)
        problems += _wrong_model(source, pods)
        seen = self._now(owner, source, tuple(addresses), problems)
        return replace(seen, gpu_problems=tuple(_wrong_gpu(variant, pods, nodes)))

    def exporters(self, source: KubernetesPods, variant: Variant) -> Discovered:
        """The GPU exporters on the nodes of the variant's pods; all of them while it is not known where those are."""
        owner = (variant.service, variant.name)
        found = self._looked(source)
        if isinstance(found, Missing):
            return self._kept(owner, source, found)
        pods, _ = found
        nodes = self._nodes.get(owner)
        near = [pod for pod in pods if pod.ready and not pod.deleting and (nodes is None or pod.node in nodes)]
        urls = [(pod, url_of(pod, source)) for pod in near]
        addresses = [Address(url=url, labels=_plain(pod)) for pod, url in urls if isinstance(url, str)]
        problems = [url.why for _, url in urls if isinstance(url, Missing)]
        return self._now(owner, source, tuple(addresses), problems)

    def _now(
        self, owner: Owner, source: KubernetesPods, addresses: tuple[Address, ...], problems: Iterable[str]
    ) -> Discovered:
        self._last[owner, source] = addresses
        return Discovered(addresses=addresses, problems=tuple(problems))

    def _kept(self, owner: Owner, source: KubernetesPods, why: Missing) -> Discovered:
        last = self._last.get((owner, source), ())
        kept = f"the {len(last)} targets seen last stay in use" if last else "it named none yet"
        return Discovered(addresses=last, problems=(f"{why.what}: {why.why}; {kept}",))

    def _looked(self, source: KubernetesPods) -> tuple[list[Pod], Mapping[str, Node]] | Missing:
        """The source's pods and the nodes of its cluster."""
        try:
            cluster = self._clusters.of(source.context)
        except ClusterError as error:
            return Missing("kubernetes", str(error))
        pods = _pods(cluster, source)
        nodes = cluster.nodes()
        if isinstance(pods, Missing):
            return pods
        # Without nodes the pods are still there; what they cost is not known then, which their labels say.
        return pods, {} if isinstance(nodes, Missing) else nodes


def _pods(cluster: Cluster, source: KubernetesPods) -> Found:
    namespace = source.namespace or cluster.api.namespace
    if source.selector:
        pods = cluster.pods(namespace, parse_selector(source.selector))
        return pods if isinstance(pods, Missing) else list(pods)
    wanted = Wanted(kind=Kind(source.kind), namespace=namespace, name=source.name, selector=source.target)
    target = the_one(cluster, wanted, "kubernetes")
    if isinstance(target, Missing):
        return target
    pods = cluster.pods_of(target)
    return pods if isinstance(pods, Missing) else list(pods)


def is_read(pod: Pod) -> bool:
    """It has an address and serves, or has served since its containers began; of a group only the leader is asked."""
    if pod.ended or not pod.ip or pod.worker not in {None, 0}:
        return False
    return pod.ready or has_served(pod)


def has_served(pod: Pod) -> bool:
    """It is not ready now, and was after its containers began to run."""
    ready = pod.conditions.get("Ready")
    began = [one.running_since for one in pod.containers if one.running_since is not None and not one.init]
    if ready is None or ready.since is None or not began:
        return False
    return ready.since > max(began) + SETTLING


def url_of(pod: Pod, source: KubernetesPods) -> str | Missing:
    """Where the pod's metrics are."""
    named = {port.name: port.number for port in pod.ports if port.name}
    where = f"{pod.namespace}/{pod.name}"
    if source.port is not None:
        port = source.port
    elif source.port_name:
        if source.port_name not in named:
            has = f"it has {', '.join(sorted(named))}" if named else "none of its ports has a name"
            return Missing("port", f"{where} has no port named {source.port_name}; {has}")
        port = named[source.port_name]
    elif pod.ports:
        port = pod.ports[0].number
    else:
        return Missing("port", f"{where} tells no port; name one with `port`")
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    return f"{source.scheme}://{host}:{port}{source.path if source.path != METRICS_PATH else ''}"


def labels_of(pod: Pod, node: Node | None, group: Iterable[Pod]) -> dict[str, str]:
    """A target's labels. What is not known is left out, but for what decides its price."""
    llmd = llmd_of(pod.labels, pod.annotations)
    told = {
        **_plain(pod),
        "phase": "draining" if pod.deleting or _marked(pod) or (node is not None and _ends(node)) else "",
        "role": llmd.role,
        "llmd_variant": llmd.variant,
        "pods": ",".join(sorted(one.name for one in group)) if pod.group is not None else "",
    }
    if node is not None:
        told |= {
            "capacity_type": node.capacity_type.value if node.capacity_type is not None else "",
            "zone": node.zone,
            "region": node.region,
            "gpu": node.gpu_model,
            "instance_id": node.instance,
        }
    priced = {
        "instance_type": node.instance_type if node is not None else "",
        "offer": node.offer if node is not None else "",
    }
    return {**{name: text for name, text in told.items() if text}, **priced}


def _ends(node: Node) -> bool:
    return node.notice is not None and node.notice.ends


def _marked(pod: Pod) -> bool:
    """Whether our actuator has sent it away, in this process or an earlier one."""
    return pod.labels.get(PHASE_LABEL) == "draining" or DRAINING_SINCE in pod.annotations


def _plain(pod: Pod) -> dict[str, str]:
    return {"replica": pod.name, "pod": pod.name, "namespace": pod.namespace, "node": pod.node}


def _by_group(pods: Iterable[Pod]) -> dict[tuple[TargetRef | None, int | None], list[Pod]]:
    """The pods of each group of a LeaderWorkerSet."""
    found: dict[tuple[TargetRef | None, int | None], list[Pod]] = {}
    for pod in pods:
        if pod.group is not None:
            found.setdefault((pod.target, pod.group), []).append(pod)
    return found


def _wrong_model(source: KubernetesPods, pods: Iterable[Pod]) -> list[str]:
    """Pods that say they serve another model than the fleet file has it: their tokens would count for the wrong one."""
    if not source.model:
        return []
    told: dict[str, int] = {}
    for pod in pods:
        model = llmd_of(pod.labels, pod.annotations).model
        if model and not same_model(model, source.model):
            told[model] = told.get(model, 0) + 1
    return [
        f"{count} pods say llm-d.ai/model-id: {model}, and the fleet file has {source.model}; check the selector"
        for model, count in sorted(told.items())
    ]


NAMED_NODES = 3
"""Of those that have another GPU: the line is to be read."""


def _wrong_gpu(variant: Variant, pods: Iterable[Pod], nodes: Mapping[str, Node]) -> Iterator[str]:
    """Nodes of the variant's pods that surely have another GPU than the fleet file has it."""
    found: dict[str, set[str]] = {}
    for name in {pod.node for pod in pods if not pod.ended} & nodes.keys():
        model = nodes[name].gpu_model
        if model and is_another_gpu(variant.gpu.name, model):
            found.setdefault(model, set()).add(name)
    for model, names in sorted(found.items()):
        told, rest = sorted(names)[:NAMED_NODES], len(names) - NAMED_NODES
        others = f" and {rest} {'other' if rest == 1 else 'others'}" if rest > 0 else ""
        yield (
            f"{', '.join(told)}{others} {'has' if len(names) == 1 else 'have'} {model}, and the fleet file says "
            f"{variant.gpu.name}: dollars, MFU and capacity of the replicas there are reckoned for the wrong GPU; "
            "correct `gpu`, or where the pods may go"
        )
