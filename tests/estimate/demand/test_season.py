"""What a service is usually asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from controller.estimate.demand.history import state_from_history
from controller.estimate.demand.season import usual
from controller.facts.missing import Missing

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
HALF_HOUR_S = 1800.0


def after(*rates: float) -> float | Missing:
    """One rate a half hour, from midnight on."""
    return usual(state_from_history(MONDAY, HALF_HOUR_S, np.array(rates) * HALF_HOUR_S).season)


def test_the_usual_demand_is_the_mean_over_the_day() -> None:
    assert after(*[2.0] * 24, *[10.0] * 24) == pytest.approx(6.0)


def test_half_a_day_is_enough_and_less_says_how_much_is_missing() -> None:
    assert after(*[3.0] * 24) == pytest.approx(3.0)
    assert after(*[3.0] * 23) == Missing("usual_per_s", "23 of the day's 48 half hours were seen")
    assert isinstance(after(), Missing)
