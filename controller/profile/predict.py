"""What a step model says of a load: mean-value arithmetic, with nothing measured but the lengths. Pure.

A sequence in a batch gets a token a step, so with B sequences decoding the step lasts

    step = decode(B, B x context) + prompts started a step x prefill,   context = prompt + E[output²] / (2 E[output])

and B follows from the load: in a closed loop from the share of a request's time that it decodes, in an open one from
Little's law.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp

from controller.facts.missing import Missing
from controller.facts.performance import RequestShape, StepModel
from controller.facts.profile import Predicted

ROUNDS = 200
"""Of the fixed point. It has converged long before where there is one."""

MOST_SEQUENCES = 1e5
"""Beyond so many the queue has no end."""


def closed(step: StepModel, overhead_s: float, shape: RequestShape, in_flight: float) -> Predicted:
    """With ``in_flight`` requests at all times."""
    gaps = max(0.0, shape.output_tokens - 1)
    share, step_s, ttft_s = 1.0, 0.0, 0.0
    for _ in range(ROUNDS):
        others = max(0.0, in_flight - 1) * share  # that decode while one of them does
        started = others / gaps if gaps else max(0.0, in_flight - 1)
        step_s = _step_s(step, shape, 1 + others, started)
        ttft_s = overhead_s + _first_token_s(step, shape, others, started, step_s, min(1.0, others))
        share += 0.5 * (gaps * step_s / (gaps * step_s + ttft_s) - share)
    total_s = ttft_s + gaps * step_s
    return Predicted(ttft_s=ttft_s, tpot_s=step_s, output_tokens_per_s=in_flight * shape.output_tokens / total_s)


def opened(step: StepModel, overhead_s: float, shape: RequestShape, requests_per_s: float) -> Predicted:
    """With Poisson arrivals: a sequence meets as many others as there are on average.

    Nothing waits longer than a step: where it would, that is overload, and Missing.
    """
    gaps = max(0.0, shape.output_tokens - 1)
    step_s, others = step.decode_s(1, _context(shape)), 0.0
    for _ in range(ROUNDS):
        others = requests_per_s * gaps * step_s
        if others > MOST_SEQUENCES:
            over = Missing("prediction", f"{requests_per_s:g} requests/s are more than the model carries")
            return Predicted(ttft_s=over, tpot_s=over, output_tokens_per_s=over)
        step_s += 0.5 * (_step_s(step, shape, 1 + others, requests_per_s * step_s) - step_s)
    started, busy = requests_per_s * step_s, 1 - exp(-others)
    ttft_s = overhead_s + _first_token_s(step, shape, others, started, step_s, busy)
    return Predicted(ttft_s=ttft_s, tpot_s=step_s, output_tokens_per_s=requests_per_s * shape.output_tokens)


def _first_token_s(
    step: StepModel, shape: RequestShape, decoding: float, started: float, step_s: float, busy: float
) -> float:
    """The rest of the step under way, then a step with the own prompt and those that came during that one.

    Whoever comes meets a long step rather than a short one (the inspection paradox): E[step²] / E[step], where the
    prompts started in a step are Poisson.
    """
    prompt_s = _prompts_s(step, shape, 1.0)
    met_s = step_s + started * prompt_s**2 * (1 + shape.prompt_cv**2) / step_s
    with_me = started * met_s / step_s
    return busy * met_s / 2 + _step_s(step, shape, decoding, 1.0 + with_me)


BY_KIND: dict[str, Callable[[StepModel, float, RequestShape, float], Predicted]] = {
    "concurrency": closed,
    "rate": opened,
}


def _step_s(step: StepModel, shape: RequestShape, sequences: float, prompts: float) -> float:
    return step.decode_s(sequences, sequences * _context(shape)) + _prompts_s(step, shape, prompts)


def _prompts_s(step: StepModel, shape: RequestShape, prompts: float) -> float:
    cached = shape.prompt_tokens * shape.cached_ratio
    pairs = (1 + shape.prompt_cv**2) * (shape.prompt_tokens**2 - cached**2)
    return step.prefill_s(prompts * (shape.prompt_tokens - cached), prompts * pairs)


def _context(shape: RequestShape) -> float:
    """Mean tokens of context of a decoding sequence, long answers counting for as long as they last."""
    return shape.prompt_tokens + shape.output_tokens * (1 + shape.output_cv**2) / 2
