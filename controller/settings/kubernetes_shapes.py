"""The blocks of fleet.yaml about a Kubernetes cluster: pods that are read, and what is scaled."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from controller.documents import ContradictionError
from controller.kubernetes.selectors import parse_selector
from controller.settings.base import Shape
from controller.settings.values import Name, Period, Wait


def _readable(text: str) -> str:
    parse_selector(text)
    return text


ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
LabelSelector = Annotated[str, AfterValidator(_readable)]
PortNumber = Annotated[int, Field(strict=True, ge=1, le=65_535)]
UrlPath = Annotated[str, Field(pattern=r"^/[^?#\s]*$")]


class PodsShape(Shape):
    """Pods of a cluster, as they are watched."""

    namespace: ObjectName | None = Field(
        default=None, description="the actuator's, else the daemon's own, else the context's; of dcgm: gpu-operator"
    )
    selector: LabelSelector | None = Field(
        default=None,
        description="as kubectl takes it, such as app=vllm,tier in (a,b); without it the pods of the actuator's "
        "target; of dcgm: app=nvidia-dcgm-exporter",
    )
    port: PortNumber | None = Field(default=None, description="where the metrics are; of dcgm: 9400")
    port_name: Name | None = Field(
        default=None, description="the same by the name of a container's port; with neither the pod's first port"
    )
    path: UrlPath = Field(default="/metrics", description="of the metrics")
    scheme: Literal["http", "https"] = Field(default="http", description="http or https")
    context: str = Field(
        default="", description="of the kubeconfig; without it the daemon's own cluster, or the current context"
    )
    variant_cost: Literal["usd_per_replica_hour", "usd_per_gpu_hour"] | None = Field(
        default=None,
        description="what the label llm-d.ai/variant-cost is in: then it is a price, after your own and before the "
        "price sources'; without it the label is no price, for llm-d gives it no unit",
    )

    @model_validator(mode="after")
    def _one_port(self) -> PodsShape:
        if self.port is not None and self.port_name is not None:
            raise ContradictionError("port and port_name both say where the metrics are; one of them is enough")
        return self


class EngineTemplateShape(Shape):
    """What the engine's container is to be started with; what is left out stays as the target has it."""

    container: ObjectName | None = Field(default=None, description="its name; without it the first one")
    args: tuple[str, ...] | None = Field(default=None, description="all of them, in the place of those that are there")
    env: dict[str, str] = Field(default={}, description="variables to set; others stay")
    image: str | None = Field(default=None, min_length=1, description="with its tag or digest")

    @model_validator(mode="after")
    def _something(self) -> EngineTemplateShape:
        if self.args is None and not self.env and self.image is None:
            raise ContradictionError("expected args, env or image; without any there is nothing to change")
        return self


class KubernetesShape(Shape):
    """Engines as the pods of a Deployment, a StatefulSet or a LeaderWorkerSet: exactly one, by name or by labels."""

    namespace: ObjectName = Field(description="of the target")
    deployment: ObjectName | None = Field(default=None, description="its name; or")
    stateful_set: ObjectName | None = Field(default=None, description="its name; or")
    leader_worker_set: ObjectName | None = Field(default=None, description="its name: a replica is a group; or")
    selector: LabelSelector | None = Field(
        default=None,
        min_length=1,
        description="labels, as kubectl takes them, all of which this one of its kind has in the namespace",
    )
    kind: Literal["deployment", "stateful_set", "leader_worker_set"] | None = Field(
        default=None, description="with selector: of what; without it a deployment"
    )
    context: str = Field(
        default="", description="of the kubeconfig; without it the daemon's own cluster, or the current context"
    )
    port: PortNumber | None = Field(default=None, description="of the engine, to ask whether it still runs requests")
    port_name: Name | None = Field(
        default=None, description="the same by the name of a container's port; with neither the pod's first port"
    )
    path: UrlPath = Field(default="/metrics", description="of the engine's metrics")
    start_timeout: Period = Field(
        default=600.0, description="of a changed template: from one new pod's being ready to the next, or it goes back"
    )
    drain_timeout: Wait = Field(default=120.0, description="for running requests to end")
    template: EngineTemplateShape | None = Field(
        default=None, description="what the engine is to be started with; else as the target says"
    )

    @model_validator(mode="after")
    def _one_target(self) -> KubernetesShape:
        ways = (self.deployment, self.stateful_set, self.leader_worker_set, self.selector)
        named = [one for one in ways if one is not None]
        if len(named) != 1:
            found = f"found {len(named)}" if named else "found none"
            raise ContradictionError(
                f"expected exactly one of deployment, stateful_set, leader_worker_set, selector; {found}"
            )
        if self.kind is not None and self.selector is None:
            raise ContradictionError("kind goes with selector; a name stands under its kind already")
        if self.port is not None and self.port_name is not None:
            raise ContradictionError("port and port_name both say where the engine is; one of them is enough")
        return self
