"""One cluster: what was last seen of it, and what can be done to it. What the rest of Pennyweight knows of Kubernetes.

Reading costs no call: every question is answered from watches, which begin when they are first needed. An answer is
Missing while the first list is not there yet, and when the API server was not heard for a while: what was true then may
not be true now, and an old count is no count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

from controller.facts.missing import Missing, known
from controller.kubernetes.api import Api, Json, Timeouts, config_of
from controller.kubernetes.calls import Calls
from controller.kubernetes.nodes import parse_node
from controller.kubernetes.objects import Kind, Node, Pdb, Pod, Scaler, Target, TargetRef
from controller.kubernetes.parse import parse_hpa, parse_pdb, parse_pod, parse_scaled_object, parse_target
from controller.kubernetes.resources import HPAS, NODES, PDBS, PODS, SCALED_OBJECTS, TARGETS, Resource
from controller.kubernetes.selectors import Selector
from controller.kubernetes.watched import Pace, Patience, Snapshot, Watched

T = TypeVar("T")

MOST_SELECTORS = 4
"""Watches of pods in one namespace, before all of its pods are watched at once instead: each costs a connection and a
thread. A guess: a namespace with more services than this holds little else than engines."""


class Cluster:
    """For use by several threads. ``calls`` reads afresh and writes; everything else is as last seen."""

    def __init__(self, api: Api, *, pace: Pace | None = None, clock: Callable[[], float] = monotonic) -> None:
        self.api, self.calls, self._pace, self._clock = api, Calls(api), pace or Pace(), clock
        self._patience = Patience(self._pace, clock=clock)
        self._lock = Lock()
        self._watched: dict[tuple[Resource, str, str], Watched[Any]] = {}
        self._selectors: dict[str, set[str]] = {}

    # pods

    def pods(self, namespace: str, selector: Selector) -> tuple[Pod, ...] | Missing:
        """Those that match now, by name."""
        seen = self._pods(namespace, selector)
        return seen if isinstance(seen, Missing) else seen.matching(selector)

    def pods_of(self, target: Target) -> tuple[Pod, ...] | Missing:
        """Those that the target counts as its own, by name: all of a group's where it is a LeaderWorkerSet."""
        seen = self._pods(target.ref.namespace, target.selector)
        return seen if isinstance(seen, Missing) else seen.by_target.get(target.ref, ())

    def _pods(self, namespace: str, selector: Selector) -> Snapshot[Pod] | Missing:
        with self._lock:
            narrow = self._selectors.setdefault(namespace, set())
            narrow.add(str(selector))
            wide = len(narrow) > MOST_SELECTORS
        if wide:
            self._close([(PODS, namespace, text) for text in narrow if text])
        return self._seen(PODS, parse_pod, namespace, "" if wide else str(selector))

    # nodes

    def node(self, name: str) -> Node | Missing | None:
        """None: there is no such node."""
        nodes = self.nodes()
        return nodes if isinstance(nodes, Missing) else nodes.get(name)

    def nodes(self) -> Mapping[str, Node] | Missing:
        """All of them, by name."""
        seen = self._seen(NODES, parse_node, "")
        return seen if isinstance(seen, Missing) else {name: node for (_, name), node in seen.items.items()}

    # what is scaled

    def target(self, ref: TargetRef) -> Target | Missing | None:
        """As last seen; ``calls.target`` reads it now. None: there is none."""
        seen = self._seen(TARGETS[ref.kind], _TARGET_PARSERS[ref.kind], ref.namespace)
        return seen if isinstance(seen, Missing) else seen.items.get((ref.namespace, ref.name))

    def targets(self, kind: Kind, namespace: str) -> tuple[Target, ...] | Missing:
        """All of a kind, by name; by the watch that ``target`` reads."""
        seen = self._seen(TARGETS[kind], _TARGET_PARSERS[kind], namespace)
        return seen if isinstance(seen, Missing) else seen.in_order

    def scalers_of(self, ref: TargetRef) -> tuple[Scaler, ...] | Missing:
        """The HorizontalPodAutoscalers and ScaledObjects that scale it."""
        both = (
            self._watching(HPAS, parse_hpa, ref.namespace),
            self._watching(SCALED_OBJECTS, parse_scaled_object, ref.namespace),
        )
        found = [one.snapshot() for one in both]
        for seen in found:
            if isinstance(seen, Missing):
                return seen
        return tuple(one for seen in known(found) for one in seen.by_target.get(ref, ()))

    def pdbs_over(self, pod: Pod) -> tuple[Pdb, ...] | Missing:
        """The disruption budgets that the pod counts in. Missing while their watch does not go on: who left since may
        have used them up."""
        watched = self._watching(PDBS, parse_pdb, pod.namespace)
        seen = watched.snapshot()
        if isinstance(seen, Missing):
            return seen
        if trouble := watched.trouble:
            return Missing(watched.name, f"{trouble}; what it allowed before may be used up")
        return tuple(one for one in seen.by_namespace.get(pod.namespace, ()) if one.selector.matches(pod.labels))

    # the watches

    def heard_s(self) -> float | None:
        """Seconds since the most silent watch heard the API server; None while one of them never did."""
        ages = [one.heard_s() for one in self._all()]
        heard = [age for age in ages if age is not None]
        return max(heard) if heard and len(heard) == len(ages) else None

    def problems(self) -> tuple[Missing, ...]:
        """What its watches complain about now."""
        return tuple(Missing(one.name, trouble) for one in self._all() if (trouble := one.trouble))

    def close(self) -> None:
        """End the watches and let go of all connections."""
        with self._lock:
            keys = list(self._watched)
        self._close(keys)
        self.api.close()

    def _seen(
        self, resource: Resource, parse: Callable[[Json], T], namespace: str, selector: str = ""
    ) -> Snapshot[T] | Missing:
        return self._watching(resource, parse, namespace, selector).snapshot()

    def _watching(
        self, resource: Resource, parse: Callable[[Json], T], namespace: str, selector: str = ""
    ) -> Watched[T]:
        """Begun where it is not."""
        key = (resource, namespace, selector)
        with self._lock:
            if key not in self._watched:
                self._watched[key] = Watched(
                    self.api,
                    resource,
                    parse,
                    namespace=namespace,
                    selector=selector,
                    pace=self._pace,
                    patience=self._patience,
                    clock=self._clock,
                )
            return self._watched[key]

    def _all(self) -> list[Watched[Any]]:
        with self._lock:
            return list(self._watched.values())

    def _close(self, keys: list[tuple[Resource, str, str]]) -> None:
        with self._lock:
            closing = [self._watched.pop(key) for key in keys if key in self._watched]
        for watched in closing:
            watched.stop()
        for watched in closing:
            watched.join()


_TARGET_PARSERS: Mapping[Kind, Callable[[Json], Target]] = {
    kind: (lambda found, kind=kind: parse_target(kind, found))  # type: ignore[misc]
    for kind in Kind
}


class Clusters:
    """Every cluster that the fleet names, connected to when it is first asked for. For use by several threads."""

    def __init__(self, *, kubeconfig: str = "", pace: Pace | None = None, timeouts: Timeouts | None = None) -> None:
        self._kubeconfig, self._pace, self._timeouts = kubeconfig, pace, timeouts
        self._lock = Lock()
        self._by_context: dict[str, Cluster] = {}

    def of(self, context: str = "") -> Cluster:
        """The cluster of a kubeconfig's context; "": the pod's own, or the current context. ClusterError."""
        with self._lock:
            if context not in self._by_context:
                again = partial(config_of, context, kubeconfig=self._kubeconfig)
                api = Api(again(), timeouts=self._timeouts, again=again)
                self._by_context[context] = Cluster(api, pace=self._pace)
            return self._by_context[context]

    @property
    def open(self) -> tuple[Cluster, ...]:
        """Those that were connected to."""
        with self._lock:
            return tuple(self._by_context.values())

    def close(self) -> None:
        """All of them. Whoever asks again connects again."""
        with self._lock:
            closing = list(self._by_context.values())
            self._by_context.clear()
        for cluster in closing:
            cluster.close()
