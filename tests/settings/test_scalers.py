"""Other autoscalers in fleet.yaml: who asks, where, and what they must show."""

from __future__ import annotations

import pytest

from controller.facts.actuators import ExternalOptions, Through
from controller.facts.doors import Door, Tls
from tests.settings.small import SCRAPE, SMALL


def fleet(serve: str = "", actuator: str = "external: {}") -> str:
    return SMALL.replace(SCRAPE, f"{SCRAPE}        actuator: {{{actuator}}}\n") + f"serve: {{{serve}}}\n"


def test_a_variant_is_left_to_keda_and_keda_asks_on_loopback(load):
    settings = load(fleet("keda: {}", "external: {followed_within: 2m, namespace: llm}"))
    (variant,) = settings.fleet.variants()
    assert variant.actuator == "external"
    assert variant.actuator_options == ExternalOptions(namespace="llm", followed_within_s=120.0)
    assert settings.keda == Door(host="127.0.0.1", port=9190)
    assert settings.external_metrics is None
    assert settings.wva_names is False


def test_files_start_at_the_folder_and_the_token_is_never_shown(load, tmp_path):
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).touch()
    tls = "tls: {certificate: tls.crt, key: tls.key, client_ca: ca.crt}"
    settings = load(fleet(f"keda: {{host: 0.0.0.0, token_env: TOKEN, {tls}}}, wva_names: true"), {"TOKEN": "s3cret"})
    assert settings.keda is not None
    assert settings.keda.tls == Tls(
        certificate=str(tmp_path / "tls.crt"), key=str(tmp_path / "tls.key"), client_ca=str(tmp_path / "ca.crt")
    )
    assert settings.keda.token == "s3cret"
    assert "s3cret" not in repr(settings)
    assert settings.wva_names


@pytest.mark.parametrize("through", [Through.HPA, Through.PROMETHEUS])
def test_an_hpa_and_prometheus_ask_elsewhere(load, through):
    settings = load(
        fleet("external_metrics: {}" if through is Through.HPA else "", f"external: {{through: {through}}}")
    )
    assert settings.fleet.variants()[0].actuator_options.through is through
    assert (settings.external_metrics is not None) is (through is Through.HPA)


MANY = "tls: {certificate: no.crt, key: no.key}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            fleet("keda: {host: 0.0.0.0}"),
            [
                "9:16: serve.keda.host: anybody who reaches 0.0.0.0 may ask: set serve.keda.tls or serve.keda.token_env; or plain: true where the network keeps others out"
            ],
        ),
        (
            fleet("keda: {host: '::1'}, external_metrics: {host: 10.0.0.1}", "external: {through: keda}"),
            [
                "9:30: serve.external_metrics: nobody may be asked for: chat/l40s is scaled through keda; a target has one writer, where it is hpa write actuator: {external: {through: hpa}}",
                "9:49: serve.external_metrics.host: anybody who reaches 10.0.0.1 may ask: set serve.external_metrics.tls.client_ca, the front-proxy CA; or plain: true where the network keeps others out",
            ],
        ),
        (
            fleet(f"keda: {{token_env: NOWHERE, {MANY}}}"),
            [
                "9:16: serve.keda.token_env: the environment variable NOWHERE is not set; it holds the callers' token",
                "9:42: serve.keda.tls.certificate: there is no file 'no.crt'",
                "9:63: serve.keda.tls.key: there is no file 'no.key'",
            ],
        ),
        (
            fleet("external_metrics: {allowed_names: [front-proxy-client]}", "external: {through: hpa}"),
            ["9:28: serve.external_metrics.allowed_names: names of certificates are known only with tls.client_ca"],
        ),
        (
            fleet(""),
            [
                "8:20: services.chat.variants.l40s.actuator.external: keda cannot ask for it: `serve` has no `keda`; add serve: {keda: {}}"
            ],
        ),
        (
            fleet("keda: {}", "dry_run: {}"),
            [
                "9:9: serve.keda: nobody may be asked for: chat/l40s has the actuator dry_run; a target has one writer, where it is keda write actuator: {external: {through: keda}}"
            ],
        ),
        (
            fleet("keda: {}", "kubernetes: {namespace: llm, deployment: chat}"),
            [
                "9:9: serve.keda: nobody may be asked for: chat/l40s has the actuator kubernetes; a target has one writer, where it is keda write actuator: {external: {through: keda}}"
            ],
        ),
        (
            fleet("keda: {}", "external: {}, dry_run: {}"),
            ["8:9: services.chat.variants.l40s.actuator: expected exactly one actuator, found 2: external, dry_run"],
        ),
        (
            fleet("keda: {}", "external: {through: kedda}"),
            [
                "8:31: services.chat.variants.l40s.actuator.external.through: 'kedda' is not one of keda, hpa, prometheus; did you mean 'keda'?"
            ],
        ),
    ],
)
def test_mistakes_name_the_key_and_what_to_do(problems, text, expected):
    assert problems(text) == expected


@pytest.mark.parametrize(
    "door", ["keda: {host: 0.0.0.0, plain: true}", "keda: {host: 0.0.0.0, token_env: TOKEN}", "keda: {host: localhost}"]
)
def test_beyond_this_host_somebody_must_be_kept_out_or_it_is_said_that_nobody_needs_to(load, door):
    assert load(fleet(door), {"TOKEN": "s3cret"}).keda is not None


def test_a_rehearsal_needs_no_secret_and_no_certificate(load):
    assert load(fleet(f"keda: {{token_env: NOWHERE, {MANY}}}"), measured=False).keda is not None
