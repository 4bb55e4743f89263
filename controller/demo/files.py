"""The files of the emulated demo: an ordinary fleet file and policy, to open, change and learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SERVICE, VARIANT = "chat", "h100-fp8"
MIN_REPLICAS, MAX_REPLICAS = 2, 8
RESERVED = 2
INTERVAL_S = 30
TTFT_P95_S, TPOT_P95_S = 2.0, 0.1

FLEET = f"""\
# What exists. The same file works for a real fleet: only the actuator and the addresses differ.
mode: act
interval: {INTERVAL_S}s
ledger: {{ledger}}
# Whose the cost is: the demo's gateway sends a usage record for each request (docs/usage.md).
account:
  # Its records come within minutes; left out, an hour waits two hours for them.
  settle_after: 10m
  # Idle and overhead are borne by those who use the service; left out, they are lines of their own.
  rules: [{{{{idle: by_use, overhead: by_use}}}}]
  budgets:
    - {{{{name: chat-app, scope: {{{{team: chat-app}}}}, monthly_usd: 15000}}}}
services:
  {SERVICE}:
    model: llama-3.1-70b
    variants:
      {VARIANT}:
        gpu: H100-SXM
        gpus_per_replica: 2
        quantization: fp8
        engine: vllm
        max_num_batched_tokens: 512
        max_num_seqs: 256
        scrape: {{{{file_sd: [targets/{SERVICE}.json]}}}}
        actuator: {{{{emulated: {{{{}}}}}}}}
        capacity:
          # Two replicas under contract, paid whether used or not. The price is made up; yours is in your contract.
          - {{{{type: reserved, replicas: {RESERVED}, usd_per_gpu_hour: 3.90}}}}
          # The rest by the hour, at the price book's price.
          - {{{{type: on_demand, offer: aws/us-east-1/p5.48xlarge}}}}
"""

POLICY = f"""\
# What is wanted of the service `{SERVICE}`.
service: {SERVICE}
slo: {{ttft_p95: {TTFT_P95_S:g}s, tpot_p95: {TPOT_P95_S * 1000:g}ms, attainment: 95%}}
scaling:
  min_replicas: {MIN_REPLICAS}
  max_replicas: {MAX_REPLICAS}
  # Enough replicas for the demand that is forecast for the moment when a new one would be ready; what one carries
  # within the SLO is learned. The targets are a floor, and decide alone until both are known.
  method: predictive
  targets: {{queue_depth: 20, kv_cache: 85%, headroom: 10%}}
  scale_up:   {{stabilization: 30s, at_most: {{replicas: 3, per: 120s}}}}
  scale_down: {{at_most: {{replicas: 1, per: 60s}}}}
  start_deadline: 10m
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFiles:
    """Where they are."""

    directory: Path

    @property
    def fleet(self) -> Path:
        return self.directory / "fleet.yaml"

    @property
    def policies(self) -> Path:
        return self.directory / "policies"

    @property
    def targets(self) -> Path:
        return self.directory / "targets" / f"{SERVICE}.json"

    @property
    def ledger_url(self) -> str:
        return f"sqlite:///{self.directory / 'pennyweight.db'}"


def write_files(directory: Path) -> DemoFiles:
    """Write what is not there yet: a second run in the same directory keeps what the reader has changed."""
    files = DemoFiles(directory=directory.resolve())
    files.policies.mkdir(parents=True, exist_ok=True)
    files.targets.parent.mkdir(parents=True, exist_ok=True)
    for path, text in (
        (files.fleet, FLEET.format(ledger=files.ledger_url)),
        (files.policies / f"{SERVICE}.yaml", POLICY),
    ):
        if not path.exists():
            path.write_text(text, encoding="utf-8")
    return files
