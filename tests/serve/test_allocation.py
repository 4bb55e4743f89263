"""``/api/v1/allocation`` and its like over a real server; and every account endpoint under generated questions."""

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.attribute.unit_costs import Basis, by_kind, on_basis, unit_costs
from controller.errors import LedgerError
from controller.facts.account_reader import BudgetState, Dimension, Window
from controller.facts.accounts import PARTS
from controller.facts.budgets import Anomaly
from controller.facts.missing import Missing
from controller.facts.usage import Reason
from controller.serve.account_metrics import FeedSeen
from controller.serve.accounts import Accounts
from controller.serve.allocation import allocation_router
from controller.serve.inference_cost import inference_router
from controller.serve.opencost import opencost_router
from controller.serve.server import Server
from controller.serve.usage_sources import sources_router
from tests.accounts_in_memory import HOUR, MIDNIGHT, InMemoryAccounts, accounts

NOW = MIDNIGHT + timedelta(hours=23, minutes=30)
DAY = Window(start=MIDNIGHT, end=MIDNIGHT + 24 * HOUR)
BUDGET = BudgetState(
    name="search-monthly",
    scope="team=search",
    start=datetime(2026, 11, 1, tzinfo=UTC),
    end=datetime(2026, 12, 1, tzinfo=UTC),
    limit_nanousd=12_000_000_000_001,
    spent_nanousd=9_007_199_254_740_993,
    p50_nanousd=None,
    p90_nanousd=12,
    state="within",
)
ODD = Anomaly(
    scope="team=search",
    began=MIDNIGHT,
    last=MIDNIGHT + HOUR,
    expected_nanousd=10,
    actual_nanousd=9_007_199_254_741_003,
    driver="price",
    by_driver={"price": 9_007_199_254_740_993},
)


FEEDS = (
    FeedSeen(
        source="gateway",
        lag_s=90.0,
        accepted=7,
        duplicates=2,
        refused=4,
        refused_for={Reason.TOO_OLD: 3, Reason.FIELD: 1},
    ),
    FeedSeen(source="litellm", lag_s=Missing("lag", "nothing came"), accepted=0, duplicates=0, refused=0),
)


class BrokenAccounts(InMemoryAccounts):
    """A ledger that is gone."""

    def lines(self, window, by, where, step=None):
        raise LedgerError("the ledger cannot be read: disk gone")

    def seats(self, window):
        raise LedgerError("the ledger cannot be read: disk gone")


def app_over(reader):
    accounts_seen = Accounts(reader=reader, clock=lambda: NOW, anomalies=lambda _: (ODD,))
    app = FastAPI()
    routers = (allocation_router(accounts_seen), opencost_router(accounts_seen), inference_router(accounts_seen))
    for router in (*routers, sources_router(lambda: FEEDS)):
        app.include_router(router)
    return app


@pytest.fixture(scope="module")
def reader():
    found = accounts(2)
    found.budget_states = [BUDGET]
    return found


@pytest.fixture(scope="module")
def ask(reader):
    """(status, decoded answer)."""
    with Server(app_over(reader), "127.0.0.1", 0) as server:

        def ask(path, **query):
            url = f"{server.url}{path}?{urllib.parse.urlencode(query, doseq=True)}"
            try:
                with urllib.request.urlopen(url, timeout=60) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.load(error)

        yield ask


@pytest.fixture(scope="module")
def allocation(ask):
    def allocation(**query):
        status, told = ask("/api/v1/allocation", **query)
        assert status == 200, told
        return told

    return allocation


def cost(items):
    return sum(int(one["nanousd"]["cost"]) for one in items)


def of_day(rows):
    return [row for row in rows if DAY.start <= row.start < DAY.end]


@pytest.mark.parametrize(
    "by", ["", "team", "team,feature", "service", "service,variant,capacity_type", "replica", "node", "team,service"]
)
def test_by_whatever_it_is_asked_it_adds_up_to_the_last_nanodollar(allocation, reader, by):
    whole = sum(seat.effective_nanousd for seat in of_day(reader.seat_rows))
    (step,) = allocation(window="today", by=by)["steps"]
    assert cost(step["items"]) == int(step["total"]["nanousd"]["cost"]) == whole


def test_parts_add_up_to_work_idle_and_overhead_and_these_to_the_cost(allocation):
    (step,) = allocation(window="today", by="team")["steps"]
    for item in step["items"]:
        money = {name: int(text) for name, text in item["nanousd"].items() if text is not None}
        assert money["cost"] == sum(money[part] for part in PARTS)
        assert money["cost"] == money["work"] + money["idle"] + money["overhead"]


def test_money_is_text_so_that_nothing_rounds_it(allocation, ask):
    (step,) = allocation(window="today", by="team")["steps"]
    assert all(isinstance(text, str) for text in step["total"]["nanousd"].values() if text is not None)
    told = ask("/api/v1/budgets")[1]["budgets"][0]
    assert told["spent_nanousd"] == "9007199254740993"  # 2^53 + 1: as a number it would lose its last digit
    assert (told["p50_nanousd"], told["p90_nanousd"]) == (None, "12")


def test_steps_are_told_apart_and_add_up(allocation):
    whole = allocation(window="today", by="team")["steps"][0]
    steps = allocation(window="today", by="team", step="6h")["steps"]
    assert [step["start"][11:16] for step in steps] == ["00:00", "06:00", "12:00", "18:00"]
    assert cost([step["total"] for step in steps]) == cost([whole["total"]])


def test_only_what_is_asked_for_counts(allocation, reader):
    (step,) = allocation(window="today", by="feature", where=["team=search", "capacity_type=spot"])["steps"]
    mine = [
        row
        for row in of_day(reader.line_rows)
        if row.identity.team == "search" and row.pool is not None and row.pool.capacity_type == "spot"
    ]
    assert [item["key"] for item in step["items"]] == [{"feature": "answers"}]
    assert cost(step["items"]) == sum(sum(row.parts) for row in mine) > 0


def test_nothing_found_is_an_empty_step(allocation):
    (step,) = allocation(window="today", by="team", where="team=nobody")["steps"]
    assert step["items"] == []
    assert step["total"]["nanousd"]["cost"] == "0"
    assert step["total"]["nanousd"]["list"] is None


def test_the_usage_basis_counts_the_work_alone(allocation):
    (step,) = allocation(window="today", by="service", basis=Basis.USAGE)["steps"]
    money = step["total"]["nanousd"]
    assert money["cost"] == money["work"]
    assert int(money["cost"]) < cost(allocation(window="today")["steps"][0]["items"])


def test_unit_costs_are_those_of_the_reports(allocation, reader):
    (step,) = allocation(window="today", by="team", where="team=search")["steps"]
    (line,) = reader.lines(DAY, (Dimension.TEAM,), {Dimension.TEAM: "search"})
    expected = unit_costs(by_kind(line.parts), line.tokens, Basis.ALLOCATION)
    told = step["items"][0]["usd_per_million"]
    assert Decimal(told["output"]) == expected.output
    assert Decimal(told["cached_input"]) == expected.cached_input
    assert step["items"][0]["tokens"]["output"] == line.tokens.output


def test_the_other_three_costs_are_told_of_places_and_unknown_of_teams(allocation, reader):
    listed = sum(seat.list_nanousd for seat in of_day(reader.seat_rows))
    for by in ("service", "replica"):
        (step,) = allocation(window="today", by=by)["steps"]
        assert int(step["total"]["nanousd"]["list"]) == listed
    (step,) = allocation(window="today", by="team")["steps"]
    assert {item["nanousd"]["list"] for item in step["items"]} == {None}


def test_a_price_that_nobody_knows_stays_unknown(reader):
    unpriced = InMemoryAccounts(seat_rows=[replace(reader.seat_rows[0], list_nanousd=None), *reader.seat_rows[1:8]])
    with Server(app_over(unpriced), "127.0.0.1", 0) as server:
        url = f"{server.url}/api/v1/allocation?window=2d&by=replica"
        with urllib.request.urlopen(url, timeout=60) as answer:
            (step,) = json.load(answer)["steps"]
    assert step["total"]["nanousd"]["list"] is None
    assert step["total"]["nanousd"]["billed"] is not None


def test_the_share_that_no_record_explains_is_told(allocation, reader):
    lines = of_day(reader.line_rows)
    work = sum(on_basis(by_kind(row.parts), Basis.USAGE) for row in lines)
    unexplained = sum(
        on_basis(by_kind(row.parts), Basis.USAGE) for row in lines if row.identity.team == "__unattributed__"
    )
    (step,) = allocation(window="today", by="service")["steps"]
    assert float(step["unattributed_ratio"]) == pytest.approx(unexplained / work, abs=1e-6)
    assert allocation(window="today", where="replica=chat-1")["steps"][0]["unattributed_ratio"] is None


def test_unit_costs_by_variant_on_both_bases(ask):
    (told,) = ask("/api/v1/unit-costs", window="today")[1]["unit_costs"]
    assert (told["service"], told["variant"], told["utilization"]) == ("chat", "h100", "0.750000")
    ratio = Decimal(told["usage"]["output"]) / Decimal(told["allocation"]["output"])
    assert float(ratio) == pytest.approx(0.75)


def test_anomalies_and_commitments_are_told(ask):
    (odd,) = ask("/api/v1/anomalies")[1]["anomalies"]
    assert (odd["driver"], odd["hours"], odd["ended"]) == ("price", 2, None)
    assert odd["cost_nanousd"] == odd["by_driver"]["price"] == "9007199254740993"
    told = ask("/api/v1/commitments", window="today")[1]["commitments"]
    assert {one["kind"] for one in told} == {"reserved_instance", "capacity_block", "savings_plan"}
    for one in told:
        assert int(one["amortised_nanousd"]) == int(one["used_nanousd"]) + int(one["unused_nanousd"])


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"by": "colour"}, "there is no dimension 'colour' here"),
        ({"by": "kind"}, "there is no dimension 'kind' here"),
        ({"by": "team,replica"}, "replica cannot be crossed with team here"),
        ({"by": "team", "where": "node=n1"}, "node cannot be crossed with team here"),
        ({"where": "team"}, "expected dimension=value"),
        ({"window": "fortnight"}, "window is 'fortnight'; expected today"),
        ({"window": "2026-11-02T00:00:00Z,2026-11-01T00:00:00Z"}, "ends before it begins"),
        ({"window": "9999d"}, "expected at most 1100"),
        ({"step": "30m"}, "expected whole hours"),
        ({"window": "90d", "step": "1h"}, "2,161 steps of 1h; expected at most 800"),
    ],
)
def test_a_question_that_cannot_be_read_is_told_what_was_expected(ask, query, told):
    status, answer = ask("/api/v1/allocation", **query)
    assert status == 400
    assert told in answer["detail"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/v1/allocation", "detail"),
        ("/api/v1/unit-costs", "detail"),
        ("/allocation?window=today", "message"),
        ("/inferenceCost/total?window=today", "message"),
    ],
)
def test_a_ledger_that_cannot_be_read_is_told(path, said):
    with Server(app_over(BrokenAccounts()), "127.0.0.1", 0) as server:
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(server.url + path, timeout=60)
        with raised.value as error:
            assert error.code == 503
            assert json.load(error)[said] == "the ledger cannot be read: disk gone"


def test_sources_are_told_with_why_records_were_refused(ask):
    status, answer = ask("/api/v1/usage/sources")
    assert status == 200
    assert answer["sources"] == [
        {
            "source": "gateway",
            "lag_s": 90.0,
            "accepted": 7,
            "duplicates": 2,
            "refused": 4,
            "refused_for": {"too_old": 3, "field": 1},
        },
        {"source": "litellm", "lag_s": None, "accepted": 0, "duplicates": 0, "refused": 0, "refused_for": {}},
    ]


day = accounts(1)
hours = {MIDNIGHT + hour * HOUR for hour in (0, 21, 22)}
small = InMemoryAccounts(
    seat_rows=[row for row in day.seat_rows if row.start in hours],
    line_rows=[row for row in day.line_rows if row.start in hours],
    uses=day.uses,
    fees=day.fees,
    budget_states=[BUDGET],
)
schema = schemathesis.openapi.from_asgi("/openapi.json", app_over(small))
CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
]


@schema.parametrize()
@settings(max_examples=30, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_the_answer_is_as_documented(case):
    case.call_and_validate(checks=CHECKS)


def lists(*values, most=2):
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(",".join)


WINDOWS = st.sampled_from(["today", "week", "2d", "30m", "2026-11-20T00:00:00Z,2026-11-21T00:00:00Z", "lastmonth"])
FLAG = st.sampled_from(["", "true", "false"])
STEP = st.sampled_from(["", "1h", "6h", "1d"])
SENSIBLE = {
    "/api/v1/allocation": {
        "window": WINDOWS,
        "by": lists("team", "feature", "service", "capacity_type", "replica", "node"),
        "step": STEP,
        "where": st.lists(st.sampled_from(["team=search", "service=chat", "replica=chat-1"]), max_size=2),
        "basis": st.sampled_from(["allocation", "usage"]),
    },
    "/allocation": {
        "window": WINDOWS,
        "aggregate": lists("cluster", "node", "pod", "namespace", "team", "label:gpu", "annotation:x", "model"),
        "step": STEP,
        "includeIdle": FLAG,
        "shareIdle": FLAG,
        "idleByNode": FLAG,
        "accumulate": FLAG,
    },
    "/inferenceCost/total": {
        "window": WINDOWS,
        "costBasis": st.sampled_from(["allocation", "usage"]),
        "aggregate": lists("modelName", "modelVersion", "namespace", "team", "pod"),
        "filter": st.sampled_from(["", 'modelName:"llama-3.1-8b"', "team:search", 'label:gpu:"L4"+cluster:x']),
        "idle": FLAG,
    },
    "/inferenceCost/timeseries": {
        "window": WINDOWS,
        "costBasis": st.sampled_from(["allocation", "usage"]),
        "aggregate": lists("modelName", "service", "tenant"),
        "accumulate": st.sampled_from(["", "hour", "day", "week"]),
    },
}


@pytest.mark.parametrize("path", SENSIBLE)
@settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_sensible_questions_are_answered_as_documented(path, data):
    query = {name: value for name, value in data.draw(st.fixed_dictionaries(SENSIBLE[path])).items() if value}
    answer = schema[path]["GET"].Case(query=query).call_and_validate(checks=CHECKS)
    assert answer.status_code == 200 or "cannot be crossed" in answer.text
