"""The emulated page is vLLM's page: same families, types, labels, order and number format."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.simulate.fleet import SimulatedFleet
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100
from controller.simulate.vllm_page import vllm_page

# vLLM 0.32.0, CPU build, default flags, --max-model-len 1024, one request; our own capture.
RECORDED = (Path(__file__).parent / "recorded" / "vllm-0.32.0-v1.prom").read_text().splitlines()


@pytest.fixture
def page(bench: Any) -> list[str]:
    spec = replace(LLAMA_70B_FP8_2XH100, model_name="tiny", max_model_len=1024)
    fleet = SimulatedFleet(100.0, max_model_len=1024)
    fleet.start("only", spec, 0.0)
    assert len(fleet.advance(200.0, bench.requests([(101.0, 4, 50, 0)]))) == 1
    return vllm_page(fleet, "only", epoch_s=1.8e9).splitlines()


def shape(line: str) -> str:
    """A line without what may differ: sample values, and the values of cache_config_info's labels."""
    if line.startswith("#"):
        return line
    name = line.rsplit(" ", 1)[0]
    return re.sub(r'="[^"]*"', "", name) if name.startswith("vllm:cache_config_info") else name


def test_every_line_is_where_vllm_writes_it(page: list[str]) -> None:
    assert [shape(line) for line in page] == [shape(line) for line in RECORDED]


def test_the_counts_of_the_same_single_request_are_the_recorded_ones(page: list[str]) -> None:
    counted = re.compile(r"vllm:(prompt_tokens|generation_tokens|prefix_cache|iteration_tokens|.*_count)")
    ours = {line for line in page if counted.match(line) and "_created" not in line}
    theirs = {line for line in RECORDED if counted.match(line) and "_created" not in line}
    assert ours == theirs


def test_the_reference_parser_reads_it_whole(page: list[str]) -> None:
    families = {family.name: family for family in text_string_to_metric_families("\n".join(page) + "\n")}
    samples = {sample.name: sample for family in families.values() for sample in family.samples}
    assert samples["vllm:generation_tokens_total"].value == 50
    assert samples["process_start_time_seconds"].value == 1.8e9 + 100
    assert samples["vllm:cache_config_info"].labels["kv_cache_size_tokens"] == "411376"
    assert samples["vllm:time_to_first_token_seconds_sum"].value > 0.017


@pytest.mark.parametrize("line", [line for line in RECORDED if not line.startswith("#")][::7])
def test_numbers_are_written_as_the_client_library_writes_them(line: str) -> None:
    from controller.simulate.vllm_page import _number

    text = line.rsplit(" ", 1)[1]
    assert _number(float(text)) == text
