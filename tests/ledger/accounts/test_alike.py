"""What fleets on one ledger say of the accounts that they share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from controller.ledger.accounts.alike import Alike
from controller.ledger.claim import READING, Lead
from controller.ledger.write import Ledger


@pytest.fixture
def fleets(url: str) -> Iterator[tuple[Alike, Alike]]:
    """Two, of which both daemons run."""
    with ExitStack() as stack:
        made = []
        for name in ("eu", "us"):
            stack.enter_context(closing(Ledger.open(url, name))).claim()
            made.append(stack.enter_context(closing(Alike(url, name))))
        yield made[0], made[1]


def test_what_differs_is_named_until_it_is_alike(fleets: tuple[Alike, Alike]) -> None:
    eu, us = fleets
    eu.keep({"shared": "a", "rules": "b", "budgets.all": "c"})
    assert eu.differing() == {}, "nobody else has said anything yet"
    us.keep({"shared": "x", "rules": "b", "budgets.ours": "d"})
    assert (eu.differing(), us.differing()) == ({"us": ("shared",)}, {"eu": ("shared",)})
    us.keep({"shared": "a", "rules": "b"})
    assert (eu.differing(), us.differing()) == ({}, {})


def test_a_fleet_that_nobody_works_for_is_not_held_against(url: str) -> None:
    with closing(Ledger.open(url, "eu")) as ledger, closing(Alike(url, "eu")) as eu, closing(Alike(url, "old")) as old:
        ledger.claim()
        old.keep({"shared": "x"})
        eu.keep({"shared": "a"})
        assert eu.differing() == {}


def test_of_two_that_name_a_source_one_reads_it_until_it_ends(url: str) -> None:
    with closing(Ledger.open(url)), closing(Lead(url, READING + "litellm")) as other:
        first = Lead(url, READING + "litellm")
        assert first.held()
        assert not other.held()
        with closing(Lead(url, READING + "logs/of ours")) as logs:
            assert logs.held(), "each source for itself"
        first.close()
        assert other.held()
