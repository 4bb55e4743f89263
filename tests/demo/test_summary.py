"""The terminal shows money first, says what is unknown, and falls back to plain lines where there is no terminal."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from controller.demo.score import Score, Served
from controller.demo.summary import LINE_EVERY, Summary
from controller.facts.passes import PassResult

Make = Callable[..., PassResult]


def shown(*passes: PassResult, terminal: bool) -> str:
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, color_system=None)
    score = Score()
    with Summary(console, (2.0, 0.1), title="demo") as summary:
        for one in passes:
            score = score.after(one, Served(finished=4, within_slo=4, output_tokens=100))
            summary.show(one, score)
    return out.getvalue()


@pytest.mark.parametrize(
    "words",
    [
        "$0.00 an hour now",
        "3 current, 2 ready, 4 desired",
        "12.3 requests/s, unknown waiting",
        "0.80 s (target 2 s)",
        "unknown (target 0.1 s)",
        "100.00% of 4 requests within the SLO",
        "$29.36/h -> $43.12/h",
    ],
)
def test_the_live_panel_says(words: str, result: Make) -> None:
    assert words in shown(result(4), terminal=True)


def test_without_a_terminal_moves_are_told_at_once_and_quiet_passes_now_and_then(result: Make) -> None:
    quiet = shown(*[result(3)] * (2 * LINE_EVERY), terminal=False)
    assert sum("replicas" in line for line in quiet.splitlines() if line[:1] != " ") == 2
    moving = shown(result(3), result(4), result(3), terminal=False).splitlines()
    starts = [place for place, line in enumerate(moving) if line[:1] != " "]
    assert len(starts) == 2
    assert "scale up 3 -> 4" in " ".join(" ".join(moving[starts[1] :]).split())
    assert max(map(len, moving)) <= 120


def test_the_first_line_says_that_the_load_is_not_known_yet(result: Make) -> None:
    first = shown(result(3), terminal=False).splitlines()[0]
    assert "known from the second pass on" in first
    assert "unknown" not in first
