"""A daemon that stands still, over a finished pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import inf

import pytest

from controller.facts.demand import Demand, Forecast, ForecastAccuracy
from controller.facts.learned import Learned
from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.facts.performance import ReplicaCapacity, RequestShape, ServingPoint
from controller.loop import Running, one_pass
from controller.serve.exporter import Exporter
from controller.serve.view import Delivered, Standing


@dataclass
class FixedView:
    """What the endpoints see."""

    result: PassResult | None
    reasons: tuple[str, ...] = ()
    reload_ok: bool = False
    delivered: dict[str, Delivered] = field(default_factory=lambda: {"slack": Delivered(sent=3, failed=1, dropped=0)})

    def latest(self) -> PassResult | None:
        return self.result

    def standing(self) -> Standing:
        return Standing(
            reasons=self.reasons,
            overruns=2,
            failed_passes=1,
            reload_ok=self.reload_ok,
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
def learned(busy) -> Learned:
    """Chat is forecast two horizons ahead, only the nearer of which was scored; its replicas' latency is unbounded."""
    quantiles = {0.5: 12.0, 0.7: 13.0, 0.9: 15.0, 0.95: 16.0, 0.99: 19.0}
    nothing_due = Missing("forecast error", "no forecast at this horizon has come due yet")
    point = ServingPoint(requests_per_s=9.5, running=71.0, kv_cache_ratio=0.4, busy_ratio=0.3, ttft_s=0.4, tpot_s=inf)
    horizons = {240.0: 0.08, 900.0: nothing_due}
    return Learned(
        demand={
            "chat": Demand(
                requests_per_s=11.5,
                waiting_requests=3.0,
                shape=RequestShape(prompt_tokens=600.0, output_tokens=200.0),
            )
        },
        forecasts={
            "chat": tuple(
                Forecast(at=busy.at, horizon_s=one, quantiles=quantiles, basis="day", scored=12) for one in horizons
            )
        },
        accuracy=tuple(
            ForecastAccuracy(service="chat", horizon_s=horizon, scored=12, error_ratio=error, bias_ratio=error)
            for horizon, error in horizons.items()
        ),
        capacity={
            ("chat", "h100"): ReplicaCapacity(
                requests_per_s=9.5, binding="ttft", at=point, source="learned", band_ratio=0.12
            ),
            ("chat", "l4"): Missing("capacity", "the model is in no table"),
        },
    )


@pytest.fixture
def learned_view(busy, learned) -> FixedView:
    return FixedView(replace(busy, learned=learned))


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
