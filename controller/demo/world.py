"""The emulated demo's outside world: traffic, replicas and how their clients fared, moved on by virtual time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from controller.demo.actuator import EmulatedActuator
from controller.demo.files import MIN_REPLICAS, RESERVED, TPOT_P95_S, TTFT_P95_S, VARIANT
from controller.demo.gateway import Gateway
from controller.demo.ports import PortPicker
from controller.demo.score import Served
from controller.demo.serving import ServedFleet
from controller.simulate.fleet import Finished, SimulatedFleet
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100
from controller.simulate.traffic import Traffic, TrafficSpec, day_shape

SPEC = replace(LLAMA_70B_FP8_2XH100, token_budget=512, max_sequences=256)
"""Small prefill chunks, as one sets for chat: a step with a full chunk takes 55 ms rather than 600."""

PEAK_PER_S = 35.0
"""Requests/s in the busiest hour: what about eight of these engines carry with headroom, found by running them."""

BUSIEST_TO_QUIETEST = 6.2
"""Busiest to quietest hour: ServeGen's m-large fortnight at Alibaba Model Studio (Xiang et al., arXiv:2505.09999).
Azure's week has 3.56; the demo takes the livelier one, which also suits scaling better."""


class EmulatedWorld:
    """Starts with the policy's minimum of replicas, all ready. ``gateway``: sees what is asked and answered."""

    def __init__(self, *, start_s: float, seed: int, targets: Path, ports: PortPicker) -> None:
        self.fleet = ServedFleet(SimulatedFleet(start_s), SPEC, ports)
        self.actuator = EmulatedActuator(self.fleet, targets=targets, reserved=RESERVED, seed=seed)
        self.served = Served()
        self.gateway: Gateway | None = None
        self._traffic = Traffic(TrafficSpec(peak_per_s=PEAK_PER_S, shape=day_shape(BUSIEST_TO_QUIETEST)), seed, start_s)
        self.actuator.seed_replicas(VARIANT, MIN_REPLICAS)
        self.actuator.publish()

    def advance(self, until_s: float) -> None:
        """Let the clients ask and the engines answer until then."""
        requests = self._traffic.until(until_s)
        finished = self.fleet.advance(until_s, requests)
        if self.gateway is not None:
            self.gateway.asked(requests)
            self.gateway.answered(finished)
        self.served = Served(
            finished=self.served.finished + len(finished),
            within_slo=self.served.within_slo + _within_slo(finished),
            dropped=self.fleet.dropped,
            output_tokens=self.served.output_tokens + int(finished.output_tokens.sum()),
        )
        self.actuator.publish()

    def close(self) -> None:
        self.fleet.close()


def _within_slo(finished: Finished) -> int:
    return int(((finished.ttft_s <= TTFT_P95_S) & (finished.tpot_s <= TPOT_P95_S)).sum())
