"""Nobody waits for a channel."""

import logging
import threading
import time

import pytest

from controller.errors import NotifyError
from controller.notify.dispatch import Dispatcher
from controller.notify.log import LogChannel
from controller.notify.slack import SlackChannel


class Recorder:
    """A channel that keeps what it is given, and fails or waits when told to."""

    name = "recorder"

    def __init__(self) -> None:
        self.sent = []
        self.fails = False
        self.gate = threading.Event()
        self.gate.set()

    def send(self, alert):
        self.gate.wait(20)
        if self.fails:
            raise NotifyError("HTTP 500")
        self.sent.append(alert)


def until(condition):
    ends = time.monotonic() + 60
    while not condition() and time.monotonic() < ends:
        time.sleep(0.005)
    assert condition()


def test_each_alert_goes_to_the_channels_that_it_names(alert):
    one, two = Recorder(), Recorder()
    dispatcher = Dispatcher({"one": one, "two": two})
    dispatcher.post([alert(channels=("one",)), alert(channels=("one", "two"))])
    dispatcher.close()
    assert (len(one.sent), len(two.sent)) == (2, 1)
    assert dispatcher.counts()["one"].sent == 2


def test_a_webhook_that_hangs_delays_neither_the_pass_nor_the_other_channels(webhook, alert):
    webhook.gate.clear()
    quick = Recorder()
    dispatcher = Dispatcher({"slack": SlackChannel(url=webhook.url), "quick": quick})
    dispatcher.post([alert(channels=("slack", "quick"))])
    until(lambda: len(webhook.received) == 1)
    until(lambda: len(quick.sent) == 1)
    assert dispatcher.counts()["slack"].sent == 0
    webhook.gate.set()
    until(lambda: dispatcher.counts()["slack"].sent == 1)
    dispatcher.close()


def test_an_overflow_drops_the_oldest_and_counts_it(alert):
    slow = Recorder()
    slow.gate.clear()
    dispatcher = Dispatcher({"slow": slow}, queue_limit=2)
    dispatcher.post([alert(name="0", channels=("slow",))])
    until(lambda: dispatcher._lanes["slow"]._queue == type(dispatcher._lanes["slow"]._queue)())
    dispatcher.post([alert(name=f"{index}", channels=("slow",)) for index in range(1, 5)])
    slow.gate.set()
    dispatcher.close()
    assert [one.name for one in slow.sent] == ["0", "3", "4"]
    assert dispatcher.counts()["slow"].dropped == 2


def test_a_failure_is_counted_and_the_next_alert_is_tried(alert):
    broken = Recorder()
    broken.fails = True
    dispatcher = Dispatcher({"broken": broken})
    dispatcher.post([alert(channels=("broken",))])
    until(lambda: dispatcher.counts()["broken"].failed == 1)
    broken.fails = False
    dispatcher.post([alert(channels=("broken",))])
    dispatcher.close()
    assert (dispatcher.counts()["broken"].sent, dispatcher.counts()["broken"].failed) == (1, 1)


def test_an_alert_for_a_channel_that_is_not_set_up_is_said(alert, caplog):
    dispatcher = Dispatcher({})
    with caplog.at_level(logging.ERROR):
        dispatcher.post([alert(channels=("pager",))])
    dispatcher.close()
    assert "pager" in caplog.text


@pytest.mark.parametrize(("severity", "level"), [("critical", "ERROR"), ("warning", "WARNING"), ("info", "INFO")])
def test_the_log_channel_writes_one_line_with_numbers_and_dollars(alert, caplog, severity, level):
    with caplog.at_level(logging.INFO):
        LogChannel().send(alert(severity=severity))
    (record,) = caplog.records
    assert record.levelname == level
    assert "usd_per_hour $48.50" in record.getMessage()
    assert "Raise max_num_seqs" in record.getMessage()
