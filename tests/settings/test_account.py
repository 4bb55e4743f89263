"""account: and finance: in fleet.yaml: what they mean, and every mistake in them with its place."""

from datetime import UTC, date, datetime, timedelta

import pytest

from controller.attribute.rules import Group, Rule, RuleKind
from controller.errors import ConfigError
from controller.facts.account_reader import Dimension
from controller.facts.accounts import Identity
from controller.facts.budgets import AtLimit, BudgetPeriod
from controller.facts.fleet import CapacityType
from controller.settings.account import FileSource, FinanceNames, IngestToken, SpendLogsSource
from controller.settings.load import load_settings

FLEET = """\
notify: {slack: {}}
services:
  chat:
    model: llama-3.1-8b
    variants:
      l40s:
        gpu: L40S
        scrape: {static: ["http://10.0.0.5:8000"]}
        capacity:
          - {type: reserved, replicas: 2, commitment: rack}
          - {type: on_demand, usd_per_gpu_hour: [{from: 2026-02-01, usd: 1.90}, {from: 2026-01-01, usd: 2.10}]}
  code:
    model: llama-3.1-8b
    variants:
      h100: {gpu: H100-SXM, scrape: {static: ["http://10.0.0.6:8000"]}}
account:
"""

ENVIRON = {
    "TOKEN": "s3cret",
    "DATABASE": "postgresql://reader:hush@db/litellm",
    "PENNYWEIGHT_SLACK_WEBHOOK_URL": "http://x",
}

FULL = """\
  ingest: {tokens: [{name: gateway, env: TOKEN, trusted: true}]}
  sources:
    - {name: litellm, litellm: {url_env: DATABASE, tenant: end_user, overlap: 10m}, services: [chat]}
    - {name: nginx, access_log: {path: logs/access.log, fields: {team: headers.x-cost-centre}}, services: [code]}
  keys: {0123456789abcdef: {team: search, environment: production}}
  models: {the-good-one: chat}
  settle_after: 1h
  rules:
    - {since: 2026-06-01, service: chat, idle: {fixed: {search: 60, chat: 30}}}
    - {idle: by_use, overhead: {even: [search, chat]}, shared: by_use}
    - {since: 2026-06-01, overhead: by_floor}
  floors: {chat: {search: 2}}
  shared: [{name: gateway, usd_per_month: 300, since: 2026-01-01}]
  budgets:
    - {name: all, monthly_usd: 20000, at_limit: cap, to: [slack]}
    - {name: search, weekly_usd: 900, scope: {team: search}, thresholds: [50%, 90%, 1.2]}
    - {name: no-spot, monthly_usd: 100, scope: {service: chat}, at_limit: forbid, forbid: {capacity_types: [spot]}}
  commitments:
    - {id: rack, kind: owned, start: 2026-01-01, end: 2029-01-01, quantity: 8, upfront_usd: 200000, salvage_usd: 20000,
       power: {watts_per_gpu: 500, usd_per_kwh: 0.1, pue: 1.2}}
    - {id: plan, kind: savings_plan, start: 2026-01-01, end: 2027-01-01, quantity: 12.5,
       usd_per_gpu_hour: {aws/us-east-1/p5.48xlarge: 3.1}}
  contract: {aws: [{discount: 12%, since: 2026-01-01}, {discount: 5%}]}
  exchange: {EUR: [{from: 2026-07-01, usd: 1.09}, {from: 2026-01-01, usd: 1.04}]}
  prices: {sources: [aws_spot], spot: {ask_after: 5m, stale_after: 30m}}
  unattributed_alert: 5%
  anomalies: {min_usd: 20}
  to: [log]
finance: {billing_account_id: acme-ml, invoice_issuer: ACME}
"""


@pytest.fixture
def load(tmp_path):
    def loaded(text: str, environ: dict[str, str] = ENVIRON, **how):
        path = tmp_path / "fleet.yaml"
        path.write_text(text, encoding="utf-8")
        return load_settings(path, environ, **how)

    return loaded


@pytest.fixture
def account(load):
    return load(FLEET + FULL).account


@pytest.fixture
def problems(load):
    def found(text: str, environ: dict[str, str] = ENVIRON, **how) -> list[str]:
        with pytest.raises(ConfigError) as error:
            load(text, environ, **how)
        return [str(problem).split("fleet.yaml:", 1)[1] for problem in error.value.problems]

    return found


def test_nothing_is_needed(load):
    account = load(FLEET.replace("account:\n", "").replace(", commitment: rack", "")).account
    assert not account.takes_usage
    assert (account.settle_after, account.accept_late) == (timedelta(hours=2), timedelta(days=3))
    assert (account.max_identities, account.unattributed_ratio, account.anomaly_nanousd) == (10_000, 0.02, 5 * 10**9)


def test_tokens_and_sources_are_read_and_their_secrets_are_not_shown(account, tmp_path):
    assert account.takes_usage
    assert account.tokens == (IngestToken(name="gateway", secret="s3cret", trusted=True),)
    logs, nginx = account.sources
    assert isinstance(logs, SpendLogsSource)
    assert (logs.url, logs.tenant, logs.overlap, logs.tags) == (
        ENVIRON["DATABASE"],
        "end_user",
        timedelta(minutes=10),
        None,
    )
    assert nginx == FileSource(
        name="nginx",
        kind="access_log",
        path=tmp_path / "logs/access.log",
        trusted=False,
        fields={"team": ("headers.x-cost-centre",)},
        services=("code",),
    )
    assert "s3cret" not in repr(account)
    assert "hush" not in repr(account)


def test_keys_models_and_prices_mean_what_they_say(account):
    assert account.keys == {"0123456789abcdef": Identity(team="search", environment="production")}
    assert account.models == {"the-good-one": "chat"}
    assert account.exchange == {"EUR": ((date(2026, 1, 1), 1.04), (date(2026, 7, 1), 1.09))}
    assert [(one.since, one.ratio) for one in account.contracts["aws"]] == [(None, 0.05), (date(2026, 1, 1), 0.12)]
    assert account.price_sources == ("aws_spot",)
    assert account.price_ages[CapacityType.SPOT].stale_after == timedelta(minutes=30)
    assert CapacityType.ON_DEMAND not in account.price_ages


def test_the_newest_rule_of_a_service_and_group_is_in_force(account):
    by_use, even = Rule(kind=RuleKind.BY_USE), Rule(kind=RuleKind.EVEN, teams={"search": 1.0, "chat": 1.0})
    before = account.rules_at(datetime(2026, 5, 31, 23, tzinfo=UTC))
    assert before == {("", Group.IDLE): by_use, ("", Group.OVERHEAD): even, ("", Group.SHARED): by_use}
    after = account.rules_at(datetime(2026, 6, 1, tzinfo=UTC))
    assert after == {
        **before,
        ("chat", Group.IDLE): Rule(kind=RuleKind.FIXED, teams={"search": 60.0, "chat": 30.0}),
        ("chat", Group.OVERHEAD): Rule(kind=RuleKind.BY_FLOOR, teams={"search": 2.0}),
    }


def test_budgets_are_facts(account):
    whole, search, spot = account.budgets
    assert (whole.limit_nanousd, whole.period, whole.at_limit) == (20_000 * 10**9, BudgetPeriod.MONTH, AtLimit.CAP)
    assert whole.channels == ("slack",)
    assert (search.period, search.scope) == (BudgetPeriod.WEEK, {Dimension.TEAM: "search"})
    assert search.thresholds == (0.5, 0.9, 1.2)
    assert (spot.service, spot.forbidden_capacity) == ("chat", frozenset({CapacityType.SPOT}))


def test_commitments_are_facts_and_price_the_capacity_that_names_them(load):
    settings = load(FLEET + FULL)
    rack, plan = settings.account.commitments
    assert (rack.upfront_nanousd, rack.gpus, rack.power.pue) == (180_000 * 10**9, 8, 1.2)
    assert (plan.spends, plan.recurring_nanousd_per_hour) == (True, 12_500_000_000)
    reserved, on_demand = settings.fleet.services["chat"].variants["l40s"].capacity
    hours = (date(2029, 1, 1) - date(2026, 1, 1)) / timedelta(hours=1)
    assert reserved.commitment == "rack"
    assert reserved.usd_per_gpu_hour == pytest.approx(180_000 / hours / 8 + 0.5 * 0.1 * 1.2)
    assert on_demand.dated_usd == ((date(2026, 1, 1), 2.1), (date(2026, 2, 1), 1.9))


def test_finance_has_its_names(load):
    assert load(FLEET + FULL).finance == FinanceNames(
        billing_account_id="acme-ml",
        billing_account_name="Pennyweight",
        billing_account_type="Fleet",
        invoice_issuer="ACME",
    )


def test_a_rehearsal_needs_no_secret(load):
    assert load(FLEET + FULL, {"PENNYWEIGHT_SLACK_WEBHOOK_URL": "x"}, measured=False).account.tokens[0].secret == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("  ingest: {tokens: [{name: a, env: NONE}]}", ["17:31: account.ingest.tokens[0].env: the environment variable NONE is not set; it holds the sender's token"]),
        ("  sources: [{name: a, litellm: {url_env: NONE}}]", ["17:33: account.sources[0].litellm.url_env: the environment variable NONE is not set; it holds the database's address"]),
        ("  sources: [{name: a, otel: {path: x}, access_log: {path: x}}]", ["17:13: account.sources[0]: expected exactly one of litellm, access_log and otel, found access_log and otel"]),
        ("  ingest: {tokens: [{name: a, env: TOKEN}]}\n  sources: [{name: a, otel: {path: x}}]", ["18:14: account.sources[0].name: usage records come under the name 'a' already; give it another"]),
        (
            "  sources: [{name: a, otel: {path: x}, services: [chat]}, {name: b, otel: {path: y}, services: [chat, cod]}]",
            [
                "17:97: account.sources[1].services[0]: service 'chat' is told by source 'a' already; its requests would count twice",
                "17:103: account.sources[1].services[1]: the fleet has no service 'cod'; did you mean 'code'?",
            ],
        ),
        ("  keys: {sk-123: {team: a}}", ["17:10: account.keys.sk-123: expected the hash of a key as reports show it, 16 hexadecimal digits; never write the key itself"]),
        ("  keys: {0123456789abcdef: {team: __idle__}}", ["17:29: account.keys.0123456789abcdef.team: '__idle__' begins with __, as only the ledger's own lines may"]),
        ("  accept_late: 7d", ["17:3: account.accept_late: expected 3d at most, found 7d"]),
        ("  rules: [{idle: by_us}]", ["17:12: account.rules[0].idle: 'by_us' is not one of own_line, by_use, by_floor, {even: […]}, {fixed: {…}}; did you mean 'by_use'?"]),
        ("  rules: [{idle: {fixed: {a: 60, b: 50}}}]", ["17:12: account.rules[0].idle: fixed weights add up to 110 per cent; expected 100 at most"]),
        ("  rules: [{idle: by_floor, service: chat}]", ["17:12: account.rules[0].idle: by_floor needs the floors of service 'chat': `floors: {SERVICE: {TEAM: 2}}`"]),
        ("  rules: [{since: 2026-01-01}]", ["17:11: account.rules[0]: shares nothing; expected idle, overhead or shared"]),
        ("  budgets: [{name: a, monthly_usd: 1, weekly_usd: 2}]", ["17:13: account.budgets[0]: expected one of monthly_usd and weekly_usd; make two budgets of them"]),
        ("  budgets: [{name: a}]", ["17:13: account.budgets[0]: no limit; expected monthly_usd or weekly_usd"]),
        ("  budgets: [{name: a, weekly_usd: 1, at_limit: forbid}]", ["17:13: account.budgets[0]: budget a forbids nothing; expected variants or capacity types"]),
        ("  budgets: [{name: a, weekly_usd: 1, scope: {replica: r1}}]", ["17:13: account.budgets[0]: a budget cannot be by replica; expected some of team, tenant, feature, environment, api_key, service, variant, capacity_type"]),
        ("  budgets: [{name: a, weekly_usd: 1, scope: {service: chatt}, to: [mail]}]", [
            "17:46: account.budgets[0].scope.service: the fleet has no service 'chatt'; did you mean 'chat'?",
            "17:68: account.budgets[0].to[0]: no channel 'mail'; expected one of log, slack",
        ]),
        ("  budgets: [{name: a, weekly_usd: 1, at_limit: forbid, scope: {service: chat}, forbid: {variants: [h100]}}]", ["17:100: account.budgets[0].forbid.variants[0]: there is no variant 'h100'; expected one of l40s"]),
        ("  prices: {spot: {ask_after: 2h, stale_after: 1h}}", ["17:12: account.prices.spot: a price would be unknown before it is asked for again: stale_after must be longer"]),
        ("  contract: {aws: [{discount: 112%}]}", ["17:21: account.contract.aws[0].discount: input should be less than 1, found '112%'"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_what_was_expected(problems, text, told):
    assert problems(FLEET.replace(", commitment: rack", "") + text + "\n") == told


@pytest.mark.parametrize(
    ("commitments", "told"),
    [
        ("[]", "there is no commitment 'rack' under account.commitments"),
        ("[{id: rak, kind: owned, start: 2026-01-01, end: 2027-01-01, quantity: 1}]", "there is no commitment 'rack' under account.commitments; did you mean 'rak'?"),
        ("[{id: rack, kind: savings_plan, start: 2026-01-01, end: 2027-01-01, quantity: 1, usd_per_gpu_hour: {x: 1.0}}]", "'rack' is a savings plan, which pays for usage and for no place; leave it out here"),
    ],
)  # fmt: skip
def test_capacity_names_a_commitment_that_is_there(problems, commitments, told):
    assert problems(f"{FLEET}  commitments: {commitments}\n") == [
        f"10:43: services.chat.variants.l40s.capacity[0].commitment: {told}"
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("kind: owned, start: 2026-01-01, end: 2025-01-01", "ends (2025-01-01) before it begins (2026-01-01)"),
        ("kind: owned, start: 2026-01-01, end: 2027-01-01, salvage_usd: 5.0", "salvage_usd 5 is more than upfront_usd 0"),
        ("kind: savings_plan, start: 2026-01-01, end: 2027-01-01", "savings plan rack needs its rates: without them nobody knows what it covers"),
        ("kind: capacity_block, start: 2026-01-01, end: 2027-01-01, power: {watts_per_gpu: 1, usd_per_kwh: 1}", "power belongs to kind owned; the price of a capacity_block holds it already"),
    ],
)  # fmt: skip
def test_a_commitment_that_cannot_be_is_told(problems, said, told):
    text = f"{FLEET}  commitments: [{{id: rack, quantity: 1, {said}}}]\n"
    assert [one.split(": ", 2)[2] for one in problems(text) if "account.commitments[0]" in one] == [told]


def test_who_is_asked_for_prices_may_sell_what_the_price_book_does_not_know(load, problems):
    text = FLEET.replace("commitment: rack", "offer: aws/eu-north-9/p9.48xlarge")
    unknown = "services.chat.variants.l40s.capacity[0].offer: the price book has no offer 'aws/eu-north-9/p9.48xlarge'"
    (told,) = problems(text + "  prices: {}\n", offers=("gcp/x/y",))
    assert unknown in told
    asked = load(text + "  prices: {sources: [aws_on_demand]}\n", offers=("gcp/x/y",))
    assert asked.account.price_sources == ("aws_on_demand",)
