"""The `safety:` block: what it means, and what is wrong with it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controller.errors import ConfigError
from controller.safety.rules import Limit, SafetyRules, Week
from controller.settings.load import load_settings

FLEET = """\
services:
  chat:
    model: llama-3.1-8b
    variants:
      h100:
        gpu: H100-SXM
        scrape: {static: ["http://127.0.0.1:1"]}
"""


@pytest.fixture
def loaded(tmp_path):
    def load(block):
        file = tmp_path / "fleet.yaml"
        file.write_text(FLEET + block, encoding="utf-8")
        return load_settings(file, {})

    return load


def test_left_out_it_is_the_usual_rules_and_a_file_beside_the_fleets(loaded, tmp_path):
    settings = loaded("")
    assert settings.safety == SafetyRules()
    assert settings.stop_file == tmp_path.resolve() / "pennyweight.stop"


def test_every_key_arrives(loaded):
    settings = loaded(
        """
safety:
  stop_file: ""
  grow: {per_pass: {replicas: 10, usd_per_hour: 50.0}, per_hour: {ratio: 50%}}
  shrink: {per_pass: {}}
  freeze:
    - {name: office, weekly: [mon-tue 08:00-18:00], zone: Europe/Berlin, hold: [shrink], services: [chat]}
    - {name: holidays, from: 2026-12-24, until: 2026-12-27T06:00:00+00:00, zone: Europe/Berlin}
  storm: {losses: 5, share: 20%, window: 2m, quiet: 1h, launches: 3, launches_per: 30s}
  flapping: {window: 30m, limit: 4.0, hold: 1m, hold_at_most: 10m}
"""
    )
    rules = settings.safety
    assert settings.stop_file is None
    assert rules.grow.per_pass == Limit(replicas=10, usd=50.0)
    assert rules.grow.per_hour == Limit(ratio=0.5)
    assert rules.shrink.per_pass == Limit()
    office, holidays = rules.freezes
    assert office.weeks == (Week(start=480, end=1080), Week(start=1920, end=2520))
    assert (office.grow, office.shrink, office.services) == (False, True, {"chat"})
    assert holidays.since == datetime(2026, 12, 23, 23, tzinfo=UTC)
    assert holidays.until == datetime(2026, 12, 27, 6, tzinfo=UTC)
    assert (rules.storm.losses, rules.storm.share, rules.storm.quiet_s) == (5, 0.2, 3600)
    assert (rules.flaps.limit, rules.flaps.hold_s, rules.flaps.hold_most_s) == (4.0, 60, 600)


@pytest.mark.parametrize(
    ("freeze", "key", "message"),
    [
        ("{name: x}", "safety.freeze[0]", "it has no time; expected weekly, from or until"),
        ("{name: x, weekly: [friday 8-9]}", "weekly", "expected a time of the week, such as mon-fri 08:00-18:00"),
        ("{name: x, weekly: [fri 25:00-26:00]}", "weekly", "expected a time of the week"),
        ("{name: x, from: 2026-01-02, until: 2026-01-01}", "safety.freeze[0]", "before it begins"),
        ("{name: x, weekly: [fri 08:00-09:00], zone: Europe/Berln}", "zone", "did you mean 'Europe/Berlin'"),
        ("{name: x, weekly: [fri 08:00-09:00], services: [chatt]}", "services", "there is no service 'chatt'"),
        ("{name: x, weekly: [fri 08:00-09:00], hold: [both]}", "hold", "grow"),
    ],
)
def test_a_mistake_in_a_freeze_names_its_place_and_what_was_expected(loaded, freeze, key, message):
    with pytest.raises(ConfigError) as caught:
        loaded(f"safety:\n  freeze:\n    - {freeze}\n")
    told = str(caught.value)
    assert key in told
    assert message in told


def test_holds_that_end_before_they_double_are_a_mistake(loaded):
    with pytest.raises(ConfigError, match="hold_at_most"):
        loaded("safety:\n  flapping: {hold: 1h, hold_at_most: 10m}\n")
