"""The same requests in the simulator, with the step model and the overhead that profile fitted. Pure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.fidelity.clients import Served
from controller.facts.profile import StepFit
from controller.simulate.arrivals import NO_REQUESTS, Requests
from controller.simulate.fleet import SimulatedFleet
from controller.simulate.stepmodel import EngineSpec

SLICE_S = 60.0


def simulated(served: Served, fit: StepFit, spec: EngineSpec) -> Served:
    """What the simulator says of what was really sent: sending times and tokens are the real ones. The fitted overhead
    of a request (HTTP, tokenizer, streaming) comes on top of the engine's time, for its first token and its last."""
    fleet = SimulatedFleet(0.0, max_model_len=spec.max_model_len)
    fleet.start("engine", replace(spec, step=fit.step), 0.0)
    requests = Requests(
        arrival_s=np.array(served.sent_s),
        prompt_tokens=np.array(served.prompt_tokens, np.int32),
        output_tokens=np.array(served.output_tokens, np.int32),
        cached_tokens=np.zeros(len(served.sent_s), np.int32),
    )
    parts = [fleet.advance(served.sent_s[-1], requests)]
    while fleet.in_flight:
        parts.append(fleet.advance(fleet.now_s + SLICE_S, NO_REQUESTS))
    order = np.argsort(np.concatenate([part.number for part in parts]))
    first_s = np.concatenate([part.first_token_s for part in parts])[order]
    last_s = np.concatenate([part.finished_s for part in parts])[order]
    return replace(
        served, first_s=(first_s + fit.overhead_s).tolist(), last_s=(last_s + fit.overhead_s).tolist(), others_cores=0.0
    )
