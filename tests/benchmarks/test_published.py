"""The simulator reproduces what others measured on real engines, end to end: which rows, and how nearly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.fidelity.loads import ClosedLoop, Offline
from benchmarks.fidelity.published import GOAL_RATIO, HOST_TOKENS_PER_S, ROWS, table
from controller.facts.performance import StepModel
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100, EngineSpec

BY_NAME = {row.name: row for row in ROWS}

HELD = [f"NIM 70B, {clients} at once" for clients in (1, 5, 25, 50, 100, 250)] + [
    *(f"NIM 8B, {clients} at once" for clients in (1, 5, 25, 50)),
    "MLPerf 70B offline, 8 x H100 (4 engines, batch 896)",
    "MLPerf 70B offline, 8 x H200 (8 engines, batch 784)",
    "vLLM 8B, A100-40GB, 1 at once (decodes 75 tokens/s)",
]
"""Throughput and, where it is published, the time between tokens."""

HELD_BY_ROOFLINE = ["NIM 70B, 25 at once", "NIM 8B, 25 at once"]


@pytest.mark.parametrize("name", HELD)
def test_throughput_and_time_between_tokens_come_out_within_ten_percent(name: str) -> None:
    row = BY_NAME[name]
    off = row.errors(row.load.run(row.machine.shipped()))
    assert off
    assert max(map(abs, off.values())) <= GOAL_RATIO, off


@pytest.mark.parametrize("name", HELD_BY_ROOFLINE)
def test_the_roofline_alone_is_within_ten_percent_where_nobody_has_fitted_anything(name: str) -> None:
    row = BY_NAME[name]
    off = row.errors(row.load.run(row.machine.by_roofline()))
    assert max(map(abs, off.values())) <= GOAL_RATIO, off


def test_the_70b_is_the_contests_engine() -> None:
    assert BY_NAME["NIM 70B, 1 at once"].machine.shipped().step == LLAMA_70B_FP8_2XH100.step


@pytest.mark.parametrize("clients", [100, 200])
def test_beyond_a_hundred_requests_on_an_8b_the_host_decides(clients: int) -> None:
    """The usual floor is on the careful side; without any the simulator promises a third too much. With the floor that
    the row at 200 was solved for, 150 and 250 come out too."""
    row = BY_NAME[f"NIM 8B, {clients} at once"]
    usual, unbounded = (
        row.errors(row.load.run(spec))["tokens/s"] for spec in (row.machine.shipped(), row.machine.with_host(0))
    )
    assert -0.15 < usual < 0 < unbounded


@pytest.mark.parametrize("clients", [150, 250])
def test_one_floor_of_the_host_explains_the_other_rows_beyond_a_hundred(clients: int) -> None:
    row = BY_NAME[f"NIM 8B, {clients} at once"]
    assert abs(row.errors(row.load.run(row.machine.with_host(HOST_TOKENS_PER_S)))["tokens/s"]) < 0.05


CLOCKWORK = EngineSpec(
    model_name="clockwork",
    step=StepModel(base_s=0.01, per_sequence_s=0.0, per_kv_token_s=0.0, per_prefill_token_s=0.0, host_per_token_s=0.0),
    kv_capacity_tokens=100_000,
    max_sequences=8,
)
"""Every step takes 10 ms, whatever is in it."""


@pytest.mark.parametrize(("clients", "at_work"), [(1, 1), (5, 5), (20, 8)])
def test_a_closed_loop_keeps_all_its_clients_busy(clients: int, at_work: int) -> None:
    done = ClosedLoop(clients=clients, prompt_tokens=10, output_tokens=50).run(CLOCKWORK)
    assert done.tokens_per_s == pytest.approx(100 * at_work, rel=0.03)
    assert done.itl_s == pytest.approx(0.01)
    waits_s = 0.5 * (clients - at_work) / at_work
    assert waits_s <= done.ttft_s <= waits_s + 0.02  # a step, and the rest of the one before


def test_everything_at_once_is_over_when_the_last_answer_is() -> None:
    """Eight places a hundred steps a second; while the last ones finish, places stay empty."""
    made = Offline(requests=2000, mean_tokens=50.0, engines=2).run(replace(CLOCKWORK, max_model_len=4096))
    assert 0.85 * 2 * 800 < made.tokens_per_s < 2 * 800


def test_the_table_has_every_row_and_says_which_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    some = ["NIM 8B, 25 at once", "NIM 8B, 200 at once"]
    monkeypatch.setattr("benchmarks.fidelity.published.ROWS", tuple(BY_NAME[name] for name in some))
    lines = table().splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:4]] == some
    assert {line.count(" | ") for line in lines[:1] + lines[2:4]} == {11}
    assert " | yes | " in lines[2]
    assert " | no | " in lines[3]
    assert not any("nan" in line for line in lines)
