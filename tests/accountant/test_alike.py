"""Fleets that share a ledger and say different things of it."""

from datetime import UTC, datetime, timedelta

import pytest

from controller.accountant.alike import digest
from controller.accounting import digests
from controller.facts.budgets import AtLimit, Budget
from controller.facts.fleet import CapacityType
from controller.settings.load import load_settings

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ALL = Budget(name="all", limit_nanousd=10**9)


@pytest.fixture
def account(tmp_path):
    def of(block: str):
        (tmp_path / "fleet.yaml").write_text(
            "services: {chat: {model: llama-3.1-8b, variants: {l40s: {gpu: L40S, scrape: {static: ['http://h:1']}}}}}\n"
            f"account: {block}\n",
            encoding="utf-8",
        )
        return load_settings(tmp_path / "fleet.yaml", {"URL": "postgresql://secret@h/db"}).account

    return of


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ("{shared: [{name: gateway, usd_per_month: 720}]}", "shared"),
        ("{rules: [{idle: by_use}]}", "rules"),
        ("{settle_after: 1h}", "settle_after"),
        ("{max_identities: 500}", "max_identities"),
    ],
)
def test_each_key_has_a_digest_of_its_own(account, block, key):
    plain, other = digests(account("{}"), ()), digests(account(block), ())
    assert {name for name in plain if plain[name] != other[name]} == {key}


def test_what_has_a_name_counts_only_where_both_name_it(account):
    one = digests(account("{sources: [{name: gateway, litellm: {url_env: URL}}]}"), (ALL,))
    assert set(one) - set(digests(account("{}"), ())) == {"sources.gateway", "budgets.all"}


def test_a_digest_is_the_same_whatever_the_order():
    fleet = Budget(
        name="x",
        limit_nanousd=1,
        at_limit=AtLimit.FORBID,
        forbidden_capacity=frozenset(CapacityType),
        forbidden_variants=frozenset("abcdefgh"),
    )
    assert digest(fleet) == "0e4533178f638b744958c36f5e0269c4"
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})


def test_no_hour_is_settled_while_what_sums_depend_on_differs(desk):
    found = {"us": ("settle_after", "shared")}
    desk.asks(differing=lambda: found)
    result = desk.step(NOON)
    assert (desk.settled_at, result.problems) == ([], ())
    assert desk.names == ["accounts_differ firing", "hours_not_settled firing"]
    assert desk.news[0].summary == "account.settle_after, account.shared differ from those of the fleet us"
    assert desk.news[0].severity == "critical"
    assert (
        desk.news[1].summary
        == "account.shared differs from that of the fleet us: no hour is settled until they are alike"
    )
    desk.asks(differing=dict)
    desk.step(NOON + timedelta(minutes=5))
    assert desk.names == ["accounts_differ resolved", "hours_not_settled resolved"]
    assert desk.settled_at == [NOON + timedelta(minutes=5)]


def test_what_changes_no_sum_is_told_and_holds_nothing_up(desk):
    desk.asks(differing=lambda: {"": ("budgets.all",)})
    desk.step(NOON)
    assert desk.names == ["accounts_differ firing"]
    assert desk.news[0].summary == "account.budgets.all differs from that of the fleet without a name"
    assert desk.settled_at == [NOON]


def test_a_source_that_another_daemon_reads_is_left_to_it_and_taken_over_when_it_ends(desk):
    ours = []
    desk.asks(sources=(desk.senders,), reads=lambda name: name in ours)
    desk.senders.waiting = 2
    desk.step(NOON)
    desk.step(NOON + timedelta(hours=3))
    assert (desk.senders.taken, desk.senders.marks, desk.names) == ([], {}, []), "whoever reads it says how far it is"
    ours.append("litellm")
    desk.step(NOON + timedelta(hours=3, minutes=5))
    assert desk.senders.taken == ["litellm"] * 2
