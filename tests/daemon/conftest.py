from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.daemon import Daemon
from controller.facts.decisions import Decision, Outcome, OutcomeKind
from controller.facts.fleet import Variant
from controller.facts.readings import Phase, ReplicaState
from controller.settings.load import load_settings
from controller.wiring import Built, built
from tests.small_fleet import SmallFleet, until

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Died(BaseException):
    """What kill -9 looks like from inside: nothing of ours runs after it."""


@dataclass
class Machines:
    """An actuator whose replicas are the small fleet's engines; more can be had, and count as ready at once."""

    urls: list[str]
    name: str = "emulated"
    count: int = 2
    applied: list[Decision] = field(default_factory=list)
    dies: bool = False
    failed: str = ""
    """A replica that has ended by itself."""

    def replicas(self, variant: Variant, now: datetime) -> tuple[ReplicaState, ...]:
        del now
        return tuple(
            replace(one, phase=Phase.FAILED) if one.replica == self.failed else one for one in self._all(variant)
        )

    def _all(self, variant: Variant) -> tuple[ReplicaState, ...]:
        return tuple(
            ReplicaState(
                replica=self.urls[index].removeprefix("http://") if index < len(self.urls) else f"more-{index}",
                variant=variant.name,
                phase=Phase.READY if index < len(self.urls) else Phase.STARTING,
                since=NOON,
                url=self.urls[index] if index < len(self.urls) else "",
            )
            for index in range(self.count)
        )

    def apply(self, decision: Decision, variant: Variant, now: datetime) -> Outcome:
        del variant
        if self.dies:
            raise Died
        self.applied.append(decision)
        self.count = decision.desired
        return Outcome.of(decision, OutcomeKind.DONE, "done", now)

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Rig:
    """The real daemon over the small fleet, on a clock that the test moves."""

    fleet: SmallFleet
    machines: Machines
    now: datetime = NOON

    @contextmanager
    def daemon(self) -> Iterator[Built]:
        with built(
            load_settings(self.fleet.file, {}), clock=lambda: self.now, actuators={"emulated": self.machines}
        ) as made:
            yield made

    def passes(self, daemon: Daemon, count: int, seconds: float = 15.0) -> list[Decision]:
        """So many passes; the one decision of each."""
        decisions = []
        for _ in range(count):
            self.now += timedelta(seconds=seconds)
            decisions.extend(daemon.step().decisions)
        return decisions


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SmallFleet]:
    made = SmallFleet(tmp_path)
    made.write()
    yield made
    made.close()


@pytest.fixture
def rig(fleet: SmallFleet) -> Rig:
    fleet.write(mode="act", actuator="emulated")
    return Rig(fleet, Machines([engine.url for engine in fleet.engines]))


@pytest.fixture
def died() -> type[BaseException]:
    return Died


@pytest.fixture
def while_running() -> Callable[[Daemon, Callable[[], None]], None]:
    """Runs the daemon in the main thread, as signals want it, and what the test does beside it in another."""

    def run(daemon: Daemon, beside: Callable[[], None]) -> None:
        failures: list[BaseException] = []
        before = signal.getsignal(signal.SIGHUP)

        def then_stop() -> None:
            try:
                until(lambda: signal.getsignal(signal.SIGHUP) != before, "the daemon to listen to signals")
                beside()
            except BaseException as error:
                failures.append(error)
            finally:
                daemon.stop()

        thread = threading.Thread(target=then_stop)
        thread.start()
        daemon.run()
        thread.join()
        if failures:
            raise failures[0]

    return run
