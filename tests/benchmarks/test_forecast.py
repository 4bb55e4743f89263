"""Forecasting libraries beside ours: the same moments, the same question, honest sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from benchmarks.forecast import libraries
from benchmarks.forecast.__main__ import main
from benchmarks.forecast.libraries import (
    DAY_MINUTES,
    LEAST_MINUTES,
    STEPS,
    Library,
    less,
    loss,
    ours,
    question,
    row,
    theirs,
    wape,
)
from benchmarks.forecast.series import PASS_S, Floats, Traffic

BEGIN = datetime(2026, 11, 16, tzinfo=UTC)


class Last:
    """A library that expects what was there last, and a fifth more at the most."""

    def fit(self, y: Floats) -> object:
        self.seen = y
        return self

    def predict(self, h: int, level: list[int]) -> Mapping[str, Any]:
        assert level == [90], "a band of 90 % ends at the P95"
        return {"mean": np.full(h, self.seen[-1]), "hi-90": np.full(h, 1.2 * self.seen[-1])}

    def forward(self, y: Floats, h: int, level: list[int]) -> Mapping[str, Any]:
        assert len(y) > 0
        return self.predict(h, level)


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    """Two days that were learnt from, and six hours after them: a ramp of one more request/s an hour."""
    hours = np.arange(round(2.25 * 86_400 / PASS_S)) * PASS_S / 3600
    cut = round(2 * 86_400 / PASS_S)
    return Traffic(
        name="ramp",
        begin=BEGIN,
        warm=(10 + hours[:cut]) * PASS_S,
        warm_s=PASS_S,
        start=BEGIN.replace(day=18),
        passes=10 + hours[cut:],
    )


def test_everybody_is_asked_for_the_minute_that_begins_four_minutes_later(traffic: Traffic) -> None:
    asked = question(traffic, 20)
    last = theirs(asked, Library(name="last", make=Last, minutes=240))
    assert min(asked.moments) >= LEAST_MINUTES
    assert asked.actual - last.mean == pytest.approx(np.full(20, STEPS / 60)), "the ramp of so many minutes"
    own = ours(asked)
    assert len(own.mean) == 20
    assert wape(asked.actual, own.mean) < wape(asked.actual, last.mean) < 1
    assert own.cpu_s > 0


def test_a_history_coarser_than_minutes_is_not_taken_for_minutes(traffic: Traffic) -> None:
    coarse = replace(traffic, warm=traffic.warm.reshape(-1, 40).sum(axis=1), warm_s=600.0)
    long = replace(coarse, passes=np.tile(traffic.passes, 9))
    asked = question(long, 20)
    assert len(asked.minutes) == len(long.passes) / 4
    assert len(asked.minutes) < LEAST_MINUTES + DAY_MINUTES


def test_a_fit_of_an_hour_ago_is_shared_by_the_passes_of_that_hour(traffic: Traffic) -> None:
    fitted: list[int] = []

    class Counted(Last):
        def fit(self, y: Floats) -> object:
            fitted.append(len(y))
            return super().fit(y)

    asked = question(traffic, 5)
    old = theirs(asked, Library(name="old", make=Counted, minutes=240, age=60))
    assert set(fitted) == {240}
    assert asked.actual - old.mean == pytest.approx(np.full(5, (60 + STEPS) / 60))


def test_a_library_that_is_asked_less_often_is_compared_at_its_own_moments(traffic: Traffic) -> None:
    asked = question(traffic, 20)
    library = Library(name="last", make=Last, minutes=240, every=5)
    told = row(asked, library, theirs(asked, library), ours(asked))
    assert told.startswith("| ramp | last | 240 | 4 | ")


def test_the_sums_are_what_they_are_called() -> None:
    actual, low, high = np.array([10.0, 30.0]), np.array([8.0, 30.0]), np.array([20.0, 40.0])
    assert wape(actual, low) == pytest.approx(5.0)
    assert loss(actual, high) == pytest.approx(100 * 0.05 * 20 / 40)
    assert loss(actual, low) == pytest.approx(100 * 0.95 * 2 / 40)
    assert less(actual, np.abs(actual - low), np.zeros(2)) == "+5.00 ± 10.00"


def test_a_library_that_is_not_installed_is_named_with_the_way_to_have_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libraries, "PACKAGES", ("statsforecast", "no-such-package"))
    assert main(["azure", "--libraries"]) == 2
    said = capsys.readouterr().err
    assert "no-such-package" in said.splitlines()[0]
    assert "pip install statsforecast" in said
