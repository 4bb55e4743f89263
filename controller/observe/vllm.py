"""vLLM 0.4 (V0) to 0.33 (V1), scraped directly or behind Ray Serve.

Read from the sources of 34 releases: vllm/engine/metrics.py (V0), vllm/v1/metrics/loggers.py and
vllm/v1/spec_decode/metrics.py (V1), https://github.com/vllm-project/vllm. Newest name first; a page is
served by the first one it has.
"""

from __future__ import annotations

from controller.facts.fleet import EngineKind
from controller.facts.readings import Counter, Distribution, Gauge, Signal
from controller.observe.adapter import Adapter, Combine, Name, Source

NO_SPECULATION = "speculative decoding is not configured, or the engine is older than vLLM 0.8.5"


def _names(*names: str) -> tuple[Name, ...]:
    return tuple(Name(name=f"vllm:{name}") for name in names)


def _gauge(signal: Signal, *names: str, combine: Combine = Combine.SUM) -> Source:
    return Source(signal=signal, names=_names(*names), combine=combine)


def _counter(signal: Signal, *names: str, combine: Combine = Combine.SUM, absent: str = "") -> Source:
    """Declared with and without ``_total``; on the wire vLLM's counters have it, but not behind every Ray version."""
    wire = [f"{name}{end}" for name in names for end in ("_total", "")]
    return Source(signal=signal, names=_names(*wire), combine=combine, absent=absent)


def _per_gpu(signal: Signal, name: str) -> Source:
    """Already per GPU, so data-parallel ranks are averaged. Early builds of the Rust front end print _total twice."""
    return _counter(signal, name, f"{name}_total", combine=Combine.MEAN)


def _by_reason(signal: Signal, reason: str) -> Source:
    name = Name(name="vllm:num_requests_waiting_by_reason", where={"reason": (reason,)})
    return Source(signal=signal, names=(name,), absent="vLLM tells waiting requests apart by reason since 0.20")


CACHED_PROMPT_TOKENS = Source(
    signal=Counter.CACHED_PROMPT_TOKENS,
    names=(
        *_names("prompt_tokens_cached_total"),
        Name(
            name="vllm:prompt_tokens_by_source_total",
            where={"source": ("local_cache_hit", "external_kv_transfer")},
        ),
        # Before 0.16 there is no count of cached prompt tokens; prefix-cache hits are counted in tokens and come close
        # (a preempted request that finds its own prefix again is counted twice).
        *_names("prefix_cache_hits_total", "gpu_prefix_cache_hits_total"),
    ),
)

SOURCES = (
    _gauge(Gauge.RUNNING, "num_requests_running"),
    _gauge(Gauge.QUEUE_DEPTH, "num_requests_waiting"),
    _by_reason(Gauge.QUEUE_DEPTH_CAPACITY, "capacity"),
    _by_reason(Gauge.QUEUE_DEPTH_DEFERRED, "deferred"),
    _gauge(Gauge.KV_CACHE_RATIO, "kv_cache_usage_perc", "gpu_cache_usage_perc", combine=Combine.MEAN),
    Source(
        signal=Gauge.KV_CAPACITY_TOKENS,
        names=(
            Name(name="vllm:cache_config_info", product=("kv_cache_size_tokens",)),
            Name(name="vllm:cache_config_info", product=("block_size", "num_gpu_blocks")),
        ),
    ),
    Source(
        signal=Gauge.ACCEPTANCE_RATIO,
        names=(Name(name="vllm:spec_decode_draft_acceptance_rate", least=0.0),),
        combine=Combine.MEAN,
        absent=NO_SPECULATION,
    ),
    Source(
        signal=Gauge.START_TIME_S,
        names=(Name(name="process_start_time_seconds"), Name(name="vllm:generation_tokens_created")),
        combine=Combine.MAX,
        absent="several API processes share one page, which then has no start time",
    ),
    _counter(Counter.PROMPT_TOKENS, "prompt_tokens"),
    CACHED_PROMPT_TOKENS,
    _counter(Counter.OUTPUT_TOKENS, "generation_tokens"),
    _counter(Counter.REQUESTS, "request_success"),
    _counter(Counter.REJECTIONS, "admission_rejections", absent="vLLM counts refused requests since 0.32"),
    _counter(Counter.PREEMPTIONS, "num_preemptions"),
    _counter(Counter.PREFIX_QUERIES_TOKENS, "prefix_cache_queries", "gpu_prefix_cache_queries"),
    _counter(Counter.PREFIX_HITS_TOKENS, "prefix_cache_hits", "gpu_prefix_cache_hits"),
    _counter(Counter.DRAFTS, "spec_decode_num_drafts", absent=NO_SPECULATION),
    _counter(Counter.DRAFT_TOKENS, "spec_decode_num_draft_tokens", absent=NO_SPECULATION),
    _counter(Counter.ACCEPTED_TOKENS, "spec_decode_num_accepted_tokens", absent=NO_SPECULATION),
    Source(signal=Counter.ENGINE_STEPS, names=_names("iteration_tokens_total_count")),
    _per_gpu(Counter.FLOP_PER_GPU, "estimated_flops_per_gpu"),
    _per_gpu(Counter.READ_BYTES_PER_GPU, "estimated_read_bytes_per_gpu"),
    _per_gpu(Counter.WRITE_BYTES_PER_GPU, "estimated_write_bytes_per_gpu"),
    _gauge(Distribution.TTFT_S, "time_to_first_token_seconds"),
    _gauge(
        Distribution.TPOT_S,
        "inter_token_latency_seconds",
        "time_per_output_token_seconds",
        "request_time_per_output_token_seconds",
    ),
    _gauge(Distribution.REQUEST_TPOT_S, "request_time_per_output_token_seconds"),
    _gauge(Distribution.E2E_S, "e2e_request_latency_seconds"),
    _gauge(Distribution.QUEUE_TIME_S, "request_queue_time_seconds"),
    _gauge(Distribution.PREFILL_TIME_S, "request_prefill_time_seconds"),
    _gauge(Distribution.DECODE_TIME_S, "request_decode_time_seconds"),
    _gauge(Distribution.PROMPT_LENGTH_TOKENS, "request_prompt_tokens"),
    _gauge(Distribution.OUTPUT_LENGTH_TOKENS, "request_generation_tokens"),
)

VLLM = Adapter(
    engine=EngineKind.VLLM,
    sources=SOURCES,
    rank_labels=("engine",),
    prefixes={"ray_vllm:": "vllm:", "ray_vllm_": "vllm:", "vllm_": "vllm:"},
    no_metrics="the page has no vllm: metrics; was vLLM started with --disable-log-stats?",
)
