"""What an engine has done since it started: the counters and histograms that vLLM keeps."""

from __future__ import annotations

from controller.simulate.histogram import (
    CHOICE_BOUNDS,
    HTTP_BOUNDS_S,
    HTTP_FEW_BOUNDS_S,
    LATENCY_BOUNDS_S,
    PREEMPTION_BOUNDS,
    STEP_TOKEN_BOUNDS,
    TPOT_BOUNDS_S,
    TTFT_BOUNDS_S,
    CumulativeHistogram,
    length_bounds,
)


class Tally:
    """Only ever grows. Tokens are counted when they are made, requests and their times when they finish."""

    def __init__(self, max_model_len: int) -> None:
        lengths = length_bounds(max_model_len)
        self.prompt_tokens = 0
        self.cached_prompt_tokens = 0
        self.generation_tokens = 0
        self.prefix_queries = 0
        self.prefix_hits = 0
        self.preemptions = 0
        self.finished = 0
        self.prompt_length = CumulativeHistogram(lengths)
        self.output_length = CumulativeHistogram(lengths)
        self.computed_length = CumulativeHistogram(lengths)
        self.step_tokens = CumulativeHistogram(STEP_TOKEN_BOUNDS)
        self.choices = CumulativeHistogram(CHOICE_BOUNDS)
        self.request_preemptions = CumulativeHistogram(PREEMPTION_BOUNDS)
        self.ttft_s = CumulativeHistogram(TTFT_BOUNDS_S)
        self.inter_token_s = CumulativeHistogram(TPOT_BOUNDS_S)
        self.tpot_s = CumulativeHistogram(TPOT_BOUNDS_S)
        self.e2e_s = CumulativeHistogram(LATENCY_BOUNDS_S)
        self.queue_s = CumulativeHistogram(LATENCY_BOUNDS_S)
        self.inference_s = CumulativeHistogram(LATENCY_BOUNDS_S)
        self.prefill_s = CumulativeHistogram(LATENCY_BOUNDS_S)
        self.decode_s = CumulativeHistogram(LATENCY_BOUNDS_S)
        self.http_s = CumulativeHistogram(HTTP_BOUNDS_S)
        self.http_few_s = CumulativeHistogram(HTTP_FEW_BOUNDS_S)

    def stepped(self, sequences: int, steps: int, first_s: float, last_s: float, *, prefill_tokens: int = 0) -> None:
        """``steps`` steps gave each of ``sequences`` a token, the first taking ``first_s`` and the last ``last_s``.

        ``prefill_tokens``: prompt tokens computed beside, and the first tokens that they led to.
        """
        self.step_tokens.observe(float(sequences + prefill_tokens), steps)
        if sequences:
            self.generation_tokens += sequences * steps
            self.inter_token_s.observe_spread(first_s, last_s, steps, sequences)

    def prefilled(self, prompt_tokens: int, cached_tokens: int) -> None:
        """A prompt is wholly computed, ``cached_tokens`` of it taken from the prefix cache."""
        self.prompt_tokens += prompt_tokens
        self.cached_prompt_tokens += cached_tokens

    def ended(
        self,
        prompt_tokens: int,
        output_tokens: int,
        cached_tokens: int,
        *,
        preemptions: int,
        queue_s: float,
        prefill_s: float,
        decode_s: float,
    ) -> None:
        """A request got its last token."""
        self.finished += 1
        self.prompt_length.observe(prompt_tokens)
        self.output_length.observe(output_tokens)
        self.computed_length.observe(prompt_tokens - cached_tokens)
        self.choices.observe(1.0)
        self.request_preemptions.observe(preemptions)
        self.queue_s.observe(queue_s)
        self.prefill_s.observe(prefill_s)
        self.decode_s.observe(decode_s)
        self.inference_s.observe(prefill_s + decode_s)
        for histogram in (self.e2e_s, self.http_s, self.http_few_s):
            histogram.observe(queue_s + prefill_s + decode_s)
        if output_tokens > 1:
            self.tpot_s.observe(decode_s / (output_tokens - 1))
