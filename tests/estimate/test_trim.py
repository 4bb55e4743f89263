"""The trim of capacity: what the requests met, and what is learned from it."""

from math import exp, inf

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from controller.estimate.trim import (
    HIGHEST,
    LEAST_USE,
    LOWEST,
    STEADY_SHARE,
    Histograms,
    Tail,
    Trim,
    histograms_of,
    trimmed,
)
from controller.facts.missing import Missing
from controller.facts.readings import Distribution, Histogram
from controller.facts.slo import LatencyTarget, Slo

NONE = Missing("histogram", "no replica said it")
SLO = Slo(
    ttft=LatencyTarget(quantile=0.95, seconds=1.0),
    tpot=LatencyTarget(quantile=0.95, seconds=0.05),
    attainment_ratio=0.99,
)


def ttft(*counts, bounds=(0.5, 1.0, inf)):
    return Histogram(bounds=bounds, counts=tuple(map(float, counts)), total=0.0)


def tpot(*counts):
    return ttft(*counts, bounds=(0.02, 0.05, inf))


def factor(of_ttft=NONE, of_tpot=NONE, use=0.9, before=1.0, slo=SLO):
    return trimmed(Trim(factor=before), Histograms(ttft=of_ttft, tpot=of_tpot), slo, use).factor


def test_more_misses_than_allowed_take_capacity_away_and_fewer_give_it_back():
    assert factor(ttft(500, 400, 100)) < 1
    assert factor(ttft(900, 100, 0)) > 1
    allowed = 1000 * 0.01 * STEADY_SHARE
    assert factor(ttft(900, 100 - allowed, allowed)) == pytest.approx(1)  # exactly what may miss on a steady replica


def test_a_miss_costs_more_than_a_hit_gains_as_the_allowed_share_says():
    lost, gained = (abs(factor(one) - 1) for one in (ttft(0, 0, 1000), ttft(1000, 0, 0)))
    assert lost / gained == pytest.approx(1 / (0.01 * STEADY_SHARE) - 1, rel=0.1)


def test_many_requests_say_more_than_few():
    assert factor(ttft(0, 0, 1)) > factor(ttft(0, 0, 100)) > factor(ttft(0, 0, 10_000)) > 0.9


@pytest.mark.parametrize(
    ("case", "histograms"),
    [
        ("nobody said anything", (NONE, NONE)),
        ("nothing finished", (ttft(0, 0, 0), tpot(0, 0, 0))),
    ],
)
def test_without_requests_nothing_is_learned(case, histograms):
    before = Trim(factor=0.8, judged=50)
    after = trimmed(before, Histograms(ttft=histograms[0], tpot=histograms[1]), SLO, 0.9)
    assert (after.factor, after.judged) == (0.8, 50), case


def test_a_latency_without_a_target_is_not_judged():
    only_tpot = Slo(tpot=SLO.tpot)
    assert factor(ttft(0, 0, 1000), slo=only_tpot) == 1
    assert factor(ttft(0, 0, 1000), tpot(1000, 0, 0), slo=only_tpot) > 1
    assert factor(ttft(0, 0, 1000), tpot(0, 0, 1000), slo=Slo()) == 1


def test_of_two_latencies_the_worse_one_counts():
    assert factor(ttft(1000, 0, 0), tpot(0, 0, 1000)) == factor(ttft(0, 0, 1000), tpot(1000, 0, 0))
    assert factor(ttft(0, 0, 1000), tpot(0, 0, 1000)) == factor(ttft(0, 0, 1000))


@pytest.mark.parametrize(
    ("case", "use", "histogram", "moves"),
    [
        ("hits on idle replicas do not say that they carry more", 0.5, ttft(1000, 0, 0), False),
        ("hits on used ones do", LEAST_USE, ttft(1000, 0, 0), True),
        ("misses on idle replicas are the model's fault", 0.5, ttft(0, 0, 1000), True),
        ("misses on full ones are too", 1.0, ttft(0, 0, 1000), True),
        ("misses on overloaded ones are not", 1.01, ttft(0, 0, 1000), False),
        ("hits on overloaded ones say that they carry more", 1.5, ttft(1000, 0, 0), True),
    ],
)
def test_only_a_use_that_tells_something_moves_the_trim(case, use, histogram, moves):
    assert (factor(histogram, use=use) != 1) == moves, case


def test_what_surges_cost_is_taken_off_the_capacity_where_nothing_foresees_them():
    overloaded = Histograms(ttft=ttft(500, 100, 400), tpot=NONE)
    moved = [trimmed(Trim(), overloaded, SLO, 1.5, foreseeable=one).factor for one in (True, False)]
    assert moved[0] == 1.0
    assert moved[1] < 1.0


def test_what_comes_between_surges_gives_it_back_on_replicas_that_stand_for_them():
    lull = Histograms(ttft=ttft(1000, 0, 0), tpot=NONE)
    assert trimmed(Trim(factor=0.6), lull, SLO, 0.1).factor == 0.6
    assert trimmed(Trim(factor=0.6), lull, SLO, 0.1, foreseeable=False).factor > 0.6


@given(allowed=st.floats(0.001, 0.2), every=st.integers(2, 40))
def test_over_surges_and_lulls_together_the_trim_falls_where_more_misses_than_the_slo_has_room_for(allowed, every):
    slo, trim = Slo(ttft=SLO.ttft, attainment_ratio=1 - allowed), Trim()
    assume(abs(1 / every - STEADY_SHARE * allowed) > 1e-6)
    for look in range(every):
        met = ttft(0, 0, 1000) if look == every // 2 else ttft(1000, 0, 0)
        trim = trimmed(trim, Histograms(ttft=met, tpot=NONE), slo, 0.1, foreseeable=False)
    assert (trim.factor < 1) == (1 / every > STEADY_SHARE * allowed)


def test_the_trim_stays_within_its_bounds():
    low = high = Trim()
    for _ in range(3000):
        low = trimmed(low, Histograms(ttft=ttft(0, 0, 900), tpot=NONE), SLO, 0.9)
        high = trimmed(high, Histograms(ttft=ttft(900, 0, 0), tpot=NONE), SLO, 0.9)
    assert (low.factor, high.factor) == (LOWEST, HIGHEST)


# --- tails ----------------------------------------------------------------------------------------------------------


def test_across_a_bucket_an_exponential_tail_is_read_exactly():
    rate = 2.0
    tail = Tail().after(1000, 1000 * exp(-rate * 1.0), 1000 * exp(-rate * 2.5))
    beyond_two = (exp(-rate * 2.0) - exp(-rate * 2.5)) / (exp(-rate * 1.0) - exp(-rate * 2.5))
    assert tail.beyond((2.0 - 1.0) / 1.5) == pytest.approx(beyond_two)
    assert tail.beyond(1 / 1.5) < 1 - 1 / 1.5  # what a uniform spread would say


@given(seen=st.floats(0, 1e6), inside=st.floats(0, 1e6), above=st.floats(0, 1e6), share=st.floats(0, 1))
def test_the_part_beyond_a_target_is_a_share_and_falls_with_the_target(seen, inside, above, share):
    tail = Tail().after(seen + inside + above, inside + above, above)
    assert -1e-9 <= tail.beyond(share) <= 1 + 1e-9
    assert tail.beyond(0.0) == pytest.approx(1.0)
    assert tail.beyond(1.0) == pytest.approx(0.0, abs=1e-9)
    assert tail.beyond(share) <= tail.beyond(share / 2) + 1e-9


def test_a_target_inside_a_bucket_counts_a_part_of_it_and_beyond_the_last_bound_all():
    # All 1000 lie between 0.5 and 1.5 s, the target is in the middle: fewer than half are beyond it.
    inside = factor(ttft(0, 1000, 0, bounds=(0.5, 1.5, inf)))
    assert factor(ttft(0, 0, 1000)) < inside < 1
    assert factor(ttft(0, 1000, bounds=(0.5, inf))) == factor(ttft(0, 0, 1000))


def test_a_tail_forgets():
    tail = Tail().after(100, 100, 100)
    for _ in range(400):
        tail = tail.after(100, 10, 1)
    assert tail.above_high / tail.above_low == pytest.approx(0.1, rel=0.05)


def test_the_mean_time_per_token_of_requests_goes_before_the_gaps_between_tokens(world):
    gaps, means = tpot(5, 0, 0), tpot(0, 7, 0)
    old = world.reading(histograms={Distribution.TPOT_S: gaps, Distribution.TTFT_S: ttft(1, 2, 3)})
    new = world.reading(histograms={Distribution.TPOT_S: gaps, Distribution.REQUEST_TPOT_S: means})
    assert histograms_of([old]).tpot == gaps
    assert histograms_of([new]).tpot == means
    both = histograms_of([old, old])
    assert both.ttft.counts == (2, 4, 6)
    assert isinstance(histograms_of([]).ttft, Missing)


# --- in a loop ------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(bias=st.floats(0.75, 1.7), steep=st.floats(4, 30), requests=st.integers(50, 5000))
def test_whatever_the_models_error_the_share_missed_tends_to_the_share_allowed(bias, steep, requests):
    """A replica that really carries 1 misses its half of the allowance there and exponentially more beyond; the model believes ``bias``."""
    trim, missed = Trim(), []
    for _ in range(4000):
        load = bias * trim.factor
        miss = min(1.0, STEADY_SHARE * 0.01 * exp(steep * (load - 1)))
        seen = Histograms(ttft=ttft(0, requests * (1 - miss), requests * miss), tpot=NONE)
        trim = trimmed(trim, seen, SLO, 1.0)
        missed.append(miss)
    assert sum(missed[-1000:]) / 1000 == pytest.approx(STEADY_SHARE * 0.01, abs=0.002)
    assert trim.factor * bias == pytest.approx(1, abs=0.1)
