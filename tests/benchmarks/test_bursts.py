"""The traffic of the bursts benchmark is what its page says."""

from random import Random

import pytest

from benchmarks.bursts.__main__ import BUNCH_S, BUNCHES_PER_HOUR, QUIET_PER_S, bunched, repeated

ROWS = [(0.0, "1", "1"), (10.0, "2", "2"), (30.0, "3", "3")]


def test_an_hour_that_is_repeated_keeps_its_requests_in_their_order_from_another_moment_on():
    rows = list(repeated(ROWS, 310 / 3600, Random(1)))
    assert [at for at, _, _ in rows] == sorted(at for at, _, _ in rows)
    assert len(rows) == 3 * 10  # 31 s each
    starts = {rows[number][1] for number in range(0, 30, 3)}
    assert len(starts) > 1


def test_more_than_half_of_the_bunched_requests_come_in_a_fifteenth_of_the_time():
    hours = 200.0
    rows = bunched(ROWS, hours, Random(1))
    assert [at for at, _, _ in rows] == sorted(at for at, _, _ in rows)
    quiet = QUIET_PER_S * hours * 3600
    bunches = len(rows) - quiet
    assert bunches == pytest.approx(hours * BUNCHES_PER_HOUR * BUNCH_S * 40.0, rel=0.1)
    assert bunches / len(rows) > 0.55
    assert pytest.approx(3600 / 15) == BUNCHES_PER_HOUR * BUNCH_S
