"""Other autoscalers beside the daemon: what they may ask, where, and who hears when they do not follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.core import Metric

from controller.accountant.alarms import Alarm, Alarms
from controller.act.external import ExternalActuator, Unfollowed
from controller.clock import LATE_AFTER_INTERVALS
from controller.daemon import Daemon
from controller.errors import ConfigError, Problem
from controller.facts.decisions import Alert, AlertState
from controller.facts.doors import Door
from controller.facts.fleet import Mode
from controller.facts.passes import PassResult
from controller.serve.external_metrics import ExternalMetrics
from controller.serve.wanted import Asked, Wanted, external_metrics
from controller.serve.wva import Wva
from controller.settings.load import Settings

Post = Callable[[Sequence[Alert]], None]

USUAL_TOLERANCE_RATIO = 0.1
"""Kubernetes' default, --horizontal-pod-autoscaler-tolerance: an HPA ignores a step that is smaller."""


def wanted_of(daemon: Daemon, settings: Callable[[], Settings]) -> Wanted:
    """What others may be told of ``daemon``'s last pass."""
    return Wanted(
        latest=daemon.latest,
        fleet=lambda: settings().fleet,
        clock=daemon.clock,
        late_s=lambda: LATE_AFTER_INTERVALS * settings().interval_s,
        standby=lambda: "" if daemon.leads else f"this daemon stands by; {daemon.health().standing_by}".rstrip("; "),
    )


class Following:
    """Tells people of what was told to other autoscalers and not followed."""

    def __init__(self, actuator: ExternalActuator, settings: Callable[[], Settings], post: Post) -> None:
        self._actuator, self._settings, self._post = actuator, settings, post
        self._alarms = Alarms()
        self._late: tuple[Unfollowed, ...] = ()
        self._at: datetime | None = None

    @property
    def states(self) -> tuple[AlertState, ...]:
        """The alerts that were told."""
        return self._alarms.states

    def observe(self, result: PassResult) -> None:
        """After each pass."""
        settings = self._settings()
        acts = result.mode is Mode.ACT
        self._late = self._actuator.unfollowed(settings.fleet.variants(), result.at) if acts else ()
        self._at = result.at
        alarms = [_alarm(name, [one for one in self._late if one.service == name]) for name in settings.fleet.services]
        self._post(self._alarms.looked(alarms, settings.channels, result.at))

    def seconds(self) -> dict[tuple[str, str], float]:
        """For how long each has not followed."""
        at = self._at
        return (
            {} if at is None else {(one.service, one.variant): (at - one.since).total_seconds() for one in self._late}
        )


def _alarm(service: str, late: Sequence[Unfollowed]) -> Alarm:
    small = any(one.found and abs(one.asked / one.found - 1) <= USUAL_TOLERANCE_RATIO for one in late)
    hint = "; so small a step lands only with behavior.scaleUp.tolerance and scaleDown.tolerance 0" if small else ""
    return Alarm(
        service=service,
        name="not_followed",
        holds=bool(late),
        summary="; ".join(f"{one} since {one.since:%H:%M:%S} UTC" for one in late),
        do=f"Look at the HPA or ScaledObject of the target (kubectl describe), its limits and its events{hint}.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalers:
    """What there is for other autoscalers while the daemon runs. ``keda_port``, ``metrics_port``: 0 without a door."""

    wanted: Wanted
    asked: Asked
    following: Following
    leads: Callable[[], bool]
    wva: Wva | None = None
    keda_port: int = 0
    metrics_port: int = 0

    def metrics(self) -> Iterator[Metric]:
        """For /metrics."""
        yield from external_metrics(self.wanted, self.asked, self.following.seconds())
        if self.wva is not None and self.leads():
            yield from self.wva.metrics()


@contextmanager
def scalers_of(
    daemon: Daemon, actuator: ExternalActuator, settings: Callable[[], Settings], post: Post
) -> Iterator[Scalers]:
    """Let other autoscalers ask, wherever the fleet file says so: from before the first pass, since KEDA builds its HPA
    from the first answer."""
    first = settings()
    wanted, asked, following = wanted_of(daemon, settings), Asked(), Following(actuator, settings, post)
    daemon.on_pass(following.observe)
    wva = Wva(wanted) if first.wva_names else None
    if wva is not None:
        daemon.on_pass(wva.observe)
    keda_port = metrics_port = 0
    with ExitStack() as stack:
        if first.keda is not None:
            keda_port = _keda(stack, daemon, wanted, first.keda, asked, str(first.file))
        if first.external_metrics is not None:
            metrics_port = stack.enter_context(ExternalMetrics(wanted, first.external_metrics, asked)).port
        yield Scalers(
            wanted=wanted,
            asked=asked,
            following=following,
            leads=lambda: daemon.leads,
            wva=wva,
            keda_port=keda_port,
            metrics_port=metrics_port,
        )


def _keda(stack: ExitStack, daemon: Daemon, wanted: Wanted, door: Door, asked: Asked, file: str) -> int:
    try:
        from controller.serve.keda.answers import Answers
        from controller.serve.keda.server import KedaServer
    except ImportError as error:
        raise ConfigError(
            [Problem(file, 0, 0, "serve.keda", f"needs gRPC ({error}): install pennyweight with the extra `keda`")]
        ) from error
    answers = Answers(wanted=wanted, token=door.token)
    server = stack.enter_context(KedaServer(answers, door, asked, lambda: daemon.leads))
    daemon.on_pass(lambda _: server.passed())
    return server.port
