from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from controller.estimate.performance.lengths import WEIGHTS, points
from controller.estimate.performance.shape import coefficient_of_variation, shape_of
from controller.estimate.windows import Window
from controller.facts.missing import Missing
from controller.facts.readings import Counter, Distribution, Histogram
from controller.simulate.histogram import length_bounds

BOUNDS = (*length_bounds(32_768), float("inf"))


def histogram(values) -> Histogram:
    counts, _ = np.histogram(values, bins=(0.0, *BOUNDS))
    return Histogram(bounds=BOUNDS, counts=tuple(map(float, counts)), total=float(np.sum(values)))


def window(counters=None, histograms=None) -> Window:
    return Window(
        at=datetime(2026, 11, 21, tzinfo=UTC),
        window_s=15.0,
        gauges={},
        counters=counters or {},
        counted_s=dict.fromkeys(counters or {}, 15.0),
        finished={name: (one,) for name, one in (histograms or {}).items()},
        missing={},
    )


def served(seed: int, cached: float = 0.25) -> tuple[Window, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    prompts, outputs = rng.lognormal(6.5, 1.0, 4000) + 1, rng.lognormal(4.5, 0.7, 4000) + 1
    counters = {Counter.PROMPT_TOKENS: float(prompts.sum()), Counter.CACHED_PROMPT_TOKENS: cached * prompts.sum()}
    lengths = {
        Distribution.PROMPT_LENGTH_TOKENS: histogram(prompts),
        Distribution.OUTPUT_LENGTH_TOKENS: histogram(outputs),
    }
    return window(counters, lengths), prompts, outputs


def test_means_are_exact_and_spreads_close_in_vllms_buckets() -> None:
    (one, prompts, outputs), (other, more, longer) = served(1), served(2)
    shape = shape_of([one, other])
    assert not isinstance(shape, Missing)
    prompts, outputs = np.concatenate([prompts, more]), np.concatenate([outputs, longer])
    assert shape.prompt_tokens == pytest.approx(prompts.mean())
    assert shape.output_tokens == pytest.approx(outputs.mean())
    assert shape.prompt_cv == pytest.approx(prompts.std() / prompts.mean(), rel=0.15)
    assert shape.output_cv == pytest.approx(outputs.std() / outputs.mean(), rel=0.15)
    assert shape.cached_ratio == pytest.approx(0.25)


@pytest.mark.parametrize("windows", [[], [window()]])
def test_no_finished_request_has_no_shape(windows) -> None:
    assert isinstance(shape_of(windows), Missing)


def test_equal_lengths_at_a_bound_spread_no_further_than_their_bucket() -> None:
    spread = coefficient_of_variation(histogram(np.full(100, 450.0)))
    assert not isinstance(spread, Missing)
    assert spread < 0.3


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0, 1.4])
def test_points_keep_the_mean_and_roughly_the_spread(cv: float) -> None:
    values = points(1000.0, cv)
    mean = float(WEIGHTS @ values)
    assert mean == pytest.approx(1000.0)
    assert float(WEIGHTS @ (values - mean) ** 2) ** 0.5 / mean == pytest.approx(cv, rel=0.15, abs=1e-9)
