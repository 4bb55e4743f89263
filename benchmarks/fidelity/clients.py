"""Plays a trace against a server with profile's client, and keeps what the clients saw."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import psutil

from benchmarks.fidelity.traces import Trace
from controller.profile.client import Client, Flight
from controller.profile.plan import SweepPlan
from controller.profile.preflight import preflight
from controller.profile.words import prompt

LEAD_S = 0.5
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What became of one trace, by request, in order of sending. Seconds after the first was sent; tokens by the
    server's usage.

    others_cores   CPU that neither the engine nor its clients used, mean number of cores: how disturbed this was
    """

    case: str
    seed: int
    repeat: int
    sent_s: Sequence[float]
    first_s: Sequence[float]
    last_s: Sequence[float]
    prompt_tokens: Sequence[int]
    output_tokens: Sequence[int]
    others_cores: float = 0.0


async def play(url: str, trace: Trace, *, case: str, seed: int, repeat: int, engine_pid: int) -> Served:
    """Every request at its due time. The words differ in every play, so no two prompts are alike. RuntimeError when one
    fails: then nothing can be compared."""
    flights = [Flight(due_s=0.0, asked_tokens=int(one)) for one in trace.prompt_tokens]
    async with Client(url, api="completions", api_key=None, timeout_s=TIMEOUT_S) as client:
        asking, _ = await preflight(client, SweepPlan(url=url, points=()))
        words = np.random.default_rng([seed, repeat, 7])
        bodies = [
            client.body(asking.model, prompt(asking.scale.words(int(tokens)), words), int(output), ignore_eos=True)
            for tokens, output in zip(trace.prompt_tokens, trace.output_tokens, strict=True)
        ]
        began_s, before = perf_counter() + LEAD_S, _others_s(engine_pid)
        async with asyncio.TaskGroup() as group:
            for flight, body, due_s in zip(flights, bodies, trace.due_s.tolist(), strict=True):
                flight.due_s = began_s + due_s
                await asyncio.sleep(flight.due_s - perf_counter())
                group.create_task(client.ask(flight, body))
        others = (_others_s(engine_pid) - before) / (perf_counter() - began_s)
    failed = [one for one in flights if not one.ok]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(flights)} requests failed: {failed[0].outcome} {failed[0].detail}")
    flights.sort(key=lambda one: one.sent_s)
    zero_s = flights[0].sent_s
    return Served(
        case=case,
        seed=seed,
        repeat=repeat,
        sent_s=[one.sent_s - zero_s for one in flights],
        first_s=[one.first_s - zero_s for one in flights],
        last_s=[one.last_s - zero_s for one in flights],
        prompt_tokens=[one.prompt_tokens for one in flights],
        output_tokens=[one.output_tokens for one in flights],
        others_cores=others,
    )


def _others_s(engine_pid: int) -> float:
    """CPU seconds of everybody on this machine but the engine's processes and this one."""
    times = psutil.cpu_times()
    engine = psutil.Process(engine_pid)
    ours = [psutil.Process(), engine, *engine.children(recursive=True)]
    used = [one.cpu_times() for one in ours]
    return float(times.user + times.nice + times.system - sum(one.user + one.system for one in used))
