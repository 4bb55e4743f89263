"""What latency was promised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTarget:
    """A latency quantile and its bound. ``quantile`` is 0.5, 0.95 or 0.99."""

    quantile: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Latency targets; None = not asked for. ``attainment_ratio``: the share of requests that must meet them."""

    ttft: LatencyTarget | None = None
    tpot: LatencyTarget | None = None
    attainment_ratio: float = 0.99
