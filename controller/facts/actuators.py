"""How a variant's replicas are started and stopped: the options of each actuator, already checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunOptions:
    """Nothing to know: nothing is touched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions:
    """Engines as processes of this host.

    command           argv; "{port}" and "{replica}" are filled in for each replica
    ports             first and last port to use
    environment       added to the daemon's own
    state_directory   absolute; a state file and a log for each replica
    targets_file      absolute; the Prometheus file_sd file that the actuator writes
    start_timeout_s   to the first healthy answer
    drain_timeout_s   for running requests to end
    stop_timeout_s    from SIGTERM to SIGKILL
    """

    command: tuple[str, ...]
    ports: tuple[int, int]
    state_directory: str
    targets_file: str
    health_path: str = "/health"
    environment: Mapping[str, str] = field(default_factory=dict)
    start_timeout_s: float = 600.0
    drain_timeout_s: float = 60.0
    stop_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemdOptions:
    """Engines as instances of a systemd template unit.

    unit         "vllm-chat@{n}.service"
    numbers      first and last instance number
    url          "{port}" is first_port plus the instance's place among the numbers
    user         systemctl --user
    The rest as in ProcessOptions; systemd itself sees to the stop timeout (TimeoutStopSec).
    """

    unit: str
    numbers: tuple[int, int]
    state_directory: str
    targets_file: str
    url: str = "http://127.0.0.1:{port}"
    first_port: int = 8001
    health_path: str = "/health"
    start_timeout_s: float = 600.0
    drain_timeout_s: float = 60.0
    user: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTemplate:
    """What the engine's container is to be started with. What is left out stays as the target has it.

    container   its name; "": the first one
    args        all of them, in the place of those that are there; None: as they are
    env         variables to set; others stay
    image       "": as it is
    """

    container: str = ""
    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    image: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesOptions:
    """Engines as the pods of a Deployment, a StatefulSet or a LeaderWorkerSet.

    kind              "Deployment", "StatefulSet" or "LeaderWorkerSet"
    name, selector    the target's name; or a label selector that of its kind it alone matches in ``namespace``
    context           of the kubeconfig; "": the daemon's own cluster, or the current context
    port, port_name   of the engine, to ask whether it still runs requests; neither: its first port
    path              of its metrics
    start_timeout_s   of a changed template: from one pod's being ready to the next, before it is taken back
    drain_timeout_s   for running requests to end
    template          what its engine is to be started with; None: as the target says
    """

    kind: str
    namespace: str
    name: str = ""
    selector: str = ""
    context: str = ""
    port: int | None = None
    port_name: str = ""
    path: str = "/metrics"
    start_timeout_s: float = 600.0
    drain_timeout_s: float = 120.0
    template: EngineTemplate | None = None


class Through(StrEnum):
    """Who asks for a count that we do not carry out ourselves. One of them a variant: a target has one writer."""

    KEDA = "keda"  # KEDA, over gRPC
    HPA = "hpa"  # an HPA, at the external-metrics API
    PROMETHEUS = "prometheus"  # whoever reads /metrics, by way of a Prometheus server


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalOptions:
    """Engines that somebody else starts and stops, who asks us how many there shall be.

    namespace            of the target; "": not said
    followed_within_s    from our answer to as many targets: later it is not expected any more
    """

    through: Through = Through.KEDA
    namespace: str = ""
    followed_within_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsAsgOptions:
    """Engines as the instances of an EC2 Auto Scaling group, one replica an instance.

    group, tags       the group's name; or tags that it alone has
    region            "": the one that boto3 finds for itself
    url               of an engine; "{private_ip}", "{private_dns}", "{public_ip}" and "{instance_id}" are filled in
    targets_file      absolute; the Prometheus file_sd file that the actuator writes
    launch_hook       the lifecycle hook that waits until an engine is healthy; "": none of ours
    terminate_hook    the one that waits until an engine is drained; "": none of ours
    protect           ready instances are protected from being scaled in by the group itself
    start_timeout_s   from the launch to the first healthy answer
    drain_timeout_s   for running requests to end
    reserved          some of its capacity is paid for beforehand: what is not spot may be that
    """

    group: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    region: str = ""
    url: str = "http://{private_ip}:8000"
    health_path: str = "/health"
    targets_file: str = ""
    launch_hook: str = ""
    terminate_hook: str = ""
    protect: bool = True
    start_timeout_s: float = 900.0
    drain_timeout_s: float = 120.0
    reserved: bool = False
