"""Times of the week, by the clock of their own zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from controller.safety.rules import Freeze
from controller.settings.safety_shapes import weeks_of


@pytest.mark.parametrize(
    ("text", "moment", "inside"),
    [
        ("mon-fri 08:00-18:00", "2026-11-20T08:00", True),
        ("mon-fri 08:00-18:00", "2026-11-20T18:00", False),
        ("mon-fri 08:00-18:00", "2026-11-21T12:00", False),
        ("fri 18:00-mon 06:00", "2026-11-21T12:00", True),
        ("fri 18:00-mon 06:00", "2026-11-23T05:59", True),
        ("fri 18:00-mon 06:00", "2026-11-23T06:00", False),
        ("sun 22:00-06:00", "2026-11-23T05:00", True),
        ("sat-sun 00:00-24:00", "2026-11-22T23:59", True),
        ("sat-sun 00:00-24:00", "2026-11-23T00:00", False),
        ("sat-mon 22:00-02:00", "2026-11-24T01:00", True),
    ],
)
def test_a_time_of_the_week_holds_from_its_start_to_before_its_end(text, moment, inside):
    freeze = Freeze(name="f", zone=UTC, weeks=weeks_of(text))
    assert freeze.holds("chat", True, datetime.fromisoformat(moment).replace(tzinfo=UTC)) is inside


def test_the_zone_follows_its_summer_time():
    freeze = Freeze(name="f", zone=ZoneInfo("Europe/Berlin"), weeks=weeks_of("mon-sun 08:00-09:00"))
    assert freeze.holds("chat", True, datetime(2026, 11, 21, 7, 30, tzinfo=UTC))
    assert freeze.holds("chat", True, datetime(2026, 7, 21, 6, 30, tzinfo=UTC))
    assert not freeze.holds("chat", True, datetime(2026, 7, 21, 7, 30, tzinfo=UTC))


def test_it_holds_only_its_services_and_directions():
    freeze = Freeze(name="f", zone=UTC, weeks=weeks_of("sat 00:00-24:00"), shrink=False, services=("chat",))
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert freeze.holds("chat", True, noon)
    assert not freeze.holds("chat", False, noon)
    assert not freeze.holds("code", True, noon)
