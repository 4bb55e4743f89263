"""What holds for every opponent, with any settings and in front of any sight."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.simulate.opponents import catalogue
from controller.simulate.opponents.catalogue import OPPONENTS
from controller.simulate.opponents.contender import Contender, Range
from controller.simulate.opponents.profile import ReplicaProfile
from controller.simulate.sight import Explaining, Opponent, ReplicaSight, Sight

EVERY = pytest.mark.parametrize("contender", OPPONENTS.values(), ids=OPPONENTS.keys())
SHARED = {"__init__", "behavior", "catalogue", "clock", "contender", "profile"}
RATIO = st.floats(0, 1)
RATE = st.floats(0, 1e4)
LENGTH = st.none() | st.floats(1, 1e5)
LATENCY = st.none() | st.floats(0, 1e3)
REPLICA = st.builds(
    ReplicaSight,
    running=st.integers(0, 1024),
    waiting=st.integers(0, 10_000),
    kv_cache_ratio=RATIO,
    gpu_utilization_ratio=RATIO,
)


@st.composite
def sights(draw: st.DrawFn) -> list[Sight]:
    """Some looks in a row: replicas come and go, nothing may have finished, scrapes may stop."""
    at_s, seen = 0.0, []
    for _ in range(draw(st.integers(1, 8))):
        at_s += draw(st.sampled_from((0.0, 2.0, 15.0, 60.0, 400.0)))
        replicas = tuple(draw(st.lists(REPLICA, max_size=4)))
        seen.append(
            Sight(
                at_s=at_s,
                current=len(replicas) + draw(st.integers(0, 3)),
                replicas=replicas,
                waiting_at_router=draw(st.integers(0, 1000)),
                arrivals_per_s=draw(RATE),
                finished_per_s=draw(RATE),
                prompt_tokens_per_s=draw(RATE),
                output_tokens_per_s=draw(RATE),
                mean_prompt_tokens=draw(LENGTH),
                mean_output_tokens=draw(LENGTH),
                ttft_s=draw(LATENCY),
                tpot_s=draw(LATENCY),
                kv_capacity_tokens=411_376,
            )
        )
    return seen


def drawn(contender: Contender, share: float) -> dict[str, float]:
    """All its settings at the same share of their ranges."""
    ranges = {contender.knob.name: contender.knob.values, **contender.tunable}
    return {name: values.at(share) for name, values in ranges.items()}


def both(contender: Contender, share: float, low: int, high: int, profile: ReplicaProfile) -> tuple[Opponent, Opponent]:
    tuned = contender.make(drawn(contender, share), min_replicas=low, max_replicas=high, profile=profile)
    return tuned, contender.make_documented(min_replicas=low, max_replicas=high, profile=profile)


@EVERY
@settings(max_examples=25)
@given(looks=sights(), share=RATIO, low=st.integers(0, 3), more=st.integers(0, 20))
def test_no_sight_takes_it_outside_its_limits(
    contender: Contender, profile: ReplicaProfile, looks: list[Sight], share: float, low: int, more: int
) -> None:
    high = max(1, low + more)
    for opponent in both(contender, share, low, high, profile):
        for look in looks:
            assert low <= opponent.desired(look) <= high


@EVERY
@settings(max_examples=10)
@given(looks=sights(), share=RATIO)
def test_equal_sights_give_equal_answers(
    contender: Contender, profile: ReplicaProfile, looks: list[Sight], share: float
) -> None:
    one, other = (both(contender, share, 1, 20, profile) for _ in range(2))
    for mine, theirs in zip(one, other, strict=True):
        assert [mine.desired(look) for look in looks] == [theirs.desired(look) for look in looks]


@EVERY
def test_it_is_asked_at_some_interval(contender: Contender, profile: ReplicaProfile) -> None:
    for opponent in both(contender, 0.5, 0, 8, profile):
        assert 1 <= opponent.sync_s <= 180


def steady(contender: Contender, value: float, profile: ReplicaProfile, sight: Callable[..., Sight]) -> int:
    """Where half an hour of a load for four replicas at capacity ends, all of it ready at once and evenly spread."""
    opponent = contender.make({contender.knob.name: value}, min_replicas=1, max_replicas=40, profile=profile)
    rate, current, at_s = 4 * profile.requests_per_s, 8, 0.0
    while at_s < 7200:
        share = 4 / current
        current = opponent.desired(
            sight(
                at_s=at_s,
                ready=current,
                running=round(profile.running * share),
                waiting=max(0, round(20 * (share - 0.5))),
                kv_cache_ratio=min(1.0, profile.kv_cache_ratio * share),
                gpu_utilization_ratio=min(1.0, 0.9 * share),
                arrivals_per_s=rate,
                prompt_tokens_per_s=rate * profile.shape.prompt_tokens,
                mean_prompt_tokens=profile.shape.prompt_tokens,
                mean_output_tokens=profile.shape.output_tokens,
                tpot_s=profile.tpot_s * share,
                kv_capacity_tokens=profile.limits.kv_capacity_tokens,
            )
        )
        at_s += opponent.sync_s
    return current


@EVERY
def test_the_ends_of_its_knob_are_a_dear_and_a_cheap_fleet(
    contender: Contender, profile: ReplicaProfile, sight: Callable[..., Sight]
) -> None:
    values = contender.knob.values
    cheap, dear = (values.low, values.high) if contender.knob.dearer == "higher" else (values.high, values.low)
    assert steady(contender, dear, profile, sight) > 4  # more than the load fills
    assert steady(contender, cheap, profile, sight) <= 6  # a queue, where it counts too, asks for one or two


@EVERY
def test_it_says_by_which_numbers_it_came_to_another_scale(
    contender: Contender, profile: ReplicaProfile, sight: Callable[..., Sight]
) -> None:
    opponent = contender.make({}, min_replicas=1, max_replicas=40, profile=profile)
    assert isinstance(opponent, Explaining)
    current, told, busy = 2, [], 1.0
    for look in range(int(7200 / opponent.sync_s)):
        at_s = look * opponent.sync_s
        busy = 4.0 if 1800 <= at_s < 3600 else 0.1
        wanted = opponent.desired(
            sight(
                at_s=at_s,
                ready=current,
                running=round(profile.running * busy),
                waiting=round(20 * busy),
                kv_cache_ratio=min(1.0, profile.kv_cache_ratio * busy),
                gpu_utilization_ratio=min(1.0, busy),
                arrivals_per_s=8 * busy * profile.requests_per_s,
                prompt_tokens_per_s=busy * profile.requests_per_s * profile.shape.prompt_tokens,
                mean_prompt_tokens=profile.shape.prompt_tokens,
                mean_output_tokens=profile.shape.output_tokens,
                tpot_s=profile.tpot_s * busy,
                kv_capacity_tokens=profile.limits.kv_capacity_tokens,
            )
        )
        if wanted != current:
            wish = opponent.wish()
            assert wish is not None
            told.append(wish.told(wanted))
        current = wanted
    assert told or contender.name in ("static", "hpa-queue"), "it never moved"
    assert all(": wants " in one and contender.name not in one for one in told)
    kinds = {re.sub(r"[+-]?[\d,.]+", "#", one) for one in told}
    assert len(kinds) <= 6, f"reasons are counted by their words: {kinds}"


def test_every_file_is_in_the_catalogue() -> None:
    folder = Path(catalogue.__file__).parent
    makers = {contender.build.__module__.rsplit(".", 1)[1] for contender in OPPONENTS.values()}
    assert makers == {path.stem for path in folder.glob("*.py")} - SHARED


@EVERY
def test_every_setting_has_a_default_inside_its_range(contender: Contender) -> None:
    ranges = {contender.knob.name: contender.knob.values, **contender.tunable}
    for name, values in ranges.items():
        assert values.low <= contender.defaults[name] <= values.high
    assert contender.translation
    assert contender.knob.name not in contender.tunable


def test_a_setting_that_nobody_knows_is_an_error_with_those_that_are_known(profile: ReplicaProfile) -> None:
    with pytest.raises(ValueError, match=r"skyserve has no setting qps; it has down_delay_s, load_ratio, up_delay_s"):
        OPPONENTS["skyserve"].make({"qps": 1.0}, min_replicas=1, max_replicas=2, profile=profile)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (Range(low=0, high=1), (0.0, 0.5, 1.0)),
        (Range(low=1, high=100, kind="log"), (1.0, 10.0, 100.0)),
        (Range(low=1, high=2, kind="whole"), (1.0, 2.0)),
    ],
)
def test_a_range_is_spread_by_its_kind(values: Range, expected: tuple[float, ...]) -> None:
    assert values.spread(3) == pytest.approx(expected)
