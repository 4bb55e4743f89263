"""From the requests of one point to its figures. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isnan

import numpy as np
from numpy.typing import NDArray

from controller.facts.missing import Missing
from controller.facts.performance import RequestShape
from controller.facts.profile import ASKED_FOR, EngineSeen, Latency, Number, ProfilePoint
from controller.profile.client import OK, TIMED_OUT, Flight
from controller.profile.load import Held

Floats = NDArray[np.float64]


def point(held: Held, engine: EngineSeen | Missing, usd_per_hour: Number) -> ProfilePoint:
    """The figures of the point."""
    plan, measured = held.plan, held.measured
    answered = [one for one in measured if one.ok]
    window_s = held.end_s - held.start_s
    output, requests, prompts = _within(held)
    unsuccessful = Counter(one.outcome or "not answered when it ended" for one in measured if not one.ok)
    timed_out = unsuccessful.pop(TIMED_OUT, 0)
    per_s = output / window_s if window_s > 0 else 0.0
    late = [one.sent_s - one.due_s for one in measured if not isnan(one.sent_s)]
    return ProfilePoint(
        kind=plan.kind,
        load=plan.load,
        prompt_tokens=plan.prompt_tokens,
        output_tokens=plan.output_tokens,
        window_s=window_s,
        requests=len(measured),
        answered=len(answered),
        errors=dict(unsuccessful),
        timed_out=timed_out,
        mean_prompt_tokens=_mean([one.prompt_tokens for one in answered]),
        mean_cached_tokens=_mean([one.cached_tokens for one in answered]),
        mean_output_tokens=_mean([one.output_tokens for one in answered]),
        requests_per_s=requests / window_s if window_s > 0 else 0.0,
        output_tokens_per_s=per_s,
        total_tokens_per_s=(output + prompts) / window_s if window_s > 0 else 0.0,
        in_flight=_in_flight(held),
        ttft=latency("TTFT", [_ttft(one) for one in measured if one.ok or one.outcome == TIMED_OUT]),
        tpot=latency("TPOT", [_tpot(one) for one in answered if one.output_tokens > 1]),
        itl=latency("ITL", _gaps(answered)),
        e2e=latency("latency", [one.ended_s - one.due_s for one in measured if one.ok or one.outcome == TIMED_OUT]),
        lateness_p99_s=latency("lateness", late).p99,
        engine=engine,
        usd_per_million_output_tokens=usd_per_million(usd_per_hour, per_s),
        cut=bool(held.cut),
        closed_loop_share=ASKED_FOR if plan.share is None else plan.share,
    )


def shape(held: Held) -> RequestShape | Missing:
    """The answered requests', as the server counted them."""
    answered = [one for one in held.measured if one.ok]
    if not answered:
        return Missing("shape", "no request was answered")
    prompts = np.array([one.prompt_tokens for one in answered], float)
    outputs = np.array([one.output_tokens for one in answered], float)
    return RequestShape(
        prompt_tokens=float(prompts.mean()),
        output_tokens=float(outputs.mean()),
        cached_ratio=sum(one.cached_tokens for one in answered) / float(prompts.sum()),
        prompt_cv=float(prompts.std() / prompts.mean()),
        output_cv=float(outputs.std() / outputs.mean()),
    )


def usd_per_million(usd_per_hour: Number, tokens_per_s: float) -> Number:
    """usd_per_hour / (tokens_per_s x 3600) x 1e6."""
    if isinstance(usd_per_hour, Missing):
        return usd_per_hour
    if tokens_per_s <= 0:
        return Missing("usd_per_million_output_tokens", "no token came")
    return usd_per_hour / (tokens_per_s * 3600) * 1e6


def latency(what: str, values: Sequence[float] | Floats) -> Latency:
    """Mean and quantiles; Missing when there is nothing to take them of."""
    if len(values) == 0:
        none = Missing(what, "no request was answered")
        return Latency(mean=none, p50=none, p95=none, p99=none)
    found = np.asarray(values, float)
    p50, p95, p99 = np.quantile(found, (0.5, 0.95, 0.99)).tolist()
    return Latency(mean=float(found.mean()), p50=p50, p95=p95, p99=p99)


def _ttft(flight: Flight) -> float:
    """From when it was due. One that was given up before its first token has waited at least that long."""
    return (flight.ended_s if isnan(flight.first_s) else flight.first_s) - flight.due_s


def _tpot(flight: Flight) -> float:
    return (flight.last_s - flight.first_s) / (flight.output_tokens - 1)


def _gaps(flights: Sequence[Flight]) -> Floats:
    """Between one part of an answer and the next."""
    gaps = [np.diff(np.asarray(one.chunk_s)) for one in flights if len(one.chunk_s) > 1]
    return np.concatenate(gaps) if gaps else np.zeros(0)


def _within(held: Held) -> tuple[float, int, int]:
    """Output tokens that came, requests that ended well, and their prompts' tokens, within the window.

    The tokens of an answer are spread evenly over its parts; an answer without usage gives none.
    """
    output, requests, prompts = 0.0, 0, 0
    for one in held.flights:
        if one.outcome != OK:
            continue
        chunks = np.asarray(one.chunk_s)
        inside = np.count_nonzero((chunks >= held.start_s) & (chunks < held.end_s))
        output += inside * one.output_tokens / len(chunks)
        if held.start_s <= one.last_s < held.end_s:
            requests += 1
            prompts += one.prompt_tokens
    return output, requests, prompts


def _in_flight(held: Held) -> float:
    start, end = held.start_s, held.end_s
    if end <= start:
        return 0.0
    spans = [
        (max(start, one.sent_s), min(end, end if isnan(one.ended_s) else one.ended_s))
        for one in held.flights
        if not isnan(one.sent_s)
    ]
    return sum(max(0.0, until - since) for since, until in spans) / (end - start)


def _mean(values: Sequence[int]) -> Number:
    return sum(values) / len(values) if values else Missing("mean tokens", "no request was answered")
