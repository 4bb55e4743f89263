"""The text that vLLM 0.32.0 would answer on /metrics, from the state of an emulated engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from controller.simulate.compiled.engine import BLOCK_TOKENS
from controller.simulate.fleet import Level, SimulatedFleet
from controller.simulate.histogram import CumulativeHistogram
from controller.simulate.stepmodel import EngineSpec
from controller.simulate.tally import Tally
from controller.simulate.vllm_families import CACHE_CONFIG, FAMILIES

ENGINE = "0"
HANDLER = {"handler": "/v1/completions"}

Labels = Mapping[str, str]
Rows = list[tuple[Labels, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageValues:
    """Everything on one page: plain samples, and histograms with the labels they carry."""

    samples: Mapping[str, Rows]
    histograms: Mapping[str, tuple[Labels, CumulativeHistogram]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Engine:
    """One engine at this moment."""

    spec: EngineSpec
    started_s: float
    tally: Tally
    level: Level


def vllm_page(fleet: SimulatedFleet, name: str, *, epoch_s: float = 0.0) -> str:
    """The whole page of the replica ``name``. ``epoch_s``: Unix time at the zero of the fleet's clock."""
    one = fleet.replicas[name]
    engine = _Engine(spec=one.spec, started_s=one.ready_s, tally=fleet.tally(name), level=fleet.level(name))
    values = _page_values(engine, epoch_s)
    created = _number(engine.started_s + epoch_s)
    lines: list[str] = []
    for name, (kind, text) in FAMILIES.items():
        lines += (f"# HELP {name} {text}", f"# TYPE {name} {kind}")
        lines += _family_lines(name, kind, values)
        if kind in ("counter", "histogram", "summary") and not name.startswith(("python_", "process_")):
            base = name.removesuffix("_total") if kind == "counter" else name
            lines += (f"# HELP {base}_created {text}", f"# TYPE {base}_created gauge")
            lines += (f"{base}_created{_braces(labels)} {created}" for labels in _label_sets(name, values))
    return "\n".join(lines) + "\n"


def _label_sets(name: str, values: PageValues) -> list[Labels]:
    if name in values.histograms:
        return [values.histograms[name][0]]
    return [labels for labels, _ in values.samples[name]]


def _family_lines(name: str, kind: str, values: PageValues) -> Iterator[str]:
    if kind == "histogram":
        labels, histogram = values.histograms[name]
        for bound, count in histogram.cumulative():
            yield f"{name}_bucket{_braces({**labels, 'le': _number(bound)})} {_number(count)}"
        yield f"{name}_count{_braces(labels)} {_number(histogram.count)}"
        yield f"{name}_sum{_braces(labels)} {_number(histogram.total)}"
    elif kind == "summary":
        for labels, total in values.samples[name]:
            yield f"{name}_count{_braces(labels)} {_number(values.samples['http_requests_total'][0][1])}"
            yield f"{name}_sum{_braces(labels)} {_number(total)}"
    else:
        for labels, value in values.samples[name]:
            yield f"{name}{_braces(labels)} {_number(value)}"


def _braces(labels: Labels) -> str:
    inside = ",".join(f'{name}="{labels[name]}"' for name in sorted(labels))
    return "{" + inside + "}" if inside else ""


def _number(value: float) -> str:
    """As prometheus_client writes it: Go's way, with an exponent from seven digits before the point."""
    if value == inf:
        return "+Inf"
    text = repr(float(value))
    point = text.find(".")
    if value > 0 and point > 6 and "e" not in text:
        digits = f"{text[0]}.{text[1:point]}{text[point + 1 :]}".rstrip("0.")
        return f"{digits}e+{point - 1:02d}"
    return text


def _page_values(engine: _Engine, epoch_s: float) -> PageValues:
    own = {"engine": ENGINE, "model_name": engine.spec.model_name}
    return PageValues(
        samples={
            **_process_samples(engine, epoch_s),
            **_level_samples(engine, own),
            **_token_samples(engine, own),
            **_request_samples(engine, own),
        },
        histograms=_histograms(engine, own),
    )


def _process_samples(engine: _Engine, epoch_s: float) -> dict[str, Rows]:
    """An idle interpreter's figures, typical of the capture: nobody decides on them."""
    generations: list[Labels] = [{"generation": str(number)} for number in range(3)]
    version = {
        "implementation": "CPython",
        "major": "3",
        "minor": "11",
        "patchlevel": "7",
        "version": "3.11.7",
    }
    return {
        "python_gc_objects_collected_total": [(labels, 0.0) for labels in generations],
        "python_gc_objects_uncollectable_total": [(labels, 0.0) for labels in generations],
        "python_gc_collections_total": [(labels, 0.0) for labels in generations],
        "python_info": [(version, 1.0)],
        "process_virtual_memory_bytes": [({}, 2.2e9)],
        "process_resident_memory_bytes": [({}, 7.3e8)],
        "process_start_time_seconds": [({}, engine.started_s + epoch_s)],
        "process_cpu_seconds_total": [({}, float(engine.tally.step_tokens.count) * 0.005)],
        "process_open_fds": [({}, 34.0)],
        "process_max_fds": [({}, 20000.0)],
    }


def _level_samples(engine: _Engine, own: Labels) -> dict[str, Rows]:
    states = ("awake", "weights_offloaded", "discard_all")
    return {
        "vllm:num_requests_running": [(own, engine.level.running)],
        "vllm:num_requests_waiting": [(own, engine.level.waiting)],
        "vllm:num_requests_waiting_by_reason": [
            ({**own, "reason": "capacity"}, engine.level.waiting),
            ({**own, "reason": "deferred"}, 0),
        ],
        "vllm:engine_sleep_state": [({**own, "sleep_state": state}, float(state == "awake")) for state in states],
        "vllm:kv_cache_usage_perc": [(own, engine.level.kv_cache_ratio)],
        "vllm:cache_config_info": [({**_cache_config(engine), "engine": ENGINE}, 1.0)],
    }


def _cache_config(engine: _Engine) -> dict[str, str]:
    spec = engine.spec
    return {
        **CACHE_CONFIG,
        "block_size": str(BLOCK_TOKENS),
        "effective_attention_block_size": str(BLOCK_TOKENS),
        "cache_dtype": spec.kv_cache_dtype,
        "kv_cache_memory_bytes": "None",
        "kv_cache_size_tokens": str(spec.kv_capacity_tokens),
        "kv_cache_max_concurrency": str(spec.kv_capacity_tokens / spec.max_model_len),
        "num_gpu_blocks": str(spec.kv_capacity_tokens // BLOCK_TOKENS),
    }


def _token_samples(engine: _Engine, own: Labels) -> dict[str, Rows]:
    tally = engine.tally
    nothing = (
        *("estimated_flops_per_gpu", "estimated_read_bytes_per_gpu", "estimated_write_bytes_per_gpu"),
        *("external_prefix_cache_queries", "external_prefix_cache_hits", "mm_cache_queries", "mm_cache_hits"),
    )
    cached = tally.cached_prompt_tokens
    sources = {"local_compute": tally.prompt_tokens - cached, "local_cache_hit": cached, "external_kv_transfer": 0}
    tiers = {"device": tally.prefix_hits, "host": 0, "p2p": 0, "disk": 0, "external_unspecified": 0}
    return {
        **{f"vllm:{name}_total": [(own, 0.0)] for name in nothing},
        "vllm:prefix_cache_queries_total": [(own, tally.prefix_queries)],
        "vllm:prefix_cache_hits_total": [(own, tally.prefix_hits)],
        "vllm:prompt_tokens_total": [(own, tally.prompt_tokens)],
        "vllm:prompt_tokens_by_source_total": _by("source", sources, own),
        "vllm:prompt_tokens_cached_total": [(own, cached)],
        "vllm:prompt_tokens_cached_by_source_total": _by("source", tiers, own),
        "vllm:generation_tokens_total": [(own, tally.generation_tokens)],
    }


def _request_samples(engine: _Engine, own: Labels) -> dict[str, Rows]:
    tally = engine.tally
    reasons = {"stop": tally.finished, "length": 0, "abort": 0, "error": 0, "repetition": 0}
    model = {"model_name": engine.spec.model_name}
    rejections = {"max_num_queued_reqs": 0, "max_num_queued_tokens": 0}
    answered = {**HANDLER, "method": "POST", "status": "2xx"}
    return {
        "vllm:num_preemptions_total": [(own, tally.preemptions)],
        "vllm:request_success_total": _by("finished_reason", reasons, own),
        "vllm:admission_rejections_total": _by("reason", rejections, model),
        "http_requests_total": [(answered, tally.finished)],
        "http_request_size_bytes": [(HANDLER, 4.0 * tally.prompt_length.total)],
        "http_response_size_bytes": [(HANDLER, 4.0 * tally.output_length.total)],
    }


def _by(label: str, values: Mapping[str, int], own: Labels) -> Rows:
    return [({**own, label: name}, value) for name, value in values.items()]


def _histograms(engine: _Engine, own: Labels) -> dict[str, tuple[Labels, CumulativeHistogram]]:
    tally = engine.tally
    mine = {
        "request_prompt_tokens": tally.prompt_length,
        "request_generation_tokens": tally.output_length,
        "iteration_tokens_total": tally.step_tokens,
        "request_max_num_generation_tokens": tally.output_length,
        "request_params_n": tally.choices,
        "request_params_max_tokens": tally.output_length,
        "time_to_first_token_seconds": tally.ttft_s,
        "inter_token_latency_seconds": tally.inter_token_s,
        "request_time_per_output_token_seconds": tally.tpot_s,
        "e2e_request_latency_seconds": tally.e2e_s,
        "request_queue_time_seconds": tally.queue_s,
        "request_inference_time_seconds": tally.inference_s,
        "request_prefill_time_seconds": tally.prefill_s,
        "request_decode_time_seconds": tally.decode_s,
        "request_num_preemptions": tally.request_preemptions,
        "request_prefill_kv_computed_tokens": tally.computed_length,
    }
    return {
        **{f"vllm:{name}": (own, histogram) for name, histogram in mine.items()},
        "http_request_duration_highr_seconds": ({}, tally.http_s),
        "http_request_duration_seconds": ({**HANDLER, "method": "POST"}, tally.http_few_s),
    }
