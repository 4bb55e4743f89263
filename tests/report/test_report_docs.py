"""What the reports' pages promise is what the code does."""

import re
from pathlib import Path

import pytest

from controller.attribute.bridge import DRIVERS
from controller.attribute.unit_costs import Basis, TokenKind
from controller.facts.account_reader import Dimension
from controller.report.focus.allocated import METHOD
from controller.report.focus.columns import Dataset

DOCS = Path(__file__).parents[2] / "docs"


def test_every_rule_that_may_fail_is_named_with_its_reason():
    source = Path(__file__).with_name("test_focus_validator.py").read_text(encoding="utf-8")
    allowed = re.findall(r'^    "(\w+-C-\d+-[CO])": "', source, re.MULTILINE)
    page = (DOCS / "focus.md").read_text(encoding="utf-8")
    assert len(allowed) == 11
    assert [rule for rule in allowed if f"`{rule}`" not in page] == []


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("focus.md", [*Dataset, *TokenKind, METHOD]),
        ("reports.md", [*Dimension, *Basis, *TokenKind]),
    ],
)
def test_every_word_a_user_may_say_or_read_is_explained(page, words):
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [str(word) for word in words if f"`{word}`" not in text] == []


def test_every_driver_is_explained():
    text = (DOCS / "reports.md").read_text(encoding="utf-8")
    assert [name for name in DRIVERS if f"| {name} |" not in text] == []
