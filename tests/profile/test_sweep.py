"""A whole sweep over a real connection, in virtual time: what it finds does not depend on the machine."""

from __future__ import annotations

from io import StringIO
from itertools import product

import pytest
from rich.console import Console

from controller.profile.plan import CONCURRENCY, PointPlan
from controller.profile.show import told


def points(loads, prompts, output_tokens):
    return [
        PointPlan(kind=CONCURRENCY, load=load, prompt_tokens=prompt, output_tokens=output_tokens)
        for prompt, load in product(prompts, loads)
    ]


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
