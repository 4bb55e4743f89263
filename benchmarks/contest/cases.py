"""What is played: traces, engines and start-up times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from controller.backtest.run import Stage
from controller.backtest.tracefile import read_lengths, read_trace
from controller.catalog.gpus import find_gpu
from controller.catalog.models import find_model
from controller.decide.rules import USUAL_DOWN, USUAL_UP, Method, ReplicaRule, ServicePolicy, Targets
from controller.facts.fleet import Capacity, CapacityType, EngineKind, Fleet, Service, Variant
from controller.facts.performance import RequestShape, StepModel
from controller.facts.slo import LatencyTarget, Slo
from controller.simulate.opponents.profile import profile_engine
from controller.simulate.shell import Seat
from controller.simulate.startup import StartUp
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100, EngineSpec
from controller.simulate.workload.blocks import BlockWorkload, Floats
from controller.simulate.workload.clients import ClientLengths, ClientTrace, ClientWorkload
from controller.simulate.workload.lengths import Lengths
from controller.simulate.workload.modifiers import between
from controller.simulate.workload.rates import RateTrace, RateWorkload
from controller.simulate.world import Case, Judge

T = TypeVar("T")

TRACES = Path(__file__).parent.parent / "traces"
DAY_S = 86_400.0

TTFT_S, TPOT_S = 2.0, 0.05
LONG_PROMPT_TOKENS, LONG_TTFT_S = 8000, 5.0
"""Interactive use: the first token within 2 s (5 s after a prompt of more than 8,000 tokens), 20 tokens/s after it."""

WRONG_BY, BELIEF_SEED = 0.2, 7

SERVEGEN_SHARE = 0.2
"""Of ServeGen's clients: whole clients are dropped, so that their burstiness stays. 39 requests/s on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One way to serve it. ``usd_per_gpu_hour``: a round figure near the market's, for readable totals."""

    spec: EngineSpec
    model: str
    gpu: str
    gpus_per_replica: int
    quantization: str
    kv_cache_dtype: str
    usd_per_gpu_hour: float


ENGINES: Mapping[str, Engine] = {
    "70b-2xh100": Engine(
        # Prompts in chunks of 384 tokens, so that a step with one takes 45 ms: inside 50 ms for every token of the
        # others. With vLLM's default of 8,192 no number of replicas keeps 99 % of short answers inside 50 ms.
        spec=replace(LLAMA_70B_FP8_2XH100, token_budget=384, max_sequences=128),
        model="llama-3.1-70b",
        gpu="H100-80GB-SXM",
        gpus_per_replica=2,
        quantization="fp8",
        kv_cache_dtype="fp8",
        usd_per_gpu_hour=3.0,
    ),
    "8b-l40s": Engine(
        spec=EngineSpec(
            model_name="meta-llama/Llama-3.1-8B-Instruct",
            # Least-squares fit (2.2 % error) to NVIDIA AIConfigurator 0.12 (Apache-2.0): L40S, FP8 weights and KV.
            step=StepModel(
                base_s=13.3325e-3,
                per_sequence_s=0.0187e-3,
                per_kv_token_s=0.1001e-6,
                per_prefill_token_s=37.326e-6,
                per_prefill_pair_s=3.174e-9,
            ),
            kv_capacity_tokens=449_676,
            token_budget=512,
            max_sequences=256,
            kv_cache_dtype="fp8",
        ),
        model="llama-3.1-8b",
        gpu="L40S",
        gpus_per_replica=1,
        quantization="fp8",
        kv_cache_dtype="fp8",
        usd_per_gpu_hour=1.0,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """One case of the contest: a day of a trace, an engine, a start-up time."""

    trace: str
    day: int
    engine: str
    start_up_s: float
    hours: float = 24.0

    @property
    def name(self) -> str:
        return f"{self.trace} day {self.day}, {self.engine}, start-up {self.start_up_s:.0f} s"


@cache
def _rates(trace: str) -> tuple[RateTrace | ClientTrace, Lengths | ClientLengths]:
    files = {
        "azure2024": ("azure2024_conv_10s.csv.gz", "azure2024_conv_token_quantiles.csv.gz"),
        "servegen": ("servegen_m_large_client_rates_10min.csv.gz", "servegen_m_large_token_quantiles.csv.gz"),
    }
    if trace not in files:
        raise ValueError(f"no trace {trace!r}; there are {', '.join(files)}")
    rates, lengths = (TRACES / file for file in files[trace])
    read = read_trace(rates)
    if not isinstance(read, RateTrace | ClientTrace):
        raise TypeError(f"{rates} holds requests, not rates")
    return read, read_lengths(lengths)


def workload(ground: Ground, seed: int) -> BlockWorkload:
    """The requests of the day: the counts are the trace's, the seed draws lengths and moments."""
    rates, lengths = _rates(ground.trace)
    whole: BlockWorkload
    if isinstance(rates, RateTrace) and isinstance(lengths, Lengths):
        whole = RateWorkload(rates, lengths, seed=seed)
    elif isinstance(rates, ClientTrace) and isinstance(lengths, ClientLengths):
        whole = ClientWorkload(rates.subset(SERVEGEN_SHARE, seed=1), lengths, seed=seed)
    else:
        raise TypeError(f"the lengths of {ground.trace} are of another form than its rates")
    start_s = whole.start_s + ground.day * DAY_S
    return between(whole, start_s, start_s + ground.hours * 3600)


def earlier(ground: Ground) -> Floats:
    """Requests per minute of the days before, as a ledger would know them."""
    rates, _ = _rates(ground.trace)
    if isinstance(rates, RateTrace):
        per_minute = round(60 / rates.bin_s)
        bins = rates.requests[: int(ground.day * DAY_S / rates.bin_s)]
        minutes: Floats = bins[: len(bins) // per_minute * per_minute].reshape(-1, per_minute).sum(axis=1)
        return minutes
    whole = workload(replace(ground, day=0, hours=24.0 * ground.day), seed=0)
    counts = np.zeros(int(ground.day * DAY_S / 60))
    for part in whole.blocks():
        places = ((part.arrival_s - whole.start_s) / 60).astype(np.int64)
        counts += np.bincount(places, minlength=len(counts))[: len(counts)]
    return counts


def policy(engine: Engine) -> ServicePolicy:
    """Ours as it ships, with this SLO: nothing in it knows the trace."""
    return ServicePolicy(
        service="chat",
        source="contest",
        slo=Slo(
            ttft=LatencyTarget(quantile=0.99, seconds=TTFT_S),
            tpot=LatencyTarget(quantile=0.99, seconds=TPOT_S),
            attainment_ratio=0.99,
        ),
        replicas=ReplicaRule(
            min_replicas=1,
            max_replicas=60,
            targets=Targets(),
            scale_up=USUAL_UP[Method.PREDICTIVE],
            scale_down=USUAL_DOWN[Method.PREDICTIVE],
        ),
    )


def _found(row: T | None, name: str) -> T:
    if row is None:
        raise ValueError(f"{name} is not in the shipped tables")
    return row


def believed(step: StepModel, seed: int) -> StepModel:
    """What ours is told of the engine: every coefficient wrong by up to WRONG_BY."""
    random = np.random.default_rng(seed)
    return StepModel(
        **{
            field.name: getattr(step, field.name) * float(random.uniform(1 - WRONG_BY, 1 + WRONG_BY))
            for field in fields(StepModel)
        }
    )


def stage(ground: Ground, seed: int = 1) -> Stage:
    """Everything but who plays. ``seed``: of the requests, and of what ours is told wrongly."""
    engine = ENGINES[ground.engine]
    day = workload(ground, seed=seed)
    first, _ = day.again().until(day.start_s + 600).before(day.start_s + 600)
    shape = RequestShape(
        prompt_tokens=float(first.prompt_tokens.mean()), output_tokens=float(first.output_tokens.mean())
    )
    profile = profile_engine(engine.spec.step, engine.spec.limits, shape, ttft_s=TTFT_S, tpot_s=TPOT_S)
    variant = Variant(
        service="chat",
        name=ground.engine,
        gpu=_found(find_gpu(engine.gpu), engine.gpu),
        gpus_per_replica=engine.gpus_per_replica,
        quantization=engine.quantization,
        kv_cache_dtype=engine.kv_cache_dtype,
        engine=EngineKind.VLLM,
        capacity=(Capacity(type=CapacityType.ON_DEMAND, usd_per_gpu_hour=engine.usd_per_gpu_hour),),
        start_up_s=ground.start_up_s,
        step=believed(engine.spec.step, seed=BELIEF_SEED + seed - 1),
        token_budget=engine.spec.token_budget,
        max_sequences=engine.spec.max_sequences,
    )
    service = Service(
        name="chat", model=_found(find_model(engine.model), engine.model), variants={variant.name: variant}
    )
    return Stage(
        case=Case(
            name=ground.name,
            spec=engine.spec,
            start_up=StartUp.around(ground.start_up_s),
            judge=Judge(ttft_s=TTFT_S, tpot_s=TPOT_S, long_prompt_tokens=LONG_PROMPT_TOKENS, long_ttft_s=LONG_TTFT_S),
            usd_per_replica_hour=engine.usd_per_gpu_hour * engine.gpus_per_replica,
            initial_replicas=1 + int(np.ceil(len(first) / 600 / (0.75 * profile.requests_per_s))),
        ),
        fleet=Fleet(services={"chat": service}),
        seat=Seat(
            service="chat",
            variant=variant.name,
            gpus_per_replica=engine.gpus_per_replica,
            capacity_type=CapacityType.ON_DEMAND,
        ),
        policy=policy(engine),
        profile=profile,
        earlier=earlier(ground) if ground.day else None,
    )
