"""What a token takes of a replica's time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.estimate.performance.capacity import capacity
from controller.estimate.work import LEAST_REQUESTS, PhaseSeconds, seconds_per_token, work_rate
from controller.facts.accounts import WorkRate
from controller.facts.missing import Missing
from controller.facts.performance import (
    EngineLimits,
    OutOfReach,
    ReplicaCapacity,
    RequestShape,
    ServingPoint,
    StepModel,
)
from controller.facts.slo import LatencyTarget, Slo

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
STEP = StepModel(
    base_s=6e-3, per_sequence_s=3e-5, per_kv_token_s=4e-8, per_prefill_token_s=2.2e-5, per_prefill_pair_s=2e-10
)
"""About an 8B model in bf16 on an H100."""

CHAT = RequestShape(prompt_tokens=1200, output_tokens=250, cached_ratio=0.3)
NOTHING = Missing("phases", "the engine does not say")


def at(requests_per_s: float = 10.0, running: float = 40.0, busy_ratio: float = 0.3) -> ReplicaCapacity:
    point = ServingPoint(
        requests_per_s=requests_per_s,
        running=running,
        kv_cache_ratio=0.5,
        busy_ratio=busy_ratio,
        ttft_s=0.3,
        tpot_s=0.02,
    )
    return ReplicaCapacity(requests_per_s=requests_per_s, binding="tpot", at=point, source="profile", band_ratio=0.1)


def rated(
    capacity: ReplicaCapacity,
    shape: RequestShape = CHAT,
    phases: PhaseSeconds | Missing = NOTHING,
    *,
    step: StepModel = STEP,
    cached_token_weight: float = 0.0,
) -> WorkRate:
    rate = work_rate(
        step,
        capacity,
        shape,
        phases,
        service="chat",
        variant="bf16",
        at=NOON,
        cached_token_weight=cached_token_weight,
    )
    assert isinstance(rate, WorkRate)
    return rate


def engine_s(rate: WorkRate, shape: RequestShape, requests: float) -> tuple[float, float, float]:
    """Prefill, cached and decode of so many requests of a shape."""
    prompt, output = requests * shape.prompt_tokens, requests * shape.output_tokens
    each = seconds_per_token(rate)
    counts = (prompt * (1 - shape.cached_ratio), prompt * shape.cached_ratio, output)
    return tuple(count * seconds for count, seconds in zip(counts, each, strict=True))


SHAPES = st.builds(
    RequestShape,
    prompt_tokens=st.floats(1, 50_000),
    output_tokens=st.floats(1, 5_000),
    cached_ratio=st.floats(0, 0.999),
    prompt_cv=st.floats(0, 4),
)
PHASES = st.one_of(
    st.just(NOTHING),
    st.builds(
        PhaseSeconds,
        requests=st.floats(0, 1e5),
        prefill_s=st.floats(0, 1e6),
        decode_s=st.floats(0, 1e6),
        running=st.floats(0, 500),
    ),
)


@given(
    shape=SHAPES,
    phases=PHASES,
    load=st.floats(0.01, 500),
    running=st.floats(0.1, 1000),
    busy=st.floats(0.001, 0.999),
    cached_weight=st.floats(0, 0.1),
)
def test_at_capacity_a_second_of_requests_takes_one_engine_second(
    shape: RequestShape, phases: PhaseSeconds | Missing, load: float, running: float, busy: float, cached_weight: float
) -> None:
    rate = rated(at(load, running, busy), shape, phases, cached_token_weight=cached_weight)
    assert sum(engine_s(rate, shape, load)) == pytest.approx(1.0)


def test_at_the_capacity_that_the_queueing_model_finds_it_is_one_second_too() -> None:
    slo = Slo(ttft=LatencyTarget(quantile=0.95, seconds=1.0), tpot=LatencyTarget(quantile=0.95, seconds=0.05))
    most = capacity(STEP, EngineLimits(kv_capacity_tokens=400_000), CHAT, slo)
    assert not isinstance(most, OutOfReach)
    prefill, cached, decode = engine_s(rated(most), CHAT, most.requests_per_s)
    assert prefill + cached + decode == pytest.approx(1.0)
    assert prefill + cached == pytest.approx(most.at.busy_ratio)


def test_a_request_takes_the_same_whatever_the_load_that_it_meets() -> None:
    """The rate knows only the capacity: half the requests take half the engine, and the other half is idle."""
    rate = rated(at(10.0))
    assert sum(engine_s(rate, CHAT, 5.0)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("why", "small", "large"),
    [
        ("long prompts attend to more", (1000, 0, 0), (4000, 0, 0)),
        ("cached tokens are attended to", (1000, 0, 0), (1000, 4000, 0)),
        ("long contexts are read at each step", (1000, 0, 200), (9000, 0, 200)),
    ],
)
def test_the_parts_of_a_request_grow_as_attention_does(
    why: str, small: tuple[int, int, int], large: tuple[int, int, int]
) -> None:
    rate = rated(at())

    def takes(u: int, h: int, o: int) -> float:
        prompt = u * rate.prefill_s_per_token + u * u * rate.prefill_s_per_square
        cached = h * rate.cached_s_per_token + 2 * h * u * rate.cached_s_per_cross
        return prompt + cached + o * rate.decode_s_per_token + o * (2 * (u + h) + o) * rate.decode_s_per_context

    share = (large[0] or 1) / (small[0] or 1)
    assert takes(*large) > takes(*small) * (share if not large[2] else 1), why


def test_a_cached_token_takes_less_than_a_computed_one() -> None:
    uncached, cached, output = seconds_per_token(rated(at(), cached_token_weight=0.05))
    assert 0 < cached < uncached < output


def test_opencosts_unit_error_of_1221_does_not_come_back() -> None:
    """30.8 s of prefill stood against 37,675 s of decode, and a sum of seconds per token was taken for the latter.

    1,000 requests of 800 prompt and 1,500 output tokens in batches of 40: decode is nearly everything.
    """
    shape = RequestShape(prompt_tokens=800, output_tokens=1500)
    measured = PhaseSeconds(requests=1000, prefill_s=30.8, decode_s=37_675.0, running=40.0)
    for phases in (NOTHING, measured):
        prefill, cached, decode = engine_s(rated(at(2.0, busy_ratio=0.05), shape, phases), shape, 1000)
        assert decode > 5 * (prefill + cached)


def test_what_the_engine_measured_moves_the_share_and_not_the_sum() -> None:
    usual = rated(at())
    slow_decode = PhaseSeconds(requests=LEAST_REQUESTS, prefill_s=1e-3, decode_s=1e6, running=40.0)
    moved = rated(at(), phases=slow_decode)
    assert moved.decode_s_per_token > usual.decode_s_per_token
    assert moved.prefill_s_per_token < usual.prefill_s_per_token
    most = 16 * usual.decode_s_per_token * usual.prefill_s_per_token
    assert moved.decode_s_per_token * usual.prefill_s_per_token < most, "clipped to a factor of 4 each"


@pytest.mark.parametrize(
    "phases",
    [
        NOTHING,
        PhaseSeconds(requests=LEAST_REQUESTS - 1, prefill_s=1e-3, decode_s=1e6, running=40.0),
        PhaseSeconds(requests=1000, prefill_s=0.0, decode_s=1e6, running=40.0),
    ],
)
def test_too_little_measured_changes_nothing(phases: PhaseSeconds | Missing) -> None:
    assert rated(at(), phases=phases) == rated(at())


def test_an_engine_that_is_as_modelled_changes_nothing() -> None:
    """40 in the batch: each sees its own steps, and the prompts of the 39 others that come while it is answered."""
    context = CHAT.prompt_tokens + CHAT.output_tokens / 2
    step_s = STEP.decode_s(40, 40 * context)
    prompt_s = STEP.prefill_s(840, 840**2 * 2 + 2 * 840 * 360)
    measured = PhaseSeconds(
        requests=1000,
        prefill_s=1000 * (step_s + prompt_s),
        decode_s=1000 * (249 * step_s + 39 * prompt_s),
        running=40.0,
    )
    got, usual = rated(at(), phases=measured), rated(at())
    assert got.prefill_s_per_token == pytest.approx(usual.prefill_s_per_token)
    assert got.decode_s_per_token == pytest.approx(usual.decode_s_per_token)


def test_steps_that_are_slower_all_round_change_nothing() -> None:
    """Both phases are longer by the same factor: the request is shared as before."""
    once = PhaseSeconds(requests=1000, prefill_s=50.0, decode_s=5000.0, running=40.0)
    slower = replace(once, prefill_s=60.0, decode_s=6000.0)
    assert rated(at(), phases=slower).decode_s_per_token == pytest.approx(rated(at(), phases=once).decode_s_per_token)


@pytest.mark.parametrize("running", [float("inf"), 0.0])
def test_a_capacity_that_no_engine_stands_gives_no_rate(running: float) -> None:
    got = work_rate(STEP, at(running=running), CHAT, NOTHING, service="chat", variant="bf16", at=NOON)
    assert isinstance(got, Missing)
    assert "chat/bf16" in str(got)


def test_prompts_without_answers_are_all_prefill() -> None:
    shape = RequestShape(prompt_tokens=500, output_tokens=0)
    prefill, cached, decode = engine_s(rated(at(4.0), shape), shape, 4.0)
    assert prefill + cached == pytest.approx(1.0)
    assert decode == 0


def test_a_step_that_takes_no_time_gives_no_rate() -> None:
    free = StepModel(base_s=0, per_sequence_s=0, per_kv_token_s=0, per_prefill_token_s=0, host_per_token_s=0)
    got = work_rate(free, at(), CHAT, NOTHING, service="chat", variant="bf16", at=NOON)
    assert isinstance(got, Missing)
    assert "no work" in str(got)
