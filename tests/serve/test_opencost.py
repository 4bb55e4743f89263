"""OpenCost's ``/allocation`` and ``/inferenceCost``, as dashboards made for it read them."""

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi import FastAPI

from controller.attribute.savings import Worked, prefix_cache
from controller.attribute.unit_costs import by_kind
from controller.facts.account_reader import AdjustmentRow, Effects
from controller.facts.accounts import IDLE_OWN, Tokens
from controller.facts.fleet import CapacityType
from controller.serve.accounts import Accounts
from controller.serve.inference_cost import inference_router
from controller.serve.opencost import opencost_router
from controller.serve.server import Server
from tests.accounts_in_memory import CHAT, HOUR, MIDNIGHT, InMemoryAccounts, accounts, owned, parts, rate, seat

USD = 10**9
NOON = MIDNIGHT + 12 * HOUR
KEYS = """
name properties window start end minutes
cpuCores cpuCoreRequestAverage cpuCoreUsageAverage cpuCoreHours cpuCost cpuCostAdjustment cpuCostIdle cpuEfficiency
gpuCount gpuRequestAverage gpuUsageAverage gpuHours gpuCost gpuCostAdjustment gpuCostIdle gpuEfficiency
networkTransferBytes networkReceiveBytes networkCost networkCrossZoneCost networkCrossRegionCost networkInternetCost
networkCostAdjustment loadBalancerCost loadBalancerCostAdjustment
pvBytes pvByteHours pvCost pvs pvCostAdjustment
ramBytes ramByteRequestAverage ramByteUsageAverage ramByteHours ramCost ramCostAdjustment ramCostIdle ramEfficiency
externalCost sharedCost totalCost totalEfficiency
proportionalAssetResourceCosts lbAllocations sharedCostBreakdown
"""
PROPERTY_KEYS = """
cluster node container controller controllerKind namespace pod services providerID labels annotations namespaceLabels
"""
INFERENCE_KEYS = """
properties window costBasis totalCost promptTokens generationTokens totalTokens costPerMillionTokens inputCost outputCost
inputCostPerMillionTokens outputCostPerMillionTokens cacheSavingsFraction allocationMethod
"""


def fleet():
    """One hour of three replicas on two nodes: 8 of work, 2 of idle; 4 of work; and one that only idles."""
    seats = [
        seat(MIDNIGHT, "a", CapacityType.ON_DEMAND, 0, node="n1", parts=parts(prefill=2 * USD, decode=6 * USD, idle_warm=2 * USD)),
        seat(MIDNIGHT, "b", CapacityType.SPOT, 0, node="n2", parts=parts(decode=3 * USD, overhead_starting=USD), variant="l4"),
        seat(MIDNIGHT, "c", CapacityType.SPOT, 0, node="n2", parts=parts(idle_unscheduled=4 * USD), tokens=Tokens(), variant="l4"),
    ]  # fmt: skip
    return InMemoryAccounts(seat_rows=seats, line_rows=owned(seats))


@pytest.fixture(scope="module")
def served():
    """(the accounts that are served, the server's address)."""
    reader = InMemoryAccounts()
    seen = Accounts(reader=reader, clock=lambda: NOON, cluster="prod")
    app = FastAPI()
    app.include_router(opencost_router(seen))
    app.include_router(inference_router(seen))
    with Server(app, "127.0.0.1", 0) as server:
        yield reader, server.url


@pytest.fixture
def reader(served):
    """Served anew for each test."""
    found, _ = served
    for name, value in vars(fleet()).items():
        setattr(found, name, value)
    return found


@pytest.fixture
def ask(reader, served):
    """(status, decoded answer); the window is midnight's hour unless it is said."""

    def ask(path, **query):
        query = {"window": f"{MIDNIGHT.timestamp():.0f},{(MIDNIGHT + HOUR).timestamp():.0f}"} | query
        try:
            with urllib.request.urlopen(f"{served[1]}{path}?{urllib.parse.urlencode(query)}", timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return ask


@pytest.fixture
def items(ask):
    """The rows of a one-step answer."""

    def items(**query):
        status, told = ask("/allocation", **query)
        assert (status, told.get("code")) == (200, 200), told
        (one,) = told["data"]
        return one

    return items


def totals(found):
    return {name: item["totalCost"] for name, item in found.items()}


def test_a_row_has_exactly_the_keys_of_opencost(items):
    item = items(aggregate="pod")["a"]
    assert set(item) == set(KEYS.split())
    assert set(item["properties"]) == set(PROPERTY_KEYS.split())
    assert sorted(item["window"]) == ["end", "start"]


def test_compute_answers_the_same(ask):
    assert ask("/allocation/compute", aggregate="pod") == ask("/allocation", aggregate="pod")


def test_without_an_aggregate_every_replica_is_told(items):
    found = items()
    assert list(found) == ["prod/n1/chat/a/a", "prod/n2/chat/b/b"]
    told = found["prod/n1/chat/a/a"]
    assert told["name"] == "prod/n1/chat/a/a"
    assert {name: told["properties"][name] for name in ("cluster", "node", "namespace", "pod", "controller")} == {
        "cluster": "prod",
        "node": "n1",
        "namespace": "chat",
        "pod": "a",
        "controller": "h100",
    }
    assert told["properties"]["services"] == ["chat"]
    assert told["properties"]["labels"]["model"] == "llama-3.1-8b"


def test_idle_is_left_out_shown_or_shared(items):
    assert totals(items(aggregate="pod")) == {"a": 8.0, "b": 4.0}
    assert totals(items(aggregate="pod", includeIdle="true")) == {"a": 8.0, "b": 4.0, "__idle__": 6.0}
    shared = items(aggregate="pod", includeIdle="true", shareIdle="true")
    assert totals(shared) == {"a": 12.0, "b": 6.0}  # 8/12 and 4/12 of 6
    assert [shared[name]["gpuCostIdle"] for name in "ab"] == [4.0, 2.0]


def test_idle_by_node_stays_with_its_node(items):
    shown = items(aggregate="pod", includeIdle="true", idleByNode="true")
    assert totals(shown) == {"a": 8.0, "b": 4.0, "n1/__idle__": 2.0, "n2/__idle__": 4.0}
    shared = items(aggregate="pod", shareIdle="true", idleByNode="true")
    assert totals(shared) == {"a": 10.0, "b": 8.0}


@pytest.mark.parametrize(
    "aggregate",
    ["", "cluster", "node", "namespace,controller", "team", "label:team,label:feature", "model", "annotation:x"],
)
@pytest.mark.parametrize("how", [{"includeIdle": "true"}, {"shareIdle": "true"}])
def test_with_its_idle_it_adds_up_to_what_the_fleet_cost(items, reader, aggregate, how):
    whole = sum(one.effective_nanousd for one in reader.seat_rows) / USD
    found = items(aggregate=aggregate, **how)
    assert sum(totals(found).values()) == pytest.approx(whole, abs=1e-9)
    assert all(item["totalCost"] == item["gpuCost"] for item in found.values())
    assert sum(item["gpuHours"] for item in found.values()) == pytest.approx(6.0)


def test_what_has_no_such_property_is_unallocated(items):
    assert list(items(aggregate="annotation:owner")) == ["__unallocated__"]
    assert (
        next(iter(items(aggregate="namespace,label:tenant,label:nonsense"))) == "chat/__unallocated__/__unallocated__"
    )


def test_properties_that_differ_in_a_row_are_empty(items):
    told = items(aggregate="namespace")["chat"]["properties"]
    assert (told["namespace"], told["node"], told["pod"], told["controller"]) == ("chat", "", "", "")
    assert told["labels"]["gpu"] == "H100-80GB-SXM"
    assert "replica" not in told["labels"]


def test_gpus_are_those_of_the_cost_and_efficiency_is_the_share_that_worked(items):
    """``a`` has 2 GPUs for an hour, a fifth of it idle; ``b`` 2, a quarter of it starting."""
    found = items(aggregate="pod")
    assert (found["a"]["gpuHours"], found["a"]["gpuUsageAverage"], found["a"]["gpuEfficiency"]) == (1.6, 1.6, 1.0)
    assert (found["b"]["gpuHours"], found["b"]["gpuUsageAverage"], found["b"]["gpuEfficiency"]) == (2.0, 1.5, 0.75)
    assert found["a"]["cpuCost"] == found["a"]["ramCost"] == 0


def test_teams_are_told_with_what_nobody_explains(items):
    found = items(aggregate="team")
    assert sorted(found) == ["__overhead__", "__unattributed__", "chat", "search"]
    assert found["search"]["totalCost"] == pytest.approx(11 / 2)


def test_a_bill_beyond_the_estimate_is_an_adjustment(items, reader):
    reader.adjusted.append(
        AdjustmentRow(
            id="1",
            posted_at=NOON,
            day=MIDNIGHT.date(),
            identity=CHAT,
            pool=None,
            cost="effective",
            amount_nanousd=-USD // 2,
            why="November's invoice",
        )
    )
    reader.adjusted.append(replace(reader.adjusted[0], id="2", cost="billed"))
    found = items(aggregate="team")["chat"]
    assert found["gpuCostAdjustment"] == -0.5
    assert found["totalCost"] == found["gpuCost"] - 0.5


def test_steps_are_sets_and_accumulate_makes_one_of_them(ask):
    window = f"{MIDNIGHT - HOUR:%Y-%m-%dT%H:%M:%SZ},{MIDNIGHT + 2 * HOUR:%Y-%m-%dT%H:%M:%SZ}"
    steps = ask("/allocation", window=window, step="1h", aggregate="namespace")[1]["data"]
    assert [totals(one) for one in steps] == [{}, {"chat": 12.0}, {}]
    one = ask("/allocation", window=window, step="1h", aggregate="namespace", accumulate="true")[1]["data"]
    assert [totals(found) for found in one] == [{"chat": 12.0}]
    assert one[0]["chat"]["minutes"] == 180


def test_nothing_but_idle_has_no_efficiency(items, reader):
    reader.seat_rows = reader.seat_rows[2:]
    found = items(aggregate="pod", includeIdle="true", shareIdle="true")
    assert totals(found) == {"__idle__": 4.0}
    empty = items(aggregate="pod", window="30d")
    assert empty == {}


@pytest.mark.parametrize(
    ("path", "query", "told"),
    [
        ("/allocation", {"window": ""}, "window is ''; expected today"),
        ("/allocation", {"aggregate": "colour"}, "aggregate is 'colour'; expected of cluster"),
        ("/allocation", {"aggregate": "team,pod"}, "replica cannot be crossed with team"),
        ("/allocation", {"includeIdle": "maybe"}, "includeIdle is 'maybe'; expected true or false"),
        ("/allocation", {"step": "1s"}, "expected whole hours"),
        ("/inferenceCost/total", {"costBasis": "list"}, "costBasis is 'list'; expected allocation or usage"),
        ("/inferenceCost/total", {"aggregate": "colour"}, "there is no property 'colour'"),
        ("/inferenceCost/total", {"filter": "modelName"}, 'expected name:"value"'),
        ("/inferenceCost/total", {"filter": 'a:"b'}, 'expected name:"value"'),
        ("/inferenceCost/total", {"idle": "so"}, "idle is 'so'"),
        ("/inferenceCost/timeseries", {"accumulate": "year"}, "accumulate is 'year'; expected hour, day or week"),
    ],
)
def test_a_question_that_cannot_be_read_is_refused_as_opencost_does(ask, path, query, told):
    status, answer = ask(path, **query)
    assert (status, answer["code"]) == (400, 400)
    assert told in answer["message"]


@pytest.fixture
def inference(ask):
    def inference(**query):
        status, told = ask("/inferenceCost/total", **query)
        assert status == 200, told
        return told["data"]["inferenceCosts"]

    return inference


def test_an_inference_cost_has_exactly_the_keys_of_opencost(ask):
    told = ask("/inferenceCost/total")[1]
    assert list(told) == ["data"]
    assert sorted(told["data"]) == ["inferenceCosts", "window"]
    (one,) = told["data"]["inferenceCosts"].values()
    assert set(one) == set(INFERENCE_KEYS.split())
    assert sorted(one["properties"]) == ["cluster", "modelName", "modelVersion", "namespace"]
    assert one["allocationMethod"] == "measured_work"


def test_models_are_told_apart_by_name_version_namespace_and_cluster(inference):
    assert list(inference()) == ["llama-3.1-8b/fp8/chat/prod"]
    assert list(inference(aggregate="modelName")) == ["llama-3.1-8b"]
    assert sorted(inference(aggregate="team,modelName"))[-2:] == ["chat/llama-3.1-8b", "search/llama-3.1-8b"]


def test_the_allocation_basis_holds_the_idle_that_the_usage_basis_leaves_out(inference):
    (everything,) = inference().values()
    (work,) = inference(costBasis="usage").values()
    (busy,) = inference(idle="false").values()
    assert (everything["totalCost"], busy["totalCost"], work["totalCost"]) == (18.0, 12.0, 11.0)
    assert (everything["costBasis"], work["costBasis"]) == ("allocation", "usage")


def test_input_and_output_are_split_by_measured_work_and_add_up(inference):
    (one,) = inference().values()
    assert one["inputCost"] + one["outputCost"] == pytest.approx(one["totalCost"])
    assert one["inputCost"] / one["totalCost"] == pytest.approx(2 / 11)
    assert one["promptTokens"] == 2 * 1_400_000
    assert one["generationTokens"] == 2 * 250_001
    assert one["totalTokens"] == one["promptTokens"] + one["generationTokens"]
    assert one["outputCostPerMillionTokens"] == pytest.approx(one["outputCost"] / one["generationTokens"] * 1e6)


def test_without_tokens_a_cost_per_token_is_unknown(inference, reader):
    reader.seat_rows = reader.seat_rows[2:]
    (one,) = inference().values()
    assert one["totalCost"] == 4.0
    assert (one["costPerMillionTokens"], one["inputCost"], one["cacheSavingsFraction"]) == (None, None, None)


def test_what_the_cache_saved_is_a_share_of_what_the_input_would_have_cost(inference, reader):
    assert next(iter(inference().values()))["cacheSavingsFraction"] is None  # nobody knows the rates
    rates = {("chat", name): rate(name) for name in ("h100", "l4")}
    reader.seen_effects = Effects(rates=rates)
    reader.seat_rows = reader.seat_rows[:1]
    reader.seat_rows[0] = replace(reader.seat_rows[0], parts=parts(prefill=2 * USD, cached=USD, decode=6 * USD))
    (one,) = inference().values()
    worked = Worked(
        tokens=reader.seat_rows[0].tokens, prefill_nanousd=2 * USD, cached_nanousd=USD, decode_nanousd=6 * USD
    )
    saved = prefix_cache(worked, rates["chat", "h100"]).nanousd
    assert one["cacheSavingsFraction"] == pytest.approx(saved / (saved + 3 * USD))
    assert 0 < one["cacheSavingsFraction"] < 1


@pytest.mark.parametrize(
    ("only", "found"),
    [
        ('modelName:"llama-3.1-8b"', 1),
        ("modelName:llama-3.1-8b+namespace:chat", 1),
        ('modelName:"llama-3.1-8b" + cluster:"prod"', 1),
        ('modelName:"llama-3.1-8b",namespace:"search"', 0),
        ('label:capacity_type:"spot"', 1),
        ("modelName:other", 0),
    ],
)
def test_a_filter_leaves_what_meets_all_of_it(inference, only, found):
    assert len(inference(filter=only)) == found


def test_a_timeseries_is_sets_by_hour_day_or_week(ask):
    window = f"{MIDNIGHT:%Y-%m-%dT%H:%M:%SZ},{MIDNIGHT + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"
    told = ask("/inferenceCost/timeseries", window=window)[1]["data"]["inferenceCostSets"]
    assert [sorted(one) for one in told] == [["inferenceCosts", "window"]] * 2
    assert [len(one["inferenceCosts"]) for one in told] == [1, 0]
    hours = ask("/inferenceCost/timeseries", window=window, accumulate="hour")[1]["data"]["inferenceCostSets"]
    assert len(hours) == 48


def test_the_whole_of_a_real_day_is_told_by_its_models(ask, reader):
    whole = accounts(1)
    reader.seat_rows, reader.line_rows = whole.seat_rows, whole.line_rows
    told = ask("/inferenceCost/total", window="2026-11-20T00:00:00Z,2026-11-21T00:00:00Z")[1]["data"]["inferenceCosts"]
    everything = sum(sum(by_kind(one.parts).values()) for one in whole.seat_rows)
    assert sum(one["totalCost"] for one in told.values()) == pytest.approx(everything / USD)
    assert "__unallocated__/__unallocated__/__unallocated__/prod" in told  # what is committed and unused


def test_the_idle_line_of_its_own_is_no_team(items):
    assert IDLE_OWN.team not in items(aggregate="team")
