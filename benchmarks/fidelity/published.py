"""Published end-to-end figures of real engines, and the same in the simulator. Pure.

NIM     https://docs.nvidia.com/nim/benchmarking/llm/1.0.0/performance, version 1.8.0; closed loop. Lengths and GPU of
        its 8B are not said: 200 + 200 tokens and one H100 in fp8 are assumed (concurrency x answer length over
        throughput is TTFT + the gaps, which gives 182 to 194 tokens an answer).
MLPerf  v4.0, Llama-2-70B, offline. Engines and batch from github.com/mlcommons/inference_results_v4.0, closed/NVIDIA/
        configs/llama2-70b/Offline; the results as quoted elsewhere: the configurations expect the same (76 and 108
        requests/s of 294 tokens).
A100    https://johnmusgrave.com/p/vllm-throughput-latency-sweep-on, vLLM 0.23, 1,024 + 128 tokens; one request at a
        time decodes at "about 75 tokens/sec".

Each is simulated twice: as `backtest` would, with the shipped fit to NVIDIA AIConfigurator 0.12 (Apache-2.0) where
there is one for the machine, and with the roofline that the GPU and model tables alone give. Neither has seen any of
these figures, but for the host's floor (StepModel).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from benchmarks.fidelity.loads import ClosedLoop, Load, Offline, Outcome
from controller.backtest.engines import Speed, speed_of
from controller.catalog.load import load_gpus, load_models
from controller.estimate.performance.prior import StepPrior, step_prior
from controller.facts.fleet import EngineKind, Variant
from controller.facts.missing import Missing
from controller.simulate.stepmodel import EngineSpec

GOAL_RATIO = 0.10

MLPERF_TOKENS = 294.0
"""Mean of prompts and of answers; the dataset's 24,576 requests are played once."""

HOST_TOKENS_PER_S = 18_000
"""What one engine process would have to carry for the row of NIM's 8B at 200 to come out: solved from that row, so it
is no check of it; 150 and 250 are."""

HOST_DECIDES_FROM = 100
"""Requests at once: below, steps of an 8B last longer than the host needs for their tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One engine: its rows in the tables, and its scheduler's settings. ``dtype``: of weights and KV cache;
    ``kv_tokens``: None where it is what the tables say."""

    model: str
    gpu: str
    gpus: int = 1
    dtype: str = "fp8"
    kv_tokens: int | None = None
    reserves_output: bool = False
    max_sequences: int = 1024
    token_budget: int = 8192

    def shipped(self) -> EngineSpec:
        """As `backtest` would simulate it."""
        speed = self._speed()
        return EngineSpec(
            model_name=self.model,
            step=speed.step,
            kv_capacity_tokens=self.kv_tokens or int(speed.kv_tokens),
            token_budget=self.token_budget,
            max_sequences=self.max_sequences,
            kv_cache_dtype=self.dtype,
            reserves_output=self.reserves_output,
        )

    def by_roofline(self) -> EngineSpec:
        """The same, as if nobody had ever fitted anything to it."""
        prior = step_prior(load_models()[self.model], self._variant())
        assert isinstance(prior, StepPrior), prior
        return replace(self.shipped(), step=prior.step)

    def with_host(self, tokens_per_s: float) -> EngineSpec:
        """The same with a process that hands out at most so many tokens/s; 0: as many as it likes."""
        spec = self.shipped()
        return replace(spec, step=replace(spec.step, host_per_token_s=1 / tokens_per_s if tokens_per_s else 0.0))

    def _speed(self) -> Speed:
        found = speed_of(load_models()[self.model], self._variant())
        if isinstance(found, Missing):
            raise RuntimeError(str(found))
        return found

    def _variant(self) -> Variant:
        return Variant(
            service="published",
            name=self.gpu,
            gpu=load_gpus()[self.gpu],
            gpus_per_replica=self.gpus,
            quantization=self.dtype,
            kv_cache_dtype=self.dtype,
            engine=EngineKind.VLLM,
            capacity=(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One published measurement, and what was published of it: output tokens/s of all engines, ms."""

    name: str
    machine: Machine
    load: Load
    tokens_per_s: float | None = None
    itl_ms: float | None = None
    ttft_ms: float | None = None

    def errors(self, said: Outcome) -> dict[str, float]:
        """(simulated - published) / published, of what is published."""
        found = {"tokens/s": (self.tokens_per_s, said.tokens_per_s), "ITL": (self.itl_ms, said.itl_s * 1e3)}
        return {name: simulated / published - 1 for name, (published, simulated) in found.items() if published}


# TensorRT-LLM lets a request in only when its whole answer has room. How many fit follows from the page's last row by
# Little's law: 920 tokens/s x 93.2 ms between tokens are 86 sequences of 5,500 tokens. (AIConfigurator's room is for
# 75.) So the rows from 100 on say how long a full batch takes, not how full it gets.
NIM_70B = Machine(
    model="llama-3.1-70b", gpu="H100-SXM", gpus=2, reserves_output=True, kv_tokens=round(920 * 0.0932 * 5500)
)
NIM_8B = Machine(model="llama-3.1-8b", gpu="H100-SXM", reserves_output=True)
# Llama-2-70B is Llama-3.1-70B but for its smaller vocabulary.
MLPERF_H100 = Machine(model="llama-3.1-70b", gpu="H100-SXM", gpus=2, max_sequences=896)
MLPERF_H200 = Machine(model="llama-3.1-70b", gpu="H200-SXM", max_sequences=784)
# vLLM's defaults for a GPU of 40 GB. There is no fit for it: both simulations are the roofline's.
A100_40GB = Machine(model="llama-3.1-8b", gpu="A100-40GB-SXM", dtype="bf16", token_budget=2048, max_sequences=256)

NIM_70B_SAID = {
    1: (51.67, 18.58, 406.77),
    5: (218.48, 21.83, 546.7),
    25: (623.4, 38.75, 688.69),
    50: (814.37, 59.73, 834.51),
    100: (917.26, 92.91, 7996.25),
    150: (920.9, 92.86, 34794.22),
    200: (920.54, 93.06, 61680.22),
    250: (920.12, 93.2, 88605.32),
}
NIM_8B_SAID = {
    1: (214.56, 4.63, 10.26),
    5: (1076.88, 4.58, 16.81),
    25: (4678.88, 5.19, 36.34),
    50: (8018.23, 5.91, 67.41),
    100: (12214.97, 7.57, 119.97),
    150: (12988.89, 9.81, 346.53),
    200: (13348.4, 12.65, 465.18),
    250: (12964.72, 16.14, 605.6),
}
"""By concurrency: output tokens/s, ms between tokens, ms to the first one."""


def _nim(
    name: str, machine: Machine, prompt: int, output: int, said: Mapping[int, tuple[float, float, float]]
) -> Iterator[Row]:
    return (
        Row(
            name=f"{name}, {clients} at once",
            machine=machine,
            load=ClosedLoop(clients=clients, prompt_tokens=prompt, output_tokens=output),
            tokens_per_s=tokens_per_s,
            itl_ms=itl_ms,
            ttft_ms=ttft_ms,
        )
        for clients, (tokens_per_s, itl_ms, ttft_ms) in said.items()
    )


ROWS: tuple[Row, ...] = (
    *_nim("NIM 70B", NIM_70B, 5000, 500, NIM_70B_SAID),
    *_nim("NIM 8B", NIM_8B, 200, 200, NIM_8B_SAID),
    Row(
        name="MLPerf 70B offline, 8 x H100 (4 engines, batch 896)",
        machine=MLPERF_H100,
        load=Offline(requests=24_576, mean_tokens=MLPERF_TOKENS, engines=4),
        tokens_per_s=22_290,
    ),
    Row(
        name="MLPerf 70B offline, 8 x H200 (8 engines, batch 784)",
        machine=MLPERF_H200,
        load=Offline(requests=24_576, mean_tokens=MLPERF_TOKENS, engines=8),
        tokens_per_s=31_712,
    ),
    Row(
        name="vLLM 8B, A100-40GB, 1 at once (decodes 75 tokens/s)",
        machine=A100_40GB,
        load=ClosedLoop(clients=1, prompt_tokens=1024, output_tokens=128),
        itl_ms=1e3 / 75,
    ),
)


def table() -> str:
    """Markdown of all rows, and of what the host's floor does to the 8B."""
    return "\n".join([*_main_table(), "", *_host_table()])


def _main_table() -> Iterator[str]:
    yield (
        "| published | tokens/s | simulated | error | ITL, ms | simulated | error | TTFT, ms | simulated | within 10 % "
        "| by the roofline: tokens/s | ITL |"
    )
    yield "|---|" + "---:|" * 8 + "---|---:|---:|"
    for row in ROWS:
        said = row.load.run(row.machine.shipped())
        off, by_roofline = row.errors(said), row.errors(row.load.run(row.machine.by_roofline()))
        throughput = _cells(row.tokens_per_s, said.tokens_per_s, off.get("tokens/s"))
        itl = _cells(row.itl_ms, said.itl_s * 1e3, off.get("ITL"))
        ttft = _cells(row.ttft_ms, said.ttft_s * 1e3, None)[:2]
        roofline = [_signed(by_roofline.get(name)) for name in ("tokens/s", "ITL")]
        yield f"| {' | '.join([row.name, *throughput, *itl, *ttft, _within(off), *roofline])} |"


def _host_table() -> Iterator[str]:
    floors = {"none": 0, "15,000 (usual)": 15_000, f"{HOST_TOKENS_PER_S:,}": HOST_TOKENS_PER_S}
    yield f"| NIM 8B, error of tokens/s (of ITL) with a host of at most ... tokens/s | {' | '.join(floors)} |"
    yield "|---|" + "---:|" * len(floors)
    for row in ROWS:
        if row.machine is NIM_8B and isinstance(row.load, ClosedLoop) and row.load.clients >= HOST_DECIDES_FROM:
            errors = [row.errors(row.load.run(row.machine.with_host(floor))) for floor in floors.values()]
            cells = [f"{_signed(one['tokens/s'])} ({_signed(one['ITL'])})" for one in errors]
            yield f"| {row.load.clients} at once | {' | '.join(cells)} |"


def _within(off: Mapping[str, float]) -> str:
    good = [name for name, error in off.items() if abs(error) <= GOAL_RATIO]
    return "yes" if len(good) == len(off) else " and ".join(f"{name} only" for name in good) or "no"


def _cells(published: float | None, simulated: float, error: float | None) -> list[str]:
    return ["", "", ""] if published is None else [_number(published), _number(simulated), _signed(error)]


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _signed(ratio: float | None) -> str:
    return "" if ratio is None else f"{100 * ratio:+.1f}"
