"""Whose a record is: from a gateway as it says, from others only by the key."""

import pytest

from controller.facts.accounts import Identity
from controller.usage.identity import hashed_key

SAID = {"team": "chat", "tenant": "beta", "feature": "summary", "environment": "staging"}


def test_a_gateway_is_believed(made):
    assert made.one(**SAID).identities == (Identity(**SAID),)


def test_a_client_is_not(made):
    assert made.one(trusted=False, **SAID).identities == (Identity(),)


def test_a_key_says_whose_it_is_whoever_sends_it(made):
    mine = Identity(team="search", tenant="acme", environment="production", api_key=hashed_key(made.key))
    assert made.one(trusted=False, api_key=made.key, **SAID).identities == (mine,)
    assert made.one(trusted=True, api_key=made.key).identities == (mine,)


def test_what_a_gateway_says_goes_before_the_key_and_the_key_fills_the_rest(made):
    (found,) = made.one(api_key=made.key, team="chat", feature="summary").identities
    assert (found.team, found.tenant, found.feature) == ("chat", "acme", "summary")


def test_a_hash_that_stands_in_every_report_proves_nothing(made):
    stolen = hashed_key(made.key)
    (found,) = made.one(trusted=False, api_key=stolen).identities
    assert found == Identity(api_key=hashed_key(stolen))


def test_a_gateway_may_send_the_hash_instead_of_the_key(made):
    assert made.one(api_key=hashed_key(made.key)).identities == made.one(api_key=made.key).identities


def test_an_unknown_key_is_told_apart_by_its_hash(made):
    (found,) = made.one(trusted=False, api_key="sk-unknown").identities
    assert found == Identity(api_key=hashed_key("sk-unknown"))


def test_the_hash_of_a_key_is_16_digits_of_blake2b():
    assert hashed_key("sk-1") == "676af48da763fc66"
    assert hashed_key("") == ""


def test_nobody_becomes_known_by_being_refused(made):
    records = [
        made.record(team="b"),
        made.record(team="a", prompt_tokens=-1),
        made.record(team="c", service="x"),
        made.record(team="d"),
    ]
    batch = made.read(made.body(*records))
    assert [batch.identities[one].team for one in batch.identity] == ["b", "d"]
    assert len(batch.identities) == 2


def test_a_raw_key_is_nowhere_in_a_batch_nor_in_a_refusal(made):
    secret = "sk-very-secret-" + "x" * 20
    batches = [
        made.one(api_key=secret),
        made.one(trusted=False, api_key=secret),
        made.one(api_key=secret, prompt_tokens=-1),
        made.one(api_key=secret * 200),
        made.one(api_key=[secret]),
        made.one(api_key=secret, team="__idle__"),
        made.read(b'{"api_key": "' + secret.encode() + b'", \n' + made.body(made.record())),
        made.read(b'"' + secret.encode() + b'"\n' + made.body(made.record())),
        made.one(team={"api_key": secret}),
        made.one(usage=[secret]),
    ]
    for batch in batches:
        assert "very-secret" not in repr(batch)


@pytest.mark.parametrize("name", list(SAID))
def test_names_that_no_database_takes_are_refused(made, name):
    assert made.why(**{name: "a\x00b"}).startswith(f"{name}: expected printable text")


def test_a_variant_that_is_not_in_the_fleet_any_more_is_as_good_as_none(made):
    assert made.one(variant="h100").places == (("chat", "h100"),)
    assert made.one(variant="retired").places == (("chat", ""),)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"service": "chat"}, ("chat", "")),
        ({"model": "chat"}, ("chat", "")),
        ({"model": "llama-3.1-70b"}, ("chat", "")),
        ({"model": "hosted_vllm/llama-3.1-70b"}, ("chat", "")),
        ({"model": "meta-llama/Llama-3.1-8B"}, ("search", "")),
        ({"model": "hosted_vllm/meta-llama/Llama-3.1-8B"}, ("search", "")),
        ({"model": "llama-3.1-70b", "api_base": "http://10.0.0.5:8000/v1/"}, ("chat", "h100")),
        ({"model": "whatever", "api_base": "HTTP://10.0.0.5:8000"}, ("chat", "h100")),
        ({"service": "search", "api_base": "http://10.0.0.5:8000"}, ("search", "")),
        ({"model": "llama-3.1-70b", "api_base": "http://elsewhere"}, ("chat", "")),
        ({"service": "chat", "variant": "l4", "api_base": "http://10.0.0.5:8000"}, ("chat", "l4")),
    ],
)
def test_a_record_is_placed_by_the_most_exact_name_it_has(made, given, place):
    assert made.one(**{"service": None, **given}).places == (place,)
