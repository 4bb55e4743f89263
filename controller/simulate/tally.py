"""What an engine has counted since it started: the counters and histograms that vLLM keeps, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from controller.simulate.compiled.layout import Count, Hist, State, bounds_of
from controller.simulate.histogram import CumulativeHistogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Tokens are counted when they are made, requests and their times when they finish."""

    prompt_tokens: int
    cached_prompt_tokens: int
    generation_tokens: int
    prefix_queries: int
    prefix_hits: int
    preemptions: int
    finished: int
    drafts: int
    draft_tokens: int
    accepted_tokens: int
    prompt_length: CumulativeHistogram
    output_length: CumulativeHistogram
    computed_length: CumulativeHistogram
    step_tokens: CumulativeHistogram
    choices: CumulativeHistogram
    request_preemptions: CumulativeHistogram
    ttft_s: CumulativeHistogram
    inter_token_s: CumulativeHistogram
    tpot_s: CumulativeHistogram
    e2e_s: CumulativeHistogram
    queue_s: CumulativeHistogram
    inference_s: CumulativeHistogram
    prefill_s: CumulativeHistogram
    decode_s: CumulativeHistogram
    http_s: CumulativeHistogram
    http_few_s: CumulativeHistogram


HISTOGRAMS = {
    "prompt_length": Hist.PROMPT_LENGTH,
    "output_length": Hist.OUTPUT_LENGTH,
    "computed_length": Hist.COMPUTED_LENGTH,
    "step_tokens": Hist.STEP_TOKENS,
    "choices": Hist.CHOICES,
    "request_preemptions": Hist.REQUEST_PREEMPTIONS,
    "ttft_s": Hist.TTFT,
    "inter_token_s": Hist.INTER_TOKEN,
    "tpot_s": Hist.TPOT,
    "e2e_s": Hist.E2E,
    "queue_s": Hist.QUEUE,
    "inference_s": Hist.INFERENCE,
    "prefill_s": Hist.PREFILL,
    "decode_s": Hist.DECODE,
    "http_s": Hist.HTTP,
    "http_few_s": Hist.HTTP_FEW,
}


def tally_of(state: State, row: int, max_model_len: int) -> Tally:
    """The counts of one replica's row."""
    bounds = bounds_of(max_model_len)
    counts = {count.name.lower(): round(float(state.counts[row, count])) for count in Count}
    histograms = {
        name: CumulativeHistogram(
            bounds=bounds[hist][:-1],
            counts=tuple(round(float(seen)) for seen in state.buckets[row, hist, : len(bounds[hist])]),
            total=float(state.totals[row, hist]),
        )
        for name, hist in HISTOGRAMS.items()
    }
    return Tally(**counts, **histograms)  # type: ignore[arg-type]  # two tables, each of one type
