"""Money on /metrics."""

from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from controller.attribute.budgets import standing
from controller.attribute.spending import Spending
from controller.facts.account_reader import AllocationRow, Dimension, Window
from controller.facts.accounts import Identity
from controller.facts.budgets import Budget, SpendForecast
from controller.facts.missing import Missing
from controller.serve.account_metrics import ACCOUNT_METRICS, MOST_TEAMS, FeedSeen, account_metrics, money_seen
from tests.accounts_in_memory import HOUR, MIDNIGHT, NO_PARTS, InMemoryAccounts, accounts, parts

USD = 10**9
LAST = MIDNIGHT + 22 * HOUR


def shown(*collected):
    """Samples as a Prometheus server reads them: {(name, labels): value}."""

    class Collected:
        def collect(self):
            return account_metrics(*collected)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collected())
    text = generate_latest(registry).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples, name):
    return {key[1:]: value for key, value in samples.items() if key[0] == name}


@pytest.fixture
def reader():
    return accounts(1)


def test_every_metric_is_known_and_told_when_everything_is_known(reader):
    budget = Budget(name="fleet", limit_nanousd=USD)
    spending = Spending(hours={MIDNIGHT: USD}, known_from=MIDNIGHT - 80 * HOUR, known_until=MIDNIGHT + HOUR)
    forecast = SpendForecast(at=MIDNIGHT, due=MIDNIGHT, p50_nanousd=2 * USD, p90_nanousd=3 * USD, basis="flat")
    feeds = [FeedSeen(source="litellm", lag_s=90.0, accepted=7, duplicates=2, refused=1)]
    ages = {("aws/us-east-1/p5.48xlarge", "spot"): 300.0}
    found = shown(money_seen(reader, LAST), [standing(budget, spending, forecast, MIDNIGHT + HOUR)], 2, feeds, ages)
    assert {key[0] for key in found} == set(ACCOUNT_METRICS)
    assert of(found, "pennyweight_budget_used_ratio") == {(("budget", "fleet"),): 1.0}
    assert of(found, "pennyweight_budget_forecast_usd")[("budget", "fleet"), ("quantile", "0.9")] == 4.0
    assert len(of(found, "pennyweight_budget_burn")) == 4
    assert of(found, "pennyweight_usage_records_total")[("result", "duplicate"), ("source", "litellm")] == 2


def test_a_source_that_was_never_heard_and_a_price_that_never_came_have_no_age():
    never = Missing("lag", "nothing came yet")
    feeds = [FeedSeen(source="gateway", lag_s=never, accepted=0, duplicates=0, refused=0)]
    found = shown(None, (), None, feeds, {("aws/us-east-1/p5.48xlarge", "spot"): never})
    assert {key[0] for key in found} == {"pennyweight_usage_records_total"}


def test_nothing_settled_tells_nothing_of_costs():
    assert shown(None) == {}


def test_teams_and_parts_add_up_to_what_the_hour_cost(reader):
    found = shown(money_seen(reader, LAST))
    whole = sum(seat.effective_nanousd for seat in reader.seat_rows if seat.start == LAST)
    served = sum(seat.effective_nanousd for seat in reader.seat_rows if seat.start == LAST and seat.service)
    assert sum(of(found, "pennyweight_team_cost_usd_per_hour").values()) == pytest.approx(whole / USD)
    assert sum(of(found, "pennyweight_cost_part_usd_per_hour").values()) == pytest.approx(served / USD)
    assert of(found, "pennyweight_settled_hour_timestamp_seconds") == {(): (LAST + HOUR).timestamp()}


def test_beyond_the_dearest_fifty_teams_are_one(reader):
    rows = [
        AllocationRow(
            start=MIDNIGHT,
            end=MIDNIGHT + HOUR,
            identity=Identity(team=f"team-{index:03}"),
            pool=reader.line_rows[0].pool,
            parts=parts(decode=(index + 1) * USD),
        )
        for index in range(MOST_TEAMS + 10)
    ]
    found = of(shown(money_seen(InMemoryAccounts(line_rows=rows), MIDNIGHT)), "pennyweight_team_cost_usd_per_hour")
    assert len(found) == MOST_TEAMS + 1
    assert found[(("team", "__other__"),)] == sum(range(1, 11))


def test_the_share_that_nobody_explains_is_told_by_service(reader):
    lines = reader.lines(Window(start=LAST, end=LAST + HOUR), (Dimension.TEAM,), {})
    work = {line.identity.team: sum(line.parts[:4]) for line in lines}
    found = of(shown(money_seen(reader, LAST)), "pennyweight_unattributed_ratio")
    assert found == {(("service", "chat"),): pytest.approx(work["__unattributed__"] / sum(work.values()))}


def test_unit_costs_without_tokens_and_coverage_without_prices_have_no_sample(reader):
    reader.seat_rows = [replace(one, parts=NO_PARTS) for one in reader.seat_rows]
    reader.uses = [replace(reader.uses[0], eligible_on_demand_nanousd=None)]
    found = shown(money_seen(reader, LAST))
    assert of(found, "pennyweight_unit_cost_usd_per_million_tokens") == {}
    assert of(found, "pennyweight_commitment_coverage_ratio") == {}
    assert list(of(found, "pennyweight_commitment_utilization_ratio").values()) == [pytest.approx(0.75)]


def test_a_burn_that_is_not_known_has_no_sample():
    budget = Budget(name="fleet", limit_nanousd=USD)
    young = Spending(hours={}, known_from=MIDNIGHT, known_until=MIDNIGHT + timedelta(hours=7))
    found = shown(None, [standing(budget, young, Missing("spend forecast", "young"), young.known_until)])
    assert [key[1][1] for key in of(found, "pennyweight_budget_burn")] == ["1h", "6h"]
    assert of(found, "pennyweight_budget_forecast_usd") == {}
