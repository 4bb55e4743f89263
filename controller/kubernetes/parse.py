"""From the API server's JSON to ``objects.py``. Whatever is absent is unknown; only the name must be there.

An object that has another shape than the API promises raises NonsenseError: nothing is guessed from half of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from controller.errors import NonsenseError
from controller.kubernetes.api import Json
from controller.kubernetes.objects import (
    Condition,
    Container,
    Kind,
    Owner,
    Pdb,
    Pod,
    PodPhase,
    Port,
    ReplicasManager,
    Scale,
    Scaler,
    Target,
    TargetRef,
    TemplateManager,
)
from controller.kubernetes.selectors import selector_of

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-"
TEMPLATE_LABELS = (
    "pod-template-hash",
    "controller-revision-hash",
    "leaderworkerset.sigs.k8s.io/template-revision-hash",
)
STARTED_WITH = frozenset({"image", "args", "env"})
"""Of a container."""

LWS_NAME = "leaderworkerset.sigs.k8s.io/name"
LWS_GROUP = "leaderworkerset.sigs.k8s.io/group-index"
LWS_WORKER = "leaderworkerset.sigs.k8s.io/worker-index"
PAUSED = "autoscaling.keda.sh/paused"
PAUSED_AT = "autoscaling.keda.sh/paused-replicas"

P = ParamSpec("P")
T = TypeVar("T")


def strictly(parse: Callable[P, T]) -> Callable[P, T]:
    """``parse``, with NonsenseError for whatever goes wrong in it."""

    @wraps(parse)
    def parsed(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return parse(*args, **kwargs)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = parse.__name__.removeprefix("parse_")
            why = f"{type(error).__name__}: {error}"
            raise NonsenseError(
                f"the API server told of a {what} that cannot be read ({why}); it is read again"
            ) from error

    return parsed


# --- pods ------------------------------------------------------------------------------------------------------------


@strictly
def parse_pod(found: Json) -> Pod:
    """A Pod of v1."""
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    labels, owners = dict(meta.get("labels") or {}), owners_of(meta)
    conditions = conditions_of(status)
    phase = status.get("phase")
    return Pod(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta.get("uid", ""),
        resource_version=meta.get("resourceVersion", ""),
        owners=owners,
        target=target_of(meta["namespace"], labels, owners),
        template=next((labels[name] for name in TEMPLATE_LABELS if name in labels), ""),
        group=number(labels.get(LWS_GROUP)),
        worker=number(labels.get(LWS_WORKER)),
        phase=PodPhase(phase) if phase in set(PodPhase) else PodPhase.UNKNOWN,
        reason=status.get("reason") or "",
        message=status.get("message") or "",
        ready="Ready" in conditions and conditions["Ready"].status is True,
        conditions=conditions,
        containers=tuple(_containers(status)),
        node=spec.get("nodeName") or "",
        ip=status.get("podIP") or "",
        ports=tuple(_ports(spec)),
        gpus=sum(_gpus(one) for one in spec.get("containers") or ()),
        grace_s=spec.get("terminationGracePeriodSeconds"),
        labels=labels,
        annotations=dict(meta.get("annotations") or {}),
        created=time_of(meta.get("creationTimestamp")),
        started=time_of(status.get("startTime")),
        deletion_at=time_of(meta.get("deletionTimestamp")),
    )


def target_of(namespace: str, labels: Mapping[str, str], owners: Iterable[Owner]) -> TargetRef | None:
    """What the pod is a replica of.

    A Deployment's ReplicaSet is called after it and the template's hash, which the pod carries: so ReplicaSets need
    not be read, which no role then has to allow.
    """
    if LWS_NAME in labels:
        return TargetRef(kind=Kind.LEADER_WORKER_SET, namespace=namespace, name=labels[LWS_NAME])
    owner = next((one for one in owners if one.controller), None)
    if owner is None:
        return None
    if owner.kind == "StatefulSet":
        return TargetRef(kind=Kind.STATEFUL_SET, namespace=namespace, name=owner.name)
    end = f"-{labels.get('pod-template-hash', '')}"
    if owner.kind == "ReplicaSet" and end != "-" and owner.name.endswith(end):
        return TargetRef(kind=Kind.DEPLOYMENT, namespace=namespace, name=owner.name.removesuffix(end))
    return None


def _containers(status: Json) -> Iterable[Container]:
    for name, init in (("initContainerStatuses", True), ("containerStatuses", False)):
        for one in status.get(name) or ():
            state, last = one.get("state") or {}, one.get("lastState") or {}
            waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
            before = last.get("terminated") or {}
            yield Container(
                name=one["name"],
                init=init,
                ready=bool(one.get("ready")),
                restarts=int(one.get("restartCount") or 0),
                running_since=time_of((state.get("running") or {}).get("startedAt")),
                waiting=waiting.get("reason") or "",
                terminated=ended.get("reason") or "",
                message=waiting.get("message") or ended.get("message") or before.get("message") or "",
                last_terminated=before.get("reason") or "",
                exit_code=ended.get("exitCode", before.get("exitCode")),
            )


def _ports(spec: Json) -> Iterable[Port]:
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    for container in (*(spec.get("containers") or ()), *sidecars):
        for port in container.get("ports") or ():
            yield Port(number=int(port["containerPort"]), name=port.get("name") or "")


def _gpus(container: Json) -> int:
    limits = (container.get("resources") or {}).get("limits") or {}
    return gpus_in(limits)


def gpus_in(amounts: Mapping[str, Any]) -> int:
    """GPUs, or slices of them, among amounts of resources."""
    return sum(int(amount) for name, amount in amounts.items() if name == GPU or name.startswith(MIG))


# --- what is scaled, and who scales it ---------------------------------------------------------------------------


@strictly
def parse_target(kind: Kind, found: Json) -> Target:
    """A Deployment, StatefulSet or LeaderWorkerSet."""
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    groups = spec.get("leaderWorkerTemplate") or {}
    return Target(
        ref=TargetRef(kind=kind, namespace=meta["namespace"], name=meta["name"]),
        uid=meta.get("uid", ""),
        resource_version=meta.get("resourceVersion", ""),
        replicas=int(spec.get("replicas", 1)),  # the API server's own default
        created_replicas=int(status.get("replicas") or 0),
        ready_replicas=int(status.get("readyReplicas") or 0),
        updated_replicas=int(status.get("updatedReplicas") or 0),
        size=int(groups.get("size") or 1),
        generation=int(meta.get("generation") or 0),
        observed_generation=int(status.get("observedGeneration") or 0),
        managers=replicas_managers(meta.get("managedFields") or ()),
        template_managers=template_managers(meta.get("managedFields") or ()),
        selector=_selector(kind, meta["name"], spec),
        labels=dict(meta.get("labels") or {}),
        annotations=dict(meta.get("annotations") or {}),
        conditions=conditions_of(status),
        template=json.dumps(groups or spec.get("template") or {}, sort_keys=True, separators=(",", ":")),
        strategy=json.dumps({key: spec[key] for key in ("strategy", "rolloutStrategy") if key in spec}),
        created=time_of(meta.get("creationTimestamp")),
        paused=bool(spec.get("paused")),
        deleting=meta.get("deletionTimestamp") is not None,
    )


def _selector(kind: Kind, name: str, spec: Json) -> Any:
    if kind is Kind.LEADER_WORKER_SET:
        return selector_of({"matchLabels": {LWS_NAME: name}})
    return selector_of(spec.get("selector"))


def replicas_managers(entries: Iterable[Json]) -> tuple[ReplicasManager, ...]:
    """Those of managedFields that hold spec.replicas; the newest last."""
    found = [
        ReplicasManager(
            manager=one.get("manager") or "",
            operation=one.get("operation") or "",
            subresource=one.get("subresource") or "",
            at=time_of(one.get("time")),
        )
        for one in entries
        if "f:replicas" in ((one.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    return tuple(sorted(found, key=lambda one: one.at.timestamp() if one.at else 0.0))


def template_managers(entries: Iterable[Json]) -> tuple[TemplateManager, ...]:
    """Those of managedFields that hold what containers of the pod template are started with; the newest last."""
    found = []
    for one in entries:
        spec = (one.get("fieldsV1") or {}).get("f:spec") or {}
        fields = frozenset(_held([spec.get("f:template"), spec.get("f:leaderWorkerTemplate")]))
        if fields:
            found.append(TemplateManager(manager=one.get("manager") or "", fields=fields, at=time_of(one.get("time"))))
    return tuple(sorted(found, key=lambda one: one.at.timestamp() if one.at else 0.0))


def _held(trees: Iterable[Json | None]) -> Iterable[str]:
    """Which of ``STARTED_WITH`` are held somewhere in these parts of managedFields, and containers held as a whole."""
    for tree in trees:
        for key, inside in (tree or {}).items():
            name = key.removeprefix("f:")
            if name in STARTED_WITH or (name == "containers" and not inside):
                yield name
            else:
                yield from _held([inside])


@strictly
def parse_scale(ref: TargetRef, found: Json) -> Scale:
    """A Scale of autoscaling/v1. An absent spec.replicas is 0 there: JSON leaves zeros out."""
    status = found.get("status") or {}
    return Scale(
        ref=ref,
        resource_version=found["metadata"]["resourceVersion"],
        replicas=int((found.get("spec") or {}).get("replicas", 0)),
        current=int(status.get("replicas", 0)),
        selector=status.get("selector") or "",
    )


@strictly
def parse_hpa(found: Json) -> Scaler:
    """A HorizontalPodAutoscaler of autoscaling/v2."""
    spec = found["spec"]
    return _scaler("HorizontalPodAutoscaler", found, spec.get("minReplicas", 1), spec.get("maxReplicas"))


@strictly
def parse_scaled_object(found: Json) -> Scaler:
    """A ScaledObject of keda.sh/v1alpha1."""
    spec = found["spec"]
    return _scaler("ScaledObject", found, spec.get("minReplicaCount", 0), spec.get("maxReplicaCount", 100))


def _scaler(kind: str, found: Json, least: int | None, most: int | None) -> Scaler:
    meta, aim = found["metadata"], found["spec"]["scaleTargetRef"]
    target, notes = aim.get("kind") or Kind.DEPLOYMENT.value, dict(meta.get("annotations") or {})
    known = target in set(Kind)
    return Scaler(
        kind=kind,
        namespace=meta["namespace"],
        name=meta["name"],
        target=TargetRef(kind=Kind(target), namespace=meta["namespace"], name=aim["name"]) if known else None,
        least=least,
        most=most,
        paused=PAUSED_AT in notes or notes.get(PAUSED, "").lower() == "true",
        owners=owners_of(meta),
        labels=dict(meta.get("labels") or {}),
        annotations=notes,
    )


@strictly
def parse_pdb(found: Json) -> Pdb:
    """A PodDisruptionBudget of policy/v1."""
    meta, status = found["metadata"], found.get("status") or {}
    current = int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0)
    allowed = status.get("disruptionsAllowed")
    return Pdb(
        namespace=meta["namespace"],
        name=meta["name"],
        selector=selector_of((found.get("spec") or {}).get("selector")),
        allowed=int(allowed) if allowed is not None and current else None,
        healthy=int(status.get("currentHealthy") or 0),
        desired_healthy=int(status.get("desiredHealthy") or 0),
        expected=int(status.get("expectedPods") or 0),
    )


# --- common ----------------------------------------------------------------------------------------------------------


def owners_of(meta: Json) -> tuple[Owner, ...]:
    """Its ownerReferences."""
    return tuple(
        Owner(kind=one["kind"], name=one["name"], uid=one.get("uid", ""), controller=bool(one.get("controller")))
        for one in meta.get("ownerReferences") or ()
    )


def conditions_of(status: Json) -> dict[str, Condition]:
    """By type."""
    return {
        one["type"]: Condition(
            type=one["type"],
            status={"True": True, "False": False}.get(one.get("status", "")),
            reason=one.get("reason") or "",
            message=one.get("message") or "",
            since=time_of(one.get("lastTransitionTime")),
        )
        for one in status.get("conditions") or ()
    }


def time_of(text: str | None) -> datetime | None:
    """RFC 3339, with or without fractions of a second."""
    return datetime.fromisoformat(text) if text else None


def number(text: str | None) -> int | None:
    """A whole number, or None."""
    return int(text) if text is not None and text.isdecimal() else None
