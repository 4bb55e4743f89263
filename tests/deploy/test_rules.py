"""Each alert that is shipped says what to do, was seen to fire, and stands in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
EXPECTED = [
    one
    for test in yaml.safe_load((FOLDER / "rules.test.yaml").read_text(encoding="utf-8"))["tests"]
    for one in test["alert_rule_test"]
]
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RULES)
def test_an_alert_says_how_urgent_it_is_what_happened_and_what_to_do(name):
    rule = RULES[name]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "do"}
    assert f"`{name}` | {rule['labels']['severity']} |" in OPERATING


@pytest.mark.parametrize("name", RULES)
def test_promtool_sees_an_alert_fire(name):
    assert any(one["exp_alerts"] for one in EXPECTED if one["alertname"] == name), "nobody saw it fire"


def test_no_alert_wakes_anybody_where_all_is_well():
    """Every critical one is also seen not to fire."""
    critical = {name for name, rule in RULES.items() if rule["labels"]["severity"] == "critical"}
    quiet = {one["alertname"] for one in EXPECTED if not one["exp_alerts"]}
    assert critical <= quiet
