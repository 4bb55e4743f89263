"""WVA's queueing-model analyzer: how many requests/s a replica takes inside its latencies, by a Markov chain.

The model of llm-d's inferno (https://github.com/llm-d-incubation/workload-variant-autoscaler/tree/main/pkg/analyzer):
times grow with the batch, decode = alpha + beta x batch, prefill = gamma + delta x prompt tokens x batch. The released
engine refuses this analyzer and learns its parameters with a Kalman filter; here it runs, with those of the profile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, exp, log

import numpy as np
from numpy.typing import NDArray

from controller.simulate.opponents.contender import Contender, Knob, Range
from controller.simulate.opponents.profile import ReplicaProfile, plane_of
from controller.simulate.opponents.wva import WVA_DEFAULTS, WVA_TUNABLE, Recent, Wva, wva_settings
from controller.simulate.sight import Sight, few


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueingSettings:
    """Parameters of one replica, seconds; an aim that is 0 or less asks for nothing.

    max_batch     requests in service at once
    queue_ratio   requests that may wait, in batches: 10, inferno's MaxQueueToBatchRatio
    """

    alpha_s: float
    beta_s: float
    gamma_s: float
    delta_s: float
    ttft_s: float
    itl_s: float
    max_batch: int = 256
    queue_ratio: int = 10

    def prefill_s(self, input_tokens: float, batch: float) -> float:
        return self.gamma_s + self.delta_s * input_tokens * batch

    def decode_s(self, batch: float) -> float:
        return self.alpha_s + self.beta_s * batch


def queueing_settings(profile: ReplicaProfile, *, slo_ratio: float = 1.0) -> QueueingSettings:
    """Fitted to the profile's steps at its mean context; the aims are ``slo_ratio`` x what was promised."""
    plane = plane_of(profile.passes)
    resident = profile.shape.prompt_tokens + profile.shape.output_tokens / 2
    return QueueingSettings(
        alpha_s=plane.base_s,
        beta_s=plane.per_kv_token_s * resident,
        gamma_s=plane.base_s,
        delta_s=plane.per_prefill_token_s,
        ttft_s=profile.ttft_s * slo_ratio,
        itl_s=profile.tpot_s * slo_ratio,
        max_batch=min(256, profile.limits.max_sequences),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """A replica at a steady rate; means."""

    wait_s: float
    batch: float
    ttft_s: float
    itl_s: float


class QueueModel:
    """M/M/1 with a service rate that depends on how many are served: n / (prefill(n) + (O - 1) x decode(n)).

    Finite: beyond the batch, ``queue_ratio`` batches wait; more are refused.
    """

    def __init__(self, settings: QueueingSettings, input_tokens: float, output_tokens: float) -> None:
        self.settings = settings
        self.input_tokens = input_tokens
        self.decodes = max(output_tokens - 1, 0.0)
        batch = np.arange(1, settings.max_batch + 1, dtype=np.float64)
        prefill = settings.gamma_s + settings.delta_s * input_tokens * batch
        rates = batch / (prefill + self.decodes * (settings.alpha_s + settings.beta_s * batch))
        self.most_per_s = float(rates[-1])
        self.least_per_s = float(rates[0]) * 1e-3
        waiting = np.full(settings.max_batch * settings.queue_ratio, rates[-1])
        self._log_rates: NDArray[np.float64] = np.cumsum(np.log(np.concatenate((rates, waiting))))
        self._states = np.arange(0, len(self._log_rates) + 1, dtype=np.float64)

    def at(self, requests_per_s: float) -> QueueState:
        """Steady state at that rate of arrivals."""
        weights = self._states * log(requests_per_s)
        weights[1:] -= self._log_rates
        shares = np.exp(weights - weights.max())
        shares /= shares.sum()
        served = requests_per_s * (1 - float(shares[-1]))
        present_s = float(shares @ self._states) / served
        service_s = float(shares @ np.minimum(self._states, self.settings.max_batch)) / served
        batch = self._batch(service_s)
        wait_s = max(present_s - service_s, 0.0)
        return QueueState(
            wait_s=wait_s,
            batch=batch,
            ttft_s=wait_s + self.settings.prefill_s(self.input_tokens, batch),
            itl_s=self.settings.decode_s(batch),
        )

    def best_per_s(self) -> float:
        """The highest rate that keeps both aims; the lowest the model knows when none does."""
        low, high = self.least_per_s, self.most_per_s * (1 - 1e-3)
        if self._keeps(high):
            return high
        for _ in range(20):  # 1e-6 of the range
            middle = (low + high) / 2
            low, high = (middle, high) if self._keeps(middle) else (low, middle)
        return low

    def _keeps(self, requests_per_s: float) -> bool:
        state, settings = self.at(requests_per_s), self.settings
        return (settings.ttft_s <= 0 or state.ttft_s <= settings.ttft_s) and (
            settings.itl_s <= 0 or state.itl_s <= settings.itl_s
        )

    def _batch(self, service_s: float) -> float:
        """The batch whose service takes that long."""
        settings = self.settings
        fixed = settings.gamma_s + settings.alpha_s * self.decodes
        slope = settings.delta_s * self.input_tokens + settings.beta_s * self.decodes
        return min(max((service_s - fixed) / slope, 0.0), settings.max_batch) if slope > 0 else 1.0


GRID_RATIO = 0.05
"""Lengths are rounded to steps of 5 %, so that the model is solved seldom; a guess, small beside its own errors."""


@dataclass(slots=True)
class Queueing:
    """ceil(requests/s / the most that one replica takes), at the mean lengths of what finished."""

    settings: QueueingSettings
    words: str = ""
    _best_per_s: dict[tuple[int, int], float] = field(default_factory=dict)

    def wanted(self, sight: Sight, recent: Recent) -> int:
        if recent.input_tokens is None or recent.output_tokens is None:
            return sight.current
        best_per_s = self._best(recent.input_tokens, recent.output_tokens)
        self.words = f"{few(recent.arrivals_per_s)} requests/s at {few(best_per_s)} a replica"
        return ceil(recent.arrivals_per_s / best_per_s)

    def _best(self, input_tokens: float, output_tokens: float) -> float:
        cell = (_cell(input_tokens), _cell(output_tokens))
        if cell not in self._best_per_s:
            model = QueueModel(self.settings, exp(cell[0] * GRID_RATIO), exp(cell[1] * GRID_RATIO))
            self._best_per_s[cell] = model.best_per_s()
        return self._best_per_s[cell]


def _cell(tokens: float) -> int:
    return round(log(max(tokens, 1.0)) / GRID_RATIO)


WVA_QUEUEING = Contender(
    name="wva-queueing",
    documentation="https://github.com/llm-d-incubation/workload-variant-autoscaler/blob/main/pkg/analyzer/README.md",
    translation="parameters from the profile instead of a filter; the knob scales the promised latencies",
    knob=Knob(name="slo_ratio", values=Range(low=0.35, high=2.0, kind="log"), dearer="lower"),
    defaults={**WVA_DEFAULTS, "slo_ratio": 1.0},
    tunable=WVA_TUNABLE,
    build=lambda of: Wva(wva_settings(of), Queueing(queueing_settings(of.profile, slo_ratio=of.settings["slo_ratio"]))),
    documented=lambda of: Wva(wva_settings(of), Queueing(queueing_settings(of.profile))),
)
