"""Demand as it unfolds, pass by pass."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from controller.estimate.demand.forecast import forecasts
from controller.estimate.demand.observe import observed
from controller.estimate.demand.state import DemandState, empty_state

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


class Story:
    """A service that is observed from Monday on."""

    monday = MONDAY

    def after(
        self, rates: Iterable[float], every_s: float = 15.0, state: DemandState | None = None, start: datetime = MONDAY
    ) -> DemandState:
        """The state after one rate a pass."""
        state = empty_state() if state is None else state
        for number, rate in enumerate(rates, start=1):
            state = observed(state, start + timedelta(seconds=every_s * number), rate)
        return state

    def forecast(self, state: DemandState, horizon_s: float = 240.0, quantile: float = 0.5) -> float:
        (one,) = forecasts(state, self.now(state), [horizon_s])
        return one.quantiles[quantile]

    def now(self, state: DemandState) -> datetime:
        return datetime.fromtimestamp(state.recent.at_s, UTC)


@pytest.fixture
def story() -> Story:
    return Story()
