"""The demo on real engines: vLLM processes with a tiny random model, scaled by the same daemon under a real load."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from controller.act.process import ProcessActuator
from controller.attribute.batch import batch_of
from controller.clock import utc_now
from controller.demo.accounts import Accounts
from controller.demo.dashboard import APP, DashboardProcess
from controller.demo.dashboard import FIRST_PORT as DASHBOARD_PORT
from controller.demo.gateway import SOURCE
from controller.demo.load import LoadGenerator
from controller.demo.ports import PortPicker
from controller.demo.score import Score, Served
from controller.demo.signals import stop_signals
from controller.demo.summary import COPIED, Summary, closing
from controller.errors import PennyweightError
from controller.facts.decisions import Because, Decision
from controller.facts.fleet import Variant
from controller.facts.missing import Missing
from controller.facts.readings import Phase, ReplicaState
from controller.settings.load import load_settings
from controller.wiring import built

PYTHON_VARIABLE = "PENNYWEIGHT_LIVE_PYTHON"
SERVICE, VARIANT = "tiny", "cpu"
FIRST_PORT, MAX_REPLICAS = 8101, 3
INTERVAL_S = 2.0
DEFAULT_PASSES = 180
OUTPUT_TOKENS = 400
TTFT_S, TPOT_S = 5.0, 0.1
CLIENTS = ((0.0, 2), (0.1, 14), (0.55, 1))
"""From which share of the passes on, how many clients: a quiet start, a rush for three replicas, a quiet end."""

FLEET = """\
# Real vLLM servers on this machine, started and stopped by the daemon itself.
mode: act
interval: {interval:g}s
rate_window: 10s
account: {{rules: [{{idle: by_use, overhead: by_use}}]}}
scrape_limits: {{target_timeout: 8s}}
ledger: sqlite:///pennyweight.db
serve: {{port: 0}}
services:
  tiny:
    model: {{name: tiny, params_b: 0.0014, layers: 2, hidden: 256, heads: 4, kv_heads: 2, head_dim: 64, vocab: 259}}
    variants:
      cpu:
        # A made-up accelerator and a made-up price: a CPU has neither, but the arithmetic is the same.
        gpu: {{name: one-cpu-core, memory_gb: 4, bandwidth_gb_per_s: 20, tflops: {{bf16: 0.05}}}}
        quantization: bf16
        engine: vllm
        actuator:
          process:
            command: [{command}]
            ports: {first}-{last}
            environment:
              VLLM_CPU_KVCACHE_SPACE: "1" # GiB
              # One thread an engine: threads of three engines that spin on two cores would starve everything else.
              OMP_NUM_THREADS: "1"
              VLLM_CPU_OMP_THREADS_BIND: nobind
              HF_HUB_OFFLINE: "1"
              VLLM_NO_USAGE_STATS: "1"
            directory: run
            start_timeout: 8m
            drain_timeout: 60s
        capacity:
          - {{type: reserved, replicas: 1, usd_per_gpu_hour: 2.10}}
          - {{type: on_demand, usd_per_gpu_hour: 3.50}}
"""

POLICY = """\
service: tiny
slo: {{ttft_p95: {ttft:g}s, tpot_p95: {tpot:g}ms}}
scaling:
  min_replicas: 1
  max_replicas: {most}
  targets: {{queue_depth: 2, kv_cache: 60%, headroom: 15%}}
  scale_up:   {{stabilization: 4s, at_most: {{replicas: 2, per: 20s}}}}
  scale_down: {{stabilization: 20s, spare: 20s, at_most: {{replicas: 1, per: 10s}}}}
  start_deadline: 8m
"""

# 64 blocks of 32 tokens hold four requests of 464 tokens and little more, so that KV-cache use tells the load.
ARGUMENTS = (
    *("--served-model-name", "tiny", "--host", "127.0.0.1", "--port", "{port}"),
    *("--enforce-eager", "--dtype", "bfloat16", "--max-model-len", "1024", "--max-num-seqs", "4"),
    *("--block-size", "32", "--num-gpu-blocks-override", "64", "--enable-mfu-metrics"),
    # The worker inside the engine's process. In two processes, as CPUs have it by default (for OpenMP's threads,
    # of which there is one here), both spin while they wait for each other: one busy engine then leaves two cores
    # so little that two more take four minutes to start beside it.
    *("--distributed-executor-backend", "vllm.v1.executor.uniproc_executor.UniProcExecutor"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealFiles:
    """Where the demo's files are."""

    directory: Path

    @property
    def fleet(self) -> Path:
        return self.directory / "fleet.yaml"

    @property
    def targets(self) -> Path:
        return self.directory / "run" / f"{SERVICE}-{VARIANT}.targets.json"

    @property
    def ledger_url(self) -> str:
        return f"sqlite:///{self.directory / 'pennyweight.db'}"


def engine_python(environ: Mapping[str, str]) -> Path:
    """The interpreter that has vLLM. PennyweightError says how to get one."""
    named = environ.get(PYTHON_VARIABLE)
    candidates = [Path(named)] if named else [Path(".venv-live/bin/python").absolute()]
    for python in candidates:
        if python.exists():
            return python
    raise PennyweightError(
        f"no Python with vLLM: {candidates[0]} does not exist; run `make live-engine` (about 1.5 GB, once), "
        f"or set {PYTHON_VARIABLE}"
    )


def write_files(directory: Path, python: Path, ports: PortPicker) -> RealFiles:
    """The tiny model, the fleet file and the policy."""
    files = RealFiles(directory=directory.resolve())
    (files.directory / "policies").mkdir(parents=True, exist_ok=True)
    model = files.directory / "model"
    if not model.exists():
        script = Path(__file__).with_name("tiny_model.py")
        made = subprocess.run([python, script, model], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            last = "\n".join(made.stderr.splitlines()[-3:])
            raise PennyweightError(f"the tiny model could not be made: {last}")
    first = ports.pick(FIRST_PORT, "the first engine")
    command = (str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *ARGUMENTS)
    text = FLEET.format(
        interval=INTERVAL_S,
        command=", ".join(f'"{part}"' for part in command),
        first=first,
        last=first + 2 * MAX_REPLICAS - 1,
    )
    files.fleet.write_text(text, encoding="utf-8")
    policy = POLICY.format(ttft=TTFT_S, tpot=TPOT_S * 1000, most=MAX_REPLICAS)
    (files.directory / "policies" / f"{SERVICE}.yaml").write_text(policy, encoding="utf-8")
    return files


def load_generator(files: RealFiles) -> LoadGenerator:
    """Clients that ask for as many tokens as the scenario is made for."""
    deadline_s = TTFT_S + (OUTPUT_TOKENS - 1) * TPOT_S
    return LoadGenerator(
        files.targets,
        service=SERVICE,
        model="tiny",
        prompt="p" * 64,
        output_tokens=OUTPUT_TOKENS,
        deadline_s=deadline_s,
    )


def run_real(passes: int | None, dashboard: bool, directory: Path | None, environ: Mapping[str, str]) -> int:
    """The whole demo; the exit code. Every engine that it started is stopped at its end."""
    console = Console()
    ports = PortPicker()
    python = engine_python(environ)
    console.print("making a tiny random model for vLLM (about 10 s) ...", highlight=False)
    files = write_files(directory or Path(tempfile.mkdtemp(prefix="pennyweight-live-")), python, ports)
    settings = load_settings(files.fleet, {})
    with ExitStack() as stack:
        stopped = stack.enter_context(stop_signals())
        everything = stack.enter_context(built(settings))
        accounts = Accounts.of(everything.accounting)
        load = load_generator(files)
        stack.callback(load.close)
        if dashboard and APP.exists():
            port = ports.pick(DASHBOARD_PORT, "the dashboard")
            board = DashboardProcess(files.ledger_url, port, files.directory / "dashboard.log")
            stack.callback(board.close)
            console.print(f"dashboard: {board.url}", highlight=False)
        for line in (*ports.moved, f"files: {files.directory}", "the first engine takes about 40 s to start"):
            console.print(line, highlight=False)
        count, score = passes or DEFAULT_PASSES, Score()
        with Summary(console, (TTFT_S, TPOT_S), title="pennyweight demo, real vLLM on the CPU") as summary:
            for number in range(count):
                if stopped.is_set():
                    break
                began = time.monotonic()
                load.set_clients(clients_at(number / count))
                result = everything.daemon.step()
                _send(accounts, load)
                score = score.after(result, _served(load))
                summary.show(result, score)
                stopped.wait(max(0.0, INTERVAL_S - (time.monotonic() - began)))
        _send(accounts, load)
        accounts.settle(utc_now())
        spend = accounts.told()
        for line in closing(score, ledger=files.ledger_url, directory=str(files.directory), spend=spend):
            console.print(line, soft_wrap=line.startswith(COPIED), highlight=False)
    console.print("stopping the engines ...", highlight=False)
    stop_engines(settings.fleet.services[SERVICE].variants[VARIANT])
    return 0


def _send(accounts: Accounts, load: LoadGenerator) -> None:
    if records := load.take_records():
        accounts.take(SOURCE, batch_of(records, SOURCE))


def clients_at(share: float) -> int:
    """How many clients there are when ``share`` of the demo is over."""
    return [clients for start, clients in CLIENTS if start <= share][-1]


def stop_engines(variant: Variant, deadline_s: float = 120.0) -> None:
    """Drain and stop every engine of ``variant``, as a scale-down to zero would."""
    actuator, ends = ProcessActuator(), time.monotonic() + deadline_s
    while (states := actuator.replicas(variant, utc_now())) and time.monotonic() < ends:
        if isinstance(states, Missing):
            return
        alive = [state for state in states if state.phase in (Phase.STARTING, Phase.READY)]
        if alive:
            actuator.apply(_to_zero(variant, alive), variant, utc_now())
        time.sleep(0.5)


def _to_zero(variant: Variant, alive: Sequence[ReplicaState]) -> Decision:
    now = utc_now()
    return Decision(
        id=f"{variant.service}/{variant.name}@{now.isoformat()}/end",
        at=now,
        service=variant.service,
        variant=variant.name,
        current=len(alive),
        ready=sum(state.phase is Phase.READY for state in alive),
        desired=0,
        wanted=0,
        because=Because.LIMIT,
        detail="the demo is over",
        usd_per_hour_before=Missing("usd_per_hour", "not asked"),
        usd_per_hour_after=Missing("usd_per_hour", "not asked"),
        victims=tuple(state.replica for state in alive),
    )


def _served(load: LoadGenerator) -> Served:
    got = load.received
    return Served(finished=got.requests, within_slo=got.within_slo, dropped=got.failed, output_tokens=got.output_tokens)
