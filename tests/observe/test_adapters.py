"""Each engine's recorded page gives the signals it has, by the names it has, and renames and ranks are understood."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.facts.fleet import EngineKind
from controller.facts.missing import Missing
from controller.facts.readings import Counter, Distribution, EngineReading, Gauge, Signal, Target
from controller.observe.assemble import Assembler
from controller.observe.engines import ADAPTERS

RECORDED = Path(__file__).parent / "recorded"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TARGET = Target(service="chat", variant="h100", replica="r1", url="http://127.0.0.1:8000")
VLLM, SGLANG, TGI, TRTLLM = EngineKind.VLLM, EngineKind.SGLANG, EngineKind.TGI, EngineKind.TRTLLM


def read(body: str | bytes, engine: EngineKind = VLLM) -> EngineReading:
    raw = body.encode() if isinstance(body, str) else body
    reading = Assembler().text(raw, TARGET, engine, NOON)
    assert isinstance(reading, EngineReading), reading
    return reading


def read_file(name: str) -> EngineReading:
    engine = {"vl": VLLM, "sg": SGLANG, "tg": TGI, "tr": TRTLLM}[name[:2]]
    return read((RECORDED / f"{name}.prom").read_bytes(), engine)


@pytest.mark.parametrize(
    ("name", "gauges"),
    [
        ("vllm-0.4-v0", {Gauge.KV_CAPACITY_TOKENS: 116496, Gauge.START_TIME_S: 1718140558.3}),
        ("vllm-0.32.0-v1", {Gauge.KV_CAPACITY_TOKENS: 524288, Gauge.QUEUE_DEPTH_CAPACITY: 0}),
        ("vllm-0.32.0-v1-ngram-mfu", {Gauge.START_TIME_S: 1795233410.32, Gauge.QUEUE_DEPTH_DEFERRED: 0}),
        ("sglang-0.3.5", {Gauge.KV_CACHE_RATIO: 0.01, Gauge.KV_CAPACITY_TOKENS: 161721}),
        ("sglang-0.4.1", {Gauge.RUNNING: 0, Gauge.QUEUE_DEPTH: 0}),
        ("tgi-2", {Gauge.RUNNING: 0, Gauge.QUEUE_DEPTH: 0}),
        ("triton-tensorrtllm", {Gauge.RUNNING: 1, Gauge.QUEUE_DEPTH: 1, Gauge.KV_CACHE_RATIO: 0.4875}),
        ("trtllm-1.1.0rc5-dynamo", {}),
    ],
)
def test_a_recorded_page_gives_its_gauges(name: str, gauges: dict[Gauge, float]) -> None:
    reading = read_file(name)
    assert reading.rejected_lines == 0
    assert {gauge: reading.gauges[gauge] for gauge in gauges} == gauges


@pytest.mark.parametrize(
    ("name", "signal", "matched"),
    [
        ("vllm-0.4-v0", Gauge.KV_CACHE_RATIO, "vllm:gpu_cache_usage_perc"),
        ("vllm-0.4-v0", Gauge.KV_CAPACITY_TOKENS, "vllm:cache_config_info[block_size x num_gpu_blocks]"),
        ("vllm-0.4-v0", Distribution.TPOT_S, "vllm:time_per_output_token_seconds"),
        ("vllm-0.32.0-v1", Gauge.KV_CACHE_RATIO, "vllm:kv_cache_usage_perc"),
        ("vllm-0.32.0-v1", Distribution.TPOT_S, "vllm:inter_token_latency_seconds"),
        ("vllm-0.32.0-v1", Counter.ENGINE_STEPS, "vllm:iteration_tokens_total_count"),  # a histogram, despite its name
        ("vllm-0.32.0-v1", Distribution.PREFILL_TIME_S, "vllm:request_prefill_time_seconds"),
        ("vllm-0.32.0-v1", Distribution.DECODE_TIME_S, "vllm:request_decode_time_seconds"),
        ("vllm-0.32.0-v1-ngram-mfu", Counter.ACCEPTED_TOKENS, "vllm:spec_decode_num_accepted_tokens_total"),
        ("sglang-0.3.5", Gauge.RUNNING, 'sglang:num_requests_running{priority=""}'),
        ("sglang-0.3.5", Distribution.QUEUE_TIME_S, "sglang:waiting_request_latency_seconds"),
        ("sglang-0.4.1", Gauge.RUNNING, 'sglang:num_running_reqs{priority=""}'),
        ("sglang-0.4.1", Counter.REQUESTS, "sglang:e2e_request_latency_seconds_count"),
        ("tgi-2", Counter.OUTPUT_TOKENS, "tgi_request_generated_tokens_sum"),
        ("triton-tensorrtllm", Gauge.RUNNING, 'nv_trt_llm_request_metrics{request_type="scheduled"}'),
        ("trtllm-1.1.0rc5-dynamo", Distribution.TTFT_S, "trtllm_time_to_first_token_seconds"),
    ],
)
def test_the_name_that_matched_is_recorded(name: str, signal: Signal, matched: str) -> None:
    assert read_file(name).names[signal] == matched


@pytest.mark.parametrize("path", sorted(RECORDED.glob("[vst]*.prom")), ids=lambda path: path.stem)
def test_every_signal_of_an_adapter_is_known_or_missing_with_a_reason(path: Path) -> None:
    reading = read_file(path.stem)
    for source in ADAPTERS[reading.engine].sources:
        places = (reading.gauges, reading.counters, reading.histograms, reading.missing)
        assert sum(source.signal in place for place in places) == 1, source.signal
    assert all(one.why for one in reading.missing.values())


@pytest.mark.parametrize("prefix", ["vllm:", "vllm_", "ray_vllm:", "ray_vllm_"])
def test_all_spellings_of_vllms_prefix_are_understood(prefix: str) -> None:
    reading = read(f'{prefix}num_requests_running{{engine="0",WorkerId="w"}} 3\n{prefix}generation_tokens 5\n')
    assert reading.gauges[Gauge.RUNNING] == 3
    assert Counter.OUTPUT_TOKENS in reading.names


def test_the_newer_name_wins_where_a_page_has_both() -> None:
    reading = read("vllm:gpu_cache_usage_perc 0.2\nvllm:kv_cache_usage_perc 0.4\n")
    assert reading.gauges[Gauge.KV_CACHE_RATIO] == 0.4


def test_ranks_add_up_but_the_cache_ratio_is_their_mean() -> None:
    lines = [
        f'vllm:{name}{{engine="{rank}"}} {value * (rank + 1)}'
        for rank in range(4)
        for name, value in (("num_requests_running", 2), ("kv_cache_usage_perc", 0.1))
    ]
    reading = read("\n".join(lines) + "\n")
    assert reading.gauges[Gauge.RUNNING] == 20
    assert reading.gauges[Gauge.KV_CACHE_RATIO] == pytest.approx(0.25)


def test_sglangs_tensor_parallel_ranks_repeat_each_other_and_count_once() -> None:
    lines = [f'sglang:num_running_reqs{{dp_rank="{dp}",tp_rank="{tp}"}} {5 + dp}' for dp in range(2) for tp in range(4)]
    assert read("\n".join(lines) + "\n", SGLANG).gauges[Gauge.RUNNING] == 11


def increase(before: str, after: str, counter: Counter, engine: EngineKind = VLLM) -> float | Missing:
    assembler = Assembler()
    assembler.text(before.encode(), TARGET, engine, NOON)
    reading = assembler.text(after.encode(), TARGET, engine, NOON + timedelta(seconds=10))
    assert isinstance(reading, EngineReading), reading
    return reading.counter(counter)


def test_work_per_gpu_is_the_mean_of_the_ranks_and_tokens_are_their_sum() -> None:
    before, after = (
        "".join(
            f'vllm:{name}{{engine="{rank}"}} {value}\n'
            for rank, value in enumerate(values)
            for name in ("estimated_flops_per_gpu_total", "generation_tokens_total")
        )
        for values in ((100, 100), (110, 130))
    )
    assert increase(before, after, Counter.FLOP_PER_GPU) == 20
    assert increase(before, after, Counter.OUTPUT_TOKENS) == 40


def test_sglangs_rows_by_priority_are_not_added_to_their_total() -> None:
    lines = [f'sglang:num_queue_reqs{{priority="{priority}"}} {n}' for priority, n in (("", 5), ("1", 3), ("2", 2))]
    assert read("\n".join(lines) + "\n", SGLANG).gauges[Gauge.QUEUE_DEPTH] == 5


@pytest.mark.parametrize(
    ("models", "counted"),
    [
        (("ensemble", "preprocessing", "tensorrt_llm", "postprocessing"), 7),
        (("ensemble", "preprocessing", "postprocessing"), 7),
        (("my_model",), None),  # which of its models is the engine cannot be told
    ],
)
def test_a_request_through_tritons_ensemble_is_one_request(models: tuple[str, ...], counted: int | None) -> None:
    before, after = (
        'nv_trt_llm_request_metrics{request_type="waiting"} 0\n'
        + "".join(f'nv_inference_request_success{{model="{model}"}} {value}\n' for model in models)
        for value in (3, 10)
    )
    found = increase(before, after, Counter.REQUESTS, TRTLLM)
    assert (None if isinstance(found, Missing) else found) == counted


def test_a_ratio_of_minus_one_means_no_data() -> None:
    reading = read("vllm:num_requests_running 1\nvllm:spec_decode_draft_acceptance_rate -1\n")
    why = reading.gauge(Gauge.ACCEPTANCE_RATIO)
    assert isinstance(why, Missing)
    assert "no data yet" in why.why


def test_a_capacity_printed_as_none_is_missing_or_comes_from_the_blocks() -> None:
    labels = 'block_size="16",num_gpu_blocks="{blocks}",kv_cache_size_tokens="None"'
    page = "vllm:num_requests_running 1\nvllm:cache_config_info{" + labels + "} 1\n"
    assert read(page.replace("{blocks}", "100")).gauges[Gauge.KV_CAPACITY_TOKENS] == 1600
    assert isinstance(read(page.replace("{blocks}", "None")).gauge(Gauge.KV_CAPACITY_TOKENS), Missing)
