"""A made-up day of a fleet, written to a ledger by the daemon's own side: two services that can be read, one that cannot."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from math import ceil, cos, pi
from typing import Any

from controller.facts.decisions import (
    Alert,
    AlertPhase,
    AlertState,
    Because,
    Decision,
    Memory,
    Outcome,
    OutcomeKind,
    Pause,
)
from controller.facts.demand import Forecast, ForecastAccuracy
from controller.facts.estimates import Estimate, Estimates
from controller.facts.fleet import CapacityType, Mode
from controller.facts.learned import Learned
from controller.facts.missing import Missing
from controller.facts.money import accrued_nanousd, nanousd
from controller.facts.passes import Gap, PassRecord, PassResult, ReplicaUse
from controller.facts.performance import ReplicaCapacity, ServingPoint
from controller.facts.readings import Counter, Observation, Phase
from controller.ledger.write import Ledger

MINUTE = timedelta(minutes=1)
HORIZONS_S = (60.0, 240.0, 900.0)
TOKENS_PER_REPLICA = 2_400.0
"""Output tokens a second that one replica of these tests makes at most."""

TOKENS_PER_REQUEST = 240.0


@dataclass(frozen=True)
class Offered:
    """One service of the fleet: what it costs, and how its load swings over the day."""

    name: str
    variant: str
    gpus: int
    usd_per_gpu_hour: float
    peak: float
    most: int


CHAT = Offered(name="chat", variant="h100-fp8", gpus=2, usd_per_gpu_hour=3.29, peak=15_500.0, most=8)
CODE = Offered(name="code", variant="l40s", gpus=1, usd_per_gpu_hour=1.05, peak=6_100.0, most=4)
RERANK = Offered(name="rerank", variant="a10", gpus=1, usd_per_gpu_hour=0.75, peak=900.0, most=1)
"""Its engine cannot be read: what it costs is known, what it does is not."""

ENGINE_SILENT = "http://127.0.0.1:9003/metrics answered 200 without engine metrics (--disable-log-stats?)"


class Filled:
    """Writes passes minute by minute until ``end``; the last one ends the story with an alert, a pause and holds."""

    def __init__(self, url: str, end: datetime) -> None:
        self._ledger = Ledger.open(url)
        self._end = end
        self._replicas = {CHAT.name: 2, CODE.name: 1}
        self._ids = 0

    def fill(self, minutes: int, gap: tuple[int, int] | None = None) -> None:
        for index in range(minutes):
            if gap and gap[0] <= index < gap[1]:
                continue
            at = self._end - (minutes - 1 - index) * MINUTE
            started = gap is not None and index == gap[1]
            gaps = (
                (Gap(start=at - (gap[1] - gap[0]) * MINUTE, end=at, why="the daemon was not running"),) if gap else ()
            )
            self._pass(at, gaps if started else (), last=index == minutes - 1)
        self._ledger.pause(Pause(service=CODE.name, since=self._end, by="mara", reason="load test until noon"))

    def close(self) -> None:
        self._ledger.close()

    def _pass(self, at: datetime, gaps: tuple[Gap, ...], *, last: bool) -> None:
        decisions: list[Decision] = []
        scopes: dict[str, Estimate] = {}
        uses: list[ReplicaUse] = []
        for one in (CHAT, CODE):
            load = _load(one, at)
            before = self._replicas[one.name]
            decision = self._decide(one, at, load, before)
            decisions.append(decision)
            self._replicas[one.name] = decision.desired
            ready = min(before, decision.desired)
            scopes[one.name] = _measured(one, at, load, current=decision.desired, ready=ready)
            uses += [_use(one, at, load / before, number) for number in range(before)]
        scopes[RERANK.name] = _estimate(
            at, service=RERANK.name, replicas_current=1, replicas_ready=1, gpus=1, usd_per_hour=RERANK.usd_per_gpu_hour
        )
        uses.append(_unread(at))
        estimates = Estimates(
            at=at,
            fleet=_together(at, list(scopes.values())),
            services=scopes,
            variants={},
            replicas={},
            costs=(),
            findings=(),
        )
        memory = self._memory(at) if last else Memory()
        self._ledger.record_intent(
            PassRecord(
                at=at,
                mode=Mode.ACT,
                estimates=estimates,
                uses=tuple(uses),
                decisions=tuple(decisions),
                marks=(),
                memory=memory,
                gaps=gaps,
                learned=_learned(at) if at.minute % 5 == 0 else None,
            )
        )
        self._ledger.record_outcomes(_result(at, estimates, tuple(decisions), last=last), memory)

    def _decide(self, one: Offered, at: datetime, load: float, before: int) -> Decision:
        needed = max(1, min(one.most, ceil(load / (0.8 * TOKENS_PER_REPLICA))))
        desired = needed if needed > before or load < 0.7 * TOKENS_PER_REPLICA * (before - 1) else before
        self._ids += 1
        hourly = one.gpus * one.usd_per_gpu_hour
        wanted = load / (0.8 * TOKENS_PER_REPLICA)
        moved = desired != before
        detail = (
            f"{load:,.0f} output tokens/s need {wanted:.1f} replicas of {0.8 * TOKENS_PER_REPLICA:,.0f} tokens/s each"
            if moved
            else f"{load:,.0f} output tokens/s are within what {before} replicas hold"
        )
        return Decision(
            id=f"d{self._ids}",
            at=at,
            service=one.name,
            variant=one.variant,
            current=before,
            ready=before,
            desired=desired,
            wanted=needed,
            because=Because.DEMAND if moved else Because.STEADY,
            detail=detail,
            signal="output_tokens_per_s",
            numbers={
                "output_tokens_per_s": round(load),
                "target": 0.8 * TOKENS_PER_REPLICA,
                "wanted": round(wanted, 2),
            },
            usd_per_hour_before=before * hourly,
            usd_per_hour_after=desired * hourly,
            victims=(f"{one.name}-{before - 1}",) if desired < before else (),
        )

    def _memory(self, at: datetime) -> Memory:
        since = at - 12 * MINUTE
        state = AlertState(service=CHAT.name, name="ttft_over_target", phase=AlertPhase.FIRING, since=since)
        return Memory(alerts={(CHAT.name, state.name): state})


def _load(one: Offered, at: datetime) -> float:
    """A day's curve with its trough at 04:00 and a small ripple: the same at the same time, always."""
    minute = at.hour * 60 + at.minute
    day = 0.5 - 0.5 * cos(2 * pi * (minute - 240) / 1440)
    ripple = 1 + 0.03 * cos(minute / 7.0) + 0.02 * cos(minute / 2.3)
    return one.peak * (0.12 + 0.88 * day) * ripple


def _estimate(at: datetime, **given: Any) -> Estimate:
    unknown = {field.name: Missing(field.name, ENGINE_SILENT) for field in fields(Estimate)}
    usual: dict[str, Any] = {
        "at": at,
        "window_s": 60.0,
        "service": "",
        "variant": "",
        "replica": "",
        "replicas_read": 1,
    }
    return Estimate(**unknown | usual | {"mfu_source": "", "mbu_source": ""} | given)


def _measured(one: Offered, at: datetime, load: float, *, current: int, ready: int) -> Estimate:
    busy = min(1.3, load / (TOKENS_PER_REPLICA * ready))
    hourly = current * one.gpus * one.usd_per_gpu_hour
    return _estimate(
        at,
        service=one.name,
        replicas_current=current,
        replicas_ready=ready,
        replicas_read=ready,
        gpus=current * one.gpus,
        output_tokens_per_s=load,
        prompt_tokens_per_s=3.1 * load,
        requests_per_s=load / TOKENS_PER_REQUEST,
        rejections_per_s=0.0,
        running=64 * busy * ready,
        queue_depth=max(0.0, (busy - 0.72) * 90 * ready),
        kv_cache_ratio=min(0.98, 0.12 + 0.78 * busy),
        ttft_p95_s=0.18 + 0.9 * max(0.0, busy - 0.5) ** 2 * 4,
        tpot_p95_s=0.018 + 0.014 * busy,
        mfu_ratio=0.05 + 0.34 * busy,
        usd_per_hour=hourly,
        usd_per_million_output_tokens=hourly / (load * 3600 / 1e6),
        usd_per_million_tokens=hourly / (4.1 * load * 3600 / 1e6),
        output_tokens_per_usd=load * 3600 / hourly,
        tokens_per_usd=4.1 * load * 3600 / hourly,
    )


def _together(at: datetime, scopes: list[Estimate]) -> Estimate:
    """The fleet: sums of what is known, as every price is."""

    def total(name: str) -> float:
        values = [getattr(one, name) for one in scopes]
        return sum(value for value in values if not isinstance(value, Missing))

    hourly, output = total("usd_per_hour"), total("output_tokens_per_s")
    everything = output + total("prompt_tokens_per_s")
    return _estimate(
        at,
        replicas_current=int(total("replicas_current")),
        replicas_ready=int(total("replicas_ready")),
        gpus=int(total("gpus")),
        output_tokens_per_s=output,
        prompt_tokens_per_s=total("prompt_tokens_per_s"),
        requests_per_s=total("requests_per_s"),
        usd_per_hour=hourly,
        usd_per_million_output_tokens=hourly / (output * 3600 / 1e6),
        output_tokens_per_usd=output * 3600 / hourly,
        tokens_per_usd=everything * 3600 / hourly,
    )


def _use(one: Offered, at: datetime, load: float, number: int) -> ReplicaUse:
    start = at - MINUTE
    rate = nanousd(one.gpus * one.usd_per_gpu_hour)
    return ReplicaUse(
        service=one.name,
        variant=one.variant,
        replica=f"{one.name}-{number}",
        capacity_type=CapacityType.ON_DEMAND,
        start=start,
        end=at,
        phase=Phase.READY,
        gpus=one.gpus,
        counts={
            Counter.OUTPUT_TOKENS: load * 60,
            Counter.PROMPT_TOKENS: 3.1 * load * 60,
            Counter.CACHED_PROMPT_TOKENS: 0.9 * load * 60,
            Counter.REQUESTS: load * 60 / TOKENS_PER_REQUEST,
            Counter.REJECTIONS: 0.0,
        },
        cost_nanousd=accrued_nanousd(rate, start, at),
    )


def _learned(at: datetime) -> Learned:
    """Forecasts that know the day's curve and miss the ripple; of what ``code``'s replica carries nothing is known."""
    level = {"running": 71.0, "kv_cache_ratio": 0.44, "busy_ratio": 0.3, "ttft_s": 0.41, "tpot_s": 0.029}
    point = ServingPoint(requests_per_s=9.6, **level)
    carries = ReplicaCapacity(requests_per_s=9.6, binding="ttft", at=point, source="learned", band_ratio=0.12)
    return Learned(
        forecasts={one.name: tuple(_forecast(one, at, horizon) for horizon in HORIZONS_S) for one in (CHAT, CODE)},
        accuracy=tuple(_accuracy(horizon) for horizon in HORIZONS_S),
        capacity={
            (CHAT.name, CHAT.variant): carries,
            (CODE.name, CODE.variant): Missing("capacity", "the model of code is in no table"),
        },
    )


def _accuracy(horizon_s: float) -> ForecastAccuracy:
    known = {"error_ratio": 0.03 + horizon_s / 20_000, "bias_ratio": -0.004}
    covered = {0.5: 0.47, 0.9: 0.91, 0.95: 0.96, 0.99: 0.992}
    return ForecastAccuracy(service=CHAT.name, horizon_s=horizon_s, scored=2_400, coverage_ratio=covered, **known)


def _forecast(one: Offered, at: datetime, horizon_s: float) -> Forecast:
    due = at + timedelta(seconds=horizon_s)
    middle = 0.5 * (_load(one, due) + _load(one, at)) / TOKENS_PER_REQUEST
    wide = 0.02 + horizon_s / 9_000
    quantiles = {0.5: middle, 0.9: middle * (1 + 1.3 * wide), 0.95: middle * (1 + 1.7 * wide)}
    quantiles |= {0.99: middle * (1 + 2.4 * wide)}
    return Forecast(at=at, horizon_s=horizon_s, quantiles=quantiles, basis="day", scored=2_400)


def _unread(at: datetime) -> ReplicaUse:
    return ReplicaUse(
        service=RERANK.name,
        variant=RERANK.variant,
        replica="rerank-0",
        capacity_type=CapacityType.ON_DEMAND,
        start=at - MINUTE,
        end=at,
        phase=Phase.READY,
        gpus=1,
        missing=ENGINE_SILENT,
        cost_nanousd=accrued_nanousd(nanousd(RERANK.usd_per_gpu_hour), at - MINUTE, at),
    )


def _result(at: datetime, estimates: Estimates, decisions: tuple[Decision, ...], *, last: bool) -> PassResult:
    return PassResult(
        at=at,
        mode=Mode.ACT,
        duration_s=0.21,
        observation=Observation(at=at, targets=(), engines={}, gpus={}, replicas={}),
        estimates=estimates,
        decisions=decisions,
        outcomes=tuple(
            Outcome(
                decision_id=one.id,
                service=one.service,
                variant=one.variant,
                kind=OutcomeKind.DONE,
                detail=f"target set to {one.desired}",
                at=at,
            )
            for one in decisions
            if not one.holds
        ),
        alerts=(),
        sent=(_alert(at),) if last else (),
        pauses={},
    )


def _alert(at: datetime) -> Alert:
    return Alert(
        service=CHAT.name,
        name="ttft_over_target",
        phase=AlertPhase.FIRING,
        severity="page",
        condition="ttft_p95_s > 0.5",
        summary="TTFT p95 is 812 ms against a target of 500 ms at $52.64/h.",
        do="Look at the queue of chat; its policy caps it at 8 replicas.",
        since=at - 12 * MINUTE,
        at=at,
    )
