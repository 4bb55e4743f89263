"""What holds for every workload, however it is made."""

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.simulate.workload.blocks import Draw, Grid, generator, joined
from controller.simulate.workload.lengths import Lengths
from controller.simulate.workload.rates import RateTrace, RateWorkload


def same(one, other):
    assert np.array_equal(one.arrival_s, other.arrival_s)
    assert np.array_equal(one.prompt_tokens, other.prompt_tokens)
    assert np.array_equal(one.output_tokens, other.output_tokens)
    assert np.array_equal(one.cached_tokens, other.cached_tokens)


def test_requests_are_in_order_inside_the_span_and_possible(any_workload):
    got = any_workload.until(any_workload.end_s)
    assert len(got) > 100
    assert np.all(np.diff(got.arrival_s) >= 0)
    assert any_workload.start_s <= got.arrival_s[0]
    assert got.arrival_s[-1] < any_workload.end_s
    assert got.prompt_tokens.min() >= 1
    assert got.output_tokens.min() >= 1
    assert np.all((got.cached_tokens >= 0) & (got.cached_tokens < got.prompt_tokens))
    assert got.prompt_tokens.dtype == got.output_tokens.dtype == got.cached_tokens.dtype == np.int32


def test_however_until_cuts_the_requests_are_the_same(any_workload):
    whole = any_workload.again().until(any_workload.end_s)
    cuts = np.sort(np.random.default_rng(5).uniform(any_workload.start_s - 50, any_workload.end_s + 50, 97))
    parts = []
    for end_s in (*cuts, any_workload.end_s):
        part = any_workload.until(end_s)
        assert not len(part) or part.arrival_s[-1] < end_s
        parts.append(part)
    same(joined(parts), whole)
    assert len(any_workload.until(any_workload.end_s)) == 0


def test_again_starts_anew_and_leaves_the_first_where_it_was(any_workload):
    middle_s = (any_workload.start_s + any_workload.end_s) / 2
    early = any_workload.until(middle_s)
    same(any_workload.again().until(middle_s), early)
    late = any_workload.until(any_workload.end_s)
    assert late.arrival_s[0] >= middle_s


def test_a_workload_travels_to_another_process(any_workload):
    there = pickle.loads(pickle.dumps(any_workload))
    same(there.until(there.end_s), any_workload.until(any_workload.end_s))


def test_blocks_do_not_use_up_what_until_gives(any_workload):
    in_blocks = joined(any_workload.blocks())
    same(in_blocks, any_workload.until(any_workload.end_s))


@given(st.integers(1, 40), st.floats(0.1, 100), st.floats(-1e3, 1e6), st.lists(st.floats(0, 1), max_size=6))
@settings(max_examples=50)
def test_any_bins_give_their_exact_counts_whatever_the_cuts(bins, bin_s, start_s, cuts):
    counts = np.arange(bins, dtype=np.float64) % 7
    workload = RateWorkload(RateTrace(start_s=start_s, bin_s=bin_s, requests=counts), Lengths.fixed(5, 5), seed=bins)
    span_s = workload.end_s - workload.start_s
    parts = [workload.until(start_s + cut * span_s) for cut in sorted(cuts)]
    parts.append(workload.until(workload.end_s))
    assert sum(map(len, parts)) == int(counts.sum())


def test_a_grid_covers_a_span_without_gaps():
    grid = Grid(origin_s=10.0, block_s=5.0)
    assert list(grid.indices(10, 20)) == [0, 1]
    assert list(grid.indices(12, 20.1)) == [0, 1, 2]
    assert list(grid.indices(3, 3)) == []


def test_each_purpose_has_its_own_random_numbers():
    draws = {purpose: generator(1, purpose, 0).random() for purpose in Draw}
    assert len(set(draws.values())) == len(Draw)
    assert generator(1, Draw.LENGTHS, 0).random() == draws[Draw.LENGTHS]
    assert generator(1, Draw.LENGTHS, 1).random() != draws[Draw.LENGTHS]
    assert generator(2, Draw.LENGTHS, 0).random() != draws[Draw.LENGTHS]
