"""A constant fleet is sized by a quantile of the demand."""

from __future__ import annotations

import numpy as np
import pytest

from controller.simulate.opponents.static import replicas_at_quantile, replicas_for_p95, replicas_for_peak

DAY = np.array([10.0] * 95 + [20.0] * 4 + [41.0])


def test_peak_and_p95_divide_the_demand_by_the_capacity_and_round_up() -> None:
    assert replicas_for_peak(DAY, 5.0) == 9
    assert replicas_for_p95(DAY, 5.0) == 3  # the 95th of 100 is where 10 turns to 20
    assert replicas_at_quantile(DAY, 5.0, 0.5) == 2


def test_silence_still_needs_a_replica() -> None:
    assert replicas_for_peak(np.zeros(10), 5.0) == 1


@pytest.mark.parametrize(("demand", "capacity"), [(np.array([]), 5.0), (DAY, 0.0), (DAY, float("nan"))])
def test_no_demand_or_no_capacity_is_an_error(demand: np.ndarray, capacity: float) -> None:
    with pytest.raises(ValueError, match=r"size a fleet|serves no demand"):
        replicas_for_peak(demand, capacity)
