"""What each live signal wants, in replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from controller.decide.rules import ReplicaRule, ServicePolicy, Targets
from controller.decide.situation import Number, Signals, Situation
from controller.facts.missing import Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One signal's answer.

    wanted     replicas that would bring it to its target
    value      the signal per ready replica (or the service's latency), ``target`` what it should be
    saturates  whether a shrink makes it worse in proportion N/(N-1): loads do, latencies are only compared
    words      how it is told; "" for the usual way
    numbers    what else goes into the decision's numbers, by name
    """

    signal: str
    value: float
    target: float
    wanted: int
    saturates: bool = True
    words: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            self.words
            or f"{self.signal} {_short(self.value)} against a target of {_short(self.target)} wants {self.wanted}"
        )


def decisive(found: Sequence[Wish]) -> Wish:
    """The wish that decides: it wants most, and of several that do, it is furthest over its target."""
    return max(found, key=lambda wish: (wish.wanted, wish.value / wish.target if wish.target else 0.0))


def wishes(situation: Situation, policy: ServicePolicy) -> tuple[tuple[Wish, ...], tuple[Missing, ...]]:
    """The wishes of all live signals, and the required signals that are missing.

    A load signal wants ceil(ready x value / target), as Kubernetes' HPA does, and the current ready count when the
    value is within the tolerance of its target. Only signals with a target are required. A latency target wants one
    replica more when it is broken, has no opinion when it is met with headroom, and is not required: without finished
    requests there is none. Rejected requests are demand that no queue shows: one replica more while there are any.
    """
    ready = situation.ready
    seen = situation.signals
    if ready == 0:
        return _waking(situation), (Missing("signals", "no replica is ready"),)
    rule = policy.replicas
    found = [
        wish
        for name, value, target in _loads(seen, rule.targets, ready)
        if target is not None and (wish := _load_wish(name, value, target, ready, rule)) is not None
    ]
    lost = [
        Missing(name, value.why)
        for name, value, target in _loads(seen, rule.targets, ready)
        if target is not None and isinstance(value, Missing)
    ]
    found += _latency_wishes(seen, policy, ready)
    if not isinstance(seen.rejections_per_s, Missing) and seen.rejections_per_s > 0:
        found.append(Wish(signal="rejections_per_s", value=seen.rejections_per_s, target=0.0, wanted=ready + 1))
    return tuple(found), tuple(lost)


def _waking(situation: Situation) -> tuple[Wish, ...]:
    """One replica, for requests that wait at the gateway while there is none."""
    waiting = situation.signals.gateway_waiting
    if isinstance(waiting, Missing) or waiting <= 0:
        return ()
    words = f"{waiting:.0f} requests wait at the gateway and no replica is ready: wants {max(1, situation.current)}"
    return (Wish(signal="gateway_waiting", value=waiting, target=0.0, wanted=max(1, situation.current), words=words),)


def _loads(seen: Signals, targets: Targets, ready: int) -> tuple[tuple[str, Number, float | None], ...]:
    """Every load signal as (name, value per ready replica, target)."""
    return (
        ("queue_depth", _each(seen.queue_depth, ready), targets.queue_depth),
        ("kv_cache_ratio", seen.kv_cache_ratio, targets.kv_cache_ratio),
        ("token_load_per_s", _each(seen.token_load_per_s, ready), targets.token_load_per_s),
        ("gpu_utilization_ratio", seen.gpu_utilization_ratio, targets.gpu_utilization_ratio),
    )


def _load_wish(name: str, value: Number, target: float, ready: int, rule: ReplicaRule) -> Wish | None:
    if isinstance(value, Missing):
        return None
    within = abs(value / target - 1) <= rule.tolerance_ratio
    # Rounding first: 3 x 0.6 / 0.3 is 6.000000000000001 in floats, and must not become 7 replicas.
    wanted = ready if within else ceil(round(ready * value / target, 9))
    return Wish(signal=name, value=value, target=target, wanted=wanted)


def _latency_wishes(seen: Signals, policy: ServicePolicy, ready: int) -> list[Wish]:
    headroom = 1 - policy.replicas.targets.headroom_ratio
    found = []
    for name, value, bound in (
        ("ttft", seen.ttft_s, policy.slo.ttft),
        ("tpot", seen.tpot_s, policy.slo.tpot),
    ):
        if bound is None or isinstance(value, Missing) or value <= bound.seconds * headroom:
            continue
        wanted = ready + 1 if value > bound.seconds else ready
        signal = f"{name}_p{bound.quantile * 100:g}_s"
        found.append(Wish(signal=signal, value=value, target=bound.seconds, wanted=wanted, saturates=False))
    return found


def _each(total: Number, ready: int) -> Number:
    return total if isinstance(total, Missing) else total / ready


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
