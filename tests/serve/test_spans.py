"""Windows and steps as they stand in questions."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controller.facts.account_reader import Window
from controller.serve.spans import MOST_STEPS, step_of, window_of
from tests.accounts_in_memory import HOUR, MIDNIGHT

FRIDAY = datetime(2026, 11, 20, 16, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("today", "2026-11-20T00", "2026-11-20T17"),
        ("yesterday", "2026-11-19T00", "2026-11-20T00"),
        ("week", "2026-11-16T00", "2026-11-20T17"),
        ("lastweek", "2026-11-09T00", "2026-11-16T00"),
        ("month", "2026-11-01T00", "2026-11-20T17"),
        ("lastmonth", "2026-10-01T00", "2026-11-01T00"),
        ("30m", "2026-11-20T15", "2026-11-20T17"),
        ("12h", "2026-11-20T04", "2026-11-20T17"),
        ("7d", "2026-11-13T16", "2026-11-20T17"),
        ("2026-11-01T00:00:00Z,2026-11-02T12:00:00Z", "2026-11-01T00", "2026-11-02T12"),
        ("2026-11-01T02:00:00+02:00,2026-11-02T00:00:00Z", "2026-11-01T00", "2026-11-02T00"),
        ("1793491200,1793577600", "2026-11-01T00", "2026-11-02T00"),
        ("1793491201,1793577601", "2026-11-01T00", "2026-11-02T01"),
    ],
)
def test_windows_are_named_lengths_or_pairs_of_times_in_whole_hours(text, start, end):
    found = window_of(text, FRIDAY)
    assert [found.start.isoformat()[:13], found.end.isoformat()[:13]] == [start, end]


def test_a_day_that_has_just_begun_is_its_first_hour():
    found = window_of("today", MIDNIGHT)
    assert (found.start, found.end) == (MIDNIGHT, MIDNIGHT + HOUR)


@pytest.mark.parametrize(
    "text", ["", "0h", "-1d", "1y", "9" * 40, "1,", ",", "9" * 12 + "," + "9" * 12, "0001-01-01,2"]
)
def test_other_windows_are_refused(text):
    with pytest.raises(ValueError, match="window is"):
        window_of(text, FRIDAY)


def test_as_many_steps_as_are_allowed_are_allowed():
    window = Window(start=MIDNIGHT, end=MIDNIGHT + MOST_STEPS * HOUR)
    assert step_of("1h", window) == HOUR
    with pytest.raises(ValueError, match="801 steps"):
        step_of("1h", replace(window, end=window.end + HOUR))
