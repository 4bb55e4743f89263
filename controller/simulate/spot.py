"""Spot capacity over time: where it can be had, and when it is taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from math import inf, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NOTICE_S: Mapping[str, float] = {"aws": 120.0, "gcp": 30.0, "azure": 30.0}
"""Seconds between the notice and the interruption.

AWS: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
Azure: Scheduled Events, Preempt, 30 s at least: https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events
GCP: preemption notice of 30 s, best effort: https://cloud.google.com/compute/docs/instances/spot
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotZone:
    """One zone: capacity can be had for ``mean_up_s`` and cannot for ``mean_down_s``, both exponential."""

    name: str
    region: str
    mean_up_s: float
    mean_down_s: float

    def __post_init__(self) -> None:
        if not self.mean_up_s > 0 or not self.mean_down_s > 0:
            raise ValueError(f"both runs of a zone have a length: {self}")

    @property
    def availability_ratio(self) -> float:
        return self.mean_up_s / (self.mean_up_s + self.mean_down_s)


def _zone(name: str, region: str, up_h: float, down_h: float) -> SpotZone:
    return SpotZone(name=name, region=region, mean_up_s=up_h * 3600, mean_down_s=down_h * 3600)


AWS_ZONES = (
    _zone("us-east-1a", "us-east-1", 0.72, 3.60),
    _zone("us-east-1c", "us-east-1", 1.49, 1.69),
    _zone("us-east-1d", "us-east-1", 1.67, 2.05),
    _zone("us-east-1f", "us-east-1", 2.26, 1.56),
    _zone("us-east-2a", "us-east-2", 5.72, 1.80),
    _zone("us-east-2b", "us-east-2", 4.28, 1.98),
    _zone("us-west-2a", "us-west-2", 6.10, 0.81),
    _zone("us-west-2b", "us-west-2", 10.51, 1.10),
    _zone("us-west-2c", "us-west-2", 6.85, 0.84),
)
"""Hours of up- and down-runs fitted to 45 days of probes for one V100 every 195 s from 2023-02-15, 94 to 344 changes a
zone (time in a state over departures from it, the maximum-likelihood estimate). Probes: Wu et al., Can't Be Late,
NSDI 2024. The scarcity of V100s then stands in for that of later GPUs now; it does not measure it."""

AWS_EIGHT_GPU_ZONES = (
    _zone("us-west-2a", "us-west-2", 1.16, 1.26),
    _zone("us-west-2b", "us-west-2", 0.76, 0.87),
)
"""The same for machines with eight V100s: 27 days every 600 s from 2022-10-26, 269 and 399 interruptions."""

SAME_REGION_SHARED = 0.75
"""The share of its changes that a zone takes from shocks that hit all zones of its region. Fitted: gives AWS_ZONES the
mean correlation of their ten pairs within a region over the same 45 days, 0.43 (0.25 to 0.59)."""

OTHER_REGION_SHARED = 0.41
"""Of these, the share from shocks that hit every region. Fitted the same way to the 26 pairs in two regions: 0.14 (0.03
to 0.27)."""


def correlation(one: SpotZone, other: SpotZone, shared_ratio: float) -> float:
    """Of the availability of two zones that take ``shared_ratio`` of their changes from common shocks.

    With departure rates d and u (from up, from down), D = shared x min(d1, d2), U = shared x min(u1, u2), and p the
    share of time up, q = 1 - p, the stationary balance of "both up" gives a covariance of
    (q1 q2 U + p1 p2 D) / (d1 + d2 + u1 + u2 - U - D).
    """
    down, up = [_rate(zone, False) for zone in (one, other)], [_rate(zone, True) for zone in (one, other)]
    both_down, both_up = shared_ratio * min(down), shared_ratio * min(up)
    share_up = one.availability_ratio * other.availability_ratio
    share_down = (1 - one.availability_ratio) * (1 - other.availability_ratio)
    covariance = (share_down * both_up + share_up * both_down) / (sum(down) + sum(up) - both_down - both_up)
    return covariance / sqrt(share_up * share_down)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotMarket:
    """When each zone has spot capacity.

    up          by zone: rows of (from, to) in seconds, ascending, apart from each other, within start and end
    notice_s    between a zone's notice and the end of its up-run, when all that runs there is taken

    Losing all of a zone at once is the harsh reading: where four machines were probed, at times only some were lost.
    """

    start_s: float
    end_s: float
    up: Mapping[str, Floats]
    notice_s: float

    @property
    def zones(self) -> tuple[str, ...]:
        return tuple(self.up)

    def available(self, zone: str, at_s: float) -> bool:
        """Whether a replica ordered in ``zone`` at ``at_s`` would be had."""
        begun = int(np.searchsorted(self.up[zone][:, 0], at_s, side="right"))
        return begun > 0 and at_s < float(self.up[zone][begun - 1, 1])

    def lasts(self, zone: str, at_s: float) -> bool:
        """Whether a replica ordered then would be had, and not be warned at once: what is about to be taken from those
        who have it is given to nobody."""
        if not self.available(zone, at_s):
            return False
        end_s = self.interruption_after(zone, at_s)
        return end_s is None or at_s < end_s - self.notice_s

    def interruptions(self, zone: str) -> Floats:
        """When all that runs in ``zone`` is taken, ascending. An up-run that outlasts the market ends in none."""
        ends: Floats = self.up[zone][:, 1]
        return ends[ends < self.end_s]

    def interruption_after(self, zone: str, at_s: float) -> float | None:
        """The first interruption later than ``at_s``; its notice comes ``notice_s`` before."""
        times = self.interruptions(zone)
        place = int(np.searchsorted(times, at_s, side="right"))
        return float(times[place]) if place < len(times) else None

    def next_begin_s(self, at_s: float) -> float:
        """The first moment later than ``at_s`` at which a zone has capacity again; infinite when there is none."""
        later = (runs[runs[:, 0] > at_s, 0] for runs in self.up.values())
        return min((float(begins[0]) for begins in later if len(begins)), default=inf)

    def availability_ratio(self, zone: str) -> float:
        return float(np.diff(self.up[zone], axis=1).sum()) / (self.end_s - self.start_s)

    def over(self, start_s: float, end_s: float, seed: int) -> Self:
        """The same from ``start_s`` on. A record is what it is, whatever the seed. ValueError when it is too short."""
        del seed
        if self.end_s - self.start_s < end_s - start_s:
            raise ValueError(f"a market of {self.end_s - self.start_s:g} s does not last {end_s - start_s:g} s")
        later_s = start_s - self.start_s
        up = {zone: runs + later_s for zone, runs in self.up.items()}
        return replace(self, start_s=start_s, end_s=self.end_s + later_s, up=up)

    @classmethod
    def drawn(
        cls,
        *,
        seed: int,
        hours: float,
        zones: Sequence[SpotZone] = AWS_ZONES,
        start_s: float = 0.0,
        notice_s: float = NOTICE_S["aws"],
        same_region_shared: float = SAME_REGION_SHARED,
        other_region_shared: float = OTHER_REGION_SHARED,
    ) -> Self:
        """An invented market. Each zone is a two-state Markov process with its own rates, exactly; what happens to it
        comes partly from shocks that its region or the whole world shares (``correlation`` tells what that makes)."""
        if not 0 <= other_region_shared <= same_region_shared <= 1:
            raise ValueError(
                "shares of shocks are from 0 to 1, and within a region at least as high as between regions"
            )
        if len({zone.name for zone in zones}) < len(zones):
            raise ValueError("two zones have the same name")
        end_s = start_s + hours * 3600
        shares = {
            _Scope.WORLD: other_region_shared,
            _Scope.REGION: same_region_shared - other_region_shared,
            _Scope.ZONE: 1 - same_region_shared,
        }
        shocks = _Shocks(seed=seed, zones=tuple(zones), shares=shares, span_s=(start_s, end_s))
        return cls(
            start_s=start_s, end_s=end_s, notice_s=notice_s, up={zone.name: shocks.up_runs(zone) for zone in zones}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotDraw:
    """A market to be drawn. ``seed`` None: by the run's own, so that every seed of a comparison has another market."""

    zones: tuple[SpotZone, ...]
    notice_s: float = NOTICE_S["aws"]
    seed: int | None = None

    def over(self, start_s: float, end_s: float, seed: int) -> SpotMarket:
        """Drawn for that time."""
        return SpotMarket.drawn(
            seed=seed if self.seed is None else self.seed,
            hours=(end_s - start_s) / 3600,
            zones=self.zones,
            start_s=start_s,
            notice_s=self.notice_s,
        )


class _Scope(IntEnum):
    """Who is hit by a shock."""

    WORLD = 0
    REGION = 1
    ZONE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shocks:
    """Candidate changes, each with a mark from 0 to 1: a zone heeds those whose mark is below its own rate over the
    fastest zone's. So every zone changes at its own rate, and slow ones change together with fast ones."""

    seed: int
    zones: tuple[SpotZone, ...]
    shares: Mapping[_Scope, float]
    span_s: tuple[float, float]

    def up_runs(self, zone: SpotZone) -> Floats:
        """Walk through the changes that ``zone`` heeds, from a state drawn with its own odds."""
        downs, ups = self._heeded(zone, to_up=False), self._heeded(zone, to_up=True)
        time_s = np.concatenate([downs, ups])
        to_up = np.concatenate([np.zeros(len(downs), bool), np.ones(len(ups), bool)])
        order = np.argsort(time_s)
        first_up = bool(self._generator(_Scope.ZONE, zone.name).random() < zone.availability_ratio)
        states = np.concatenate([[first_up], to_up[order]])
        times = np.concatenate([[self.span_s[0]], time_s[order]])
        changed = np.concatenate([[True], states[1:] != states[:-1]])
        begins, up = times[changed], states[changed]
        ends = np.append(begins[1:], self.span_s[1])
        return np.column_stack([begins[up], ends[up]])

    def _heeded(self, zone: SpotZone, *, to_up: bool) -> Floats:
        names = {_Scope.WORLD: "", _Scope.REGION: zone.region, _Scope.ZONE: zone.name}
        fastest = max(_rate(one, to_up) for one in self.zones)
        times = []
        for scope, share in self.shares.items():
            random = self._generator(scope, names[scope], 1 + to_up)
            begin_s, end_s = self.span_s
            count = random.poisson(fastest * share * (end_s - begin_s))
            at_s = begin_s + random.random(count) * (end_s - begin_s)
            times.append(at_s[random.random(count) < _rate(zone, to_up) / fastest])
        return np.concatenate(times)

    def _generator(self, scope: _Scope, name: str, *place: int) -> np.random.Generator:
        key = (int(scope), *name.encode(), 0, *place)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def _rate(zone: SpotZone, to_up: bool) -> float:
    return 1 / (zone.mean_down_s if to_up else zone.mean_up_s)
