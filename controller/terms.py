"""Terms of leading: each begins as a start of the daemon does, with a shell of its own and from what the ledger says.

Nothing that one term held in memory, no counter, no cache, no connection, is there in the next: others may have worked
in between.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from controller.errors import ClusterError
from controller.facts.leadership import Electing, LeaderSeen
from controller.kubernetes.api import Api, Timeouts, config_of
from controller.leader.leadership import Elected, Election, Leadership, Sole, Tenure, identity
from controller.leader.lease_election import LeaseElection
from controller.ledger.election import AdvisoryElection, FileElection
from controller.ledger.write import Ledger
from controller.loop import Running
from controller.settings.load import Settings
from controller.shell import History, LiveShell

Clock = Callable[[], datetime]

POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod finds the name of its own (Kubernetes, "Accessing the Kubernetes API from a Pod")."""


def alone(ledger: Ledger, clock: Clock) -> Leadership:
    """Be the only daemon of the ledger's fleet. LedgerError when another one works."""
    ledger.claim()
    return Sole(ledger.enter_next(identity(), clock()).epoch)


def elected(settings: Settings, electing: Electing, ledger: Ledger, clock: Clock) -> Elected:
    """Stand for election from ``start`` on. LedgerError when a daemon works that knows of none; ClusterError."""
    ledger.join()
    return Elected(_election(settings, electing, ledger, clock), electing.times)


def _election(settings: Settings, electing: Electing, ledger: Ledger, clock: Clock) -> Election:
    times, me = electing.times, identity()
    if electing.lease is None:
        kind = FileElection if settings.ledger_url.startswith("sqlite:") else AdvisoryElection
        return kind(settings.ledger_url, settings.fleet_name, me=me, times=times, utc=clock)
    # Two tries, with what they wait for each other, must fit before the deadline.
    call_s = max((times.renew_deadline_s - times.retry_s) / 2, times.renew_deadline_s / 4)
    api = Api(config_of(), timeouts=Timeouts(connect_s=call_s, read_s=call_s))
    namespace = electing.lease.namespace or _own_namespace(api)
    return LeaseElection(api, ledger, place=(namespace, electing.lease.name), me=me, times=times, utc=clock)


def _own_namespace(api: Api) -> str:
    with suppress(OSError):
        return POD_NAMESPACE.read_text(encoding="utf-8").strip()
    if api.namespace:
        return api.namespace
    raise ClusterError("no namespace for the Lease: outside a pod give `leader: {lease: {namespace: NAME}}`")


class Terms:
    """The terms of one daemon; one thread begins and ends them."""

    def __init__(
        self,
        leadership: Leadership,
        *,
        shell: Callable[[Tenure], LiveShell],
        own: Callable[[datetime], None],
        history: History,
        rest: Callable[[], None],
    ) -> None:
        """own    take the fleet's services, or raise ConfigError: of a fleet file one daemon of each fleet does
        shell     a new one
        rest      let go of what only a leader does beside its passes
        """
        self.leadership = leadership
        self.shell: LiveShell | None = None
        self._new_shell = shell
        self._own = own
        self._history = history
        self._rest = rest

    def held(self) -> int | None:
        return self.leadership.held()

    def begin(self, epoch: int, now: datetime) -> tuple[LiveShell, Running]:
        self.end()
        self._own(now)
        self.shell = self._new_shell(Tenure(epoch, self.leadership))
        return self.shell, self.shell.restore(now, self._history)

    def catch_up(self, running: Running, now: datetime, for_s: float) -> Running:
        """What ``begin`` had no time for."""
        return running if self.shell is None else self.shell.catch_up(running, now, for_s)

    def end(self) -> None:
        shell, self.shell = self.shell, None
        if shell is not None:
            shell.close()

    def rest(self) -> None:
        self._rest()

    def resign(self, why: str) -> None:
        self.leadership.resign(why)

    def release(self) -> None:
        self.leadership.release()

    def seen(self) -> LeaderSeen:
        return self.leadership.seen()

    def on_change(self, told: Callable[[int | None], None]) -> None:
        self.leadership.on_change(told)
