"""SGLang 0.3 to 0.5, which prints metrics only with --enable-metrics.

Names from docs/references/production_metrics.md of several versions and the metrics collectors of 0.4.6, 0.5.5 and
0.5.23, https://github.com/sgl-project/sglang. With --enable-metrics-for-all-schedulers every tensor-parallel rank
repeats its group's state, so of each data-parallel rank only one tensor-parallel rank counts. With
--enable-priority-scheduling the rows of each priority stand beside their total, which has priority="".
"""

from __future__ import annotations

from controller.facts.fleet import EngineKind
from controller.facts.readings import Counter, Distribution, Gauge, Signal
from controller.observe.adapter import Adapter, Combine, Name, Source

NO_SPECULATION = "speculative decoding is not configured"


def _source(signal: Signal, *names: str, combine: Combine = Combine.SUM, absent: str = "") -> Source:
    return Source(
        signal=signal, names=tuple(Name(name=f"sglang:{name}") for name in names), combine=combine, absent=absent
    )


def _level(signal: Signal, *names: str) -> Source:
    """A number of requests: the total, not the rows by priority beside it."""
    wanted = tuple(Name(name=f"sglang:{name}", where={"priority": ("",)}) for name in names)
    return Source(signal=signal, names=wanted)


SGLANG = Adapter(
    engine=EngineKind.SGLANG,
    sources=(
        _level(Gauge.RUNNING, "num_running_reqs", "num_requests_running"),
        _level(Gauge.QUEUE_DEPTH, "num_queue_reqs", "num_requests_waiting"),
        _source(Gauge.KV_CACHE_RATIO, "token_usage", combine=Combine.MEAN),
        _source(Gauge.KV_CAPACITY_TOKENS, "max_total_num_tokens"),
        _source(Gauge.ACCEPTANCE_RATIO, "spec_accept_rate", combine=Combine.MEAN, absent=NO_SPECULATION),
        _source(Gauge.ACCEPTED_LENGTH_TOKENS, "spec_accept_length", combine=Combine.MEAN, absent=NO_SPECULATION),
        Source(
            signal=Gauge.START_TIME_S,
            names=(Name(name="process_start_time_seconds"), Name(name="sglang:generation_tokens_created")),
            combine=Combine.MAX,
        ),
        _source(Counter.PROMPT_TOKENS, "prompt_tokens_total"),
        _source(Counter.CACHED_PROMPT_TOKENS, "cached_tokens_total"),
        _source(Counter.OUTPUT_TOKENS, "generation_tokens_total"),
        _source(Counter.REQUESTS, "num_requests_total", "e2e_request_latency_seconds_count"),
        _source(Counter.PREEMPTIONS, "num_retracted_requests_total"),
        _source(Counter.FLOP_PER_GPU, "estimated_flops_per_gpu_total", combine=Combine.MEAN),
        _source(Counter.READ_BYTES_PER_GPU, "estimated_read_bytes_per_gpu_total", combine=Combine.MEAN),
        _source(Counter.WRITE_BYTES_PER_GPU, "estimated_write_bytes_per_gpu_total", combine=Combine.MEAN),
        _source(Distribution.TTFT_S, "time_to_first_token_seconds"),
        _source(Distribution.TPOT_S, "inter_token_latency_seconds", "time_per_output_token_seconds"),
        _source(Distribution.E2E_S, "e2e_request_latency_seconds"),
        _source(Distribution.QUEUE_TIME_S, "queue_time_seconds", "waiting_request_latency_seconds"),
        _source(Distribution.PROMPT_LENGTH_TOKENS, "prompt_tokens_histogram", "request_prompt_tokens"),
        _source(Distribution.OUTPUT_LENGTH_TOKENS, "generation_tokens_histogram", "request_generation_tokens"),
    ),
    rank_labels=("dp_rank",),
    duplicate_labels=("tp_rank", "pp_rank", "moe_ep_rank"),
    prefixes={"sglang_": "sglang:"},
    no_metrics="the page has no sglang: metrics; was SGLang started with --enable-metrics?",
)
