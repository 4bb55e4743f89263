"""What the tests of the command share: a policy, a fleet, and what a user reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

POLICY = """\
service: chat
slo: {ttft_p95: 2s, tpot_p95: 50ms, attainment: 90%}
scaling:
  min_replicas: 1
  max_replicas: 6
  targets: {queue_depth: 10, kv_cache: 80%}
  scale_up:   {stabilization: 0s}
  scale_down: {stabilization: 60s}
"""
FLEET = """\
services:
  chat:
    model: llama-3.1-70b
    variants:
      h100-fp8:
        gpu: H100-80GB-SXM
        gpus_per_replica: 2
        quantization: fp8
        kv_cache_dtype: fp8
        scrape: {static: ["http://127.0.0.1:1"]}
        capacity: [{type: on_demand%s}]
"""
ROWS = ["arrival_s,prompt_tokens,output_tokens"]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        return " ".join(self.out.split())


Typed = Callable[..., Said]
