"""From the blocks about Kubernetes to facts, and what no shape can know of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controller.documents import Document
from controller.errors import Problem
from controller.facts.actuators import EngineTemplate, KubernetesOptions
from controller.facts.fleet import KubernetesPods
from controller.kubernetes.targets import KEYS
from controller.settings.kubernetes_shapes import EngineTemplateShape, KubernetesShape, PodsShape
from controller.settings.plain import Block, Told, mapping, variant_blocks

EXPORTERS = KubernetesPods(namespace="gpu-operator", selector="app=nvidia-dcgm-exporter", port=9400)
"""Where NVIDIA's GPU operator puts dcgm-exporter, and what it is called there."""

KINDS: Mapping[str, str] = {key: kind.value for kind, key in KEYS.items()}


def kubernetes_of(shape: KubernetesShape) -> KubernetesOptions:
    """The actuator's options."""
    key = next((key for key in KINDS if getattr(shape, key) is not None), shape.kind or "deployment")
    return KubernetesOptions(
        kind=KINDS[key],
        namespace=shape.namespace,
        name=getattr(shape, key) or "",
        selector=shape.selector or "",
        context=shape.context,
        port=shape.port,
        port_name=shape.port_name or "",
        path=shape.path,
        start_timeout_s=shape.start_timeout,
        drain_timeout_s=shape.drain_timeout,
        template=_template(shape.template) if shape.template is not None else None,
    )


def _template(shape: EngineTemplateShape) -> EngineTemplate:
    return EngineTemplate(
        container=shape.container or "", args=shape.args, env=dict(shape.env), image=shape.image or ""
    )


def pods_of(shape: PodsShape | None, options: object, model: str) -> tuple[KubernetesPods, ...]:
    """The engines of a variant: as ``scrape`` says, else those of the target that the actuator scales."""
    target = options if isinstance(options, KubernetesOptions) else None
    if shape is None and target is None:
        return ()
    told = shape or PodsShape()
    placed = bool(told.port or told.port_name)
    pods = KubernetesPods(
        namespace=told.namespace or (target.namespace if target is not None else ""),
        selector=told.selector or "",
        port=told.port if placed or target is None else target.port,
        port_name=told.port_name or ("" if placed or target is None else target.port_name),
        path=told.path if shape is not None or target is None else target.path,
        scheme=told.scheme,
        context=told.context or (target.context if target is not None else ""),
        kind=target.kind if target is not None else "",
        name=target.name if target is not None else "",
        target=target.selector if target is not None else "",
        model=model,
        cost_unit=told.variant_cost or "",
    )
    return (pods,)


def exporters_of(shape: PodsShape) -> KubernetesPods:
    """The exporters of GPU metrics."""
    return KubernetesPods(
        namespace=shape.namespace or EXPORTERS.namespace,
        selector=shape.selector or EXPORTERS.selector,
        port=shape.port if shape.port is not None or shape.port_name else EXPORTERS.port,
        port_name=shape.port_name or "",
        path=shape.path,
        scheme=shape.scheme,
        context=shape.context,
    )


def kubernetes_mistakes_in(document: Document) -> list[Problem]:
    """Pods that nothing selects, and one target for two variants."""
    blocks = list(variant_blocks(document.data))
    told = [*(one for block in blocks for one in _unselected(block)), *_same_target(blocks)]
    return [document.problem(place, message) for place, message in told]


def _unselected(block: Block) -> Iterator[Told]:
    pods = mapping(block.data.get("scrape")).get("kubernetes")
    actuator = mapping(block.data.get("actuator")).get("kubernetes")
    if isinstance(pods, Mapping) and pods.get("selector") is None and not isinstance(actuator, Mapping):
        message = "nothing says which pods: expected `selector`, or a kubernetes actuator whose pods they are"
        yield Told((*block.place, "scrape", "kubernetes"), message)


def _same_target(blocks: list[Block]) -> Iterator[Told]:
    """By selector only those that are written alike; two selectors that match one target show when it is looked at."""
    first: dict[tuple[Any, ...], Block] = {}
    for block in blocks:
        options = mapping(mapping(block.data.get("actuator")).get("kubernetes"))
        for key in (*KINDS, "selector"):
            name = options.get(key)
            if not isinstance(name, str):
                continue
            kind = key if key in KINDS else options.get("kind", "deployment")
            target = (options.get("context", ""), options.get("namespace"), key, kind, name)
            other = first.setdefault(target, block)
            if other is not block:
                message = f"{other.service}/{other.name} scales the same {KINDS.get(kind, kind)}; one variant a target"
                yield Told((*block.place, "actuator", "kubernetes", key), message)
