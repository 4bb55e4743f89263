"""Invented load as a user asks for it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from controller.backtest.shapes import KINDS, invented


@pytest.mark.parametrize(
    ("text", "told", "minutes"),
    [
        ("shape:step", "2 requests/s, 10 from 30m on; 2h in all", {10: 2, 40: 10, 110: 10}),
        ("shape:ramp", "2 requests/s, growing from 30m on for 1h to 10; 2h in all", {10: 2, 60: 6, 110: 10}),
        ("shape:spike,level=5", "5 requests/s, 25 from 1h on for 10m; 2h in all", {50: 5, 65: 25, 75: 5}),
        (
            "shape:spike,peak=40,at=20m,lasting=5m,for=1h",
            "2 requests/s, 40 from 20m on for 5m; 1h in all",
            {10: 2, 22: 40, 30: 2},
        ),
        ("shape:silence,level=20", "20 requests/s, none from 45m on for 30m; 2h in all", {30: 20, 60: 0, 90: 20}),
        (
            "shape:viral,at=1h",
            "2 requests/s, doubling every 15m from 1h on up to 10, then halving every 4h; 12h in all",
            {30: 2, 75: 4, 700: 3.5},
        ),
    ],
)
def test_a_shape_is_what_it_says(text, told, minutes):
    found = invented(text)
    assert found.told == told
    many = np.mean([found.trace(seed).requests for seed in range(60)], axis=0)
    assert len(many) * 10 == found.lasts_s
    for minute, level in minutes.items():
        assert many[minute * 6 - 6 : minute * 6 + 6].mean() / 10 == pytest.approx(level, rel=0.15)


def test_every_seed_draws_its_own_counts_and_always_the_same():
    first, again, other = (invented("shape:step").trace(seed).requests for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("shape:spyke", "there is no shape 'spyke'; did you mean 'spike'?"),
        ("shape:", "there is no shape ''; expected one of ramp, silence, spike, step, viral"),
        ("shape:step,lasting=5m", "a shape has no 'lasting'"),
        ("shape:spike,peek=5", "a shape has no 'peek'; did you mean 'peak'?"),
        ("shape:spike,peak=many", "peak: expected requests/s above 0 and up to 100,000, found 'many'"),
        ("shape:spike,at=5", "at: expected a duration with its unit"),
        ("shape:spike,at=0s", "at: expected more than no time, found '0s'"),
        ("shape:spike,at=3h", "nothing would happen: at=3h is after the end, for=2h"),
        ("shape:viral,level=5,peak=1", "a level of 5.0/s cannot grow to 1.0/s by doubling"),
    ],
)
def test_a_shape_that_cannot_be_is_told(backtest, text, told):
    said = backtest("--trace", text)
    assert said.code == 2
    assert f"--trace: {told}" in said.err


def test_an_invented_load_is_replayed_and_said_to_be_invented(backtest):
    said = backtest("--trace", "shape:spike,level=1,at=3m,lasting=1m,for=8m", "--against", "none", "--json", "-")
    found = json.loads(said.out)
    assert found["trace"] == "shape:spike,level=1,at=3m,lasting=1m,for=8m"
    assert found["hours"] == pytest.approx(8 / 60)
    assert any("invented: 1 requests/s, 5 from 3m on for 1m" in note for note in found["notes"])


def test_the_docs_name_every_shape_and_its_settings(repository):
    page = (repository / "docs" / "traces.md").read_text(encoding="utf-8")
    for name, kind in KINDS.items():
        assert f"| `{name}` |" in page
        assert all(f"`{key}={usual}`" in page for key, usual in kind.times.items())
