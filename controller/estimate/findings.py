"""What is worth doing, from the estimates alone. A finding changes nothing: it is shown, and policies decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from controller.facts.accounts import STRANDED
from controller.facts.estimates import Estimate, Finding, FindingKind, ReplicaCost, ReplicaLoad
from controller.facts.fleet import Fleet
from controller.facts.missing import Missing

QueueHistory = Sequence[tuple[datetime, float]]
"""(when, requests waiting) of one service, from earlier passes."""

LOW_MFU_RATIO = 0.50
"""Below this with a queue, batching is poor: the product's requirement. Low MFU alone is healthy in decode at small
batch."""

HIGH_MFU_RATIO = 0.85
"""Above this the GPUs are full: the product's requirement. Dense matrix products reach 80-87 % of the peak (MAMF
figures)."""

KV_LOW_RATIO = 0.60
"""Below this, with nothing waiting, there is more KV cache than the load needs: the product's requirement."""

KV_HIGH_RATIO = 0.95
"""Above this, with preemptions, the cache is too small. A full cache without preemptions is normal under load."""

QUEUE_PERSISTS_S = 300.0
"""A queue that never empties for so long is no burst. A guess: as long as the usual scale-down stabilization."""

QUEUE_HISTORY_S = 900.0
"""How far back a persistent queue is looked for. A guess: three times the longest usual scale-up stabilization."""

STUCK_WINDOW_S = 30.0
"""Running requests without one token for so long mean a stuck engine. A guess: longer than prefilling the longest
usual prompt."""


def findings_of(
    fleet: Fleet,
    services: Mapping[str, Estimate],
    variants: Mapping[tuple[str, str], Estimate],
    replicas: Iterable[ReplicaLoad],
    costs: Sequence[ReplicaCost],
    queue_history: Mapping[str, QueueHistory],
) -> tuple[Finding, ...]:
    """Every finding: efficiency and prices by variant, queues by service, stuck engines by replica."""
    found: list[Finding] = []
    for seen in variants.values():
        found += [*_wrong_peak(seen), *_mfu(seen), *_kv_cache(seen)]
    for name in fleet.services:
        found += _persistent_queue(services[name], queue_history.get(name, ()))
    for one in replicas:
        found += _stuck(one)
    return (*found, *_price_unknown(costs))


def queues_after(
    past: Mapping[str, tuple[tuple[datetime, float], ...]], services: Mapping[str, Estimate], now: datetime
) -> dict[str, tuple[tuple[datetime, float], ...]]:
    """By service: what waited lately, this pass included."""
    oldest = now - timedelta(seconds=QUEUE_HISTORY_S)
    queues = {}
    for name, seen in services.items():
        kept = tuple(one for one in past.get(name, ()) if one[0] > oldest)
        queues[name] = kept if isinstance(seen.queue_depth, Missing) else (*kept, (now, seen.queue_depth))
    return queues


def _wrong_peak(seen: Estimate) -> Iterator[Finding]:
    for name, value in (("mfu_ratio", seen.mfu_ratio), ("mbu_ratio", seen.mbu_ratio)):
        if not isinstance(value, Missing) and value > 1:
            yield _finding(
                FindingKind.WRONG_PEAK,
                seen,
                f"{name} is {value:.2f}: more than the hardware can do",
                "check the variant's gpu, gpus_per_replica, quantization and kv_cache_dtype against the engine's",
                {name: value},
            )


def _mfu(seen: Estimate) -> Iterator[Finding]:
    mfu, queue = seen.mfu_ratio, seen.queue_depth
    if isinstance(mfu, Missing):
        return
    if mfu < LOW_MFU_RATIO and not isinstance(queue, Missing) and queue > 0:
        yield _finding(
            FindingKind.LOW_MFU_WITH_QUEUE,
            seen,
            f"MFU is {mfu:.0%}, under {LOW_MFU_RATIO:.0%}, while {queue:.0f} requests wait",
            "let the engine batch more: raise max_num_seqs or max_num_batched_tokens; mind KV-cache use",
            {"mfu_ratio": mfu, "queue_depth": queue},
        )
    elif HIGH_MFU_RATIO < mfu <= 1:
        yield _finding(
            FindingKind.HIGH_MFU,
            seen,
            f"MFU is {mfu:.0%}, over {HIGH_MFU_RATIO:.0%}: the GPUs are full, and decoding waits for memory",
            "scale out before latency breaks",
            {"mfu_ratio": mfu},
        )


def _kv_cache(seen: Estimate) -> Iterator[Finding]:
    used, queue, preemptions = seen.kv_cache_ratio, seen.queue_depth, seen.preemptions_per_s
    if isinstance(used, Missing):
        return
    if used < KV_LOW_RATIO and queue == 0:
        yield _finding(
            FindingKind.KV_OVER_PROVISIONED,
            seen,
            f"KV cache is {used:.0%} used, under {KV_LOW_RATIO:.0%}, and nothing waits",
            "serve with fewer replicas, a smaller GPU or a MIG slice, if the latency targets still hold",
            {"kv_cache_ratio": used, "queue_depth": 0.0},
        )
    elif used > KV_HIGH_RATIO and not isinstance(preemptions, Missing) and preemptions > 0:
        yield _finding(
            FindingKind.KV_EXHAUSTED,
            seen,
            f"KV cache is {used:.0%} used, over {KV_HIGH_RATIO:.0%}, with {preemptions:.2f} preemptions/s",
            "add replicas or KV cache (an fp8 cache, a larger GPU), or admit fewer requests at once",
            {"kv_cache_ratio": used, "preemptions_per_s": preemptions},
        )


def _persistent_queue(seen: Estimate, history: QueueHistory) -> Iterator[Finding]:
    """Requests wait now and did in every pass back to QUEUE_PERSISTS_S ago or more."""
    queue = seen.queue_depth
    if isinstance(queue, Missing) or queue <= 0:
        return
    began = seen.at
    for at, waiting in sorted(history, reverse=True):
        if waiting <= 0:
            break
        began = min(began, at)
    lasted_s = (seen.at - began).total_seconds()
    if lasted_s >= QUEUE_PERSISTS_S:
        yield _finding(
            FindingKind.PERSISTENT_QUEUE,
            seen,
            f"requests have been waiting without a break for {lasted_s:.0f} s, {queue:.0f} of them now",
            "add replicas, or find out why the engines do not take more at once",
            {"queue_depth": queue, "lasted_s": lasted_s},
        )


def _stuck(seen: ReplicaLoad) -> Iterator[Finding]:
    running = seen.running
    if isinstance(running, Missing) or running <= 0 or seen.window_s < STUCK_WINDOW_S:
        return
    if seen.output_tokens_per_s == 0 and seen.prompt_tokens_per_s == 0:
        yield _finding(
            FindingKind.STUCK,
            seen,
            f"{running:.0f} requests run, and not one token came in {seen.window_s:.0f} s",
            "look at the engine's log and restart the replica",
            {"running": running, "window_s": seen.window_s},
        )


def _price_unknown(costs: Iterable[ReplicaCost]) -> Iterator[Finding]:
    unknown: dict[tuple[str, str, str], list[Missing]] = {}
    for cost in costs:
        if isinstance(cost.usd_per_hour, Missing) and cost.replica != STRANDED:
            unknown.setdefault((cost.service, cost.variant, cost.capacity_type), []).append(cost.usd_per_hour)
    for (service, variant, _), lost in unknown.items():
        yield Finding(
            kind=FindingKind.PRICE_UNKNOWN,
            service=service,
            variant=variant,
            replica="",
            what=f"{lost[0]}; {len(lost)} replica(s) have no known cost",
            do="write usd_per_gpu_hour in the fleet file; until then no cost knob moves",
            numbers={"replicas": float(len(lost))},
        )


def _finding(
    kind: FindingKind, seen: Estimate | ReplicaLoad, what: str, do: str, numbers: Mapping[str, float]
) -> Finding:
    return Finding(
        kind=kind,
        service=seen.service,
        variant=seen.variant,
        replica=seen.replica,
        what=what,
        do=do,
        numbers=dict(numbers),
    )
