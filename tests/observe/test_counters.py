"""Counted increases lose and double nothing, whatever restarts, vanishes or starts anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.facts.fleet import EngineKind
from controller.facts.missing import Missing
from controller.facts.readings import Counter, Distribution, EngineReading, Target
from controller.observe.assemble import Assembler
from controller.observe.counters import FORGET_AFTER

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOOT_S = NOON.timestamp() - 3600
TARGET = Target(service="chat", variant="h100", replica="r1", url="http://127.0.0.1:8000")
STEP_S = 10


def at(step: float) -> datetime:
    return NOON + timedelta(seconds=STEP_S * step)


def page(tokens: float, started_s: float | None = BOOT_S, more: str = "") -> bytes:
    start = "" if started_s is None else f"process_start_time_seconds {started_s}\n"
    return f'{start}vllm:generation_tokens_total{{engine="0",model_name="m"}} {tokens}\n{more}'.encode()


def read(assembler: Assembler, body: bytes, step: float, target: Target = TARGET) -> EngineReading:
    reading = assembler.text(body, target, EngineKind.VLLM, at(step))
    assert isinstance(reading, EngineReading), reading
    return reading


def output(assembler: Assembler, body: bytes, step: float, target: Target = TARGET) -> float | Missing:
    return read(assembler, body, step, target).counter(Counter.OUTPUT_TOKENS)


def test_the_first_sight_of_an_old_process_is_missing_and_not_zero() -> None:
    assembler = Assembler()
    first = read(assembler, page(500), 0)
    why = first.counter(Counter.OUTPUT_TOKENS)
    assert isinstance(why, Missing)
    assert "first reading" in why.why
    assert first.window_s == 0
    second = read(assembler, page(530), 1)
    assert (second.counter(Counter.OUTPUT_TOKENS), second.window_s) == (30, STEP_S)


@pytest.mark.parametrize(
    ("before", "after", "restarted_s", "increase"),
    [
        (500, 40, None, 40),  # a value that drops
        (500, 40, BOOT_S + 3590, 40),
        (500, 900, BOOT_S + 3590, 900),  # a new process that overtook the old one
        (500, 900, BOOT_S + 0.4, 400),  # a start time that was only rounded
        (500, 500, BOOT_S, 0),
    ],
)
def test_an_increase_over_a_restart_is_the_new_value(
    before: float, after: float, restarted_s: float | None, increase: float
) -> None:
    assembler = Assembler()
    output(assembler, page(before, BOOT_S if restarted_s else None), 0)
    assert output(assembler, page(after, restarted_s), 1) == increase


def test_a_target_that_vanished_for_a_while_goes_on_where_it_was() -> None:
    assembler = Assembler()
    output(assembler, page(100), 0)
    assembler.book.forget(at(0) + FORGET_AFTER)
    assert output(assembler, page(170), 30) == 70


def test_a_target_that_was_forgotten_is_not_counted_from_zero_again() -> None:
    assembler = Assembler()
    output(assembler, page(7), 0)
    other = Target(service="chat", variant="h100", replica="r2", url="http://127.0.0.1:8001")
    young = page(100, at(0.5).timestamp())
    assert output(assembler, young, 1, other) == 100
    late = (FORGET_AFTER / timedelta(seconds=STEP_S)) + 2
    assembler.book.forget(at(late))
    assert isinstance(output(assembler, page(160, at(0.5).timestamp()), late, other), Missing)


def test_a_replica_that_started_between_two_passes_loses_no_token() -> None:
    assembler = Assembler()
    output(assembler, page(7), 0)
    other = Target(service="chat", variant="h100", replica="r2", url="http://127.0.0.1:8001")
    reading = read(assembler, page(55, at(0.5).timestamp()), 1, other)
    assert reading.counter(Counter.OUTPUT_TOKENS) == 55
    assert reading.window_s == STEP_S / 2


@pytest.mark.parametrize(("unused_until", "counted"), [(at(1.5), 192), (at(1), 192), (at(0.4), None), (None, None)])
def test_a_replica_that_started_under_a_daemon_that_died_is_counted_from_zero_when_nobody_was_sent_there_since(
    unused_until: datetime | None, counted: float | None
) -> None:
    last_pass = at(0.5)
    assembler = Assembler()
    assembler.book.restore((), last_pass)
    assembler.book.unused_until = {TARGET.url: unused_until} if unused_until else {}
    reading = read(assembler, page(192, at(0).timestamp()), 2)
    found = reading.counter(Counter.OUTPUT_TOKENS)
    assert (found if counted else type(found)) == (counted or Missing)
    assert reading.window_s == (2 * STEP_S if counted else 0)


def test_a_label_series_that_is_new_starts_at_zero() -> None:
    assembler = Assembler()
    stop = 'vllm:request_success_total{engine="0",finished_reason="stop"} 5\n'
    read(assembler, page(1, more=stop), 0)
    both = stop + 'vllm:request_success_total{engine="0",finished_reason="length"} 2\n'
    assert read(assembler, page(1, more=both), 1).counter(Counter.REQUESTS) == 2


def histogram(counts: dict[str, int]) -> str:
    name = "vllm:time_to_first_token_seconds"
    buckets = "".join(f'{name}_bucket{{engine="0",le="{le}"}} {count}\n' for le, count in counts.items())
    most = max(counts.values())
    return f'{buckets}{name}_sum{{engine="0"}} {most}\n{name}_count{{engine="0"}} {most}\n'


def test_changed_histogram_bounds_come_with_a_restart_and_count_from_zero() -> None:
    assembler = Assembler()
    read(assembler, page(9, more=histogram({"0.1": 3, "+Inf": 8})), 0)
    new = page(9, BOOT_S + 3605, histogram({"0.2": 2, "0.4": 5, "+Inf": 6}))
    found = read(assembler, new, 1).histogram(Distribution.TTFT_S)
    assert not isinstance(found, Missing)
    assert (found.bounds, found.counts) == ((0.2, 0.4, float("inf")), (2, 3, 1))


def test_after_a_restart_of_the_daemon_counting_goes_on_from_the_marks() -> None:
    before = Assembler()
    output(before, page(100), 0)
    output(before, page(130), 1)
    after = Assembler()
    after.book.restore(before.book.marks(), at(1))
    reading = read(after, page(150, more=histogram({"0.1": 3, "+Inf": 8})), 3)
    assert (reading.counter(Counter.OUTPUT_TOKENS), reading.window_s) == (20, 2 * STEP_S)
    assert isinstance(reading.histogram(Distribution.TTFT_S), Missing)  # no marks are kept of it


def test_marks_that_were_restored_but_not_yet_used_are_handed_on() -> None:
    before = Assembler()
    output(before, page(100), 0)
    after = Assembler()
    after.book.restore(before.book.marks(), at(0))
    assert after.book.marks() == before.book.marks()


def test_a_value_that_is_not_a_number_loses_no_token() -> None:
    assembler = Assembler()
    output(assembler, page(100), 0)
    assert isinstance(output(assembler, page(float("nan")), 1), Missing)
    assert output(assembler, page(160), 2) == 60


@pytest.mark.parametrize("torn", ["vllm:generation_tokens_total 5?5", "vllm:generation_tokens_total", ""])
def test_a_series_that_one_page_lacks_is_not_counted_from_zero_when_it_is_back(torn: str) -> None:
    assembler = Assembler()
    output(assembler, page(500), 0)
    without = f"process_start_time_seconds {BOOT_S}\nvllm:num_requests_running 1\n{torn}\n"
    assert isinstance(output(assembler, without.encode(), 1), Missing)
    assert output(assembler, page(560), 2) == 60


def test_a_series_that_the_last_page_lacked_keeps_its_mark_over_a_restart_of_the_daemon() -> None:
    before = Assembler()
    output(before, page(500), 0)
    without = f"process_start_time_seconds {BOOT_S}\nvllm:num_requests_running 1\n".encode()
    output(before, without, 1)
    after = Assembler()
    after.book.restore(before.book.marks(), at(1))
    output(after, without, 2)
    assert output(after, page(560), 3) == 60


def test_a_series_left_out_before_a_restart_of_the_engine_is_counted_from_zero_after_it() -> None:
    assembler = Assembler()
    output(assembler, page(500), 0)
    restarted_s = BOOT_S + 3605
    output(assembler, f"process_start_time_seconds {restarted_s}\nvllm:num_requests_running 1\n".encode(), 1)
    assert output(assembler, page(560, restarted_s), 2) == 560


def test_a_sum_of_observations_that_falls_is_no_restart() -> None:
    """Latencies are taken from the wall clock: set back, it makes one negative, and the sum falls."""
    name = "vllm:e2e_request_latency_seconds"
    observed = name + '_bucket{{le="+Inf"}} {count}\n' + name + "_sum {total}\n" + name + "_count {count}\n"
    assembler = Assembler()
    output(assembler, page(500, more=observed.format(count=5, total=9.0)), 0)
    assert output(assembler, page(560, more=observed.format(count=6, total=8.5)), 1) == 60


def test_a_mark_does_not_depend_on_the_place_of_a_name_among_its_candidates() -> None:
    """A later version knows more names, the newest first: what this one marked must still be found."""
    assembler = Assembler()
    output(assembler, page(500), 0)
    body = b"vllm:generation_tokens 500\n"
    other = Target(service="chat", variant="h100", replica="r2", url="http://127.0.0.1:8001")
    output(assembler, body, 0, other)
    series = [mark.series.split("/")[:3] for mark in assembler.book.marks()]
    assert series == [
        ["output_tokens", "value", "vllm:generation_tokens_total"],
        ["output_tokens", "value", "vllm:generation_tokens"],
    ]


EVENTS = st.lists(
    st.one_of(
        st.integers(0, 1000),  # so many tokens are produced
        st.sampled_from(["scrape", "scrape", "scrape", "outage", "engine restarts", "daemon restarts"]),
    ),
    max_size=40,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS)
def test_any_history_counts_all_tokens_but_those_after_a_process_last_scrape(events: list[int | str]) -> None:
    assembler = Assembler()
    started, value, step, last_pass = BOOT_S, 0, 1, at(0)
    output(assembler, page(value, started), 0)
    counted = expected = unread = 0
    for event in events:
        step += 1
        if isinstance(event, int):
            value += event
            unread += event
        elif event == "engine restarts":
            started, value, unread = at(step - 0.5).timestamp(), 0, 0
        elif event == "daemon restarts":
            successor = Assembler()
            successor.book.restore(assembler.book.marks(), last_pass)
            assembler = successor
        elif event == "scrape":
            increase = output(assembler, page(value, started), step)
            assert not isinstance(increase, Missing)
            counted += int(increase)
            expected += unread
            unread, last_pass = 0, at(step)
    assert counted == expected


def test_a_value_that_is_not_a_number_just_after_a_restart_is_counted_from_zero_later() -> None:
    assembler = Assembler()
    output(assembler, page(100), 0)
    restarted_s = BOOT_S + 3605
    assert isinstance(output(assembler, page(float("nan"), restarted_s), 1), Missing)
    assert output(assembler, page(160, restarted_s), 2) == 160
