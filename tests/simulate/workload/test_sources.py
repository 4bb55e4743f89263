"""Requests, counts and clients as they were recorded, and what becomes of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.simulate.workload import clients as client_module
from controller.simulate.workload.clients import ClientWorkload, Family, circular_renewals
from controller.simulate.workload.lengths import Lengths
from controller.simulate.workload.rates import RateTrace, RateWorkload
from controller.simulate.workload.traced import TracedWorkload


def test_a_trace_is_played_as_it_is(make):
    requests = make.requests(1000, 500.0)
    got = TracedWorkload(requests).until(1e9)
    assert np.array_equal(got.arrival_s, requests.arrival_s)
    assert np.array_equal(got.prompt_tokens, requests.prompt_tokens)
    assert np.array_equal(got.cached_tokens, requests.cached_tokens)


def test_a_repeated_trace_comes_again_a_span_later(make):
    requests = make.requests(100, 50.0)
    workload = TracedWorkload(requests, repeat=3)
    span_s = workload.end_s / 3
    got = workload.until(workload.end_s)
    assert len(got) == 300
    assert np.allclose(got.arrival_s[200:], requests.arrival_s + 2 * span_s)
    assert "repeated 3 times" in workload.notes[0]


@given(st.floats(-200, 200))
@settings(max_examples=30)
def test_another_phase_has_the_same_requests_in_the_same_order_round_the_clock(phase_s):
    requests = RateWorkload(
        RateTrace(start_s=0, bin_s=60, requests=np.array([50.0])), Lengths.log_normal(), seed=1
    ).until(60)
    workload = TracedWorkload(requests, phase_s=phase_s)
    got = workload.until(workload.end_s)
    assert len(got) == 50
    first = int(np.searchsorted(requests.arrival_s, phase_s % (workload.end_s - workload.start_s) + workload.start_s))
    assert np.array_equal(got.prompt_tokens, np.roll(requests.prompt_tokens, -first))


def test_a_trace_that_begins_late_starts_late(make):
    requests = make.requests(10, 100.0)
    late = TracedWorkload(type(requests)(
        arrival_s=requests.arrival_s + 1.7e9,
        prompt_tokens=requests.prompt_tokens,
        output_tokens=requests.output_tokens,
        cached_tokens=requests.cached_tokens,
    ))  # fmt: skip
    assert late.start_s >= 1.7e9
    assert late.end_s - late.start_s <= 101


@pytest.mark.parametrize("bad", [{"repeat": 0}, {"requests": 0}])
def test_a_trace_that_cannot_be_played_is_refused(make, bad):
    with pytest.raises(ValueError, match="trace"):
        TracedWorkload(make.requests(bad.get("requests", 5), 10.0), repeat=bad.get("repeat", 1))


def test_each_bin_keeps_its_count_and_spreads_it_evenly(make):
    rates = make.rates()
    got = RateWorkload(rates, Lengths.fixed(1, 1), seed=1).until(rates.end_s)
    bins = np.floor((got.arrival_s - rates.start_s) / rates.bin_s).astype(int)
    assert np.array_equal(np.bincount(bins, minlength=len(rates.requests)), rates.requests)
    within = (got.arrival_s - rates.start_s) % rates.bin_s / rates.bin_s
    assert np.histogram(within, bins=10, range=(0, 1))[0] == pytest.approx(len(got) / 10, rel=0.1)


def test_fractions_of_a_request_become_whole_and_keep_the_sum():
    rates = RateTrace(start_s=0, bin_s=10, requests=np.full(20_000, 0.37))
    assert len(RateWorkload(rates, Lengths.fixed(1, 1), seed=4).until(rates.end_s)) == pytest.approx(7400, rel=0.03)


def test_another_seed_gives_other_requests_at_the_same_rates(make):
    rates = make.rates()
    one, other = (RateWorkload(rates, Lengths.log_normal(), seed=seed).until(rates.end_s) for seed in (1, 2))
    assert len(one) == len(other)
    assert not np.array_equal(one.arrival_s, other.arrival_s)
    assert not np.array_equal(one.prompt_tokens, other.prompt_tokens)


def test_drawn_lengths_have_the_quantiles_they_were_drawn_from():
    lengths = Lengths.log_normal()
    prompts, outputs = lengths.draw(np.random.default_rng(0), 200_000)
    assert prompts.mean() == pytest.approx(lengths.mean_prompt_tokens, rel=0.01)
    assert outputs.mean() == pytest.approx(lengths.mean_output_tokens, rel=0.01)
    assert np.quantile(prompts, 0.9) == pytest.approx(np.interp(0.9, lengths.levels, lengths.prompt_tokens), rel=0.02)
    assert abs(np.corrcoef(prompts, outputs)[0, 1]) < 0.01


def test_lengths_taken_from_requests_look_like_them(make):
    requests = make.requests(20_000, 10.0)
    lengths = Lengths.of(requests, "test")
    assert lengths.mean_prompt_tokens == pytest.approx(requests.prompt_tokens.mean(), rel=0.01)
    assert lengths.prompt_tokens[-1] == requests.prompt_tokens.max()


@pytest.mark.parametrize("levels", [[0.0, 0.5], [0.1, 1.0], [0.0, 0.0, 1.0]])
def test_quantiles_that_are_none_are_refused(levels):
    with pytest.raises(ValueError, match="ascend"):
        Lengths(
            levels=np.array(levels), prompt_tokens=np.ones(len(levels)), output_tokens=np.ones(len(levels)), source=""
        )


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0])
def test_gaps_have_the_wanted_variation(family, cv):
    count = 40_000
    place, _ = circular_renewals(np.random.default_rng(1), np.array([count]), np.array([cv]), np.array([int(family)]))
    place.sort()
    gaps = np.diff(place)
    wanted = 1.0 if family is Family.POISSON else cv
    assert gaps.std() / gaps.mean() == pytest.approx(wanted, rel=0.05)
    assert place.min() >= 0
    assert place.max() < 1


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("cv", [0.0, 1e-3, 0.3, 20.0, 150.0])
def test_no_variation_is_too_wild(family, cv):
    counts = np.array([0, 1, 0, 5, 300, 0])
    place, owner = circular_renewals(np.random.default_rng(1), counts, np.full(6, cv), np.full(6, int(family)))
    assert np.all(np.isfinite(place))
    assert np.all((place >= 0) & (place < 1))
    assert np.array_equal(np.bincount(owner, minlength=6), counts)


def test_no_place_on_the_circle_is_better_than_another():
    firsts = [
        circular_renewals(np.random.default_rng(seed), np.array([3]), np.array([3.0]), np.array([1]))[0]
        for seed in range(3000)
    ]
    assert np.histogram(np.concatenate(firsts), bins=5, range=(0, 1))[0] == pytest.approx(1800, rel=0.12)


def test_clients_send_as_many_as_they_did_in_each_window(make):
    clients = make.clients()
    got = ClientWorkload(clients, Lengths.fixed(1, 1), seed=2).until(clients.end_s)
    wanted = np.bincount((clients.time_s / 60).astype(int), weights=clients.rate_per_s * 60)
    found = np.bincount((got.arrival_s / 60).astype(int))
    assert np.abs(found - wanted).max() <= len(clients.names)


def test_a_window_in_which_nobody_sends_is_silent(make):
    clients = make.clients(windows=3)
    there = clients.time_s != 60.0
    quiet = type(clients)(
        window_s=60.0,
        names=clients.names,
        **{name: getattr(clients, name)[there] for name in ("client", "time_s", "rate_per_s", "cv", "family")},
    )
    got = ClientWorkload(quiet, Lengths.fixed(1, 1), seed=2).until(clients.end_s)
    assert not np.any((got.arrival_s >= 60) & (got.arrival_s < 120))
    assert got.arrival_s[-1] > 120


def test_a_clients_lengths_are_its_own_where_they_are_known(make):
    clients = make.clients(clients=2, windows=20)
    got = ClientWorkload(clients, make.lengths(), seed=2)
    early = got.until(600.0)
    assert early.prompt_tokens.min() >= 9000  # c0's own, and c1 draws from a pool of nothing but c0's
    assert 780 < early.output_tokens.mean() < 820


def test_pooled_lengths_weigh_by_requests(make):
    lengths = make.lengths()
    two = type(lengths)(
        start_s=0.0,
        window_s=600.0,
        levels=lengths.levels,
        client=("c0", "c1"),
        window=np.array([0, 0]),
        prompt_tokens=np.array([[10.0, 10.0, 10.0], [1000.0, 1000.0, 1000.0]]),
        output_tokens=np.array([[10.0, 10.0, 10.0], [1000.0, 1000.0, 1000.0]]),
        source="test",
    )
    assert two.pooled(np.array([3.0, 1.0])).mean_prompt_tokens == pytest.approx(257.5, rel=0.02)
    assert two.pooled(np.array([0.0, 0.0])).mean_prompt_tokens == pytest.approx(505, rel=0.02)


def test_dropping_clients_keeps_whole_ones_of_every_size(make):
    clients = make.clients(clients=40)
    kept = clients.subset(0.25, seed=1)
    stays = np.unique(kept.client)
    assert len(stays) == 10
    for one in stays:
        assert np.array_equal(kept.rate_per_s[kept.client == one], clients.rate_per_s[clients.client == one])
    total = np.bincount(clients.client, weights=clients.rate_per_s)
    ranks = np.sort(np.argsort(np.argsort(-total))[stays])
    assert np.array_equal(ranks // 4, np.arange(10))
    assert np.array_equal(clients.subset(0.25, seed=1).client, kept.client)
    assert any(not np.array_equal(clients.subset(0.25, seed=seed).client, kept.client) for seed in range(2, 6))
    assert "10 of 40 clients" in ClientWorkload(kept, Lengths.fixed(1, 1), seed=0).notes[0]


@pytest.mark.parametrize("share", [0.0, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(make, share):
    with pytest.raises(ValueError, match="share"):
        make.clients().subset(share, seed=1)


def test_the_weibull_table_reaches_from_a_clock_to_the_wildest():
    assert client_module._weibull_cv(1.0) == pytest.approx(1.0)
    assert client_module._weibull_cv(100.0) < 0.02
    assert client_module._weibull_cv(0.1) > 150
