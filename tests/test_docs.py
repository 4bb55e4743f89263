"""The docs cannot lie: what the code can say, the glossary explains."""

import importlib.util
import re
from dataclasses import fields
from pathlib import Path

import pytest

from controller.facts.decisions import Because, OutcomeKind
from controller.facts.estimates import Estimate, FindingKind
from controller.facts.fleet import CapacityType, Mode
from controller.facts.readings import Phase

ROOT = Path(__file__).parents[1]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [Because, OutcomeKind, FindingKind, Phase, Mode, CapacityType])
def test_every_word_the_program_can_say_is_in_the_glossary(words):
    missing = [word.value for word in words if f"`{word.value}`" not in GLOSSARY]
    assert not missing


def test_the_glossary_explains_no_reason_that_does_not_exist():
    section = GLOSSARY.split("### Why a decision is what it is")[1].split("###")[0]
    explained = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert explained == {because.value for because in Because}


def test_every_quantity_of_an_estimate_is_in_the_glossary():
    plain = {"at", "window_s", "service", "variant", "replica", "gpus", "mfu_source", "mbu_source"}
    names = {field.name for field in fields(Estimate)} - plain
    names -= {name for name in names if name.startswith(("replicas_", "mean_"))}
    text = GLOSSARY.replace("`", "")
    unexplained = [name for name in sorted(names) if not _explained(name, text)]
    assert not unexplained


def _explained(name: str, text: str) -> bool:
    """Whole families (`ttft_*_s`, prompt/computed/cached/output tokens) count for their members."""
    family = re.sub(r"_p\d+_s$", "_*_s", name)
    stem = (
        name.removesuffix("_per_s")
        .removesuffix("_capacity")
        .removesuffix("_deferred")
        .replace("computed_prompt", "computed")
        .replace("cached_prompt", "cached")
    )
    words = stem.replace("_tokens", "").replace("_", " ")
    return name in text or family in text or words in text


@pytest.mark.parametrize("name", ["metrics.md", "fleet.md"])
def test_the_references_are_what_the_code_says(name):
    spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == tables.refreshed(page), "run: python docs/tables.py"


def test_every_key_of_the_fleet_file_is_explained():
    rows = [line.split("|") for line in (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8").splitlines()]
    silent = [row[1] for row in rows if len(row) == 5 and row[1].startswith(" `") and not row[3].strip()]
    assert not silent
