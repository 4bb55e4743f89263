"""The daemon's accounts from end to end: records over HTTP, passes, settled hours, and answers that add up."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from controller.daemon import Daemon, utc_now
from controller.facts.accounts import WorkRate
from controller.ledger.accounts.rates import keep_rates
from controller.ledger.accounts.verify import verify
from controller.ledger.engine import writer_engine
from controller.serving import served, served_intake
from controller.settings.load import load_settings
from controller.wiring import Built, built
from tests.small_fleet import SmallFleet, until

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ENVIRON = {"GATEWAY_TOKEN": "gateway-secret", "CLIENT_TOKEN": "client-secret"}
ACCOUNT = """\
account:
  ingest:
    tokens: [{name: gateway, env: GATEWAY_TOKEN, trusted: true}, {name: client, env: CLIENT_TOKEN}]
  settle_after: 30m
  shared: [{name: gateway-machines, usd_per_month: 720}]
  budgets:
    - {name: chat, monthly_usd: 5, scope: {service: chat}, at_limit: refuse_growth}
"""


@dataclass
class Office:
    """A daemon that serves, on a clock that the test moves."""

    everything: Built
    url: str = ""
    now: datetime = NOON

    @property
    def daemon(self) -> Daemon:
        return self.everything.daemon

    def work(self, minutes: int) -> None:
        """A pass a minute."""
        for _ in range(minutes):
            self.now += MINUTE
            self.daemon.step()

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith("{") else {"text": text}

    def post(self, records: list[dict], token: str = "gateway-secret") -> tuple[int, dict]:
        body = "\n".join(json.dumps(one) for one in records).encode()
        request = urllib.request.Request(self.url + "/api/v1/usage", body, {"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.loads(refused.read())


@pytest.fixture
def open_office(fleet: SmallFleet):
    fleet.write(interval="1m")
    text = fleet.file.read_text(encoding="utf-8").replace("rate_window: 60s", "rate_window: 2m")
    fleet.file.write_text(text + ACCOUNT, encoding="utf-8")

    @contextmanager
    def opened(now: datetime = NOON) -> Iterator[Office]:
        settings = load_settings(fleet.file, ENVIRON)
        clock: list[Office] = []
        with built(settings, clock=lambda: clock[0].now if clock else now) as everything:
            clock.append(Office(everything, now=now))
            with served(settings, everything) as server:
                clock[0].url = server.url
                yield clock[0]

    return opened


def records(at: datetime, count: int = 60, **said) -> list[dict]:
    """A request a minute from ``at`` on, by two teams in turn."""
    return [
        {
            "id": f"r{at:%H%M}-{number}",
            "service": "chat",
            "prompt_tokens": 100,
            "output_tokens": 15,
            "ended_at": (at + number * MINUTE).isoformat(),
            "team": ("search", "chat")[number % 2],
            **said,
        }
        for number in range(count)
    ]


def known_rate(fleet: SmallFleet) -> None:
    """What a token takes, as if it had been learned: the small fleet's engines never finish a request."""
    rate = WorkRate(
        service="chat",
        variant="h100",
        at=NOON,
        prefill_s_per_token=1e-4,
        prefill_s_per_square=0.0,
        cached_s_per_cross=0.0,
        cached_s_per_token=0.0,
        decode_s_per_token=1e-2,
        decode_s_per_context=0.0,
        mean_uncached=100.0,
        mean_cached=0.0,
        mean_output=20.0,
        basis="learned",
        band_ratio=0.1,
    )
    engine = writer_engine(f"sqlite:///{fleet.ledger}")
    keep_rates(engine, [rate])
    engine.dispose()


def nanousd(answer: dict, by: str = "team") -> dict[str, int]:
    (step,) = answer["steps"]
    return {item["key"][by]: int(item["nanousd"]["cost"]) for item in step["items"]}


def test_what_was_used_is_sent_settled_and_answered_to_the_last_nanodollar(open_office, fleet):
    with open_office() as office:
        known_rate(fleet)
        office.work(65)
        told = office.post(records(NOON))
        assert told == (200, {"accepted": 60, "duplicates": 0, "refused": [], "refused_total": 0})
        assert office.post(records(NOON))[1]["duplicates"] == 60
        office.now = NOON + timedelta(hours=2)
        office.daemon.account()
        answer = office.get("/api/v1/allocation?window=2026-11-21T12:00:00Z,2026-11-21T13:00:00Z&by=team")
        office.now += timedelta(minutes=5)
        office.daemon.account()
        metrics = office.get("/metrics")["text"]
        budgets = office.get("/api/v1/budgets")["budgets"]
        inference = office.get("/inferenceCost/total?window=2026-11-21T12:00:00Z,2026-11-21T13:00:00Z")
        alerts = [(one["service"], one["name"]) for one in office.get("/api/v1/alerts")["alerts"]]
    teams = nanousd(answer)
    with closing(sqlite3.connect(fleet.ledger)) as ledger:
        ((measured,),) = ledger.execute("SELECT SUM(cost_nanousd) FROM replica_minute WHERE minute < '2026-11-21T13'")
    shared = 1_000_000_000  # 720 USD over the 720 hours of November
    assert sum(teams.values()) == measured + shared
    assert measured > 3_900_000_000  # two replicas at 2 USD an hour, but for the first minute
    assert teams["__shared__"] == shared
    assert teams["search"] == pytest.approx(teams["chat"], rel=0.05)
    assert teams["search"] > 0
    assert int(answer["steps"][0]["total"]["nanousd"]["cost"]) == sum(teams.values())
    assert verify(f"sqlite:///{fleet.ledger}").balances
    (settled,) = re.findall(r"(?m)^pennyweight_settled_hour_timestamp_seconds (\S+)$", metrics)
    assert float(settled) == (NOON + timedelta(hours=1)).timestamp()
    assert 'pennyweight_usage_records_total{result="accepted",source="gateway"} 60.0' in metrics
    assert [(one["name"], int(one["spent_nanousd"]) > measured) for one in budgets] == [("chat", True)]
    assert ("chat", "unattributed") in alerts  # the records explain a part of what the engines made
    assert inference["data"]["inferenceCosts"]


def test_who_has_no_token_is_refused_and_who_is_not_trusted_is_nobody(open_office):
    with open_office() as office:
        office.work(2)
        assert office.post(records(NOON, 1), "somebody-else")[0] == 403
        assert office.post(records(NOON, 1), "client-secret")[1]["accepted"] == 1
        office.now = NOON + timedelta(hours=2)
        office.daemon.account()
        answer = office.get("/api/v1/allocation?window=2026-11-21T12:00:00Z,2026-11-21T13:00:00Z&by=team")
    assert "search" not in nanousd(answer)


def test_an_intake_of_its_own_counts_into_the_same_ledger(open_office, fleet):
    with open_office() as office:
        office.work(2)
        with served_intake(load_settings(fleet.file, ENVIRON), "127.0.0.1", 0) as intake:
            office.url, daemon = intake.url, office.url
            fresh = records(utc_now() - timedelta(minutes=5), 3)
            assert office.post(fresh)[1]["accepted"] == 3
            assert office.get("/healthz") == {"status": "alive"}
        office.url, office.now = daemon, utc_now()
        assert office.post(fresh)[1] == {"accepted": 0, "duplicates": 3, "refused": [], "refused_total": 0}


def test_a_reload_brings_new_budgets_and_tokens_without_a_restart(fleet, while_running):
    fleet.write(interval="1m")
    text = fleet.file.read_text(encoding="utf-8").replace("rate_window: 60s", "rate_window: 2m")
    fleet.file.write_text(text, encoding="utf-8")
    settings = load_settings(fleet.file, {})
    with built(settings, clock=lambda: NOON, reload=lambda: load_settings(fleet.file, ENVIRON)) as everything:
        accounting = everything.accounting
        assert not accounting.settings.account.takes_usage
        fleet.file.write_text(text + ACCOUNT, encoding="utf-8")

        def hang_up() -> None:
            os.kill(os.getpid(), signal.SIGHUP)
            until(lambda: accounting.settings.account.takes_usage, "the reload")

        while_running(everything.daemon, hang_up)
        assert [one.name for one in accounting.settings.account.budgets] == ["chat"]
