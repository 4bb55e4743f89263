"""The policies in the repository, their tests, and the reference page."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from controller.decide.rules import Behaviour, ForecastRule, Method, Step, Targets
from controller.facts.estimates import Estimate
from controller.policy.check import check_policies
from controller.policy.condition import VARIABLES
from controller.policy.load import LATER, load_policies
from controller.policy.schema import json_schema
from controller.policy.script import ScriptShape
from controller.policy.shape import PolicyShape

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path for path in (ROOT / "policies").glob("*.yaml") if not path.name.endswith(".test.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_policy_loads_and_its_test_passes(path):
    report = check_policies([path], None, ("log", "slack"))
    assert report.problems == ()
    assert report.tests_run > 0
    assert report.files == (path, path.with_suffix(".test.yaml"))


def test_all_shipped_policies_can_be_in_force_together():
    assert len(load_policies(SHIPPED, None, ("log", "slack"))) == len(SHIPPED) >= 2


def test_the_reference_policy_says_what_most_guides_say():
    rule = load_policies([ROOT / "policies" / "reference.yaml"], None, ())["assistant"].replicas
    assert (rule.min_replicas, rule.max_replicas) == (2, 8)
    assert rule.targets == Targets(queue_depth=50, gpu_utilization_ratio=0.75)
    assert rule.scale_up == Behaviour(stabilization_s=60, at_most=Step(per_s=120, replicas=2))
    assert rule.scale_down == Behaviour(stabilization_s=300)
    assert rule.method is Method.REACTIVE


def test_the_chat_policy_looks_ahead_and_says_so():
    text = (ROOT / "policies" / "chat.yaml").read_text(encoding="utf-8")
    assert "  method: predictive\n" in text
    rule = load_policies([ROOT / "policies" / "chat.yaml"], None, ("log",))["chat"].replicas
    assert (rule.method, rule.forecast) == (Method.PREDICTIVE, ForecastRule())


@pytest.mark.parametrize(
    ("shape", "heading"), [(PolicyShape, "## Keys of a policy"), (ScriptShape, "## Keys of a test")]
)
def test_the_reference_page_lists_every_key_with_its_default_and_meaning(shape, heading, reference):
    section = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8").split(heading)[1].split("\n## ")[0]
    told = re.findall(r"^\| `([^`]+)` \| ([^|]*?) ?\| (.*) \|$", section, re.MULTILINE)
    assert told == reference(shape)


def test_the_reference_page_names_the_quantities_and_what_is_not_supported():
    text = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    assert not [name for name in (*VARIABLES, *LATER) if f"`{name}`" not in text]


def test_a_condition_may_name_exactly_the_values_of_an_estimate():
    plain = Estimate(**dict.fromkeys((field.name for field in fields(Estimate)), 0))
    assert set(plain.values()) == VARIABLES


def test_the_schema_for_editors_knows_every_key_at_the_top_and_forbids_others():
    schema = json_schema()
    assert set(schema["properties"]) == {"service", "slo", "variants", "scaling", "capacity_mix", "alerts", "budget"}
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Method"]["enum"] == ["predictive", "reactive"]
    assert schema["$defs"]["ScalingShape"]["required"] == ["max_replicas"]
    assert schema["$defs"]["ScalingShape"]["properties"]["method"]["default"] == "predictive"
    assert "for" in schema["$defs"]["AlertShape"]["properties"]
