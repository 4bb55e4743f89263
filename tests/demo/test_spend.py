"""The closing words say who spent what, and whether it adds up."""

from __future__ import annotations

from datetime import timedelta

from controller.demo.spend import spend_lines
from controller.facts.account_reader import Window
from controller.ledger.accounts.verify import Difference, Proof
from tests.accounts_in_memory import MIDNIGHT, InMemoryAccounts, accounts

DAY = Window(start=MIDNIGHT, end=MIDNIGHT + timedelta(days=1))
PROVEN = Proof(hours=24, sums=1234, cost_nanousd=975_000_000_009, differences=(), more=0)


def test_every_team_has_a_row_with_all_it_cost_and_nobody_comes_last() -> None:
    title, *table, nobody, balance = spend_lines(accounts(), DAY, PROVEN)
    assert title == "Spend by team, 24 h:"
    assert table[0].split() == ["team", "work", "idle", "overhead", "cost", "of", "it", "$", "per", "million", "tokens"]
    assert [row.split()[0] for row in table[1:]] == ["search", "chat", "__idle__", "(no", "__overhead__"]
    assert sum(float(row.split("%")[0].split()[-1]) for row in table[1:]) > 99.7
    assert "of the work is nobody's" in nobody
    assert balance == (
        "It adds up to $975.000000009, to the nanodollar what the replicas cost (1,234 sums of 24 hours compared)."
    )


def test_what_does_not_add_up_is_said() -> None:
    wrong = Difference(where="an hour", part="cost", unit="nanodollars", one="a", other="b", one_sum=2, other_sum=1)
    proof = Proof(hours=24, sums=9, cost_nanousd=2, differences=(wrong,), more=0)
    last = spend_lines(accounts(), DAY, proof)[-1]
    assert last.startswith("It does NOT add up: an hour, cost: a 2, b 1, difference +1 nanodollars.")


def test_without_an_accounted_hour_nobody_spent() -> None:
    assert spend_lines(InMemoryAccounts(), DAY, PROVEN) == ["Nobody spent anything yet: no hour has been accounted."]
