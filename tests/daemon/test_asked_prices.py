"""Prices that AWS is asked for, in a daemon that finds AWS as it would anywhere: by its own environment variables.

Spot prices come from moto's server; the Price List Query API, which moto does not speak, from one that answers in the
shape that AWS documents.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest

from controller.daemon import utc_now
from controller.facts.decisions import AlertPhase
from controller.prices.book import offers
from controller.serving import served
from controller.settings.load import load_settings
from controller.wiring import Built, built
from tests.small_fleet import SmallFleet

MINUTE = timedelta(minutes=1)
KEYS = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
OFFER = "aws/eu-north-1/g6e.12xlarge"
"""Four L40S. Not in the price book: who is not answered knows no price of it."""

CAPACITY = f"""\
        capacity:
          - {{type: on_demand, offer: {OFFER}}}
          - {{type: spot, offer: {OFFER}}}
account:
  settle_after: 30m
  contract: {{aws: [{{discount: 10%}}]}}
  prices:
    sources: [aws_on_demand, aws_spot]
    on_demand: {{ask_after: 20m, stale_after: 30m}}
"""


@dataclass
class PriceList:
    """AWS's Price List Query API. ``usd`` None: it refuses to answer."""

    url: str = ""
    usd: float | None = 64.0
    asked: list[dict] = field(default_factory=list)

    def answer(self, question: dict) -> tuple[int, dict]:
        self.asked.append(question)
        if self.usd is None:
            return 400, {"__type": "AccessDeniedException", "message": "nobody is allowed that"}
        wanted = {one["Field"]: one["Value"] for one in question["Filters"]}
        dimension = {"unit": "Hrs", "rateCode": "A.B.C", "pricePerUnit": {"USD": f"{self.usd:.10f}"}}
        term = {"priceDimensions": {"A.B.C": dimension}, "effectiveDate": "2026-11-01T00:00:00Z", "offerTermCode": "B"}
        product = {
            "product": {
                "productFamily": "Compute Instance",
                "attributes": {"gpu": "4", "marketoption": "OnDemand", **wanted},
                "sku": "A",
            },
            "serviceCode": question["ServiceCode"],
            "terms": {"OnDemand": {"A.B": term}},
            "version": "20261118000000",
            "publicationDate": "2026-11-18T00:00:00Z",
        }
        return 200, {"FormatVersion": "aws_v1", "PriceList": [json.dumps(product)]}


@contextmanager
def answering(prices: PriceList) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["X-Amz-Target"] == "AWSPriceListService.GetProducts"
            status, told = prices.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    prices.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def ec2() -> Iterator[str]:
    """moto's address. Its first answer takes long, for it reads all that AWS ever sold."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with closing(boto3.client("ec2", "eu-north-1", endpoint_url=f"http://{host}:{port}", **KEYS)) as client:
        assert client.describe_spot_price_history(InstanceTypes=["g6e.12xlarge"])["SpotPriceHistory"]
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def price_list(monkeypatch: pytest.MonkeyPatch, ec2: str) -> Iterator[PriceList]:
    prices = PriceList()
    with answering(prices):
        monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", ec2)
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", prices.url)
        for name, value in KEYS.items():
            monkeypatch.setenv(name.upper(), value)
        yield prices


@dataclass
class Office:
    """A daemon that serves, on a clock that the test moves."""

    everything: Built
    now: datetime
    url: str = ""

    def round(self, after: timedelta) -> list[str]:
        """A pass, and a round of the accountant; the alerts that fire."""
        self.now += after
        self.everything.daemon.step()
        self.everything.accounting.accountant.step(self.now)
        states = self.everything.accounting.accountant.alerts()
        return [one.name for one in states if one.phase is AlertPhase.FIRING]

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as answer:
            return answer.read().decode()

    def ages(self) -> dict[str, float]:
        found = re.findall(r'(?m)^pennyweight_price_age_seconds\{capacity_type="(\w+)".*\} (\S+)$', self.metrics())
        return {kind: float(age) for kind, age in found}


@pytest.fixture
def open_office(fleet: SmallFleet) -> Callable[[], object]:
    text = fleet.file.read_text(encoding="utf-8")
    text = text[: text.index("        capacity:")].replace("H100-SXM", "L40S") + CAPACITY
    fleet.file.write_text(text, encoding="utf-8")

    @contextmanager
    def opened(now: datetime) -> Iterator[Office]:
        settings = load_settings(fleet.file, {}, offers=offers())
        clock: list[Office] = []
        with built(settings, clock=lambda: clock[0].now if clock else now) as everything:
            clock.append(Office(everything, now))
            with served(settings, everything) as server:
                clock[0].url = server.url
                yield clock[0]

    return opened


@pytest.fixture
def rows(fleet: SmallFleet) -> Callable[[str], list[tuple]]:
    """Asks the ledger."""

    def ask(sql: str) -> list[tuple]:
        with closing(sqlite3.connect(fleet.ledger)) as ledger:
            return ledger.execute(sql).fetchall()

    return ask


PRICED = "SELECT source, list_nanousd, effective_nanousd, why_missing FROM price_applied WHERE capacity_type = '{}'"


def test_what_aws_answers_is_in_the_ledger_and_in_metrics_with_its_source_and_its_age(open_office, price_list, rows):
    with open_office(utc_now()) as office:
        assert office.round(15 * MINUTE) == [], "nobody had been asked before: that is no alarm"
        assert office.ages() == {"on_demand": 0, "spot": 0}
        assert office.round(9 * MINUTE) == []
        assert office.ages() == {"on_demand": 540, "spot": 540}
        assert office.round(2 * MINUTE) == []
        assert office.ages() == {"on_demand": 660, "spot": 0}, "each is asked again when its own answer is too old"
        assert 'pennyweight_cost_usd_per_hour{service="chat",variant="h100"} 28.8' in office.metrics()
    assert len(price_list.asked) == 1
    told = f"AWS on demand: {OFFER}, since 2026-11-01 00:00, less 10.0% by contract"
    assert rows(PRICED.format("on_demand")) == [(told, 16_000_000_000, 14_400_000_000, "")]
    ((source, list_price, price, _),) = rows(PRICED.format("spot"))
    assert re.fullmatch(rf"AWS spot: {OFFER}, median of \d zones, since .*", source)
    assert list_price == 16_000_000_000, "what it would cost on demand"
    assert 0 < price < list_price
    assert rows("SELECT SUM(unpriced_s), SUM(cost_nanousd) > 0 FROM replica_minute WHERE capacity_type = 'on_demand'")


def test_a_price_that_nobody_answers_is_alarmed_and_never_zero(open_office, price_list, rows):
    price_list.usd = None
    with open_office(utc_now()) as office:
        assert office.round(MINUTE) == ["price_unknown"]
        assert office.round(MINUTE) == ["price_unknown"]
        assert office.ages().keys() == {"spot"}
        assert 'pennyweight_cost_usd_per_hour{service="chat",variant="h100"}' not in office.metrics()
        ((why, cost),) = rows(
            "SELECT why_missing, effective_nanousd FROM price_applied WHERE capacity_type = 'on_demand'"
        )
        assert "AWS answered: An error occurred (AccessDeniedException)" in why
        assert cost is None
        assert rows("SELECT SUM(cost_nanousd), SUM(unpriced_s) > 0 FROM replica_minute") == [(None, 1)]

        price_list.usd = 64.0
        assert office.round(MINUTE) == [], "it was answered after the pass: the next pass says whether it is known"
        assert office.round(MINUTE) == []
        price_list.usd = None
        assert office.round(25 * MINUTE) == [], "refused, but the last answer is good for half an hour"
        assert office.ages()["on_demand"] == 26 * 60
        assert office.round(5 * MINUTE) == ["price_unknown"]
        (alert,) = [one for one in office.everything.accounting.accountant.alerts() if one.name == "price_unknown"]
        assert alert.service == "chat"
        asked, now = len(price_list.asked), office.now
    assert rows(PRICED.format("on_demand"))[-1][3].count("31 min old, more than the 30 min it is good for") == 1

    price_list.usd = 80.0
    with open_office(now) as office:
        office.round(MINUTE)
        assert office.round(MINUTE) == []
        assert 'pennyweight_cost_usd_per_hour{service="chat",variant="h100"} 36.0' in office.metrics()
    assert len(price_list.asked) == asked + 1
    with open_office(office.now) as again:
        assert again.round(MINUTE) == []
    assert len(price_list.asked) == asked + 1, "the ledger keeps what was answered: a restart asks nothing anew"
