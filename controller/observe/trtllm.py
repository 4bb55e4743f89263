"""TensorRT-LLM: trtllm-serve, Dynamo's worker and front end, and Triton's backend.

Names from NVIDIA Dynamo's observability guide (https://github.com/ai-dynamo/dynamo), the Triton backend's README
(https://github.com/triton-inference-server/tensorrtllm_backend) and llm-d's mappings. The engine's own name wins over
Dynamo's component, that over Triton's, that over the front end's, which counts for all its workers together.
"""

from __future__ import annotations

from controller.facts.fleet import EngineKind
from controller.facts.readings import Counter, Distribution, Gauge, Signal
from controller.observe.adapter import Adapter, Combine, Name, Source

TRITON_HAS_NONE = "neither trtllm-serve's, Dynamo's nor Triton's metrics on this page have it"


def _source(signal: Signal, *names: str | Name, combine: Combine = Combine.SUM) -> Source:
    candidates = tuple(name if isinstance(name, Name) else Name(name=name) for name in names)
    return Source(signal=signal, names=candidates, combine=combine, absent=TRITON_HAS_NONE)


def _triton_requests(kind: str) -> Name:
    return Name(name="nv_trt_llm_request_metrics", where={"request_type": (kind,)})


def _triton_successes(model: str) -> Name:
    """Of one of Triton's models: a request through an ensemble counts once for each model it passes.

    The names are those of the backend's own model repository; which of others is the engine cannot be told.
    """
    return Name(name="nv_inference_request_success", where={"model": (model,)})


TRTLLM = Adapter(
    engine=EngineKind.TRTLLM,
    sources=(
        _source(
            Gauge.RUNNING,
            "trtllm_num_requests_running",
            _triton_requests("scheduled"),
            "dynamo_frontend_inflight_requests",
        ),
        _source(
            Gauge.QUEUE_DEPTH,
            "trtllm_num_requests_waiting",
            _triton_requests("waiting"),
            "dynamo_frontend_queued_requests",
        ),
        _source(
            Gauge.KV_CACHE_RATIO,
            "trtllm_kv_cache_utilization",
            "dynamo_component_gpu_cache_usage_percent",  # 0 to 1, despite its name
            Name(name="nv_trt_llm_kv_cache_block_metrics", where={"kv_cache_block_type": ("fraction",)}),
            combine=Combine.MEAN,
        ),
        _source(Gauge.START_TIME_S, "process_start_time_seconds", combine=Combine.MAX),
        _source(Counter.PROMPT_TOKENS, "trtllm_prompt_tokens_total", "dynamo_frontend_input_sequence_tokens_sum"),
        _source(Counter.CACHED_PROMPT_TOKENS, "trtllm_prompt_cached_tokens_total", "dynamo_frontend_cached_tokens_sum"),
        _source(Counter.OUTPUT_TOKENS, "trtllm_generation_tokens_total", "dynamo_frontend_output_tokens_total"),
        _source(
            Counter.REQUESTS,
            "trtllm_request_success_total",
            _triton_successes("tensorrt_llm"),
            _triton_successes("ensemble"),
            "dynamo_frontend_requests_total",
        ),
        _source(Counter.DRAFT_TOKENS, "trtllm_spec_decode_num_draft_tokens_total"),
        _source(Counter.ACCEPTED_TOKENS, "trtllm_spec_decode_num_accepted_tokens_total"),
        _source(
            Distribution.TTFT_S,
            "trtllm_time_to_first_token_seconds",
            "dynamo_frontend_time_to_first_token_seconds",
        ),
        _source(
            Distribution.TPOT_S,
            "trtllm_time_per_output_token_seconds",
            "dynamo_frontend_inter_token_latency_seconds",
        ),
        _source(Distribution.E2E_S, "trtllm_e2e_request_latency_seconds", "dynamo_frontend_request_duration_seconds"),
        _source(Distribution.QUEUE_TIME_S, "trtllm_request_queue_time_seconds"),
        _source(Distribution.PROMPT_LENGTH_TOKENS, "dynamo_frontend_input_sequence_tokens"),
        _source(Distribution.OUTPUT_LENGTH_TOKENS, "dynamo_frontend_output_sequence_tokens"),
    ),
    rank_labels=("dp_rank",),
    no_metrics="the page has no trtllm_, dynamo_ or nv_trt_llm_ metrics; is this address the engine's metrics port?",
)
