"""A daemon that stands still, over a finished pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from controller.facts.passes import PassResult
from controller.loop import Running, one_pass
from controller.serve.exporter import Exporter
from controller.serve.view import Delivered, Standing


@dataclass
class FixedView:
    """What the endpoints see."""

    result: PassResult | None
    reasons: tuple[str, ...] = ()
    delivered: dict[str, Delivered] = field(default_factory=lambda: {"slack": Delivered(sent=3, failed=1, dropped=0)})

    def latest(self) -> PassResult | None:
        return self.result

    def standing(self) -> Standing:
        return Standing(
            reasons=self.reasons,
            overruns=2,
            failed_passes=1,
            reload_ok=False,
            reloaded_at=None,
            delivered=self.delivered,
        )


@pytest.fixture
def busy(world, plan, after) -> PassResult:
    """The second of two passes over a busy fleet, which scaled it up."""
    world.queue = 30.0
    running, result = Running(), None
    for index in range(2):
        result, running = one_pass(world, plan, running, after(15 * index))
        world.queue = 45.0
    assert result is not None
    return result


@pytest.fixture
def view(busy) -> FixedView:
    return FixedView(busy)


@pytest.fixture
def starting_view() -> FixedView:
    return FixedView(None, reasons=("no pass has finished yet",))


@pytest.fixture
def exporter(view, busy) -> Exporter:
    made = Exporter(view)
    made.observe(busy)
    made.observe(busy)
    return made


@pytest.fixture
def late():
    return timedelta(minutes=5)
