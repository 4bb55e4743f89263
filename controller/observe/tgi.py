"""Hugging Face Text Generation Inference 2 and 3 (in maintenance since December 2025).

Names from router/src/server.rs and infer, https://github.com/huggingface/text-generation-inference. Its counters carry
no ``_total`` and nothing names the model. It exports no time to first token and no KV-cache use.
"""

from __future__ import annotations

from controller.facts.fleet import EngineKind
from controller.facts.readings import Counter, Distribution, Gauge, Signal
from controller.observe.adapter import Adapter, Name, Source


def _source(signal: Signal, *names: str, absent: str = "") -> Source:
    return Source(signal=signal, names=tuple(Name(name=f"tgi_{name}") for name in names), absent=absent)


TGI = Adapter(
    engine=EngineKind.TGI,
    sources=(
        _source(Gauge.RUNNING, "batch_current_size"),
        _source(Gauge.QUEUE_DEPTH, "queue_size"),
        _source(Gauge.KV_CACHE_RATIO, absent="TGI does not export the use of its KV cache"),
        _source(Gauge.KV_CAPACITY_TOKENS, "batch_max_total_num_tokens", "batch_max_total_tokens"),
        Source(signal=Gauge.START_TIME_S, names=(Name(name="process_start_time_seconds"),)),
        _source(Counter.PROMPT_TOKENS, "request_input_length_sum"),
        _source(Counter.OUTPUT_TOKENS, "request_generated_tokens_sum"),
        _source(Counter.REQUESTS, "request_success"),
        _source(Distribution.TTFT_S, absent="TGI exports queue time and prefill time, but no time to first token"),
        _source(Distribution.TPOT_S, "request_mean_time_per_token_duration"),
        _source(Distribution.E2E_S, "request_duration"),
        _source(Distribution.QUEUE_TIME_S, "request_queue_duration"),
        _source(Distribution.PROMPT_LENGTH_TOKENS, "request_input_length"),
        _source(Distribution.OUTPUT_LENGTH_TOKENS, "request_generated_tokens"),
    ),
    rank_labels=(),
    no_metrics="the page has no tgi_ metrics; is this address TGI's router?",
)
