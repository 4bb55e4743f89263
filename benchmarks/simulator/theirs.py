"""Runs in the other simulator's own Python: one fixed fleet, requests from a file, its cost as JSON on stdout."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np


def main(fleet: dict[str, float], requests_file: str) -> dict[str, float | str]:
    """``fleet``: replicas, base_s, per_sequence_s, chunk, kv_tokens, max_sequences and mean_tokens of a request."""
    there: Any = import_module("fleet_sim.core.fleet")
    requests: Any = import_module("fleet_sim.core.request")
    profiles: Any = import_module("fleet_sim.gpu_profiles.manual")
    columns = np.load(requests_file)
    rows = zip(*(columns[name].tolist() for name in ("arrival_s", "prompt_tokens", "output_tokens")), strict=True)
    come = [
        (at_s, requests.Request(req_id=number, arrival_time=at_s, l_in=prompt, l_out=output))
        for number, (at_s, prompt, output) in enumerate(rows)
    ]
    length = int(fleet["mean_tokens"])
    gpu = profiles.ManualProfile(
        name="ours",
        W=fleet["base_s"],
        H=fleet["per_sequence_s"],
        calibration_ctx=length,
        chunk=int(fleet["chunk"]),
        blk_size=16,
        total_kv_blks=int(fleet["kv_tokens"]) // 16,
        max_slots=int(fleet["max_sequences"]),
        cost_per_hr=6.0,
    )
    pool = there.PoolConfig(
        pool_id="all", gpu=gpu, n_gpus=int(fleet["replicas"]), max_ctx=length, lb_strategy="least_loaded"
    )
    simulated = there.Fleet(there.FleetConfig(pools=[pool], router_type="RandomRouter"))
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    result = simulated.run(come)
    return {
        "version": version("vllm-sr-sim"),
        "requests": len(come),
        "finished": len(result.completed),
        "wall_s": time.perf_counter() - wall_s,
        "cpu_s": time.process_time() - cpu_s,
        "ttft_p99_s": result.p99_ttft_ms() / 1000,
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]), sys.argv[2])))
