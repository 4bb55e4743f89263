"""The queueing model against closed forms, and with the parameters of WVA's documentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.simulate.opponents.profile import ReplicaProfile
from controller.simulate.opponents.wva import Recent
from controller.simulate.opponents.wva_queue import Queueing, QueueingSettings, QueueModel, queueing_settings
from controller.simulate.sight import Sight

ONE_AT_A_TIME = QueueingSettings(
    alpha_s=0.0, beta_s=0.0, gamma_s=1.0, delta_s=0.0, ttft_s=0.0, itl_s=0.0, max_batch=1, queue_ratio=400
)
DOCUMENTED = QueueingSettings(
    alpha_s=6.97e-3, beta_s=0.027e-3, gamma_s=5.2e-3, delta_s=0.1e-6, ttft_s=0.5, itl_s=0.0, max_batch=64
)
"""alpha and beta: examples of the repository; gamma and delta: guesses of a like size."""


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_one_server_of_one_rate_is_m_m_1(load: float) -> None:
    """Wait = rho / (1 - rho) service times."""
    state = QueueModel(ONE_AT_A_TIME, input_tokens=10, output_tokens=1).at(load)
    assert state.wait_s == pytest.approx(load / (1 - load), rel=1e-6)


def test_inter_token_latency_is_alpha_plus_beta_times_the_batch() -> None:
    model = QueueModel(DOCUMENTED, input_tokens=128, output_tokens=128)
    light, heavy = model.at(0.01), model.at(model.most_per_s * 0.99)
    assert light.itl_s == pytest.approx(6.97e-3 + 0.027e-3, rel=1e-2)
    assert heavy.itl_s == pytest.approx(6.97e-3 + 0.027e-3 * heavy.batch)
    assert 1 < heavy.batch <= 64


def test_the_best_rate_meets_its_aim_and_hardly_more() -> None:
    settings = replace(DOCUMENTED, itl_s=8e-3, ttft_s=0.0)
    model = QueueModel(settings, input_tokens=128, output_tokens=128)
    assert model.at(model.best_per_s()).itl_s == pytest.approx(8e-3, rel=1e-3)


def test_a_looser_aim_takes_fewer_replicas(profile: ReplicaProfile, sight: Callable[..., Sight]) -> None:
    asked = Recent(peaks=(), arrivals_per_s=60.0, input_tokens=1600.0, output_tokens=110.0)
    counts = [
        Queueing(queueing_settings(profile, slo_ratio=ratio)).wanted(sight(ready=4), asked) for ratio in (0.5, 1.0, 1.5)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] >= 60 / profile.requests_per_s / 3


def test_before_anything_finished_nothing_changes(profile: ReplicaProfile, sight: Callable[..., Sight]) -> None:
    asked = Recent(peaks=(), arrivals_per_s=60.0, input_tokens=None, output_tokens=None)
    assert Queueing(queueing_settings(profile)).wanted(sight(ready=3, starting=1), asked) == 4
