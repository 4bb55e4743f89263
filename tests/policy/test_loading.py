"""Policy files: every mistake with its place, and valid files as they say."""

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.decide.rules import ForecastRule, Method, Targets
from controller.errors import ConfigError
from controller.facts.fleet import CapacityType
from controller.policy.load import load_policies

HEAD = "service: chat\nscaling:\n  max_replicas: 8\n  targets: {queue_depth: 50}\n"


def scaling(line: str) -> str:
    return f"{HEAD}  {line}\n"


def alert(inside: str) -> str:
    return f"{HEAD}alerts:\n  - {{{inside}}}\n"


MISTAKES = [
    (HEAD + "quantisation: {}\n", "5:1: quantisation: unknown key 'quantisation'; expected one of"),
    (HEAD + "quantization: {}\n", "5:1: quantization: 'quantization' is not supported in this version; remove it"),
    (HEAD + "quantization: {}\n", "5:1: quantization: 'quantization' is not supported in this version; remove it"),
    (HEAD + "speculative_decoding:\n", "5:1: speculative_decoding: 'speculative_decoding' is not supported"),
    (scaling("min_replica: 2"), "5:3: scaling.min_replica: unknown key 'min_replica'; did you mean 'min_replicas'?"),
    ("service: chat\n", "1:1: the key 'scaling' is missing"),
    (HEAD.replace("8", "0"), "3:3: scaling.max_replicas: input should be greater than or equal to 1, found 0"),
    (HEAD.replace("8", "true"), "3:3: scaling.max_replicas: expected a whole number, found True"),
    (HEAD.replace("8", "'8'"), "3:3: scaling.max_replicas: expected a whole number, found '8'"),
    (scaling("min_replicas: 9"), "2:1: scaling: min_replicas 9 is more than max_replicas 8"),
    (HEAD.replace("queue_depth: 50", "headroom: 5%"), "4:3: scaling.targets: names no load; expected at least one of"),
    (HEAD.replace("50", "0"), "4:13: scaling.targets.queue_depth: input should be greater than 0, found 0"),
    (HEAD.replace("50", ".nan"), "4:13: scaling.targets.queue_depth: expected a number, found nan"),
    (HEAD.replace("queue_depth: 50", "kv_cache: 185%"), "4:13: scaling.targets.kv_cache: input should be less than or"),
    (HEAD.replace("queue_depth: 50", "kv_cache: 85"), "4:13: scaling.targets.kv_cache: expected a share, such as 85%"),
    (scaling("method: predictiv"), "5:3: scaling.method: 'predictiv' is not one of predictive, reactive"),
    (
        scaling("forecast: {quantile: 40%}"),
        "5:14: scaling.forecast.quantile: input should be greater than or equal to 0.5",
    ),
    (
        scaling("forecast: {quantile: 100%}"),
        "5:14: scaling.forecast.quantile: input should be less than or equal to 0.999",
    ),
    (scaling("forecast: {quantile: 95}"), "5:14: scaling.forecast.quantile: expected a share, such as 85%"),
    (scaling("forecast: {drain: 0s}"), "5:14: scaling.forecast.drain: input should be greater than 0"),
    (scaling("forecast: {drains: 60s}"), "5:14: scaling.forecast.drains: unknown key 'drains'; did you mean 'drain'?"),
    (
        scaling("method: reactive").replace("  targets: {queue_depth: 50}\n", ""),
        "2:1: scaling: method is reactive, which needs targets: at least one of queue_depth, kv_cache, token_load, gpu_",
    ),
    (
        scaling("method: reactive\n  forecast: {quantile: 90%}"),
        "2:1: scaling: method is reactive, which reads no forecast; remove forecast, or make it predictive",
    ),
    (scaling("start_deadline: 600"), "5:3: scaling.start_deadline: expected a duration with its unit"),
    (scaling("start_deadline: 99999d"), "5:3: scaling.start_deadline: input should be less than or equal to"),
    (scaling("tolerance: 100%"), "5:3: scaling.tolerance: input should be less than 1"),
    (
        scaling("scale_up: {at_most: {per: 60s}}"),
        "5:14: scaling.scale_up.at_most: expected exactly one of replicas and",
    ),
    (scaling("scale_up: {at_most: {replicas: 2}}"), "5:14: scaling.scale_up.at_most: the key 'per' is missing"),
    (
        scaling("scale_down: {stabilisation: 9s}"),
        "5:16: scaling.scale_down.stabilisation: unknown key 'stabilisation'; did",
    ),
    (HEAD + "slo: {ttft_p95: 1s, ttft_p99: 2s}\n", "5:1: slo: names ttft_p95 and ttft_p99; expected at most one ttft"),
    (HEAD + "slo: {ttft_p90: 1s}\n", "5:7: slo.ttft_p90: unknown key 'ttft_p90'; did you mean 'ttft_p9"),
    (HEAD + "slo: {attainment: 0}\n", "5:7: slo.attainment: input should be greater than 0"),
    (HEAD + "capacity_mix: {reserved: last}\n", "5:16: capacity_mix.reserved: 'last' is not one of first"),
    (HEAD + "capacity_mix: {spot: {allow: 1}}\n", "5:23: capacity_mix.spot.allow: expected true or false, found 1"),
    (
        HEAD + "variants: {a: {capacity_types: [reservd]}}\n",
        "5:33: variants.a.capacity_types[0]: 'reservd' is not one of",
    ),
    (alert("name: a, when: 'runing > 1'"), "6:22: alerts[0].when: unknown quantity 'runing'; did you mean 'running'?"),
    (alert("name: a, when: running + 1"), "6:21: alerts[0].when: is a number; expected a condition"),
    (
        alert("name: a, when: running > 1, to: [slak]"),
        "6:39: alerts[0].to[0]: no channel 'slak'; did you mean 'slack'?",
    ),
    (alert("name: a, when: running > 1, severity: bad"), "6:34: alerts[0].severity: 'bad' is not one of info, warning"),
    (
        alert("name: a, when: 5"),
        "6:15: alerts[0].when: expected a condition in CEL, such as 'queue_depth > 50', found 5",
    ),
    (alert(f"name: a, when: '{'(' * 400}running > 1{')' * 400}'"), "6:22: alerts[0].when: is nested too deeply"),
    (alert("name: a b, when: running > 1"), "6:6: alerts[0].name: string should match pattern"),
    (
        alert("name: a, when: running > 1") + "  - {name: a, when: running > 2}\n",
        "7:6: alerts[1].name: an alert named 'a' stands already in line 6",
    ),
    ("service: [\n", "2:1: is not YAML"),
    ("", "1:1: is empty"),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES, ids=[told for _, told in MISTAKES])
def test_a_mistake_is_told_with_its_place(text, told, write):
    path = write(text)
    with pytest.raises(ConfigError) as error:
        load_policies([path], None, ("log", "slack"))
    assert len(error.value.problems) == 1
    assert str(error.value.problems[0]).startswith(f"{path}:{told}")


def test_a_mistake_in_a_condition_over_several_lines_is_found_in_its_line(write):
    path = write(HEAD + "alerts:\n  - name: a\n    when: |\n      queue_depth > 5 &&\n      runing > 1\n")
    with pytest.raises(ConfigError, match=r":9:\d+: alerts\[0\]\.when: unknown quantity 'runing'"):
        load_policies([path], None, ("log",))


def test_mistakes_of_every_sort_in_one_file_are_told_at_once(write, fleet):
    text = """\
service: chat
variants: {h100-fp4: {}}
scaling: {max_replica: 8, targets: {queue_depth: 50}}
alerts:
  - {name: a, when: 'runing > 1', to: [slak]}
  - {name: a, when: 'running > 1', severity: bad}
quantization: {}
"""
    with pytest.raises(ConfigError) as error:
        load_policies([write(text)], fleet, ("log", "slack"))
    assert [(problem.line, problem.key) for problem in error.value.problems] == [
        (2, "variants.h100-fp4"),
        (3, "scaling"),
        (3, "scaling.max_replica"),
        (5, "alerts[0].when"),
        (5, "alerts[0].to[0]"),
        (6, "alerts[1].name"),
        (6, "alerts[1].severity"),
        (7, "quantization"),
    ]


@pytest.mark.parametrize("text", ["alerts: 3\n", "alerts: [3]\n", "alerts: [{to: 3}]\n", "alerts:\n", "variants: 3\n"])
def test_what_has_another_kind_entirely_is_told_and_nothing_else_fails(text, write, fleet):
    with pytest.raises(ConfigError, match=r"chat\.yaml:5:\d+: (alerts|variants)"):
        load_policies([write(HEAD + text)], fleet, ("log",))


def test_all_mistakes_of_all_files_are_told_at_once(write, tmp_path):
    files = [
        write(scaling("start_deadline: 600") + "quantization: {}\n", "one.yaml"),
        write(HEAD.replace("8", "no"), "two.yaml"),
        tmp_path / "absent.yaml",
    ]
    with pytest.raises(ConfigError) as error:
        load_policies(files, None, ("log",))
    assert [(problem.file, problem.line) for problem in error.value.problems] == [
        (str(files[2]), 0),
        (str(files[0]), 5),
        (str(files[0]), 6),
        (str(files[1]), 1),
        (str(files[1]), 3),
    ]


def test_a_service_has_one_policy(write):
    files = [write(HEAD, "one.yaml"), write(HEAD, "two.yaml")]
    with pytest.raises(ConfigError, match=r"service 'chat' already has the policy .*one\.yaml"):
        load_policies(files, None, ("log",))


def test_a_service_has_one_policy_even_when_both_are_wrong_otherwise(write):
    files = [write(HEAD.replace("8", "no"), name) for name in ("one.yaml", "two.yaml")]
    with pytest.raises(ConfigError) as error:
        load_policies(files, None, ("log",))
    assert [problem.key for problem in error.value.problems] == [
        "scaling.max_replicas",
        "service",
        "scaling.max_replicas",
    ]


def test_values_that_contradict_each_other_are_told_beside_wrong_ones(write):
    path = write(scaling("min_replicas: 9\n  tolerance: 300%\nslo: {ttft_p95: 1s, ttft_p99: 2s, tpot_p9: 1s}"))
    with pytest.raises(ConfigError) as error:
        load_policies([path], None, ("log",))
    assert [(problem.line, problem.key) for problem in error.value.problems] == [
        (2, "scaling"),
        (6, "scaling.tolerance"),
        (7, "slo"),
        (7, "slo.tpot_p9"),
    ]


def test_what_is_missing_only_because_it_is_wrong_is_told_once(write):
    path = write(HEAD.replace("50", "many") + "slo: {attainment: most}\n")
    with pytest.raises(ConfigError) as error:
        load_policies([path], None, ("log",))
    assert [problem.key for problem in error.value.problems] == ["scaling.targets.queue_depth", "slo.attainment"]


def test_a_key_that_stands_twice_hides_no_other_mistake(write):
    path = write(scaling("max_replicas: 9") + "quantization: {}\n")
    with pytest.raises(ConfigError) as error:
        load_policies([path], None, ("log",))
    assert [problem.key for problem in error.value.problems] == ["scaling.max_replicas", "quantization"]


def test_test_files_are_no_policies(write):
    assert set(load_policies([write(HEAD), write("not: a policy", "chat.test.yaml")], None, ())) == {"chat"}


@pytest.fixture(scope="module")
def fleet():
    return {"chat": ("h100-fp8",)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD.replace("chat", "chta"), "1:1: service: the fleet has no service 'chta'; did you mean 'chat'?"),
        (HEAD + "variants: {h100-fp4: {}}\n", "5:12: variants.h100-fp4: service 'chat' has no variant 'h100-fp4'; did"),
    ],
)
def test_what_the_fleet_does_not_have_is_told_with_the_nearest_it_has(text, told, write, fleet):
    path = write(text)
    with pytest.raises(ConfigError) as error:
        load_policies([path], fleet, ("log",))
    assert [str(problem).startswith(f"{path}:{told}") for problem in error.value.problems] == [True]


def test_a_policy_that_the_fleet_can_serve_loads(write, fleet):
    path = write(HEAD + "variants: {h100-fp8: {capacity_types: [reserved, spot], token_load: 6200}}\n")
    (rule,) = load_policies([path], fleet, ())["chat"].variants
    assert (rule.name, rule.capacity_types, rule.token_load_per_s) == ("h100-fp8", ("reserved", "spot"), 6200)


def test_without_a_method_it_is_predictive_with_the_rules_own_defaults_and_needs_no_targets(write):
    rule = load_policies([write("service: chat\nscaling: {max_replicas: 8}\n")], None, ())["chat"].replicas
    assert (rule.method, rule.forecast, rule.targets) == (Method.PREDICTIVE, ForecastRule(), Targets())


@pytest.mark.parametrize(
    ("attainment", "quantile"), [("80%", 0.95), ("99%", 0.95), ("99.5%", 0.975), ("99.9%", 0.995), ("99.99%", 0.999)]
)
def test_without_a_quantile_the_forecast_is_as_sure_as_a_high_attainment_asks(write, attainment, quantile):
    path = write(f"service: chat\nslo: {{ttft_p95: 1s, attainment: {attainment}}}\nscaling: {{max_replicas: 8}}\n")
    assert load_policies([path], None, ())["chat"].replicas.forecast.quantile == pytest.approx(quantile)


def test_method_and_forecast_are_read(write):
    read = load_policies([write(scaling("forecast: {quantile: 97.5%, drain: 90s}"))], None, ())["chat"].replicas
    assert read.forecast == ForecastRule(quantile=0.975, drain_s=90)
    reactive = load_policies([write(scaling("method: reactive"))], None, ())["chat"].replicas
    assert (reactive.method, reactive.targets.queue_depth) == (Method.REACTIVE, 50)


SECONDS = st.integers(1, 3600)
PERCENT = st.integers(1, 99)


@st.composite
def said(draw):
    low, high = sorted((draw(st.integers(0, 50)), draw(st.integers(1, 50))))
    latency = draw(st.sampled_from(["p50", "p95", "p99"]))
    step = draw(st.sampled_from(["replicas", "percent"]))
    amount = draw(PERCENT)
    return {
        "service": draw(st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)),
        "slo": {f"ttft_{latency}": f"{draw(SECONDS)}ms", "attainment": f"{draw(PERCENT)}%"},
        "scaling": {
            "min_replicas": low,
            "max_replicas": max(high, 1),
            "targets": {"queue_depth": draw(SECONDS), "kv_cache": f"{draw(PERCENT)}%", "headroom": f"{draw(PERCENT)}%"},
            "scale_up": {
                "stabilization": f"{draw(SECONDS)}s",
                "at_most": {step: amount if step == "replicas" else f"{amount}%", "per": f"{draw(SECONDS)}s"},
            },
            "start_deadline": f"{draw(SECONDS)}s",
        },
        "alerts": [{"name": "a", "when": f"queue_depth > {draw(SECONDS)}", "for": f"{draw(SECONDS)}s"}],
    }


def seconds(text):
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text[:-1])


def share(text):
    return float(text[:-1]) / 100


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policy=said())
def test_a_valid_policy_loads_to_what_it_says(policy, write):
    found = load_policies([write(yaml.safe_dump(policy))], None, ("log",))[policy["service"]]
    rule, wanted = found.replicas, policy["scaling"]
    (latency,) = set(policy["slo"]) - {"attainment"}
    assert found.slo.ttft is not None
    assert found.slo.ttft.seconds == pytest.approx(seconds(policy["slo"][latency]))
    assert f"ttft_p{found.slo.ttft.quantile * 100:g}" == latency
    assert found.slo.tpot is None
    assert found.slo.attainment_ratio == share(policy["slo"]["attainment"])
    assert (rule.min_replicas, rule.max_replicas) == (wanted["min_replicas"], wanted["max_replicas"])
    assert rule.targets.queue_depth == wanted["targets"]["queue_depth"]
    assert rule.targets.kv_cache_ratio == share(wanted["targets"]["kv_cache"])
    assert rule.targets.headroom_ratio == share(wanted["targets"]["headroom"])
    assert rule.scale_up.stabilization_s == seconds(wanted["scale_up"]["stabilization"])
    step, limit = rule.scale_up.at_most, wanted["scale_up"]["at_most"]
    assert step.per_s == seconds(limit["per"])
    assert step.replicas == limit.get("replicas")
    assert step.ratio == (share(limit["percent"]) if "percent" in limit else None)
    assert rule.scale_down.at_most is None
    assert rule.start_deadline_s == seconds(wanted["start_deadline"])
    (alert_rule,) = found.alerts
    assert alert_rule.condition.text == policy["alerts"][0]["when"]
    assert alert_rule.for_s == seconds(policy["alerts"][0]["for"])


def test_a_budget_of_a_policy_is_one_of_its_service(write):
    text = HEAD + "budget: {monthly_usd: 5000, at_limit: forbid, forbid: {capacity_types: [spot]}, to: [log]}\n"
    (policy,) = load_policies([write(text)], None, ("log",)).values()
    assert policy.budget is not None
    assert (policy.budget.service, policy.budget.limit_nanousd) == ("chat", 5000 * 10**9)
    assert policy.budget.forbidden_capacity == frozenset({CapacityType.SPOT})


def test_mistakes_in_a_budget_are_told_with_their_places(write):
    text = HEAD + "budget: {monthly_usd: 5, at_limit: forbid, forbid: {variants: [h10]}, to: [mail]}\n"
    with pytest.raises(ConfigError) as error:
        load_policies([write(text)], {"chat": ("h100",)}, ("log",))
    assert [(one.line, one.key, one.message) for one in error.value.problems] == [
        (5, "budget.forbid.variants[0]", "service 'chat' has no variant 'h10'; did you mean 'h100'?"),
        (5, "budget.to[0]", "no channel 'mail'; expected one of log"),
    ]
