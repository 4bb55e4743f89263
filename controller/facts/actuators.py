"""How a variant's replicas are started and stopped: the options of each actuator, already checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
