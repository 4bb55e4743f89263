from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.stub import Stubber

from controller.errors import PriceError
from controller.facts.fleet import CapacityType
from controller.prices.aws import Clients, clients, instance
from controller.prices.aws_on_demand import SOLD_AS, AwsOnDemand
from controller.prices.aws_spot import AwsSpot
from controller.prices.quotes import Quotes, QuoteStore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
P5 = "aws/us-east-1/p5.48xlarge"
KEYS = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}


@contextmanager
def stubbed(service: str, *answers: tuple[str, dict[str, Any], Any]) -> Iterator[Clients]:
    """A real client whose answers are given; the questions must be the expected ones, and all be asked."""
    client = clients(service, **KEYS)("us-east-1")
    with Stubber(client) as stub:
        for call, question, answer in answers:
            if isinstance(answer, str):
                stub.add_client_error(call, answer, "nobody is allowed that", expected_params=question)
            else:
                stub.add_response(call, answer, question)
        yield lambda region: client
        stub.assert_no_pending_responses()


def product(usd: object, *, unit: str = "Hrs", sku: str = "ABC", currency: str = "USD", **attributes: str) -> str:
    """One entry of a PriceList, as the Price List Query API writes it."""
    term = f"{sku}.JRTCKXETXF"
    return json.dumps(
        {
            "product": {
                "productFamily": "Compute Instance",
                "attributes": {"instanceType": "p5.48xlarge", "regionCode": "us-east-1", "gpu": "8", **attributes},
                "sku": sku,
            },
            "serviceCode": "AmazonEC2",
            "terms": {
                "OnDemand": {
                    term: {
                        "priceDimensions": {
                            f"{term}.6YS6EN2CT7": {
                                "unit": unit,
                                "endRange": "Inf",
                                "description": "per On Demand Linux p5.48xlarge Instance Hour",
                                "appliesTo": [],
                                "rateCode": f"{term}.6YS6EN2CT7",
                                "beginRange": "0",
                                "pricePerUnit": {currency: usd},
                            }
                        },
                        "sku": sku,
                        "effectiveDate": "2026-11-01T00:00:00Z",
                        "offerTermCode": "JRTCKXETXF",
                        "termAttributes": {},
                    }
                },
                "Reserved": {},
            },
            "version": "20261118000000",
            "publicationDate": "2026-11-18T00:00:00Z",
        }
    )


FILTERS = {"instanceType": "p5.48xlarge", "regionCode": "us-east-1", **SOLD_AS}
QUESTION: dict[str, Any] = {
    "ServiceCode": "AmazonEC2",
    "FormatVersion": "aws_v1",
    "Filters": [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in FILTERS.items()],
}


def listed(*products: str) -> tuple[str, dict[str, Any], Any]:
    return "get_products", QUESTION, {"FormatVersion": "aws_v1", "PriceList": list(products)}


def test_the_on_demand_price_is_found_on_any_page_among_what_is_none() -> None:
    first = {"FormatVersion": "aws_v1", "NextToken": "more", "PriceList": [product("0.0000000000", sku="FREE")]}
    second = {
        "FormatVersion": "aws_v1",
        "PriceList": [
            product("31.4640000000", sku="BLOCK", marketoption="CapacityBlock"),
            product("12", sku="MONTH", unit="Mo"),
            product("55.0400000000"),
        ],
    }
    pages = [("get_products", QUESTION, first), ("get_products", QUESTION | {"NextToken": "more"}, second)]
    with stubbed("pricing", *pages) as to:
        (quote,) = AwsOnDemand(to).fetch(P5, NOW, NOW)
    assert (quote.nano_per_hour, quote.currency, quote.gpus, quote.zone) == (55_040_000_000, "USD", 8, "")
    assert quote.effective_at == datetime(2026, 11, 1, tzinfo=UTC)
    assert quote.capacity_type is CapacityType.ON_DEMAND
    assert quote.fetched_at == NOW


@pytest.mark.parametrize(
    ("products", "why"),
    [
        ([], "names no on-demand price"),
        ([product("0.0000000000")], "names no on-demand price"),
        ([product("")], "names no on-demand price"),
        ([product("55.04"), product("44.00", sku="B")], r"has 2 on-demand prices .*44 USD, 55.04 USD"),
        ([product("much")], "which is no number"),
        ([product("NaN")], "which is no number"),
        (["{"], "is no JSON"),
        (["[]"], "is no product"),
        ([product("1").replace("2026-11-01T00:00:00Z", "soon")], "no date"),
    ],
)
def test_an_answer_without_a_price_is_told_and_never_zero(products: list[str], why: str) -> None:
    with stubbed("pricing", listed(*products)) as to, pytest.raises(PriceError, match=why):
        AwsOnDemand(to).fetch(P5, NOW, NOW)


def test_two_entries_of_one_price_are_one_price() -> None:
    with stubbed("pricing", listed(product("55.04"), product("55.040", sku="B"))) as to:
        assert len(AwsOnDemand(to).fetch(P5, NOW, NOW)) == 1


def test_what_aws_says_of_a_question_is_passed_on() -> None:
    refused = ("get_products", QUESTION, "AccessDeniedException")
    with stubbed("pricing", refused) as to, pytest.raises(PriceError, match=r"AWS answered: .*AccessDenied.*allowed"):
        AwsOnDemand(to).fetch(P5, NOW, NOW)


def test_pages_without_an_end_are_given_up() -> None:
    answer = {"PriceList": [], "NextToken": "again"}

    class Circle:
        def get_products(self, **question: Any) -> dict[str, Any]:
            return answer

    with pytest.raises(PriceError, match="went on after"):
        AwsOnDemand(lambda region: Circle()).fetch(P5, NOW, NOW)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("offer", ["gcp/us/a3", "aws/us-east-1", "aws//p5", "aws/a/b/c", ""])
def test_an_offer_of_somebody_else_is_no_instance(offer: str) -> None:
    with pytest.raises(PriceError, match="no offer of AWS"):
        instance(offer)


def row(usd: str, zone: str, hours_ago: float, **more: str) -> dict[str, Any]:
    return {
        "AvailabilityZone": zone,
        "InstanceType": "p5.48xlarge",
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": usd,
        "Timestamp": NOW - timedelta(hours=hours_ago),
        **more,
    }


def history(*rows: dict[str, Any], token: str = "", after: str = "") -> tuple[str, dict[str, Any], Any]:
    question: dict[str, Any] = {
        "InstanceTypes": ["p5.48xlarge"],
        "ProductDescriptions": ["Linux/UNIX"],
        "StartTime": NOW - timedelta(hours=1),
        "EndTime": NOW,
    }
    return (
        "describe_spot_price_history",
        question | ({"NextToken": after} if after else {}),
        {"SpotPriceHistory": list(rows), "NextToken": token},
    )


TYPES = (
    "describe_instance_types",
    {"InstanceTypes": ["p5.48xlarge"]},
    {"InstanceTypes": [{"InstanceType": "p5.48xlarge", "GpuInfo": {"Gpus": [{"Name": "H100", "Count": 8}]}}]},
)


def test_spot_prices_come_by_zone_and_time_and_zero_is_none() -> None:
    answers = [
        history(row("21.1543000000", "us-east-1a", 0.5), row("0.0000", "us-east-1b", 0.2), token="more"),
        history(row("20", "us-east-1a", 30), row("9", "us-east-1a", 1, ProductDescription="Windows"), after="more"),
        TYPES,
    ]
    with stubbed("ec2", *answers) as to:
        quotes = AwsSpot(to).fetch(P5, NOW - timedelta(hours=1), NOW)
    assert [(one.zone, one.nano_per_hour, one.gpus) for one in quotes] == [
        ("us-east-1a", 21_154_300_000, 8),
        ("us-east-1a", 20_000_000_000, 8),
    ]
    assert quotes[1].effective_at == NOW - timedelta(hours=30)


def test_without_leave_to_ask_for_instance_types_the_price_comes_without_its_gpus() -> None:
    refused = ("describe_instance_types", {"InstanceTypes": ["p5.48xlarge"]}, "UnauthorizedOperation")
    with stubbed("ec2", history(row("20", "us-east-1a", 1)), refused) as to:
        (quote,) = AwsSpot(to).fetch(P5, NOW - timedelta(hours=1), NOW)
    assert quote.gpus is None


def test_no_spot_price_is_told() -> None:
    with stubbed("ec2", history()) as to, pytest.raises(PriceError, match="names no spot price"):
        AwsSpot(to).fetch(P5, NOW - timedelta(hours=1), NOW)


def test_a_whole_server_is_asked_for_spot_prices(moto_options: dict[str, Any], shelf: QuoteStore) -> None:
    to = clients("ec2", **moto_options)
    spot = Quotes(quoter=AwsSpot(to), store=shelf, offers={})
    assert spot.refresh([P5, "aws/us-east-1/no.such"], NOW) == {
        "aws/us-east-1/no.such": "AWS names no spot price of aws/us-east-1/no.such"
    }
    kept = shelf.kept(P5, CapacityType.SPOT, NOW)
    assert len({one.zone for one in kept}) > 1
    assert all(one.zone.startswith("us-east-1") and one.gpus == 8 and one.nano_per_hour > 0 for one in kept)
    assert spot.age_s(P5, NOW) == 0


def test_a_server_that_is_not_there_is_told(unused_tcp_port_of: Callable[[], int]) -> None:
    to = clients("ec2", endpoint_url=f"http://127.0.0.1:{unused_tcp_port_of()}", **KEYS)
    with pytest.raises(PriceError, match="AWS answered: Could not connect"):
        AwsSpot(to).fetch(P5, NOW - timedelta(hours=1), NOW)


def test_the_placement_score_is_asked_for_seldom_and_told_with_the_price(caplog: pytest.LogCaptureFixture) -> None:
    question = {"InstanceTypes": ["p5.48xlarge"], "TargetCapacity": 1, "RegionNames": ["us-east-1"]}
    scores = {"SpotPlacementScores": [{"Region": "us-east-1", "Score": 3}]}
    row = {
        "InstanceType": "p5.48xlarge",
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": "40.0",
        "Timestamp": NOW - timedelta(hours=2),
        "AvailabilityZone": "us-east-1a",
    }
    history = ("describe_spot_price_history", None, {"SpotPriceHistory": [row]})
    with stubbed(
        "ec2",
        history,
        TYPES,
        ("get_spot_placement_scores", question, scores),
        history,
        history,
        ("get_spot_placement_scores", question, "UnauthorizedOperation"),
        history,
        ("get_spot_placement_scores", question, "UnauthorizedOperation"),
    ) as answered:
        source = AwsSpot(answered)
        assert source.score(P5) is None
        source.fetch(P5, NOW - timedelta(hours=1), NOW)
        source.fetch(P5, NOW - timedelta(hours=1), NOW + timedelta(hours=5))
        assert source.score(P5) == 3
        source.fetch(P5, NOW - timedelta(hours=1), NOW + timedelta(hours=6))
        source.fetch(P5, NOW - timedelta(hours=1), NOW + timedelta(hours=12))
        assert source.score(P5) is None
    assert len([one for one in caplog.messages if "UnauthorizedOperation" in one]) == 1
