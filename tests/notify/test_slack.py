"""Slack's webhook, as a real server on loopback."""

import json
import socket

import pytest

from controller.errors import NotifyError
from controller.facts.decisions import AlertPhase
from controller.notify.slack import SlackChannel, cut, message


def channel(url, **changes):
    waits = []
    return SlackChannel(url=url, sleep=waits.append, **changes), waits


def test_a_firing_alert_carries_its_condition_its_numbers_and_its_dollars(alert):
    text = json.dumps(message(alert()), ensure_ascii=False)
    for part in ("Firing: chat/paying-for-idle", "$48.50", "21.3%", "missing: no DCGM", "2026-11-21 12:00:00 UTC"):
        assert part in text
    assert "mfu_ratio &lt; 0.5 &amp;&amp; queue_depth &gt; 0" in text
    assert "Raise max_num_seqs &amp; watch KV." in text


@pytest.mark.parametrize(("value", "shown"), [(float("inf"), "inf"), (float("nan"), "nan"), (3.0, "3"), (3, "3")])
def test_a_number_that_is_none_loses_no_alert(alert, value, shown):
    fields = message(alert(numbers={"queue_depth": value}))["blocks"][2]["fields"]
    assert fields[0]["text"].endswith(shown)


def test_resolved_looks_different_from_firing(alert):
    firing, resolved = message(alert()), message(alert(AlertPhase.RESOLVED))
    assert "Resolved" in json.dumps(resolved)
    assert firing["blocks"][0] != resolved["blocks"][0]


def test_long_texts_keep_inside_slacks_limits(alert):
    sent = message(alert(summary="x&" * 4000, numbers={f"number_{index}": 1.0 for index in range(40)}))
    sections = [block for block in sent["blocks"] if block["type"] == "section"]
    assert all(len(block["text"]["text"]) <= 3000 for block in sections if "text" in block)
    assert all(len(block["fields"]) <= 10 for block in sections if "fields" in block)


def test_cutting_never_leaves_half_an_escape():
    assert cut("aaaa&amp;", 7) == "aaaa…"


def test_the_message_arrives_as_json(webhook, alert):
    slack, _ = channel(webhook.url)
    slack.send(alert())
    assert webhook.received == [message(alert())]


@pytest.mark.parametrize(
    ("answers", "waits", "tries"),
    [
        ([(429, {"Retry-After": "7"}), (200, {})], [7.0], 2),
        ([(500, {}), (200, {})], [1.0], 2),
        ([(500, {}), (503, {}), (200, {})], [1.0, 4.0], 3),
    ],
)
def test_a_passing_trouble_is_tried_again(webhook, alert, answers, waits, tries):
    webhook.answers = answers
    slack, waited = channel(webhook.url)
    slack.send(alert())
    assert (waited, len(webhook.received)) == (waits, tries)


@pytest.mark.parametrize(
    ("answers", "said"),
    [([(400, {})], "invalid_blocks"), ([(500, {})], "HTTP 500"), ([(429, {}), (429, {})], "HTTP 429")],
)
def test_a_lasting_refusal_is_an_error_without_the_secret(webhook, alert, answers, said):
    webhook.answers = answers
    slack, _ = channel(webhook.url)
    with pytest.raises(NotifyError, match=said) as error:
        slack.send(alert())
    assert "secret-token" not in f"{error.value}{error.value.__cause__}{slack!r}"


def test_a_dead_webhook_is_an_error_without_the_secret(alert):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    slack, waited = channel(f"http://127.0.0.1:{port}/secret-token")
    with pytest.raises(NotifyError) as error:
        slack.send(alert())
    assert waited == [1.0, 4.0]
    assert "secret-token" not in str(error.value)


def test_an_address_that_is_none_is_refused_at_once_and_not_shown():
    with pytest.raises(NotifyError) as error:
        SlackChannel(url="hooks-slack-secret")
    assert "hooks-slack-secret" not in str(error.value)
