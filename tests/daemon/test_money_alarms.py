"""What the accounts alert, from the engines' pages and the prices to the messages that a webhook gets."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from controller.settings.load import load_settings
from controller.wiring import Built, built
from tests.small_fleet import SmallFleet
from tests.webhook import Webhook, listening

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ACCOUNT = """\
notify: {slack: {}}
account:
  settle_after: 30m
  ingest: {tokens: [{name: gateway, env: GATEWAY_TOKEN, trusted: true}]}
  budgets: [{name: chat, monthly_usd: 200, scope: {service: chat}, at_limit: refuse_growth, to: [slack]}]
"""


class Town:
    """A daemon after the other over one ledger, on a clock that the test moves, and the webhook that they tell.

    Closed, a daemon has sent what waited."""

    def __init__(self, fleet: SmallFleet, hook: Webhook) -> None:
        self.fleet, self.hook, self.now = fleet, hook, NOON
        fleet.write(interval="1m")
        self.change("rate_window: 60s", "rate_window: 2m")
        self.fleet.file.write_text(fleet.file.read_text(encoding="utf-8") + ACCOUNT, encoding="utf-8")

    def change(self, before: str, after: str) -> None:
        text = self.fleet.file.read_text(encoding="utf-8")
        assert before in text
        self.fleet.file.write_text(text.replace(before, after), encoding="utf-8")

    @contextmanager
    def daemon(self) -> Iterator[Built]:
        environ = {"PENNYWEIGHT_SLACK_WEBHOOK_URL": self.hook.url, "GATEWAY_TOKEN": "secret"}
        with built(load_settings(self.fleet.file, environ), clock=lambda: self.now) as everything:
            yield everything

    def work(self, everything: Built, passes: int, each: timedelta = MINUTE) -> None:
        for _ in range(passes):
            self.now += each
            everything.daemon.step()

    def earlier(self, days: int, later: timedelta) -> None:
        """The minutes that there are, on each of so many days before too, and so much later in the day."""
        with closing(sqlite3.connect(self.fleet.ledger)) as ledger, ledger:
            columns = ", ".join(row[1] for row in ledger.execute("PRAGMA table_info(replica_minute)"))
            moved = columns.replace("minute", "strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', minute, :by)", 1)
            query = f"INSERT INTO replica_minute ({columns}) SELECT {moved} FROM replica_minute WHERE minute >= :start"
            for day in range(1, days + 1):
                by = f"{(later - day * DAY).total_seconds():+.0f} seconds"
                ledger.execute(query, {"by": by, "start": NOON.isoformat(timespec="microseconds")})

    def settled(self, everything: Built, rounds: int) -> None:
        """So many rounds of the accountant, all of the same hour."""
        for _ in range(rounds):
            assert everything.accounting.accountant.step(self.now).problems == ()
            self.now += timedelta(seconds=30)

    def told(self, name: str) -> list[str]:
        """What the channel shows of an alert: its header, and the rest of what is said."""
        found = [one for one in self.hook.received if one["blocks"][0]["text"]["text"].endswith(f"/{name}")]
        return ["\n".join(block["text"]["text"] for block in one["blocks"] if "text" in block) for one in found]


@pytest.fixture
def town(fleet: SmallFleet) -> Iterator[Town]:
    with listening() as hook:
        yield Town(fleet, hook)


def test_a_jump_of_the_price_is_told_with_its_driver_and_its_end_by_the_next_process(town: Town) -> None:
    town.now = NOON - HOUR
    with town.daemon() as everything:
        town.work(everything, 4, HOUR)  # of the first pass nobody knows what went before it
    town.earlier(6, later=3 * HOUR)
    town.change("usd_per_gpu_hour: 2.00", "usd_per_gpu_hour: 40.00")
    with town.daemon() as everything:
        town.work(everything, 3, HOUR)
        town.settled(everything, 14)
    (began,) = town.told("anomaly")
    assert "Firing: chat/anomaly" in began
    assert "since 2026-11-21 15:00 UTC: $240.00 instead of $12.00, mostly by price" in began
    budgets = [one for name in ("threshold", "burn_fast") for one in town.told(f"budget_{name}")]
    assert [one.split("*")[1].split(":")[0] for one in budgets] == ["budget chat (service=chat)"] * 2
    assert "100% reached with 9.2 days left; until its period ends no replica is added beyond the minimum" in budgets[0]
    assert "as fast as the budget allows on average" in budgets[1]
    (unattributed,) = town.told("unattributed")
    assert "no usage record explains 100.0% of the work of chat" in unattributed
    (caught_up, again) = town.told("settle_late")
    assert "Firing" in caught_up
    assert "Resolved" in again

    town.hook.received.clear()
    town.change("usd_per_gpu_hour: 40.00", "usd_per_gpu_hour: 2.00")
    with town.daemon() as everything:
        town.work(everything, 3, HOUR)
        town.settled(everything, 2)
    (ended,) = town.told("anomaly")
    assert "Resolved: chat/anomaly" in ended
    assert "costs are as usual again" in ended
    assert not town.told("budget_threshold"), "once a period, whoever tells it"
