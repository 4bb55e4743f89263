"""A whole sweep over a real connection, in virtual time: what it finds does not depend on the machine."""

from __future__ import annotations

from io import StringIO
from itertools import product

import pytest
from rich.console import Console

from controller.facts.missing import Missing
from controller.profile.plan import CONCURRENCY, RATE, PointPlan
from controller.profile.show import told


def points(loads, prompts, output_tokens):
    return [
        PointPlan(kind=CONCURRENCY, load=load, prompt_tokens=prompt, output_tokens=output_tokens)
        for prompt, load in product(prompts, loads)
    ]


def shares(*parts, prompt=60, output_tokens=12):
    return [PointPlan(kind=RATE, share=one, prompt_tokens=prompt, output_tokens=output_tokens) for one in parts]


def words(profile):
    console = Console(width=200, record=True, file=StringIO())
    for part in told(profile):
        console.print(part)
    return " ".join(console.export_text().split())


def test_a_sweep_finds_the_servers_step_model(behaviour, speed, swept):
    found = swept(behaviour, *points((1, 4), (60, 400), 12), duration_s=3.0, warm_up_s=0.1).profile()
    assert [one.errors for one in found.points] == [{}] * 4
    assert found.fit.step.decode_s(4, 1000) == pytest.approx(speed.decode_s(4, 1000), rel=0.05)
    assert found.fit.step.per_prefill_token_s == pytest.approx(speed.per_prefill_token_s, rel=0.1)


def test_a_server_that_dies_midway_leaves_what_was_measured(behaviour, swept):
    behaviour.breaks_above = 4  # at the second point
    sweep = swept(behaviour, *points((2, 16), (60,), 8), duration_s=0.4, warm_up_s=0.1)
    first, second = sweep.points
    assert first.answered > 5
    assert not first.cut
    assert second.cut
    assert (
        "requests failed in a row, the last: HTTP 500 the engine is dead; what was measured before is kept"
        in sweep.ended
    )


def test_what_a_sweep_does_not_excite_comes_from_an_earlier_profile(behaviour, speed, swept):
    found = swept(behaviour, *points((6,), (60,), 8), duration_s=1.0, warm_up_s=0.1, spread=0.0, prior=speed).profile()
    assert "prior" in {one.verdict for one in found.fit.coefficients}
    assert "not excited by this sweep: the prior's value" in words(found)


def test_arrivals_at_random_come_at_shares_of_what_the_closed_loop_of_their_lengths_reached(behaviour, swept):
    plan = (*points((2, 8), (60, 400), 12), *shares(0.5), *shares(0.5, 0.85, prompt=400))
    found = swept(behaviour, *plan, duration_s=1.0, warm_up_s=0.3).profile()
    closed, opened = found.points[:4], found.points[4:]
    most = {
        prompt: max(one.requests_per_s for one in closed if one.prompt_tokens == prompt) for prompt in (60.0, 400.0)
    }
    assert [one.closed_loop_share for one in opened] == [0.5, 0.5, 0.85]
    assert [one.load for one in opened] == pytest.approx([0.5 * most[60], 0.5 * most[400], 0.85 * most[400]], rel=0.01)
    assert all(isinstance(one.closed_loop_share, Missing) for one in closed)
    assert {one.kind for one in opened} == {RATE}


def test_arrivals_at_random_check_the_fit_and_are_not_fitted_to(behaviour, swept):
    closed = points((1, 8), (60,), 30)
    held = {"duration_s": 2.0, "warm_up_s": 0.3}
    alone = swept(behaviour, *closed, **held).profile().fit
    found = swept(behaviour, *closed, *shares(0.7, output_tokens=30), **held).profile()
    assert found.fit.observations == alone.observations
    assert found.fit.step.base_s == pytest.approx(alone.step.base_s, rel=0.01)
    assert isinstance(alone.checked_tpot_error_ratio, Missing)
    assert found.fit.checked_tpot_error_ratio < 0.1
    assert found.fit.checked_ttft_error_ratio < 0.2
    said = words(found)
    assert "checked by the arrivals at random, which it was not fitted to: mean TPOT" in said
    assert "/s 70%" in said
    assert "%: that rate as a share of the most requests/s that the closed loop reached" in said


def test_rates_that_were_asked_for_are_fitted_to(behaviour, speed, swept):
    rates = [PointPlan(kind=RATE, load=load, prompt_tokens=60, output_tokens=12) for load in (2.0, 20.0)]
    found = swept(behaviour, *rates, duration_s=4.0, warm_up_s=0.1).profile()
    assert found.fit.step.decode_s(1, 100) == pytest.approx(speed.decode_s(1, 100), rel=0.1)
    assert not any(one.checks for one in found.points)


def test_a_share_of_nothing_is_left_out_and_told(behaviour, swept):
    """A third of the requests fail: not enough to give the server up, too many to call its rate a capacity."""
    behaviour.fail_every = 3
    found = swept(behaviour, *points((4,), (60,), 12), *shares(0.5), duration_s=1.0, warm_up_s=0.1).profile()
    assert len(found.points) == 1
    assert (
        "at 50% of the closed loop's rate: nothing was measured, because at 60 + 12 tokens no such point was without failures"
        in words(found)
    )
