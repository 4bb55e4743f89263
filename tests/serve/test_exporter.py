"""/metrics."""

import shutil
import subprocess
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.facts.missing import Missing
from controller.serve.account_metrics import ACCOUNT_METRICS
from controller.serve.exporter import Exporter
from controller.serve.names import ESTIMATES, OTHERS


def samples(exporter):
    text = exporter.render().decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_last_pass_is_shown_by_service_and_by_variant_in_money_and_tokens(exporter, busy):
    shown = samples(exporter)
    seen = busy.estimates.services["chat"]
    assert shown[("pennyweight_cost_usd_per_hour", "", "chat")] == seen.usd_per_hour
    assert shown[("pennyweight_output_tokens_per_second", "chat", "h100")] == seen.output_tokens_per_s
    assert shown[("pennyweight_queue_depth_requests", "", "chat")] == seen.queue_depth


def test_what_is_missing_has_no_sample_and_is_counted_by_signal(exporter):
    shown = samples(exporter)
    assert not any(key[0] == "pennyweight_power_watts" for key in shown)
    names = {key[0] for key in shown}
    assert "pennyweight_targets" in names


def test_decisions_and_outcomes_are_counted_over_all_passes(exporter, busy):
    shown = samples(exporter)
    because = busy.decisions[0].because.value
    assert shown[("pennyweight_decisions_total", "chat", because, "h100")] == 2
    assert shown[("pennyweight_pass_duration_seconds_count",)] == 2


def test_the_daemons_own_troubles_are_there(exporter):
    shown = samples(exporter)
    assert shown[("pennyweight_config_last_reload_successful",)] == 0
    assert shown[("pennyweight_passes_overrun_total",)] == 2
    assert shown[("pennyweight_notifications_total", "failed", "slack")] == 1


def test_before_the_first_pass_the_page_is_valid_and_says_not_ready(starting_view):
    shown = samples(Exporter(starting_view))
    assert shown[("pennyweight_ready",)] == 0
    assert not any(key[0] == "pennyweight_cost_usd_per_hour" for key in shown)


def test_every_exported_name_is_in_the_table_and_every_name_of_the_table_is_exported(exporter):
    known = {metric.name for metric in ESTIMATES} | set(OTHERS)
    exported = set()
    for line in exporter.render().decode().splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            exported.add(name if not name.endswith("_created") else name.removesuffix("_created"))
    assert exported == known


def test_more_replicas_make_no_more_series(view, busy):
    few = Exporter(view).render().count(b"\n")
    more = {(s, v, f"{r}-{index}"): one for index in range(50) for (s, v, r), one in busy.estimates.replicas.items()}
    view.result = replace(busy, estimates=replace(busy.estimates, replicas=more))
    assert Exporter(view).render().count(b"\n") == few


def test_an_unknown_price_is_absent_not_zero(view, busy):
    unknown = {
        name: replace(one, usd_per_hour=Missing("price", "in no book")) for name, one in busy.estimates.services.items()
    }
    view.result = replace(busy, estimates=replace(busy.estimates, services=unknown))
    assert ("pennyweight_cost_usd_per_hour", "", "chat") not in samples(Exporter(view))


def test_what_is_asked_expected_and_carried_is_shown_and_what_is_missing_is_not(learned_view):
    shown = samples(Exporter(learned_view))
    assert shown[("pennyweight_demand_requests_per_second", "chat")] == 11.5
    assert shown[("pennyweight_forecast_error_ratio", "240", "chat")] == 0.08
    assert ("pennyweight_forecast_error_ratio", "900", "chat") not in shown
    assert shown[("pennyweight_replica_capacity_requests_per_second", "chat", "h100")] == 9.5
    assert ("pennyweight_replica_capacity_requests_per_second", "chat", "l4") not in shown


def test_a_forecast_has_four_series_a_horizon_however_many_quantiles_it_has(learned_view):
    shown = {key[1:3]: value for key, value in samples(Exporter(learned_view)).items() if "_forecast_req" in key[0]}
    assert shown == {
        (probability, horizon): value
        for horizon in ("240", "900")
        for probability, value in (("0.5", 12.0), ("0.9", 15.0), ("0.95", 16.0), ("0.99", 19.0))
    }


def test_promtool_finds_nothing_to_mend_in_forecasts(learned_view, tool):
    page = Exporter(learned_view).render()
    checked = subprocess.run([tool("promtool"), "check", "metrics"], input=page, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_promtool_finds_nothing_to_mend(exporter, tool):
    promtool = tool("promtool")
    checked = subprocess.run([promtool, "check", "metrics"], input=exporter.render(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.parametrize("arguments", [("check", "rules", "rules.yaml"), ("test", "rules", "rules.test.yaml")])
def test_the_shipped_alert_rules_are_valid_and_fire_when_they_should(tool, repository, arguments):
    promtool = tool("promtool")
    assert shutil.which(promtool)
    done = subprocess.run(
        [promtool, *arguments],
        cwd=repository / "deploy" / "prometheus",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_shipped_rules_use_only_metrics_that_exist(repository):
    import re

    text = (repository / "deploy" / "prometheus" / "rules.yaml").read_text(encoding="utf-8")
    known = {metric.name for metric in ESTIMATES} | set(OTHERS) | set(ACCOUNT_METRICS)
    used = set(re.findall(r"pennyweight_\w+", text))
    assert used <= known
