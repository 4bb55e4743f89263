"""The simulator agrees with what others measured and with what queueing theory says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100


@pytest.mark.parametrize(
    ("concurrency", "published_per_s"), [(1, 52), (5, 218), (25, 623), (50, 814), (100, 917), (250, 920)]
)
def test_it_reproduces_nims_throughput_within_ten_percent(bench: Any, concurrency: int, published_per_s: float) -> None:
    """NIM's page for Llama-3.1-70B FP8 on two H100: closed loop, 5,000 prompt and 500 output tokens, tokens/s.
    NIM runs TensorRT-LLM, which lets a request in only when its whole answer has room. The size of its cache follows
    from the page's last row by Little's law: 920 tokens/s x 93.2 ms between tokens are 86 sequences of 5,500 tokens."""
    nim = replace(LLAMA_70B_FP8_2XH100, reserves_output=True, kv_capacity_tokens=round(920 * 0.0932 * 5500))
    fleet, at_s, made_at, going = bench.engine(nim), 0.0, {}, 0
    while at_s < 600.0:
        come = bench.requests([(at_s, 5000, 500, 0)] * (concurrency - going))
        at_s += 0.05
        going = concurrency - len(fleet.advance(at_s, come))
        made_at[round(at_s)] = fleet.tally("only").generation_tokens
    assert (made_at[600] - made_at[300]) / 300 == pytest.approx(published_per_s, rel=0.10)
